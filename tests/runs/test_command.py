"""The command line of an experiment: what it accepts, what it does again, what it prints and leaves behind."""

import dataclasses
import functools
import json
import logging
import os
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import early_stopping, runs, train, types
from seqjax.runs import command, figures, folder, manifest, options, process, provenance, training
from seqjax.runs.folder import run_name, write_json
from seqjax.runs.progress import Report
from tests.runs import regression
from tests.runs.conftest import ROOT, Lab, program
from tests.runs.regression import Config

PREDICT = """
import sys, numpy
from seqjax import runs
for run in map(runs.load, sys.argv[1:]):
    model = run.model
    for seed in range(run.config["seeds"]):
        outputs = model.apply(run.params(seed), run.arrays["inputs"])
        numpy.testing.assert_allclose(outputs, run.arrays["outputs"][seed], rtol=1e-5, atol=1e-6)
        assert numpy.ptp(outputs) > 0
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole experiment at the default scale, in a process without a terminal."""
    lab = Lab(tmp_path_factory.mktemp("finished"))
    return lab, lab.run()


def test_without_a_terminal_the_table_is_on_stdout_and_plain_lines_on_stderr(finished):
    _, (code, out, err) = finished
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["learning_rate", "parameters", "mse", "low", "high"]
    assert [line.split()[0] for line in lines[1:3]] == ["0.05", "0.2"]
    assert "\nfigure results/figures/regression.png, numbers beside it in regression.json" in out
    assert out.endswith("What to try next\n  python regression.py --features 8\n")
    assert re.fullmatch(r"2 runs on \d+ CPU cores", err.splitlines()[0])
    assert re.fullmatch(r"\[0/2 runs, \d+ s\] default \(2 runs\): compiling", err.splitlines()[1])
    last = r"^\[0/2 runs, \d+ s\] .*: step 100/100  \d+ steps/s  0 s left  loss [\d.e+-]+ "
    assert re.search(last, err, re.MULTILINE)
    assert "\x1b" not in out + err
    assert "\r" not in out + err


def test_a_run_folder_gives_its_model_back_wherever_it_is_read(finished, monkeypatch, tmp_path):
    """The script is found where it was, or below a folder above the run; without it the error says where it must be."""
    lab, _ = finished
    run = runs.load(lab.finished()[0])
    assert run.model == regression.build(regression.Config(**run.config))
    inputs = jnp.asarray(run.arrays["inputs"])
    np.testing.assert_allclose(run.model.apply(run.params(seed=1), inputs), run.arrays["outputs"][1], atol=1e-5)
    moved = tmp_path / "results" / "moved"
    shutil.copytree(run.folder, moved)
    provenance = json.loads((moved / "provenance.json").read_text())
    write_json(moved / "provenance.json", provenance | {"script": "/gone/regression.py"})
    manifest.write(moved)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"must be /gone/regression.py, or regression.py in a folder above"):
        _ = runs.load(moved).model
    shutil.copy(lab.script, tmp_path)
    assert runs.load(moved).model == run.model


