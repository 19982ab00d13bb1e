import numpy as np
import pytest

from seqjax.data import GaussianProcess
from seqjax.theory import fits


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("order", [1, 2, 9])
def test_delay_line_run_step_by_step_is_the_shift(order, rng):
    line, x = fits.delay_line(order), rng.normal(size=30)
    state, outputs = np.zeros(order), []
    for value in x:
        state = line.W @ state + line.U * value
        outputs.append(line.c @ state)
    np.testing.assert_array_equal(outputs, np.concatenate([np.zeros(order - 1), x])[:30])


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
    ("call", "message"),
    [
        (lambda x: fits.delay_line(0), "order must be >= 1, got 0"),
        (lambda x: fits.fir(x, x, 0), "window must be >= 1, got 0"),
        (lambda x: fits.fir(x, x, 1, np.zeros((2, 3))), "weight must be >= 0 and not 0 everywhere, got 0.0 to 0.0"),
        (lambda x: fits.fir(x, x, 1, -np.ones((2, 3))), "weight must be >= 0 and not 0 everywhere, got -1.0 to -1.0"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.ones((2, 3, 1)))
