import jax
import numpy as np
import pytest

from seqjax.tasks import AddingProblem, CopyMemory, DelayedXor, MultiDelay, Parity
from tests.draws import draw


@pytest.mark.parametrize(
    "task", [AddingProblem(8), CopyMemory(8), DelayedXor(1, 2, 8), MultiDelay(3, 8), Parity(8)], ids=repr
)
def test_same_key_same_bits(task):
    jax.tree.map(np.testing.assert_array_equal, draw(task, 8), draw.__wrapped__(task, 8))
    assert (draw(task, 8).inputs != draw(task, 8, seed=1).inputs).any()
