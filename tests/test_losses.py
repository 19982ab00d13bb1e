import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

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


@pytest.mark.parametrize(("loss", "data"), [(losses.squared_error, "steps"), (losses.cross_entropy, "tokens")])
def test_no_real_step_is_no_loss(loss, data, request):
    predictions, targets, real = request.getfixturevalue(data)
    value, gradient = jax.value_and_grad(loss)(predictions, targets, jnp.zeros_like(real))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.fixture
def tokens():
    """Logits over 7 tokens of which the first two are never predicted, targets among the others, and a mask."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4, 6, 7)).astype(np.float32)
    logits[..., :2] = -np.inf
    mask = np.arange(6)[None, :] < np.array([6, 1, 3, 0])[:, None]
    targets = np.where(mask, rng.integers(2, 7, size=(4, 6)), 0)
    return jnp.asarray(logits), jnp.asarray(targets, jnp.int32), jnp.asarray(mask)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_cross_entropy_is_that_of_the_smoothed_target(masked, smoothing, tokens):
    """-sum p log q, where p has 1 - smoothing at the target and the rest evenly on the five possible tokens."""
    logits, targets, mask = tokens
    if not masked:
        targets, mask = jnp.where(mask, targets, 3), None
    log_q = log_softmax(np.asarray(logits, np.float64), axis=-1)[..., 2:]
    p = (1 - smoothing) * np.eye(7)[np.asarray(targets)][..., 2:] + smoothing / 5
    expected = -(p * log_q).sum(axis=-1)[np.ones((4, 6), bool) if mask is None else np.asarray(mask)].mean()
    actual = losses.cross_entropy(logits, targets, mask, smoothing=smoothing)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_of_cross_entropy_is_softmax_minus_target(smoothing, tokens):
    logits, targets, mask = tokens
    gradient = jax.grad(lambda logits: losses.cross_entropy(logits, targets, mask, smoothing=smoothing))(logits)
    q = np.exp(log_softmax(np.asarray(logits, np.float64), axis=-1))
    p = (1 - smoothing) * np.eye(7)[np.asarray(targets)] + smoothing / 5 * (np.arange(7) > 1)
    expected = np.where(np.asarray(mask)[..., None], q - p, 0) / np.asarray(mask).sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(np.asarray(gradient)[..., :2], 0)


@pytest.mark.parametrize(
    ("target", "cost", "rule"), [(1, np.inf, "can predict"), (-1, np.nan, "[0, 7)"), (7, np.nan, "[0, 7)")]
)
def test_a_target_that_is_never_predicted_is_refused_and_costs_infinity_inside_jit(target, cost, rule, tokens):
    """One outside the vocabulary costs NaN there. In padding, anything goes."""
    logits, targets, mask = tokens
    wrong = targets.at[0, 0].set(target)
    with pytest.raises(ValueError, match=f"targets must .*{re.escape(rule)}.*got {target}"):
        losses.cross_entropy(logits, wrong, mask)
    np.testing.assert_array_equal(jax.jit(losses.cross_entropy)(logits, wrong, mask), cost)
    assert np.isfinite(losses.cross_entropy(logits, wrong, mask.at[0, 0].set(False)))


@pytest.mark.parametrize(("chunk", "smoothing"), [(1, 0.0), (4, 0.1), (6, 0.0), (None, 0.1)])
def test_cross_entropy_in_chunks_is_that_of_all_logits(chunk, smoothing, x64):
    """Value and gradients, in double precision; the last chunk of 4 is half empty."""
    rng = np.random.default_rng(2)
    features, kernel = jnp.asarray(rng.normal(size=(4, 6, 3))), jnp.asarray(rng.normal(size=(3, 7)))
    mask = jnp.asarray(np.arange(6)[None, :] < np.array([6, 1, 3, 0])[:, None])
    targets = jnp.where(mask, jnp.asarray(rng.integers(2, 7, size=(4, 6)), jnp.int32), -9)
    never = jnp.where(jnp.arange(7) < 2, -jnp.inf, 0.0)[None, None]

    def whole(features, kernel):
        return losses.cross_entropy(features @ kernel + never, targets, mask, smoothing=smoothing)

    def chunked(features, kernel):
        def readout(features):
            return features @ kernel + never

        return losses.chunked_cross_entropy(readout, features, targets, mask, smoothing=smoothing, chunk=chunk)

    found, expected = (jax.value_and_grad(loss, (0, 1))(features, kernel) for loss in (chunked, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), found, expected)
    wrong = targets.at[0, 0].set(7)
    with pytest.raises(ValueError, match=re.escape("targets must lie in [0, 7), got 7")):
        losses.chunked_cross_entropy(lambda x: x @ kernel, features, wrong, mask)


@pytest.mark.parametrize(("batch", "time", "chunk"), [(0, 5, None), (0, 5, 2), (3, 0, None), (3, 0, 2)])
def test_cross_entropy_in_chunks_of_no_token_is_zero(batch, time, chunk):
    features, targets = jnp.zeros((batch, time, 3)), jnp.zeros((batch, time), jnp.int32)
    assert losses.chunked_cross_entropy(lambda x: x @ jnp.ones((3, 7)), features, targets, chunk=chunk) == 0


def test_the_loss_over_a_large_vocabulary_needs_the_memory_of_a_chunk():
    """64 x 256 tokens, 32,000 of a tied vocabulary: all logits are 2.1 GB, by XLA's count."""
    features = jax.ShapeDtypeStruct((64, 256, 64), jnp.float32)
    table, targets = jax.ShapeDtypeStruct((32_000, 64), jnp.float32), jax.ShapeDtypeStruct((64, 256), jnp.int32)

    def loss(table, features, targets):
        return losses.chunked_cross_entropy(lambda x: x @ table.T, features, targets)

    counted = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(table, features, targets).compile().memory_analysis()
    assert counted is not None
    assert counted.temp_size_in_bytes < 0.4e9


