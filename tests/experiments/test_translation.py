"""Scores by length of the translation experiment."""

from pathlib import Path

import pytest

from seqjax.runs.scripts import import_script

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "seq2seq" / "translation.py")


def test_scores_by_length_are_of_the_sentences_of_that_length():
    """Of 60 short sentences 45 are right, of 80 long ones none; 20 of another length are too few."""
    short, long, few = "a b", "a b c d e f", "a b c d"
    sources = [short] * 60 + [long] * 80 + [few] * 20
    references = [["one two three four five"]] * len(sources)
    right, wrong = references[0][0], "nothing of this"
    found = SCRIPT.by_length(sources, [right] * 45 + [wrong] * 115, references)
    assert list(found) == ["1-3", "6-7"]
    assert (found["1-3"]["sentences"], found["6-7"]["sentences"]) == (60, 80)
    exact, low, high = found["1-3"]["exact"]
    assert exact == 0.75
    assert 0.6 < low < 0.7 < 0.8 < high < 0.9  # by the binomial distribution .64 to .85
    assert found["6-7"]["exact"] == [0, 0, 0]
    assert found["6-7"]["bleu"][0] < 5 < found["1-3"]["bleu"][0]


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_the_ablation_changes_one_thing_at_a_time(scale):
    few = [config for config in SCRIPT.configs(scale) if config.pairs == SCRIPT.FEW]
    changed = {(c.dropout > 0, c.smoothing > 0, c.weight_decay > 0) for c in few}
    assert {(False,) * 3, (True, False, False), (False, True, False), (False, False, True), (True,) * 3} <= changed
    assert len(changed) == len(few)
