"""Claims of the tutorial `translation`, on reversal and on its pairs: a relu after the embedding, and long inputs."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _claims import encoder_decoders, training
from _claims.finding import Finding, Settings
from flax import linen as nn

from seqjax import evaluate, metrics, models
from seqjax.types import EOS


class Groups(NamedTuple):
    """Sources by length.

    Attributes:
        bounds: the shortest and the longest of each group.
        unit: of the lengths.
        where: words for the task.
    """

    bounds: tuple[tuple[int, int], ...]
    unit: str
    where: str

    @property
    def names(self) -> list[str]:
        """As they are printed."""
        return [f"{low}-{high}" if low < high else str(low) for low, high in self.bounds]


SYMBOLS = Groups(((4, 6), (7, 9), (10, 12)), "symbols", "on reversal")
"""Tested sequences of 4 symbols and more were not seen in training."""

WORDS = Groups(((1, 3), (4, 5), (6, 6)), "words", "on Spanish pairs")

STUDENT, PAIRS = 2.365, 8
"""The 97.5 % quantile of Student's t for this number of pairs of runs (7 degrees of freedom)."""


def relu_after_embedding(settings: Settings) -> Finding:
    """C11: GRUs on reversals of up to 8 symbols."""
    return relu(settings, encoder_decoders.reversal(8), lambda: (models.Recurrent(64), None), "on reversal")


def relu_on_spanish(settings: Settings) -> Finding:
    """C11b: LSTMs, as in the tutorial, on 8,000 of its pairs."""
    problem = encoder_decoders.spanish()
    return relu(settings, problem, lambda: (models.LSTM(64), models.LSTMCell()), "on Spanish pairs")


def relu(settings: Settings, problem: encoder_decoders.Problem, build: Callable, where: str) -> Finding:
    """An encoder-decoder with and without the relu, paired by seed: the ratio of losses on unseen pairs.

    Args:
        build: makes the encoder, and the decoder's cell; None: a GRU's.
    """
    pairs = max(settings.seeds, PAIRS)
    loss, exact, parameters = {}, {}, 0
    for name, activation in (("with", nn.relu), ("without", None)):
        encoder, cell = build()
        decoder = models.RecurrentDecoder(64, *([] if cell is None else [cell]), bridge=models.CopyState())
        _, learner = encoder_decoders.encoder_decoder(problem, encoder, decoder, target_activation=activation)
        params = encoder_decoders.learn(learner, problem, pairs, settings.steps, encoder_decoders.RATE)
        loss[name], right = encoder_decoders.judged(learner, params, problem.unseen)
        exact[name], parameters = 100 * right.mean(axis=1), training.count(params)
    found = interval(loss["with"] / loss["without"])
    return Finding(
        quantity="loss with a relu / without, and 95 % interval",
        ours=found,
        verdict=significant(found, where),
        also={f"loss {name}": float(np.median(values)) for name, values in loss.items()}
        | {f"exact {name}, %": float(np.median(values)) for name, values in exact.items()}
        | {"pairs of runs": pairs},
        parameters=parameters,
    )


def interval(ratios: np.ndarray) -> metrics.Band:
    """Mean over pairs of runs, and its 95 % interval."""
    half = STUDENT * float(ratios.std(ddof=1)) / len(ratios) ** 0.5
    mean = float(ratios.mean())
    return metrics.Band(mean, mean - half, mean + half)


def significant(found: metrics.Band, where: str) -> str:
    """The verdict of C11 from the loss with the relu over that without."""
    change = f"{found.median - 1:+.1%} of the loss ({found.low - 1:+.1%} to {found.high - 1:+.1%})"
    if found.low > 1:
        return f"false {where}: it costs {change}"
    if found.high < 1:
        return f"false {where}: it helps, {change}"
    return f"true {where}: {change}"


def falls_with_length(settings: Settings) -> Finding:
    """C12: reversals of up to 12 symbols."""
    return by_length(settings, encoder_decoders.reversal(), encoder_decoders.trained, SYMBOLS)


def falls_with_length_on_spanish(settings: Settings) -> Finding:
    """C12b: Spanish pairs of up to 6 words, 8,000 of them."""
    return by_length(settings, encoder_decoders.spanish(), encoder_decoders.trained_on_spanish, WORDS)


def by_length(settings: Settings, problem: encoder_decoders.Problem, trained: Callable, groups: Groups) -> Finding:
    """Exact matches and BLEU by length, with a context vector and with attention.

    Args:
        trained: `(name, seeds, steps) -> Found`.
    """
    test = problem.unseen
    lengths = np.asarray(test.source_mask.sum(axis=1)) - 1
    exact, bleu, parameters = {}, {}, 0

    def texts(ids) -> list[str]:
        return [" ".join(problem.vocabulary.symbols[token] for token in row if token > EOS) for row in np.asarray(ids)]

    truth = texts(test.target)
    rows = {low: np.flatnonzero((lengths >= low) & (lengths <= high)) for low, high in groups.bounds}
    for name in ("GRU, encoder-decoder", "GRU, attention"):
        found = trained(name, settings.seeds, settings.steps)
        parameters = parameters or found.parameters
        said = [texts(run) for run in evaluate.greedy(found.model, found.params, test)]
        for low, of_length in rows.items():
            exact[name, low] = metrics.band(100 * found.right[:, of_length].mean(axis=1))
            scores = [
                metrics.translation([run[n] for n in of_length], [[truth[n]] for n in of_length], resamples=1)
                for run in said
            ]
            bleu[name, low] = float(np.median([score.bleu.value for score in scores]))
    context, attended = ([exact[name, low] for low in rows] for name in ("GRU, encoder-decoder", "GRU, attention"))
    return Finding(
        quantity=f"% exact, {groups.names[-1]} {groups.unit}, context vector",
        ours=context[-1],
        verdict=shorter_is_better(context, attended, groups),
        also={f"exact, {name}, from {low}": band.median for (name, low), band in exact.items()}
        | {f"BLEU, {name}, from {low}": score for (name, low), score in bleu.items()}
        | {f"sequences from {low}": float(len(of_length)) for low, of_length in rows.items()},
        parameters=parameters,
    )


def shorter_is_better(context: list[metrics.Band], attention: list[metrics.Band], groups: Groups) -> str:
    """The verdict of C12 from exact matches by length, shortest first, without and with attention."""
    without = " / ".join(f"{band.median:.0f}" for band in context)
    with_it = " / ".join(f"{band.median:.0f}" for band in attention)
    lengths = " / ".join(groups.names)
    if context[0].low <= context[-1].high:
        return f"false {groups.where}: {without} % exact at {lengths} {groups.unit}; attention: {with_it}"
    effect = "removes this" if attention[-1].median > 0.9 * attention[0].median else "falls too"
    return f"true {groups.where}: {without} % exact at {lengths} {groups.unit}; attention {effect}: {with_it}"
