import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data import GaussianProcess
from seqjax.models import RNN, Regressor
from seqjax.theory import bounds, fits, targets
from tests.refusals import refuses


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def filtered(inputs, taps, bias):
    """y_t = bias + sum_s taps[s]' x_{t-s}, by numpy.convolve channel by channel."""
    rows, time, channels = inputs.shape
    outputs = np.tile(bias, (rows, time, 1))
    for row, channel, target in np.ndindex(rows, channels, len(bias)):
        outputs[row, :, target] += np.convolve(inputs[row, :, channel], taps[:, channel, target])[:time]
    return outputs


def test_fir_recovers_a_known_filter(rng):
    inputs, taps, bias = rng.normal(size=(8, 40, 2)), rng.normal(size=(5, 2, 3)), np.array([1.0, -2.0, 0.0])
    targets = filtered(inputs, taps, bias)
    fit = fits.fir(inputs, targets, window=5)
    np.testing.assert_allclose(fit.filter, taps, atol=1e-12)
    np.testing.assert_allclose(fit.bias, bias, atol=1e-12)
    np.testing.assert_allclose(fit.predict(inputs), targets, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 1000, 2**22])
def test_fir_is_weighted_least_squares_however_it_is_cut(chunk, rng, monkeypatch):
    monkeypatch.setattr(fits, "_CHUNK", chunk)
    inputs, targets = rng.normal(size=(6, 20, 1)), rng.normal(size=(6, 20, 2))
    weight = rng.integers(0, 4, size=(6, 20)) / 2
    design = [[*inputs[r, max(0, t - 2) : t + 1, 0][::-1], *[0] * (2 - t), 1] for r in range(6) for t in range(20)]
    scale = np.sqrt(weight.reshape(-1, 1))
    expected = np.linalg.lstsq(scale * design, scale * targets.reshape(-1, 2))[0]
    targets[weight == 0] = np.nan
    fit = fits.fir(inputs, targets, window=3, weight=weight)
    np.testing.assert_allclose(np.concatenate([fit.filter[:, 0], fit.bias[None]]), expected, atol=1e-12)


def test_fir_resolves_a_residual_that_the_normal_equations_lose(key, rng):
    """Fourth differences of a smooth signal live in directions that a float64 Gram matrix no longer holds."""
    rows, time, window = 300, 48, 16
    x = np.asarray(GaussianProcess(length_scale=40.0, jitter=0.0).sample(key, rows, time), np.float64)[..., None]
    y = filtered(x, np.array([1.0, -4.0, 6.0, -4.0, 1.0]).reshape(5, 1, 1), np.zeros(1))
    midstream = np.broadcast_to(np.arange(time) >= window, (rows, time)).astype(float)
    y /= y[:, window:].std()
    noise = np.sqrt(2e-8) * rng.normal(size=y.shape)
    error = fits.fir(x, y + noise, window, midstream).predict(x) - y - noise
    assert np.mean(error[:, window:] ** 2) == pytest.approx(2e-8, rel=0.05)

    views = np.lib.stride_tricks.sliding_window_view(x[..., 0], window, axis=1)[:, 1:].reshape(-1, window)
    gram, cross = views.T @ views, views.T @ (y + noise)[:, window:].reshape(-1)
    normal = views @ np.linalg.lstsq(gram, cross)[0] - (y + noise)[:, window:].reshape(-1)
    assert np.mean(normal**2) > 1e-6


def test_fir_with_a_window_longer_than_the_sequence(rng):
    inputs, targets = rng.normal(size=(40, 4, 1)), rng.normal(size=(40, 4, 1))
    fit = fits.fir(inputs, targets, window=6)
    np.testing.assert_allclose(fit.filter[4:], 0, atol=1e-12)
    np.testing.assert_allclose(fit.predict(inputs), fits.fir(inputs, targets, window=4).predict(inputs), atol=1e-12)


