import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models import dot_attention


@pytest.fixture
def qkv():
    """Queries, keys and values: 2 rows, 4 targets, 5 sources, 3 heads of 6; values of 7."""
    shapes = [(2, 4, 3, 6), (2, 5, 3, 6), (2, 5, 3, 7)]
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


@pytest.fixture
def mask():
    """At random, but each target sees the first source."""
    seen = np.random.default_rng(1).random((2, 4, 5)) < 0.6
    seen[:, :, 0] = True
    return jnp.asarray(seen)


def test_equation_head_by_head(qkv, mask):
    query, keys, values = (np.asarray(part, np.float64) for part in qkv)
    averages, weights = dot_attention(*qkv, mask=mask)
    for row, head, target in np.ndindex(2, 3, 4):
        seen = np.asarray(mask[row, target])
        score = np.exp(keys[row, seen, head] @ query[row, target, head] / np.sqrt(6))
        np.testing.assert_allclose(weights[row, head, target, seen], score / score.sum(), rtol=1e-5)
        np.testing.assert_array_equal(weights[row, head, target, ~seen], 0)
        expected = score @ values[row, seen, head] / score.sum()
        np.testing.assert_allclose(averages[row, target, head], expected, rtol=1e-4, atol=1e-6)


def test_equals_jax(qkv, mask):
    query, keys, values = qkv
    values = values[..., :6]
    expected = jax.nn.dot_product_attention(query, keys, values, mask=mask[:, None], implementation="xla")
    np.testing.assert_allclose(dot_attention(query, keys, values, mask=mask)[0], expected, rtol=1e-4, atol=1e-6)


def test_a_target_that_sees_nothing_gets_zeros_and_leaves_the_others_alone(qkv, mask):
    blind = mask.at[0, 1].set(False)
    averages, weights = dot_attention(*qkv, mask=blind)
    np.testing.assert_array_equal(weights[0, :, 1], 0)
    np.testing.assert_array_equal(averages[0, 1], 0)
    others = jnp.array([0, 2, 3])
    np.testing.assert_allclose(averages[0, others], dot_attention(*qkv, mask=mask)[0][0, others], rtol=1e-5, atol=1e-6)

    gradients = jax.grad(lambda parts: jnp.sum(100 * dot_attention(*parts, mask=blind)[0]))(qkv)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_array_equal(gradients[0][0, 1], 0)


def test_scores_of_any_size(qkv):
    """exp(1000) is infinite, and exp(-1000) is zero: only differences of scores count."""
    query, keys, values = qkv
    everything = jnp.ones((2, 4, 5), bool)
    for offset in (1000.0, -1000.0):
        # One more channel: the same number is added to all the scores of a target.
        wide_query = jnp.concatenate([query, jnp.full((2, 4, 3, 1), offset)], axis=-1)
        wide_keys = jnp.concatenate([keys, jnp.ones((2, 5, 3, 1))], axis=-1)
        weights = dot_attention(wide_query, wide_keys, values, mask=everything)[1]
        narrow = dot_attention(query * np.sqrt(6 / 7), keys, values, mask=everything)[1]
        np.testing.assert_allclose(weights, narrow, rtol=1e-3)
