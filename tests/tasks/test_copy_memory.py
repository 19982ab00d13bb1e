import math
import operator

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.tasks import CopyMemory
from tests.draws import ROWS, draw
from tests.refusals import refuses


def test_worked_example_of_copy_memory():
    task = CopyMemory(blanks=3, recalled=2)
    batch = draw(task)
    row = (batch.inputs[:, :2] == [5, 8]).all(axis=1).argmax()
    assert batch.inputs[row].tolist() == [5, 8, 0, 0, 9, 9, 9]
    assert batch.labels[row].tolist() == [0, 0, 0, 0, 0, 5, 8]
    assert batch.mask is None


def test_symbols_are_said_and_recalled_in_order():
    task = CopyMemory(blanks=20)
    batch = draw(task)
    assert batch.inputs.shape == batch.labels.shape == (ROWS, task.length) == (ROWS, 40)
    said = batch.inputs[:, :10]
    np.testing.assert_array_equal(batch.labels[:, 30:], said)
    np.testing.assert_array_equal(batch.labels[:, :30], 0)
    np.testing.assert_array_equal(batch.inputs[:, 10:29], 0)
    np.testing.assert_array_equal(batch.inputs[:, 29:], 9)
    counts = np.bincount(said.ravel(), minlength=10)
    assert counts[0] == counts[9] == 0
    assert np.sum((counts[1:9] - 10 * ROWS / 8) ** 2 / (10 * ROWS / 8)) < 7 + 4 * 14**0.5


@pytest.mark.parametrize("blanks", [1, 30])
def test_who_has_forgotten_pays_ten_times_ln_eight(blanks):
    """Sure of the zeros, and of nothing but that a symbol is one of eight."""
    task = CopyMemory(blanks)
    batch = draw(task, 16)
    logits = np.full((*batch.labels.shape, task.vocab), -np.inf, np.float32)
    logits[:, :-10, 0] = 0
    logits[:, -10:, 1:9] = 0
    cost = losses.cross_entropy(jnp.array(logits), jnp.asarray(batch.labels))
    assert cost == pytest.approx(task.memoryless_loss(), rel=1e-6)
    assert task.memoryless_loss() == pytest.approx(10 * math.log(8) / (blanks + 20))


@pytest.mark.parametrize(("blanks", "loss"), [(100, 0.1733), (200, 0.0945), (500, 0.0400), (1000, 0.0204)])
def test_baselines_of_the_literature(blanks, loss):
    assert CopyMemory(blanks).memoryless_loss() == pytest.approx(loss, abs=5e-5)


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: CopyMemory(blanks=0), "blanks must be >= 1, got 0"),
    (lambda: CopyMemory(recalled=0), "recalled must be >= 1, got 0"),
)
