import re

from seqjax.runs.progress import Report


def test_runs_that_report_no_steps_are_reported_when_they_end(capsys):
    with Report(6) as report:
        report.finish(1)  # within the first seconds: nothing is said
        report.every = 0.0
        report.finish(2)
    assert re.fullmatch(r"\[3/6 runs, \d+ s, \d+ s left\] 2 more finished\n", capsys.readouterr().err)