@pytest.mark.parametrize("half", [jnp.float16, jnp.bfloat16])
def test_losses_of_half_precision_are_summed_in_single(half):
    ones, labels = jnp.ones((64, 2048, 1), half), jnp.zeros((16, 2048), jnp.int32)
    logits = jnp.broadcast_to(jnp.asarray([0, 1, 2, 0.5], half), (16, 2048, 4))
    loss, gradient = jax.value_and_grad(losses.squared_error)(ones, 0 * ones)
    assert (loss, loss.dtype, gradient.dtype) == (1, jnp.float32, half)
    exact = np.log(np.exp(np.asarray([0, 1, 2, 0.5])).sum())
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), exact, rtol=1e-5)
    np.testing.assert_allclose(losses.binary_cross_entropy(ones, 0 * ones), np.log1p(np.exp(1)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.float64])
def test_losses_are_as_wide_as_their_inputs_and_no_narrower_than_single(dtype, x64):
    values, ids = jnp.ones((1, 2, 3), dtype), jnp.zeros((1, 2), jnp.int32)
    found = losses.squared_error(values, values), losses.cross_entropy(values, ids)
    assert {loss.dtype for loss in found} == {jnp.promote_types(dtype, jnp.float32)}


V, IDS = jnp.ones((2, 3, 4)), jnp.ones((2, 3), jnp.int32)
REFUSED = {
    "smoothing": (lambda: losses.cross_entropy(V, IDS, smoothing=3), r"smoothing must lie in \[0, 1\], got 3"),
    "a float mask": (lambda: losses.cross_entropy(V, IDS, jnp.ones((2, 3))), "mask must be a boolean array"),
    "a mask of one row": (lambda: losses.binary_cross_entropy(V, V, jnp.ones(3, bool)), r"mask must have the shape"),
    "a probability": (lambda: losses.binary_cross_entropy(V, 2 * V), r"targets must lie in \[0, 1\], got 2.0"),
    "a negative weight": (
        lambda: losses.squared_error(V, V, -V[..., 0]),
        "weight must be >= 0 everywhere, got -1.0",
    ),
    "a weight of one row": (lambda: losses.squared_error(V, V, V[0, :, 0]), r"weight must have the shape .*got \(3,\)"),
    "fewer targets": (lambda: losses.squared_error(V, V[..., :1]), r"predictions must have the targets' shape"),
    "fewer ids": (lambda: losses.cross_entropy(V, IDS[:, :1]), r"logits.* must have the targets' shape"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_targets_masks_and_weights_are_refused(what, unchecked):
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_mask_of_a_loss_may_have_holes(tokens):
    logits, targets, mask = tokens
    assert np.isfinite(losses.cross_entropy(logits, targets, mask[:, ::-1] & (targets > 1)))


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_of_any_kind_reaches_neither_cross_entropy_nor_its_gradient(smoothing, garbage, tokens):
    logits, targets, mask = tokens
    spoilt = jnp.where(mask[..., None], logits, garbage), jnp.where(mask, targets, -7)

    def cost(logits, targets):
        return losses.cross_entropy(logits, targets, mask, smoothing=smoothing)

    expected, actual = jax.value_and_grad(cost)(logits, targets), jax.value_and_grad(cost)(*spoilt)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), expected, actual)


@pytest.fixture
def coins():
    """Logits of 3 coins, how they fell, and which steps are real."""
    rng = np.random.default_rng(2)
    logits = 3 * rng.normal(size=(4, 6, 3))
    mask = np.arange(6)[None, :] < np.array([6, 1, 3, 0])[:, None]
    targets = rng.integers(0, 2, size=(4, 6, 3))
    return jnp.asarray(logits, jnp.float32), jnp.asarray(targets, jnp.float32), jnp.asarray(mask)


@pytest.mark.parametrize("masked", [False, True])
def test_binary_cross_entropy_is_summed_over_targets_and_averaged_over_steps(masked, coins):
    logits, targets, mask = coins
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    cost = -np.log(np.where(np.asarray(targets) == 1, probability, 1 - probability)).sum(axis=-1)
    expected = cost[np.asarray(mask)].mean() if masked else cost.mean()
    actual = losses.binary_cross_entropy(logits, targets, mask if masked else None)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_gradient_of_binary_cross_entropy_is_probability_minus_target(coins):
    logits, targets, mask = coins
    gradient = jax.grad(losses.binary_cross_entropy)(logits, targets, mask)
    expected = np.where(np.asarray(mask)[..., None], jax.nn.sigmoid(logits) - targets, 0) / np.asarray(mask).sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("logit", "target", "cost"), [(200.0, 1, 0), (200.0, 0, 200), (-200.0, 1, 200)])
def test_binary_cross_entropy_of_the_very_sure_is_exact(logit, target, cost):
    arguments = jnp.full((1, 1, 1), logit), jnp.full((1, 1, 1), float(target))
    value, gradient = jax.value_and_grad(losses.binary_cross_entropy)(*arguments)
    assert value == pytest.approx(cost)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_padding_of_any_kind_reaches_neither_binary_cross_entropy_nor_its_gradient(garbage, coins):
    logits, targets, mask = coins
    spoilt = [jnp.where(mask[..., None], part, garbage) for part in (logits, targets)]
    value_and_gradient = jax.value_and_grad(losses.binary_cross_entropy)
    expected, actual = value_and_gradient(logits, targets, mask), value_and_gradient(*spoilt, mask)
    jax.tree.map(np.testing.assert_array_equal, expected, actual)
    assert losses.binary_cross_entropy(spoilt[0], spoilt[1], jnp.zeros_like(mask)) == 0
