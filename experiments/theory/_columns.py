"""Columns of results, as the figures of this chapter draw them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from seqjax import metrics, runs


def columns(line: Sequence[runs.Record], *names: str, lowest: float = 0.0) -> list[np.ndarray]:
    """Columns of the results of some runs; smaller values are drawn at `lowest`."""
    return [np.maximum([record.result[name] for record in line], lowest) for name in names]


def band(line: Sequence[runs.Record], metric: str = "error", lowest: float = 0.0) -> list[np.ndarray]:
    """Median, smallest and largest value of a metric over seeds, for `plot.curve` and `plot.points`."""
    return columns(line, metric, "low", "high", lowest=lowest)


def scores(metric: str, values: Float[np.ndarray, " seeds"]) -> dict[str, float]:
    """The columns of `runs.scores` that do not need training by `runs.train_group`: the metric's band over seeds."""
    return dict(zip((metric, "low", "high"), metrics.band(values), strict=True))
