"""Metrics of predictions, in float64 on the host.

Accuracies, probabilities and their intervals are fractions from 0 to 1; multiply by 100 where they are drawn or
printed. BLEU and chrF keep their own scale from 0 to 100.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int, Int64

from seqjax._checks import check_weight, integers
from seqjax.types import InputError

Values = Float[Array | np.ndarray, "batch time targets"]
Weight = Float[Array | np.ndarray, "batch time"] | None
Labels = Int[Array | np.ndarray, "*rows"]


def mse(predictions: Values, targets: Values, weight: Weight = None) -> float:
    """Squared error, averaged over targets and, by weight, over steps. Steps of weight 0 may hold anything.

    Raises:
        InputError: shapes that differ, or a weight that is negative or 0 everywhere.
    """
    predictions, targets, weight = _steps(predictions, targets, weight)
    return float(np.average(np.mean((predictions - targets) ** 2, axis=1), weights=weight))


def r2(predictions: Values, targets: Values, weight: Weight = None) -> float:
    """Fraction of the targets' variance explained: 1 - (squared error) / (squared distance from the targets' mean).

    Both sums run over all steps, by weight, and all targets; each target has its own mean. 1 is perfect, 0 is as good
    as that constant.

    Raises:
        InputError: shapes that differ, a weight that is negative or 0 everywhere, or targets that do not vary.
    """
    predictions, targets, weight = _steps(predictions, targets, weight)
    spread = weight @ (targets - np.average(targets, axis=0, weights=weight)) ** 2
    # Not whether the spread is above 0: the mean of equal numbers need not be equal to them.
    rounding = 8 * np.finfo(np.float64).eps * np.abs(targets).max(axis=0)
    if not (np.ptp(targets, axis=0) > rounding).any() or not np.isfinite(spread).all():
        raise InputError(f"r2 needs finite targets that vary, got {targets.min()} to {targets.max()}")
    return float(1 - (weight @ (predictions - targets) ** 2).sum() / spread.sum())


def roughness(predictions: Values, targets: Values) -> float:
    """Squared second difference in time of the predictions, relative to the targets': 1 is as smooth as the targets.

    The mean of (y_{t+1} - 2 y_t + y_{t-1})^2 over rows, steps and targets, of the predictions over that of the targets.
    Noise of variance v on the predictions adds 6 v to the numerator; predictions that are too flat have less than 1,
    and a straight line has 0. So it says nothing about the error, and is read beside it.

    Raises:
        InputError: shapes that differ, less than 3 steps, or targets that are straight lines.
    """
    predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    if predictions.shape != targets.shape or targets.shape[1] < 3:
        raise InputError(
            f"roughness needs predictions and targets of one shape and at least 3 steps, "
            f"got {predictions.shape} and {targets.shape}"
        )
    found, true = (float(np.square(np.diff(part, 2, axis=1)).mean()) for part in (predictions, targets))
    if not true > 0:
        raise InputError("roughness needs targets that are not straight lines in time")
    return found / true


def _steps(predictions, targets, weight):
    """The steps that count, as [steps targets], [steps targets], [steps]."""
    predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    weight = np.ones(targets.shape[:2]) if weight is None else np.asarray(weight, np.float64)
    if predictions.shape != targets.shape:
        raise InputError(f"predictions must have the targets' shape {targets.shape}, got {predictions.shape}")
    check_weight(weight, targets.shape[:2])
    if not weight.any():
        raise InputError("weight must not be 0 everywhere")
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


def plateau_time(
    times: Float[np.ndarray, " times"] | Int[np.ndarray, " times"],
    losses: Float[np.ndarray, "runs times"],
    level: float,
) -> Float64[np.ndarray, " runs"]:
    """For each run, the first time at which its loss is below `level`, when it leaves a plateau; inf if it never is.

    Choose a level a few percent below the plateau, as the next one may be close.

    Raises:
        InputError: times that do not increase, or not a loss for each.
    """
    if losses.shape[-1] != len(times):
        raise InputError(f"losses must be given for each of {len(times)} times, got {losses.shape[-1]}")
    if not (np.diff(times) > 0).all():
        raise InputError("times must increase")
    below = losses < level
    return np.where(below.any(axis=1), np.asarray(times, np.float64)[below.argmax(axis=1)], np.inf)


def valid_prediction_steps(
    predictions: Values, truth: Values, *, scale: float, threshold: float = 0.5
) -> Int64[np.ndarray, " batch"]:
    """How many steps of each forecast are good: those before its error first exceeds `threshold`.

    The error is the root mean square over the targets, in units of `scale` (Vlachas et al. 2020, arXiv:1910.05266,
    where the threshold is 0.5); one that is NaN exceeds it. Times the sample step and the largest Lyapunov exponent,
    this is the valid prediction time in Lyapunov times. It is the whole length where the error never exceeds.

    Args:
        scale: standard deviation of the system, > 0.

    Raises:
        InputError: shapes that differ, or a scale or threshold that is not above 0.
    """
    if np.shape(predictions) != np.shape(truth):
        raise InputError(f"predictions must have the truth's shape {np.shape(truth)}, got {np.shape(predictions)}")
    if not (scale > 0 and threshold > 0):
        raise InputError(f"scale and threshold must be > 0, got {scale} and {threshold}")
    with np.errstate(over="ignore", invalid="ignore"):  # a forecast may have run to infinity
        error = np.asarray(predictions, np.float64) - np.asarray(truth, np.float64)
        good = np.sqrt(np.mean(error**2, axis=2)) <= threshold * scale
    return np.cumprod(good, axis=1).sum(axis=1)


class Bracket(NamedTuple):
    """Where something stops working as a setting grows.

    Attributes:
        works: the last setting before the first failure; 0 if the first setting fails already.
        fails: the first setting that fails; inf if none does.
    """

    works: float
    fails: float


def failure(
    settings: Sequence[float | int], errors: Sequence[float | int] | Float[np.ndarray, " settings"], level: float
) -> Bracket:
    """Between which of the increasing `settings` (delays, lengths) the error first exceeds `level`.

    What works again beyond the first failure does not count. An error that is not a number fails.

    Raises:
        InputError: settings that do not increase, or not an error for each.
    """
    if len(settings) != len(errors):
        raise InputError(f"errors must be given for each of {len(settings)} settings, got {len(errors)}")
    if not (np.diff(settings) > 0).all():
        raise InputError(f"settings must increase, got {[*settings]}")
    works = 0.0
    for setting, error in zip(settings, errors, strict=True):
        if not error <= level:
            return Bracket(works, float(setting))
        works = float(setting)
    return Bracket(works, float("inf"))


class Estimate(NamedTuple):
    """A number measured on a sample, and its 95 % interval."""

    value: float
    low: float
    high: float


def wilson_interval(correct: int, rows: int) -> Estimate:
    """Fraction of rows >= 1 that are correct, with the 95 % Wilson (1927, eq. 10) interval."""
    integers(1, rows=rows)
    if not 0 <= correct <= rows:
        raise InputError(f"correct must lie in [0, {rows}], got {correct}")
    fraction, z = correct / rows, 1.959964
    centre = (fraction + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * (fraction * (1 - fraction) / rows + z**2 / (4 * rows**2)) ** 0.5
    # Both ends are exact where all rows are alike, but for rounding.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    return Estimate(fraction, low, 1.0 if correct == rows else min(1.0, centre + half))


def accuracy(labels: Int[Array | np.ndarray, " rows"], guesses: Int[Array | np.ndarray, " rows"]) -> Estimate:
    """Fraction of the guesses that are correct, with its `wilson_interval`.

    Raises:
        InputError: not equally many labels and guesses, none, more than one a row (of tokens in padding, say), or such
            as are no class: probabilities or logits.
    """
    labels, guesses = np.asarray(labels), np.asarray(guesses)
    if labels.shape != guesses.shape or labels.ndim != 1 or not labels.size:
        raise InputError(
            f"needs a guess for each row's label, and one at least, got {guesses.shape} for {labels.shape}"
        )
    if "f" in labels.dtype.kind + guesses.dtype.kind:
        raise InputError(f"labels and guesses must be classes, not {labels.dtype} and {guesses.dtype}")
    return wilson_interval(int((labels == guesses).sum()), len(labels))


class Calibration(NamedTuple):
    """A reliability diagram; bins without rows are left out.

    Attributes:
        predicted: mean probability of the positive class in each bin, increasing.
        observed: fraction of the bin's rows that are positive, with its `wilson_interval` low, high.
        rows: number in each bin.
        error: expected calibration error, |predicted - observed| averaged over all rows.
    """

    predicted: Float64[np.ndarray, " bins"]
    observed: Float64[np.ndarray, " bins"]
    low: Float64[np.ndarray, " bins"]
    high: Float64[np.ndarray, " bins"]
    rows: Int[np.ndarray, " bins"]
    error: float


def calibration(
    labels: Int[Array | np.ndarray, " rows"], probability: Float[Array | np.ndarray, " rows"], *, bins: int
) -> Calibration:
    """Compare the probability of the positive class with how often it comes true, in bins of equal width.

    Guo et al. 2017, arXiv:1706.04599, eq. 3, for the positive class instead of the likelier one.

    Args:
        labels: 1 for the positive class, 0 for the other.
        bins: on [0, 1]; a bin includes its lower end, the last one both.

    Raises:
        InputError: bins < 1, labels and probabilities of different shapes, empty or not one-dimensional, a label other
            than 0 and 1, or a probability outside [0, 1].
    """
    labels, probability = np.asarray(labels), np.asarray(probability, np.float64)
    integers(1, bins=bins)
    if labels.shape != probability.shape or labels.ndim != 1 or not labels.size:
        raise InputError(f"needs a probability for each row's label, got {probability.shape} for {labels.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"labels must be 0 or 1, got {labels.min()} to {labels.max()}")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise InputError(f"probability must lie in [0, 1], got {probability.min()} to {probability.max()}")
    place = np.minimum((probability * bins).astype(int), bins - 1)
    rows = np.bincount(place)
    sums = [np.bincount(place, weights=values)[rows > 0] for values in (probability, labels)]
    rows = rows[rows > 0]
    predicted, observed = (total / rows for total in sums)
    low, high = np.array([wilson_interval(int(n), int(of))[1:] for n, of in zip(sums[1], rows, strict=True)]).T
    error = float(rows @ np.abs(predicted - observed) / rows.sum())
    return Calibration(predicted, observed, low, high, rows, error)


def confusion(
    labels: Labels, guesses: Labels, classes: int, weight: Bool[Array | np.ndarray, "*rows"] | Labels | None = None
) -> Int[np.ndarray, "classes classes"]:
    """Confusion matrix: how often each class, a row, was predicted as each class, a column.

    Args:
        weight: how often each row counts, such as a mask; rows of weight 0 may hold anything. None: once.

    Raises:
        InputError: shapes that differ, a negative weight, numbers that are not integers, or a label or guess outside
            [0, classes).
    """
    integers(1, classes=classes)
    labels, guesses = np.asarray(labels), np.asarray(guesses)
    weight = np.ones(labels.shape, np.int64) if weight is None else np.asarray(weight)
    for name, values in (("labels", labels), ("guesses", guesses), ("weight", weight)):
        if values.dtype.kind not in "biu":
            raise InputError(f"{name} must be integers, got {values.dtype}")
    weight = weight.astype(np.int64)
    if not labels.shape == guesses.shape == weight.shape:
        raise InputError(
            f"guesses and weight must have the labels' shape {labels.shape}, got {guesses.shape} and {weight.shape}"
        )
    if (weight < 0).any():
        raise InputError(f"weight must be >= 0, got {weight.min()}")
    found = np.zeros((classes, classes), np.int64)
    counted = weight > 0
    for name, values in (("labels", labels[counted]), ("guesses", guesses[counted])):
        if ((values < 0) | (values >= classes)).any():
            raise InputError(f"{name} must lie in [0, {classes}), got {values.min()} to {values.max()}")
    np.add.at(found, (labels[counted], guesses[counted]), weight[counted])
    return found


class Translation(NamedTuple):
    """Scores of translations.

    Attributes:
        bleu: from 0 to 100, by sacrebleu (Papineni et al. 2002).
        chrf: F-score of character n-grams, from 0 to 100, by sacrebleu (Popović 2015).
        exact: fraction of sentences equal to one of their references.
        signature: sacrebleu's, without which a BLEU means nothing.
    """

    bleu: Estimate
    chrf: Estimate
    exact: Estimate
    signature: str


def require_sacrebleu() -> None:
    """Check that sacrebleu is installed, as before a long training run whose translations it will score.

    Raises:
        ImportError: sacrebleu is not installed.
    """
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise ImportError("BLEU and chrF need sacrebleu: pip install 'seqjax[text]'") from None


def translation(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    resamples: int = 1000,
    tokenize: str = "13a",
) -> Translation:
    """BLEU, chrF and exact matches of sentences with one or more references each; intervals by resampling (Koehn 2004).

    BLEU counts n-grams up to 4, or to the longest that any hypothesis has (sacrebleu's `effective_order`), so that
    correct sentences of three words score 100, not 0. With one hypothesis of four words or more it is the usual BLEU.

    Args:
        tokenize: sacrebleu's name of a tokenizer. The usual "13a" splits words at spaces; a language written without
            them needs "char", or its own, such as "zh".

    Raises:
        InputError: no sentences, not equally many hypotheses as lists of references, a list that is empty, references
            without a single word, or an unknown tokenizer.
        TypeError: a string in place of a list of strings, or something else in place of a string.
        ImportError: as `require_sacrebleu`.
    """
    require_sacrebleu()
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if len(hypotheses) != len(references) or not hypotheses:
        raise InputError(f"needs references for each sentence, got {len(hypotheses)} and {len(references)}")
    for number, given in enumerate([hypotheses, *references]):
        if isinstance(given, str) or not all(isinstance(sentence, str) for sentence in given):
            what = f"references of sentence {number - 1}" if number else "hypotheses"
            raise TypeError(f"{what} must be a list of strings, got {given!r:.60}")
    if tokenize not in BLEU.TOKENIZERS:
        raise InputError(f"tokenize must be one of {', '.join(BLEU.TOKENIZERS)}, got {tokenize!r}")
    if not all(references):
        raise InputError(
            f"each sentence needs a reference, got none for sentence {[*map(bool, references)].index(False)}"
        )
    if not any(sentence.strip() for given in references for sentence in given):
        raise InputError("references must hold a word, got none")
    integers(1, resamples=resamples)
    most = max(map(len, references))
    columns: Any = [[given[n] if n < len(given) else None for given in references] for n in range(most)]
    bleu, chrf = BLEU(tokenize=tokenize, effective_order=True), CHRF()
    matches = np.array([sentence in given for sentence, given in zip(hypotheses, references, strict=True)], float)
    drawn = np.random.default_rng(0).integers(len(matches), size=(resamples, len(matches)))
    drawn = drawn if resamples > 1 else np.arange(len(matches))[None]  # itself: no interval
    return Translation(
        _estimate(bleu, hypotheses, columns, drawn),
        _estimate(chrf, hypotheses, columns, drawn),
        _interval(matches.mean(), matches[drawn].mean(axis=1)),
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
