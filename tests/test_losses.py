import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses, metrics


@pytest.fixture
def steps():
    rng = np.random.default_rng(0)
    predictions, targets = (jnp.array(rng.normal(size=(4, 6, 3)), jnp.float32) for _ in range(2))
    return predictions, targets, jnp.array(rng.integers(0, 3, size=(4, 6)), jnp.float32)


def test_squared_error_is_the_metric(steps):
    predictions, targets, weight = steps
    assert losses.squared_error(predictions, targets) == pytest.approx(metrics.mse(predictions, targets), rel=1e-6)
    expected = metrics.mse(predictions, targets, weight)
    assert losses.squared_error(predictions, targets, weight) == pytest.approx(expected, rel=1e-6)


def test_nan_in_a_step_of_weight_zero_reaches_neither_value_nor_gradient(steps):
    predictions, targets, weight = steps
    spoilt = [jnp.where(weight[..., None] > 0, part, jnp.nan) for part in (predictions, targets)]
    assert jnp.isnan(spoilt[0]).any()
    value_and_gradient = jax.value_and_grad(losses.squared_error)
    expected, actual = value_and_gradient(predictions, targets, weight), value_and_gradient(*spoilt, weight)
    jax.tree.map(np.testing.assert_array_equal, expected, actual)
    counted = np.asarray(weight)[..., None] > 0
    np.testing.assert_array_equal(np.asarray(actual[1])[np.broadcast_to(~counted, targets.shape)], 0)


def test_gradient_is_the_weighted_error(steps):
    predictions, targets, weight = steps
    gradient = jax.grad(losses.squared_error)(predictions, targets, weight)
    expected = 2 * weight[..., None] * (predictions - targets) / (3 * weight.sum())
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


def test_no_counted_step_is_no_loss(steps):
    predictions, targets, weight = steps
    value, gradient = jax.value_and_grad(losses.squared_error)(predictions, targets, 0 * weight)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
