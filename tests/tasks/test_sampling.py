import jax
import numpy as np
import pytest

from seqjax import tasks

DIGITS, SYMBOLS = tasks.DigitSums(digits=3), tasks.Reversal()
SIGNALS = [
    tasks.AddingProblem(8), tasks.CopyMemory(8), tasks.DelayedXor(1, 2, 8), tasks.MultiDelay(3, 8), tasks.Parity(8),
    tasks.Recall(), tasks.CopyString(8), tasks.SelectiveCopy(8, cut=20), tasks.Memorise(), tasks.HiddenMarkov(),
    tasks.ContextChain(), tasks.ContextRegression(), tasks.WordProblem(), tasks.EvenPairs(), tasks.StackManipulation(9),
]  # fmt: skip


@pytest.mark.parametrize(
    "sample",
    [*(task.sample for task in SIGNALS), DIGITS.sample, DIGITS.held_out, SYMBOLS.sample, SYMBOLS.held_out],
    ids=repr,
)
def test_same_key_same_bits(sample):
    first, again, other = (jax.jit(sample, static_argnums=1)(jax.random.key(seed), 64) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first[0] != other[0]).any(axis=tuple(range(1, first[0].ndim))).mean() > 0.9
