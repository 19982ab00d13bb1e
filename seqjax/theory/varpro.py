"""The best fit of a kernel by a sum of exponentials: variable projection, a search over the poles only."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex128, Float64

from seqjax._checks import integers
from seqjax.theory.linear_rnn import LinearRNN, kung


class _Fit(NamedTuple):
    """A fit by poles in pairs, the roots of z^2 - a z + b, and a single one if their number is odd.

    Attributes:
        poles: a of every pair (and the single pole), then b of every pair.
        kernel: the best one with these poles.
        error: target minus kernel.
        slope: of the error by `poles`, up to sign and to what is orthogonal to the error.
    """

    poles: Float64[np.ndarray, " order"]
    kernel: Float64[np.ndarray, " lags"]
    error: Float64[np.ndarray, " lags"]
    slope: Float64[np.ndarray, "lags order"]

    @property
    def loss(self) -> float:
        return float(self.error @ self.error)


def varpro(kernel: Float64[np.ndarray, " lags"], order: int, restarts: int = 8) -> LinearRNN:
    """The best linear RNN found by least squares, sum_s (rho(s) - c' W^s U)^2 over the window.

    For given poles the readout is linear least squares, so only poles are searched, by Levenberg-Marquardt steps on the
    projected error (Golub & Pereyra 1973, with the slope of Kaufman 1975). A pair enters by its sum and product, so
    that real pairs can become complex. Starts: `kung` at three shapes of the Hankel matrix, poles on a circle, and
    `restarts` random draws with a fixed seed.

    An upper bound on what this order can reach, never worse than `kung`. Poles may lie outside the unit circle: only
    the window counts.
    """
    integers(0, restarts=restarts)
    lags, energy = len(kernel), float(kernel @ kernel)
    found = [kung(kernel, order, rows) for rows in sorted({max(2, lags // 4), (lags + 1) // 2, 3 * lags // 4})]
    best = min(found, key=lambda rnn: _loss(kernel, rnn))
    used = min(order, (lags - 1) // 2)
    if _loss(kernel, best) <= 1e-28 * energy:
        return best
    rng = np.random.default_rng(0)
    full = [rnn.W[:used, :used] for rnn in found if np.count_nonzero(rnn.U) >= used]
    starts = [np.linalg.eigvals(W).astype(complex) for W in full]
    starts.append(0.9 ** (1 / used) * np.exp(2j * np.pi * np.arange(used) / used))
    starts += [_random_poles(rng, used) for _ in range(restarts)]
    fits = [fit for start in starts if (fit := _refine(kernel, _paired(start), iterations=50)) is not None]
    if fits:
        nearest = min(fits, key=lambda fit: fit.loss)
        polished = _refine(kernel, nearest.poles, iterations=400) or nearest
        found.append(kung(polished.kernel, order))
    return min(found, key=lambda rnn: _loss(kernel, rnn))


def _loss(kernel: Float64[np.ndarray, " lags"], rnn: LinearRNN) -> float:
    return float(((kernel - rnn.kernel(len(kernel))) ** 2).sum())


def _random_poles(rng: np.random.Generator, order: int) -> Complex128[np.ndarray, " order"]:
    half = rng.uniform(0.5, 1, order // 2) * np.exp(1j * rng.uniform(0, np.pi, order // 2))
    return np.concatenate([half, half.conj(), rng.uniform(0.5, 1, order % 2)])


def _paired(poles: Complex128[np.ndarray, " order"]) -> Float64[np.ndarray, " order"]:
    """a and b of conjugate pairs, and of real poles in twos."""
    real = np.sort(np.real(poles[np.abs(np.imag(poles)) <= 1e-12]))[::-1]
    upper = poles[np.imag(poles) > 1e-12]
    pairs = len(real) // 2
    first, second = real[: 2 * pairs : 2], real[1 : 2 * pairs : 2]
    sums = np.concatenate([2 * np.real(upper), first + second])
    return np.concatenate([sums, real[2 * pairs :], np.abs(upper) ** 2, first * second])


def _refine(kernel: Float64[np.ndarray, " lags"], poles: Float64[np.ndarray, " order"], iterations: int) -> _Fit | None:
    """Levenberg-Marquardt from these poles; None where their powers overflow."""
    fit, damping = _project(kernel, poles), 1e-3
    if fit is None:
        return None
    for _ in range(iterations):
        size = np.linalg.norm(fit.slope, axis=0) + 1e-300
        trial = None
        for _ in range(12):
            equations = np.concatenate([fit.slope / size, np.sqrt(damping) * np.eye(len(poles))])
            right = np.concatenate([fit.error, np.zeros(len(poles))])
            step = np.linalg.lstsq(equations, right, rcond=None)[0] / size
            trial = _project(kernel, fit.poles + step)
            if trial is not None and trial.loss < fit.loss:
                break
            damping *= 4
        if trial is None or trial.loss >= fit.loss * (1 - 1e-10):
            break
        fit, damping = trial, max(damping / 10, 1e-15)
    return fit


def _project(kernel: Float64[np.ndarray, " lags"], poles: Float64[np.ndarray, " order"]) -> _Fit | None:
    """The best readout of these poles; None where their powers overflow."""
    lags, order = len(kernel), len(poles)
    pairs, sections = order // 2, (order + 1) // 2
    a, b = poles[:sections], np.append(poles[sections:], np.zeros(order % 2))
    # With q a step back in time, response = 1/(1 - a q + b q^2) and slope = its derivative by a, q response^2;
    # two leading zeros stand for the past.
    response, slope = np.zeros((2, lags + 2, sections))
    response[2] = 1
    with np.errstate(over="ignore", invalid="ignore"):
        for lag in range(3, lags + 2):
            response[lag] = a * response[lag - 1] - b * response[lag - 2]
            slope[lag] = a * slope[lag - 1] - b * slope[lag - 2] + response[lag - 1]
        columns = np.concatenate([response[2:], response[1:-1, :pairs]], axis=1)
        size = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(size).all() and np.isfinite(slope).all()):
        return None
    left, values, right = np.linalg.svd(columns / size, full_matrices=False)
    kept = values > 1e-13 * values[0]
    left = left[:, kept]
    weights = right[kept].T @ ((left.T @ kernel) / values[kept]) / size
    nearest = left @ (left.T @ kernel)
    now, before = weights[:sections], np.append(weights[sections:], np.zeros(order % 2))
    by_a = slope[2:] * now + slope[1:-1] * before
    by_b = -(slope[1:-1] * now + slope[:-2] * before)[:, :pairs]
    change = np.concatenate([by_a, by_b], axis=1)
    return _Fit(poles, nearest, kernel - nearest, change - left @ (left.T @ change))