def test_the_figure_and_its_numbers_are_beside_the_runs_and_not_in_the_checkout(finished):
    lab, _ = finished
    assert not (lab.folder / "figures").exists()
    figures = lab.folder / "results" / "figures"
    assert (figures / "regression.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((figures / "regression.json").read_text())
    assert list(numbers) == ["experiment", "scale", "rows", "cost", "versions", "commit"]
    assert (numbers["experiment"], numbers["scale"]) == ("regression", "laptop")
    assert set(numbers["cost"]) == {"seconds", "cpu_seconds", "device"}
    fields = ["features", "heads", "steps", "seeds", "learning_rate", "fault"]
    for row, rate in zip(numbers["rows"], (0.05, 0.2), strict=True):
        assert list(row) == [*fields, "parameters", "mse", "low", "high"]
        assert row["learning_rate"] == rate
        assert row["low"] <= row["mse"] <= row["high"]


def test_a_new_process_predicts_what_was_recorded(finished):
    lab, _ = finished
    assert len(lab.finished()) == 2
    (lab.folder / "predict.py").write_text(PREDICT)
    lab.script, script = lab.folder / "predict.py", lab.script
    code, _, err = lab.run(*map(str, lab.finished()))
    lab.script = script
    assert code == 0, err


def test_history_has_a_row_for_each_call_and_seed(finished):
    lab, _ = finished
    for path in lab.finished():
        history = runs.load(path).history
        assert [(row["step"], row["seed"]) for row in history] == [(s, k) for s in range(5, 101, 5) for k in (0, 1)]
        assert history[-1]["loss"] < history[0]["loss"]
        assert {row["skipped"] for row in history} == {0}


def test_nobody_reads_the_table(finished):
    lab, _ = finished
    child = lab.start("--draw")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait() == 0


def test_finished_runs_are_skipped_overwritten_or_only_drawn(here, tmp_path, monkeypatch):
    smoke = ("--scale", "smoke")
    code, _, err = here("--draw", *smoke)
    assert code == 2
    assert err == "error: nothing to draw: no run of this configuration is finished; without --draw they are trained\n"
    code, first, err = here(*smoke)
    assert code == 0
    assert "compiling" in err
    dated = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(dated) == 2

    code, again, err = here(*smoke)
    assert (code, err) == (0, "2 of 2 runs were finished before\n")
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == dated

    (tmp_path / "results" / "regression" / "regression.png").unlink()
    code, drawn, err = here(*smoke, "--draw")
    assert (code, drawn, err) == (0, first, "")
    assert (tmp_path / "results" / "regression" / "regression.png").exists()
    assert not (tmp_path / "figures" / "regression.png").exists()  # a smoke test is no figure to commit

    code, redone, err = here(*smoke, "--overwrite")
    assert (code, redone) == (0, first)
    assert "finished before" not in err
    assert all(path.stat().st_mtime_ns > before for path, before in dated.items())


def test_a_part_is_not_published_where_another_process_has_the_rest(here, tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "configs", lambda scale: [Config(steps=20), Config(steps=21)])
    for clean in (command, provenance):
        monkeypatch.setattr(clean, "commit", lambda: "0123456789ab")
    name = run_name(Config(steps=21), Config())
    with process.lock(tmp_path / "results" / "regression" / "locks" / name):
        code, _, err = here("--publish")
    assert code == process.BUSY
    assert f"{name} is in use by pid" in err
    assert not (tmp_path / "figures" / "regression.png").exists()
    assert here("--publish")[0] == 0
    assert (tmp_path / "figures" / "regression.png").exists()


def test_a_published_figure_updates_the_gallery(here, tmp_path, monkeypatch):
    (tmp_path / "gallery.py").write_text("from pathlib import Path; Path('updated').touch()")
    assert here("--scale", "smoke")[0] == 0
    assert not (tmp_path / "updated").exists()
    monkeypatch.setattr(regression, "configs", lambda scale: [regression.Config(steps=20)])
    assert here()[0] == 0
    assert not (tmp_path / "updated").exists()
    monkeypatch.setattr(command, "commit", lambda: "0123456789ab-dirty")
    code, _, err = here("--publish")
    assert (code, err.splitlines()[-1]) == (
        2,
        "error: --publish needs a clean commit, got 0123456789ab-dirty: commit or undo your changes first",
    )
    for clean in (command, provenance):
        monkeypatch.setattr(clean, "commit", lambda: "0123456789ab")
    code, _, err = here("--publish", "--overwrite")
    assert code == 0, err
    assert (tmp_path / "updated").exists()
    pictures = {
        ending: (tmp_path / "figures" / f"regression.{ending}").read_bytes() for ending in ("png", "json", "npz")
    }
    for wrong in (("--scale", "smoke"), ("--features", "5"), ("--only", "features=4")):
        code, _, err = here("--publish", *wrong)
        assert code == 2
        assert "--publish is for the whole experiment at scale laptop or gpu" in err

    # A fresh clone has no runs, and draws the same picture.
    shutil.rmtree(tmp_path / "results")
    code, _, err = here("--draw")
    assert (code, err) == (0, "")
    own, committed = tmp_path / "results" / "figures" / "regression.png", tmp_path / "figures" / "regression.png"
    assert own.read_bytes() == pictures["png"]
    assert {ending: committed.with_suffix(f".{ending}").read_bytes() for ending in pictures} == pictures

    # It publishes it, too: only the drawing has changed.
    shutil.rmtree(tmp_path / "results")
    committed.write_bytes(b"an older drawing")
    monkeypatch.setattr(command, "commit", lambda: "0123456789ab-dirty")
    assert here("--draw", "--publish")[0] == 2
    assert committed.read_bytes() == b"an older drawing"
    monkeypatch.setattr(command, "commit", lambda: "0123456789ab")
    code, out, err = here("--draw", "--publish")
    assert (code, err) == (0, "")
    assert "regression.png, drawn from what is committed beside it" in out
    assert {ending: committed.with_suffix(f".{ending}").read_bytes() for ending in pictures} == pictures
    assert not own.exists()

    # Without arrays the numbers give it.
    committed.with_suffix(".npz").unlink()
    committed.write_bytes(b"an older drawing")
    assert here("--draw", "--publish")[0] == 0
    assert committed.read_bytes() == pictures["png"]
    assert committed.with_suffix(".json").read_bytes() == pictures["json"]


@dataclasses.dataclass(frozen=True)
class Sized:
    """A field that is not in the numbers below, and one that JSON has as a list."""

    sizes: tuple[int, ...] = (8,)
    seeds: int = 2
    dropout: float = 0.5


def test_a_committed_figure_without_arrays_gives_rows_and_says_what_else_needs_the_runs(tmp_path):
    write_json(tmp_path / "sized.json", {"rows": [{"sizes": [4, 2], "seeds": 3, "mse": 0.25}, {"mse": 1.0}]})
    first, second = figures.published(tmp_path / "sized", Sized)
    assert (first.config, first.result["mse"]) == (Sized((4, 2), 3), 0.25)
    assert (second.config, second.result) == (Sized(), {"mse": 1.0})
    for lacking, ask in (
        ("arrays", lambda: first.arrays),
        ("history of loss", lambda: first.curve("loss")),
        ("bleu", lambda: first.result["bleu"]),
        ("words.json", lambda: first.read("words.json")),
        ("parameters", lambda: first.folder),
    ):
        told = f"drawing needs the runs: the committed figure sized has no {lacking}; without --draw they are trained"
        with pytest.raises(types.InputError, match=re.escape(told)):
            ask()
    assert figures.published(tmp_path / "absent", Sized) == []


def test_a_drawing_that_needs_runs_leaves_the_committed_picture(here, tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    write_json(tmp_path / "figures" / "regression.json", {"rows": [{"learning_rate": 0.1, "mse": 0.25}]})
    (tmp_path / "figures" / "regression.png").write_bytes(b"committed")
    monkeypatch.setattr(regression, "draw", lambda records: records[0].curve("loss"))
    monkeypatch.setattr(command, "commit", lambda: "0123456789ab")
    for publish in ((), ("--publish",)):
        code, _, err = here("--draw", *publish)
        assert code == 2
        assert err.startswith("error: drawing needs the runs: the committed figure regression has no history of loss")
    assert (tmp_path / "figures" / "regression.png").read_bytes() == b"committed"


def test_a_field_named_holds_for_every_run_and_duplicates_collapse(here, tmp_path):
    code, out, err = here("--scale", "smoke", "--learning-rate", "0.1", "0.3", "--seeds", "1", "--out", "elsewhere")
    assert code == 0, err
    numbers = json.loads((tmp_path / "elsewhere" / "regression" / "regression.json").read_text())
    told = [(row["learning_rate"], row["seeds"], row["steps"]) for row in numbers["rows"]]
    assert told == [(0.1, 1, 20), (0.3, 1, 20)]
    assert len(list((tmp_path / "elsewhere").rglob("result.json"))) == 2
    assert "elsewhere/regression/regression.png" in out
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "figures" / "regression.png").exists()  # not what the figure to commit shows


@pytest.mark.parametrize(("flag", "resumed"), [((), True), (("--no-resume",), False)])
def test_an_interrupted_run_goes_on_unless_it_is_to_start_again(here, tmp_path, flag, resumed):
    config = Config(steps=20, learning_rate=0.1)
    work = tmp_path / "results" / "regression" / (folder.run_name(config, Config()) + ".partial")
    record = runs.Record(config, work.with_name(work.name.removesuffix(".partial")), training.Session(Report(1)))
    record.begin(resume=True)
    training.fit([record], *program([config]), 10)
    code, _, err = here("--scale", "smoke", "--learning-rate", "0.1", *flag)
    assert code == 0
    assert ("resumed steps=20 learning_rate=0.1 at step 10" in err) == resumed
    history = runs.load(record.folder).history
    assert [(row["step"], row["seed"]) for row in history] == [(s, k) for s in (5, 10, 15, 20) for k in (0, 1)]


def test_an_edited_configuration_is_exit_2_with_the_difference(here, tmp_path):
    config = Config(steps=20, learning_rate=0.1)
    work = tmp_path / "results" / "regression" / (folder.run_name(config, Config()) + ".partial")
    work.mkdir(parents=True)
    (work / "config.json").write_text(json.dumps({"steps": 30, "learning_rate": 0.1}))
    code, _, err = here("--scale", "smoke", "--learning-rate", "0.1")
    assert code == 2
    assert f"error: {work.relative_to(tmp_path)}/config.json holds another configuration:\n" in err
    assert "  steps: saved 30, expected 20\n" in err
    assert "  seeds: saved nothing, expected 2\n" in err
    assert "learning_rate:" not in err


WRONG = {"--unknown": "1", "--features": "many", "--learning-rate": "fast", "--fault": "other", "--scale": "huge"}


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_option_is_exit_2_and_makes_no_folder(here, tmp_path, option):
    code, out, err = here(option, WRONG[option])
    assert (code, out) == (2, "")
    assert option in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--features", "5", "--heads", "2"), "error: heads must divide features, got 2 heads and 5 features"),
        (("--fault", "refused"), "error: this experiment refuses a fault of 'refused'"),
    ],
)
def test_a_value_that_is_refused_is_exit_2_and_one_line(here, arguments, message):
    code, out, err = here(*arguments, "--scale", "smoke")
    assert (code, out) == (2, "")
    assert [line for line in err.splitlines() if "compiling" not in line and "runs on" not in line] == [message]