@pytest.mark.parametrize(
    "rnn",
    [
        *(fits.delay_line(4), fits.ring(9, 4), fits.two_level(0.5, -1.0, 1.0, 0.1)),
        *(fits.kung(targets.power_law(1.1, 24), 4), fits.varpro(targets.two_parts(24), 4)),
    ],
    ids=["delay line", "ring", "two level", "kung", "varpro"],
)
def test_linear_rnns_load_and_give_their_kernel(rnn):
    with jax.enable_x64(True):
        model = Regressor(RNN(len(rnn.U), activation=lambda x: x))
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 1)))
        params = jax.tree.map(jnp.asarray, rnn.params())
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
        found = model.apply(params, jnp.zeros((1, 24, 1)).at[0, 0].set(1))
        np.testing.assert_allclose(np.asarray(found)[0, :, 0], rnn.kernel(24), atol=1e-13)


def test_encoder_decoder_says_the_truncated_matrix():
    kernel = np.random.default_rng(0).normal(size=(5, 8))
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    for rank in (1, 3, 5):
        weights = fits.encoder_decoder(kernel, rank)
        expected = (left[:, :rank] * values[:rank]) @ right[:rank]
        np.testing.assert_allclose(weights.kernel(5, 8), expected, atol=1e-13)
        power = np.linalg.matrix_power
        written = [weights.c @ power(weights.V, t + 1) @ weights.P for t in range(5)]
        read = [power(weights.W, s) @ weights.U for s in range(8)]
        by_definition = np.array(written) @ weights.Q @ np.transpose(read)
        np.testing.assert_allclose(weights.kernel(5, 8), by_definition, atol=1e-13)
        assert weights.Q.shape == (rank, 8)


def attention_error(length, sharpness) -> float:
    """Mean squared error on white noise around the circle, by the weights."""
    weights = fits.position_attention(0, length, sharpness).weights()
    return float(((weights - np.eye(length)) ** 2).sum() / length)


@pytest.mark.parametrize(("length", "measured"), [(32, 162), (128, 2585), (512, 41350)])
def test_published_sharpness_for_an_error_of_one_percent(length, measured):
    """It grows with the square of the length; T^2/(2 pi^2) ln 20 is 4 % less."""
    assert attention_error(length, 1.005 * measured) < 0.01 < attention_error(length, 0.995 * measured)
    assert length**2 / (2 * np.pi**2) * np.log(20) == pytest.approx(measured, rel=0.05)


def test_position_attention_is_the_shift():
    head = fits.position_attention(5, 16, 1e4)
    np.testing.assert_allclose(head.weights(), np.roll(np.eye(16), 5, axis=0), atol=1e-12)
    likeliest = fits.position_attention(5, 16, 1.0).weights().argmax(axis=0)
    np.testing.assert_array_equal(likeliest[:11], np.arange(5, 16))
    logits = head.positions() @ head.query.T @ head.key @ head.positions().T
    assert bounds.logits(logits, 2) == pytest.approx(0, abs=1e-12)


test_wrong_arguments_are_refused = refuses(
    lambda call: call(np.ones((2, 3, 1))),
    (lambda x: fits.delay_line(0), "order must be >= 1, got 0"),
    (lambda x: fits.encoder_decoder(x[..., 0], 3), r"rank must lie in \[1, 2\], got 3"),
    (lambda x: fits.encoder_decoder(x[..., 0], 0), r"rank must lie in \[1, 2\], got 0"),
    (lambda x: fits.position_attention(4, 4, 1.0), r"delay must lie in \[0, 4\), got 4"),
    (lambda x: fits.fir(x, x, 0), "window must be >= 1, got 0"),
    (lambda x: fits.fir(x, x, 1, np.zeros((2, 3))), "weight must be >= 0 and not 0 everywhere, got 0.0 to 0.0"),
    (lambda x: fits.fir(x, x, 1, -np.ones((2, 3))), "weight must be >= 0 and not 0 everywhere, got -1.0 to -1.0"),
)
