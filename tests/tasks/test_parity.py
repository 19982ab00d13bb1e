import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.tasks import Parity
from tests.draws import all_signs, draw
from tests.refusals import refuses


def test_parity_is_the_product_so_far():
    batch = draw(Parity(6), 64)
    for bits, products in zip(batch.inputs[..., 0], batch.targets[..., 0], strict=True):
        assert products.tolist() == [(-1.0) ** int((bits[: end + 1] < 0).sum()) for end in range(6)]
    np.testing.assert_array_equal(batch.weight[0], [0, 1, 1, 1, 1, 1])


def test_parity_is_orthogonal_to_all_products_of_fewer_bits():
    """By enumeration of all sequences of 6 bits, at every step that counts; the best linear error is then its power."""
    assert Parity(6).linear_loss() == 1
    bits = all_signs(6)
    for seen in range(2, 7):
        parity = bits[:, :seen].prod(axis=1)
        for subset in itertools.chain.from_iterable(itertools.combinations(range(6), k) for k in range(seen)):
            assert (parity * bits[:, list(subset)].prod(axis=1)).sum() == 0


def test_a_fair_coin_costs_ln_two():
    batch = draw(Parity(6), 8)
    ones = (1 + jnp.asarray(batch.targets)) / 2
    cost = losses.binary_cross_entropy(jnp.zeros_like(ones), ones, jnp.asarray(batch.weight) > 0)
    assert cost == pytest.approx(Parity(6).chance_loss(), rel=1e-6)


test_one_step_is_refused = refuses(Parity, (1, "length must be >= 2, got 1"))
