"""Autoregressions fitted by ridge regression, linear or quadratic in the last values, and run on their own outputs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

LAGS = (1, 2, 4, 8, 16, 32, 48)
"""Last samples that an autoregression may read, of at least as many in a context."""

PENALTIES = (1e-9, 1e-7, 1e-5, 1e-3, 1e-1)
"""Ridge penalties, relative to the mean square of a feature."""

MOST_NUMBERS = {"linear": 512, "quadratic": 32}
"""Past values that one may read: a quadratic one has a feature for each pair of them."""

Windows = Float64[np.ndarray, "rows time variables"]


class Autoregression(NamedTuple):
    """Increment of the next sample = weights' (1, last values, and their products if it is quadratic)."""

    weights: Float64[np.ndarray, "features variables"]
    lags: int
    quadratic: bool

    def run(self, context: Windows, length: int) -> Windows:
        """Continue each row for `length` samples with its own outputs, in float64."""
        window, found = context[:, -self.lags :], []
        with np.errstate(all="ignore"):  # an unstable one runs to infinity
            for _ in range(length):
                after = window[:, -1] + features(window, self.quadratic) @ self.weights
                window = np.concatenate([window[:, 1:], after[:, None]], axis=1)
                found.append(after)
        return np.stack(found, axis=1)


def features(window: Windows, quadratic: bool) -> Float64[np.ndarray, "rows features"]:
    """1, the values of the window, and the product of each pair of them."""
    values = window.reshape(len(window), -1)
    first, second = np.triu_indices(values.shape[1] if quadratic else 0)
    return np.concatenate([np.ones((len(values), 1)), values, values[:, first] * values[:, second]], axis=1)


def candidates(windows: Windows, after: Float64[np.ndarray, "rows variables"], kind: str) -> list[Autoregression]:
    """Those of each order and penalty, fitted to windows and the samples that follow them."""
    fitted = []
    for lags in (lags for lags in LAGS if lags * windows.shape[2] <= MOST_NUMBERS[kind]):
        design = features(windows[:, -lags:], kind == "quadratic")
        gram, moments = design.T @ design, design.T @ (after - windows[:, -1])
        scale = np.trace(gram) / len(gram)
        for penalty in PENALTIES:
            weights = np.linalg.solve(gram + penalty * scale * np.eye(len(gram)), moments)
            fitted.append(Autoregression(weights, lags, kind == "quadratic"))
    return fitted
