"""Numbers that judge predictions, in float64 on the host."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int


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


class Estimate(NamedTuple):
    """A number measured on a sample of sentences, and its 95 % interval by resampling them (Koehn 2004)."""

    value: float
    low: float
    high: float


class Translation(NamedTuple):
    """How good translations are, in percent.

    Attributes:
        bleu: n-grams that a reference has too (Papineni et al. 2002), by sacrebleu.
        chrf: the same for character n-grams, with recall (Popović 2015).
        exact: sentences that equal one of their references.
        signature: sacrebleu's, without which a BLEU means nothing.
    """

    bleu: Estimate
    chrf: Estimate
    exact: Estimate
    signature: str


def translation(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, resamples: int = 1000
) -> Translation:
    """BLEU, chrF and exact matches of sentences, each with one or more references.

    Raises:
        ValueError: no sentences, not equally many hypotheses as lists of references, or a list that is empty.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if len(hypotheses) != len(references) or not hypotheses:
        raise ValueError(f"needs references for each sentence, got {len(hypotheses)} and {len(references)}")
    if not all(references):
        raise ValueError(
            f"each sentence needs a reference, got none for sentence {[*map(bool, references)].index(False)}"
        )
    most = max(map(len, references))
    columns: Any = [[given[n] if n < len(given) else None for given in references] for n in range(most)]
    bleu, chrf = BLEU(), CHRF()
    matches = np.array([sentence in given for sentence, given in zip(hypotheses, references, strict=True)], float)
    drawn = np.random.default_rng(0).integers(len(matches), size=(resamples, len(matches)))
    drawn = drawn if resamples > 1 else np.arange(len(matches))[None]  # itself: no interval
    return Translation(
        _estimate(bleu, hypotheses, columns, drawn),
        _estimate(chrf, hypotheses, columns, drawn),
        _interval(100 * matches.mean(), 100 * matches[drawn].mean(axis=1)),
        str(bleu.get_signature()),
    )


def _estimate(
    metric: Any, hypotheses: Sequence[str], references: Any, drawn: Int[np.ndarray, "samples rows"]
) -> Estimate:
    # Resampled here: sacrebleu's own fails where some samples score 0, and takes its seed from the environment.
    value = metric.corpus_score(hypotheses, references).score
    counts = np.array(metric._extract_corpus_statistics(hypotheses, references))
    return _interval(value, [metric._compute_score_from_stats(list(counts[rows].sum(axis=0))).score for rows in drawn])


def _interval(value: Any, samples: Any) -> Estimate:
    low, high = np.percentile(np.asarray(samples, float), (2.5, 97.5))
    return Estimate(float(value), float(low), float(high))