WRONG_VALUES = {
    ("--steps", "0"): "--steps must be >= 1, got 0",
    ("--seeds", "0"): "--seeds must be >= 1, got 0",
    ("--features", "-1"): "--features must be >= 1, got -1",
    ("--learning-rate", "nan"): "--learning-rate must be finite and >= 0.0, got nan",
    ("--learning-rate", "-0.01"): "--learning-rate must be finite and >= 0.0, got -0.01",
    ("--learning-rate", "0.1", "inf"): "--learning-rate must be finite and >= 0.0, got inf",
    (
        "--only",
        "width=3",
    ): "--only must be field=value with a field of features, heads, steps, seeds, learning_rate, fault, got 'width=3'",
    ("--only", "learning_rate=7"): "--only learning_rate=7 selects nothing: learning_rate is one of 0.05, 0.2",
}


@pytest.mark.parametrize("arguments", WRONG_VALUES, ids=" ".join)
def test_a_value_that_no_run_could_use_is_refused_before_anything_else(here, tmp_path, arguments):
    code, out, err = here(*arguments)
    assert (code, out, err) == (2, "", f"error: {WRONG_VALUES[arguments]}\n")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("steps", [1, 7, 21])
def test_any_number_of_steps_works(here, tmp_path, steps):
    code, _, err = here("--only", "learning_rate=.2", "--steps", str(steps))
    assert code == 0, err
    [run] = runs.finished(tmp_path / "results" / "regression")
    assert runs.load(run).history[-1]["step"] == steps


