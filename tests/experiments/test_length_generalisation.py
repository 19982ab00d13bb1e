"""What the experiment calls accuracy on longer words."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.runs.scripts import import_script
from seqjax.types import Labelled

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "memory" / "length_generalisation.py")


def test_accuracy_of_a_row_is_over_its_scored_answers():
    labels = jnp.array([[0, 1, 1, 0], [1, 1, 1, 1]])
    scored = jnp.array([[False, True, True, True], [True, False, False, False]])
    guesses = jnp.array([[1, 1, 0, 0], [1, 0, 0, 0]])
    batch = Labelled(labels, labels, None, scored)
    np.testing.assert_allclose(SCRIPT.accuracy(jax.nn.one_hot(guesses, 2), batch), [2 / 3, 1])


@pytest.mark.parametrize("name", SCRIPT.TASKS)
def test_longer_words_are_of_all_lengths_alike(name):
    """Every length from 41 to 500 is in one range, all of the same size, so that their mean is over lengths."""
    config = SCRIPT.Config(task=name)
    ranges = SCRIPT.longer(SCRIPT.task_of(config))
    covered = [length for task in ranges for length in range(task.shortest, task.length + 1)]
    assert covered == list(range(41, 501))
    assert {task.length - task.shortest + 1 for task in ranges} == {92}
    batch = ranges[0].sample(jax.random.key(0), 64)
    read = np.asarray((batch.inputs != ranges[0].symbols) & batch.mask).sum(axis=1)
    assert read.min() >= 41
    assert read.max() <= 132


def test_expectations_are_about_means_over_seeds_and_not_the_best():
    rows = [
        {"task": task, "model": model, "mean": 0.95 if model == "gru" else 0.5, "high": 1.0}
        for task in SCRIPT.TASKS
        for model in ("gru", "transformer")
    ]
    verdicts = {check.claim: check.holds for check in SCRIPT.expect(rows)}
    assert verdicts == {
        "regular tasks, GRU: >= .9": True,
        "tasks above, GRU: < .9": False,
        "tasks above, Transformer: < .9": True,
        "even pairs, DeltaNet with beta in (0, 2): >= .9": None,
    }
