import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.tasks import Parity
from tests.draws import all_signs, draw


def test_parity_is_the_product_so_far():
    batch = draw(Parity(6), 64)
    for bits, products in zip(batch.inputs[..., 0], batch.targets[..., 0], strict=True):
        assert products.tolist() == [(-1.0) ** int((bits[: end + 1] < 0).sum()) for end in range(6)]
    np.testing.assert_array_equal(batch.weight[0], [0, 1, 1, 1, 1, 1])


def test_parity_is_orthogonal_to_all_products_of_fewer_bits():
    """By enumeration of all sequences of 6 bits: at every step that counts."""
    bits = all_signs(6)
    for seen in range(2, 7):
        parity = bits[:, :seen].prod(axis=1)
        for subset in itertools.chain.from_iterable(itertools.combinations(range(6), k) for k in range(seen)):
            assert (parity * bits[:, list(subset)].prod(axis=1)).sum() == 0


def test_best_linear_error_of_parity_is_one():
    bits = all_signs(6).astype(np.float64)
    design = np.concatenate([bits, np.ones((64, 1))], axis=1)
    parity = bits.prod(axis=1)
    residual = parity - design @ np.linalg.lstsq(design, parity, rcond=None)[0]
    assert (residual**2).mean() == pytest.approx(Parity(6).linear_loss())


def test_a_fair_coin_costs_ln_two():
    batch = draw(Parity(6), 64)
    ones = (1 + jnp.asarray(batch.targets)) / 2
    cost = losses.binary_cross_entropy(jnp.zeros_like(ones), ones, jnp.asarray(batch.weight) > 0)
    assert cost == pytest.approx(Parity(6).chance_loss(), rel=1e-6)


def test_one_step_is_refused():
    with pytest.raises(ValueError, match="length must be >= 2, got 1"):
        Parity(1)
