import operator

import numpy as np
import pytest

from seqjax.tasks import DelayedXor
from tests.draws import all_signs, draw
from tests.refusals import refuses


def test_xor_is_the_product_of_the_two_delayed_bits():
    task = DelayedXor(first=1, second=3, length=8)
    batch = draw(task, 64)
    bits, products = batch.inputs[..., 0], batch.targets[..., 0]
    assert set(np.unique(bits)) == {-1, 1}
    for time in range(3, 8):
        np.testing.assert_array_equal(products[:, time], bits[:, time - 1] * bits[:, time - 3])
    np.testing.assert_array_equal(batch.weight[0], np.arange(8) >= 3)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 3), (4, 2)])
def test_xor_is_orthogonal_to_every_linear_functional(first, second):
    """By enumeration of all that the last 6 bits can be, in the task's own arithmetic."""
    bits = all_signs(6).astype(np.float64)
    product = bits[:, 5 - first] * bits[:, 5 - second]
    design = np.concatenate([bits, np.ones((64, 1))], axis=1)
    np.testing.assert_array_equal(design.T @ product, 0)
    assert (product**2).mean() == DelayedXor(first, second, 6).linear_loss(), "all of it is left"


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: DelayedXor(2, 2), "delays must be >= 0 and differ, got 2 and 2"),
    (lambda: DelayedXor(-1, 2), "delays must be >= 0 and differ, got -1 and 2"),
    (lambda: DelayedXor(2, 8, 8), "length must be > 8, got 8"),
)
