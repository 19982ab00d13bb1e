import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.tasks import Parity

ROWS = 20_000


@functools.cache
def draw(task, rows: int = ROWS, seed: int = 0):
    return jax.tree.map(np.asarray, jax.jit(task.sample, static_argnums=1)(jax.random.key(seed), rows))


def test_parity_is_the_product_so_far():
    batch = draw(Parity(6), 64)
    for bits, products in zip(batch.inputs[..., 0], batch.targets[..., 0], strict=True):
        assert products.tolist() == [(-1.0) ** int((bits[: end + 1] < 0).sum()) for end in range(6)]
    np.testing.assert_array_equal(batch.weight[0], [0, 1, 1, 1, 1, 1])


def every(length: int) -> np.ndarray:
    """All sequences of bits."""
    return np.array(list(itertools.product((-1, 1), repeat=length)))


def test_parity_is_orthogonal_to_all_products_of_fewer_bits():
    """By enumeration of all sequences of 6 bits: at every step that counts."""
    bits = every(6)
    for seen in range(2, 7):
        parity = bits[:, :seen].prod(axis=1)
        for subset in itertools.chain.from_iterable(itertools.combinations(range(6), k) for k in range(seen)):
            assert (parity * bits[:, list(subset)].prod(axis=1)).sum() == 0


def test_best_linear_error_of_parity_is_one():
    bits = every(6).astype(np.float64)
    design = np.concatenate([bits, np.ones((64, 1))], axis=1)
    parity = bits.prod(axis=1)
    residual = parity - design @ np.linalg.lstsq(design, parity, rcond=None)[0]
    assert (residual**2).mean() == pytest.approx(Parity(6).linear_loss())


def test_a_fair_coin_costs_ln_two():
    batch = draw(Parity(6), 64)
    ones = (1 + jnp.asarray(batch.targets)) / 2
    cost = losses.binary_cross_entropy(jnp.zeros_like(ones), ones, jnp.asarray(batch.weight) > 0)
    assert cost == pytest.approx(Parity(6).chance_loss(), rel=1e-6)


def test_same_key_same_bits():
    task = Parity(8)
    jax.tree.map(np.testing.assert_array_equal, draw(task, 8), draw.__wrapped__(task, 8))
    assert (draw(task, 8).inputs != draw(task, 8, seed=1).inputs).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Parity(1), "length must be >= 2, got 1"),
    ],
)
def test_wrong_fields_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
