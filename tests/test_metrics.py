import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from seqjax import metrics

TARGETS = np.array([[[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]], [[1.0, 1.0], [3.0, 5.0], [9.0, 9.0]]])
PREDICTIONS = TARGETS + np.array([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [[0.0, 0.0], [3.0, 1.0], [0.0, 2.0]]])
WEIGHT = np.array([[1.0, 0.5, 0.0], [2.0, 1.0, 0.0]])


@pytest.fixture
def unchecked():
    """Without the shape checks that only the tests have, so that the library's own are reached."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_mse():
    assert metrics.mse(PREDICTIONS, TARGETS) == pytest.approx(21 / 12)
    assert metrics.mse(PREDICTIONS, TARGETS, WEIGHT) == pytest.approx((1 * 1 + 0.5 * 4 + 1 * 10) / 2 / 4.5)


def test_r2_is_one_minus_pooled_error_over_pooled_spread():
    spread = sum(((TARGETS[..., i] - TARGETS[..., i].mean()) ** 2).sum() for i in range(2))
    assert metrics.r2(PREDICTIONS, TARGETS) == pytest.approx(1 - 21 / spread)


def test_weights_count_repetitions():
    repeated = np.repeat(np.arange(6), (2 * WEIGHT).ravel().astype(int))
    predictions, targets = (part.reshape(1, 6, 2)[:, repeated] for part in (PREDICTIONS, TARGETS))
    assert metrics.mse(PREDICTIONS, TARGETS, WEIGHT) == pytest.approx(metrics.mse(predictions, targets))
    assert metrics.r2(PREDICTIONS, TARGETS, WEIGHT) == pytest.approx(metrics.r2(predictions, targets))


def test_r2_of_the_targets_is_one_and_of_their_means_zero():
    means = np.broadcast_to(TARGETS.mean(axis=(0, 1)), TARGETS.shape)
    assert metrics.r2(TARGETS, TARGETS) == 1
    assert metrics.r2(means, TARGETS) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("metric", [metrics.mse, metrics.r2])
def test_steps_of_weight_zero_may_hold_anything(metric):
    predictions, targets = PREDICTIONS.copy(), TARGETS.copy()
    predictions[:, 2], targets[:, 2] = np.nan, np.inf
    assert metric(predictions, targets, WEIGHT) == metric(PREDICTIONS, TARGETS, WEIGHT)


def test_float32_inputs_are_summed_in_float64():
    """A mean of 1e4 and errors of 1e-2: float32 sums would lose the ratio."""
    targets = jnp.array(np.random.default_rng(0).normal(1e4, 1, (4, 100, 1)), jnp.float32)
    error = np.tile([0.0078125, -0.0078125], (4, 50))[..., None]  # exact in float32 at 1e4
    r2 = metrics.r2(targets + jnp.array(error, jnp.float32), targets)
    assert 1 - r2 == pytest.approx(0.0078125**2 / np.asarray(targets, np.float64).var(), rel=1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("metric", [metrics.mse, metrics.r2])
@pytest.mark.parametrize(
    ("predictions", "weight", "message"),
    [
        (PREDICTIONS[:1], None, r"predictions must have the targets' shape \(2, 3, 2\), got \(1, 3, 2\)"),
        (PREDICTIONS, WEIGHT[0], r"weight must have shape \(batch, time\) = \(2, 3\), got \(3,\)"),
        (PREDICTIONS, 0 * WEIGHT, "weight must be >= 0 and not 0 everywhere"),
        (PREDICTIONS, -WEIGHT, "weight must be >= 0 and not 0 everywhere"),
    ],
)
def test_wrong_arguments_are_refused(metric, predictions, weight, message):
    with pytest.raises(ValueError, match=message):
        metric(predictions, TARGETS, weight)


def test_r2_of_constant_targets_is_refused():
    with pytest.raises(ValueError, match="r2 needs finite targets that vary"):
        metrics.r2(PREDICTIONS, np.ones_like(TARGETS))
