"""Numbers that judge predictions, in float64 on the host."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float


def mse(
    predictions: Float[Array | np.ndarray, "batch time targets"],
    targets: Float[Array | np.ndarray, "batch time targets"],
    weight: Float[Array | np.ndarray, "batch time"] | None = None,
) -> float:
    """Squared error, averaged over targets and, by weight, over steps. Steps of weight 0 may hold anything.

    Raises:
        ValueError: shapes that differ, or a weight that is negative or 0 everywhere.
    """
    predictions, targets, weight = _steps(predictions, targets, weight)
    return float(np.average(np.mean((predictions - targets) ** 2, axis=1), weights=weight))


def r2(
    predictions: Float[Array | np.ndarray, "batch time targets"],
    targets: Float[Array | np.ndarray, "batch time targets"],
    weight: Float[Array | np.ndarray, "batch time"] | None = None,
) -> float:
    """Fraction of the targets' variance explained: 1 - (squared error) / (squared distance from the targets' mean).

    Both sums run over all steps, by weight, and all targets; each target has its own mean. 1 is perfect, 0 is no
    better than that constant, negative is worse.

    Raises:
        ValueError: shapes that differ, a weight that is negative or 0 everywhere, or targets that do not vary.
    """
    predictions, targets, weight = _steps(predictions, targets, weight)
    spread = weight @ (targets - np.average(targets, axis=0, weights=weight)) ** 2
    if not spread.sum() > 0:
        raise ValueError("r2 needs finite targets that vary")
    return float(1 - (weight @ (predictions - targets) ** 2).sum() / spread.sum())


def _steps(predictions, targets, weight):
    """The steps that count, as [steps targets], [steps targets], [steps]."""
    predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    weight = np.ones(targets.shape[:2]) if weight is None else np.asarray(weight, np.float64)
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions must have the targets' shape {targets.shape}, got {predictions.shape}")
    if weight.shape != targets.shape[:2]:
        raise ValueError(f"weight must have shape (batch, time) = {targets.shape[:2]}, got {weight.shape}")
    if not (weight >= 0).all() or not weight.any():
        raise ValueError("weight must be >= 0 and not 0 everywhere")
    counted = weight > 0
    return predictions[counted], targets[counted], weight[counted]


class Band(NamedTuple):
    """A metric over seeds: its median and its range."""

    median: float
    low: float
    high: float


def band(values: Sequence[float] | Float[np.ndarray, " seeds"]) -> Band:
    """Median, smallest and largest: with three to five seeds the honest band is the range."""
    array = np.asarray(values, np.float64)
    return Band(float(np.median(array)), float(array.min()), float(array.max()))