def test_a_large_group_is_claimed_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "LARGEST_PART", 3)
    configs = [Config(learning_rate=rate / 10, features=features) for features in (4, 5) for rate in range(4)]
    groups = command._parts([runs.Record(config, tmp_path) for config in configs], 1)
    assert [[r.config.features for r in group] for group in groups] == [[4, 4, 4], [4], [5, 5, 5], [5]]


def test_only_selects_and_a_field_changes(here, tmp_path):
    assert here("--scale", "smoke", "--only", "learning_rate=0.2", "--seeds", "1")[0] == 0
    [run] = runs.finished(tmp_path / "results" / "regression")
    assert [runs.load(run).config[name] for name in ("learning_rate", "seeds")] == [0.2, 1]
    numbers = json.loads((tmp_path / "results" / "regression" / "regression.json").read_text())
    assert len(numbers["rows"]) == 1


def test_a_damaged_finished_run_is_set_aside_and_only_repeated_if_asked(here, tmp_path):
    assert here("--scale", "smoke")[0] == 0
    damaged, intact = runs.finished(tmp_path / "results" / "regression")
    content = (damaged / "result.json").read_text()
    (damaged / "result.json").write_text(content[:-5])
    code, _, err = here("--scale", "smoke")
    assert code == 0, err
    assert "is damaged and left out: result.json has" in err
    assert "compiling" not in err
    assert len(json.loads((tmp_path / "results" / "regression" / "regression.json").read_text())["rows"]) == 1
    # Nor does it stop what looks for other runs.
    assert runs.finished(damaged.parent) == [intact]
    assert here("--scale", "smoke", "--steps", "25", "--only", "learning_rate=0.2", "--draw")[0] == 2
    assert here("--scale", "smoke", "--steps", "25", "--only", "learning_rate=0.05", "--extend")[0] == 2
    assert here("--scale", "smoke", "--overwrite", "--only", "learning_rate=0.05")[0] == 0
    np.testing.assert_allclose(runs.load(damaged).result["mse"], json.loads(content)["mse"], rtol=1e-4)
    assert runs.finished(intact.parent) == [damaged, intact]


def test_figures_that_cannot_be_written_are_found_before_anything_compiles(here, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "figures").write_text("a file")
    code, out, err = here()
    assert (code, out) == (5, "")
    assert "results/figures" in err
    assert "compiling" not in err


def test_a_table_is_never_shortened(monkeypatch, capsys):
    rows = [
        {"model": "transformer", "delay": 32, **{f"column_{k}": 1.2345e-7 * k for k in range(12)}} for _ in range(2)
    ]
    monkeypatch.setattr(figures.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(figures.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    figures.print_table(rows, ["model", "delay"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines if line.startswith("model")]
    assert all(head[:2] == ["model", "delay"] for head in heads)
    assert [name for head in heads for name in head[2:]] == [f"column_{k}" for k in range(12)]
    assert sum(line.count("e-07") + line.count("e-06") for line in lines) == 2 * 11


def test_of_a_table_of_many_rows_both_ends_are_printed(capsys):
    def printed(count: int) -> list[str]:
        wide = {count // 2: "in the middle"}  # no column is as wide as what is not printed
        rows = [{"seed": seed, "note": wide.get(seed, ""), "mse": seed / 4} for seed in range(count)]
        figures.print_table(rows, ["seed"], figures.ROWS)
        return capsys.readouterr().out.splitlines()

    lines = printed(1_000)
    assert lines[21] == "... 960 rows between, in the JSON beside the figure"
    assert [line.split()[0] for line in lines[1:21] + lines[22:]] == [str(n) for n in (*range(20), *range(980, 1_000))]
    assert max(map(len, lines[:21])) < 20
    assert len(printed(40)) == 41


def test_every_field_has_the_help_text_of_its_docstring():
    class Documented:
        """One run.

        Attributes:
            model: architecture.
            low, high: ends of a range,
                in seconds.
            last: the end.

        More text: not an attribute.
        """

    assert options.section(Documented, "Attributes") == {
        "model": "architecture.",
        "low": "ends of a range, in seconds.",
        "high": "ends of a range, in seconds.",
        "last": "the end.",
    }


def test_shift_memory_refuses_a_negative_delay(lab):
    lab.script = ROOT / "experiments" / "memory" / "shift_memory.py"
    code, out, err = lab.run("--delay", "-1", "--model", "tcn", "--out", str(lab.folder))
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: .*-1.*\n", err)


def test_a_value_error_of_a_library_keeps_its_traceback(lab):
    code, _, err = lab.run("--fault", "library", "--scale", "smoke")
    assert code == 1
    assert "\nTraceback (most recent call last)" in err
    assert "jax.vmap(lambda x, y: x + y)(np.ones(3), np.ones(4))" in err
    assert "ValueError: vmap got inconsistent sizes" in err


@pytest.mark.parametrize("out", ["taken", "taken/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written_is_found_before_anything_compiles(here, tmp_path, caplog, out):
    (tmp_path / "taken").write_text("a file")
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        code, stdout, err = here("--out", out)
    assert (code, stdout) == (5, "")
    assert re.match(rf"error: \[Errno.*{out}", err.splitlines()[-1])
    assert "ompiling" not in err + caplog.text
    assert (tmp_path / "taken").read_text() == "a file"


def test_help_tells_what_the_experiment_is_for(here):
    code, out, _ = here("--help")
    assert code == 0
    assert "Which line runs through the noise?" in out
    for name in ("Question", "Expect", "Cost", "Run", "Next"):
        assert f"{name}: " in out
    for option in ("--scale", "--out", "--draw", "--resume", "--overwrite", "--features", "--learning-rate"):
        assert option in out


def test_header_fields_go_on_over_indented_lines(tmp_path):
    script = tmp_path / "x.py"
    script.write_text('"""Title.\n\nPaper     one,\n          two\n\nNext      run\n"""\nimport nothing\n')
    assert runs.read_header(script) == {"Title": "Title.", "Paper": "one,\n  two", "Next": "run"}
    script.write_text("x = 1\n")
    assert runs.read_header(script) == {"Title": ""}


# The best parameters


def nearness(params):
    """The worse, the more is learned: then the parameters after the first call are the best."""
    return -((params["params"]["kernel"][:, 0] - np.array(regression.WEIGHTS, np.float32)) ** 2).mean(), {}


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_run_keeps_its_best_parameters_and_not_the_last(here, tmp_path, monkeypatch, interrupted):
    configs = [Config(steps=20, learning_rate=rate) for rate in (0.05, 0.2)]
    state, advance = program(configs)
    kernels = [np.array(now.params["params"]["kernel"]) for now, _ in train.run(advance, state, 20)]

    def remembering(group, rows=None):
        return early_stopping.keep_best(*program(group, rows), nearness)

    monkeypatch.setattr(regression, "program", remembering)
    home = tmp_path / "results" / "regression"
    records = [runs.Record(config, home / folder.run_name(config, Config())) for config in configs]
    if interrupted:
        for record in records:
            record.session = training.Session(Report(2))
            record.begin(resume=True)
        training.fit(records, *remembering(configs), 10)
    code, _, err = here("--scale", "smoke")
    assert code == 0, err
    assert ("at step 10" in err) == interrupted
    for number, record in enumerate(records):
        run, seeds = runs.load(record.folder), slice(2 * number, 2 * number + 2)
        kept = np.stack([run.params(seed)["params"]["kernel"] for seed in range(2)])
        np.testing.assert_allclose(kept, kernels[0][seeds], rtol=1e-5)
        assert not np.allclose(kept, kernels[-1][seeds], rtol=1e-2)
        validation = [row["validation"] for row in run.history]
        assert [sorted(validation[seed::2]) for seed in range(2)] == [validation[seed::2] for seed in range(2)]
        assert len(validation) == 8


# What else can be done


@pytest.fixture
def using(here, monkeypatch):
    """The experiment with two more options; what they are called with."""
    told = []

    def tell(records, text):
        """Say it of the best run."""
        told.append(([record.result["mse"] for record in records], text))

    def count_runs(records):
        """How many there are."""
        told.append(len(records))

    monkeypatch.setattr(runs, "main", functools.partial(runs.main, tell=tell, count_runs=count_runs))
    return here, told


def forbidden(*_):
    raise AssertionError("neither trains nor draws")


def everything_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_what_else_can_be_done_neither_trains_nor_draws(using, tmp_path, monkeypatch):
    here, told = using
    code, out, err = here("--tell", "a word", "--scale", "smoke")
    assert (code, out, told) == (2, "", [])
    message = "--tell needs a finished run, found none of these in results/regression: train one without it"
    assert err == f"error: {message}\n"
    assert here("--tell", "-a text that begins with a dash", "--scale", "smoke")[2] == f"error: {message}\n"
    assert here("--count-runs", "--scale", "smoke") == (0, "", "")
    assert told == [0]
    assert everything_in(tmp_path / "results") == {}

    assert here("--scale", "smoke", "--learning-rate", "0.2")[0] == 0
    assert told == [0]
    files = everything_in(tmp_path / "results")
    monkeypatch.setattr(regression, "measure", forbidden)
    monkeypatch.setattr(regression, "draw", forbidden)
    assert here("--tell", "a word", "--count-runs", "--scale", "smoke")[:2] == (0, "")
    [run] = [path.parent for path in files if path.name == "result.json"]
    # Of the two runs of this scale one is finished; the configuration named on the command line holds here too.
    assert told[1:] == [([runs.load(run).result["mse"]], "a word"), 1]
    # Without the flags that it was trained with it is found as well, and named.
    code, _, err = here("--tell", "another word", "--scale", "gpu")
    assert (code, told[-1]) == (0, ([runs.load(run).result["mse"]], "another word"))
    assert run.name in err
    assert here("--tell", "x", "--scale", "smoke", "--learning-rate", "0.3")[0] == 2
    assert everything_in(tmp_path / "results") == files
    assert not (tmp_path / "figures" / "regression.png").exists()

    # A damaged run is no run to be used.
    (run / "result.json").write_text("")
    used = len(told)
    code, _, err = here("--tell", "a word", "--scale", "smoke", "--learning-rate", "0.2")
    assert (code, len(told)) == (2, used)
    assert "is damaged and left out" in err


def test_a_whole_figure_is_compared_with_what_is_expected(here, monkeypatch):
    def expect(rows):
        return [runs.every("errors", [row["mse"] >= 0 for row in rows]), runs.check("rates", len(rows), "< 2")]

    monkeypatch.setattr(runs, "main", functools.partial(runs.main, expect=expect))
    whole = here().out
    assert "\nExpected: 1 of 2 hold\n  ✓ errors (" in whole
    assert re.search(r"^  ✗ rates: < 2 \(\d+\)$", whole, re.MULTILINE)
    for part in (("--draw", "--learning-rate", "0.2"), ("--scale", "smoke")):
        outcome = here(*part)
        assert (outcome.code, "Expected" in outcome.out) == (0, False)


def test_other_commands_have_options_of_their_own(here, monkeypatch):
    """A field of the configuration that such a command takes selects no runs; `records` may have a default."""
    told = []

    def say(records=(), text="", *, volume: float = 0.5, learning_rate: float | None = None):
        told.append((len(records), text, volume, learning_rate))

    monkeypatch.setattr(runs, "main", functools.partial(runs.main, say=say))
    scale = "--scale", "smoke"
    assert here("--say", "a word", *scale)[:2] == (0, "")
    assert here("--say", "a word", "--volume", "2", "--learning-rate", "0.9", *scale)[0] == 0
    assert told == [(0, "a word", 0.5, None), (0, "a word", 2.0, 0.9)]
    assert here("--volume", "2", *scale)[::2] == (2, "error: --volume must be given with --say, got it without\n")
    code, _, err = here("--say", "a word", "--learning-rate", "0.9", "0.8", *scale)
    assert (code, err) == (2, "error: --learning-rate must be one value with --say, got 0.9 0.8\n")
    assert here(*scale, "--learning-rate", "0.2")[0] == 0
    assert here("--say", "x", "--learning-rate", "0.9", *scale)[0] == 0
    assert told[2:] == [(1, "x", 0.5, 0.9)]


def test_help_shows_what_else_can_be_done_at_once(lab):
    added = '''
def tell(records, text, *, volume: int = 3):
    """Say it of the best run.

    Args:
        volume: how loud.
    """
def count_runs(records): "How many there are."
if __name__'''
    script = lab.script.read_text().replace("if __name__", added.lstrip())
    lab.script.write_text(script.replace("measure, draw)", "measure, draw, tell=tell, count_runs=count_runs)"))
    code, out, err = lab.run("--help")
    assert code == 0, err
    assert re.search(r"--tell TEXT\W+Say it of the best run\.", out)
    assert re.search(r"--volume INT\W+how loud", out)
    assert re.search(r"--count-runs.*\W+How many there are\.", out)


@pytest.mark.parametrize("text", ["", "None"])
def test_any_text_is_text_and_no_wish_to_train(using, text):
    here, told = using
    code, out, err = here("--tell", text, "--scale", "smoke")
    assert (code, out, told) == (2, "", [])
    assert "--tell needs a finished run" in err


@pytest.mark.parametrize("saved", [False, True])
def test_an_error_before_anything_is_saved_leaves_no_folder(tmp_path, saved):
    record = runs.Record(Config(), tmp_path / "run")
    record.begin(resume=True)
    if saved:
        record.move_to(folder.Place("group", 0, 1))

    def measure(records):
        raise types.InputError("features must be at most 4, got 8")

    with pytest.raises(types.InputError, match="features must be"):
        command._train_part([record], measure, training.Session(Report(1)))
    assert record.work.exists() is saved
