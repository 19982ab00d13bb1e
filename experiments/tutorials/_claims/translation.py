"""Claims of the tutorial `translation`, tested on reversal: a relu after the embedding, and long inputs."""

import jax
import numpy as np
from _claims import committed, encoder_decoders, training
from _claims.finding import Finding, Settings
from flax import linen as nn

from seqjax import evaluate, metrics, models, tasks

BUCKETS = ((4, 6), (7, 9), (10, 12))
"""Symbols of a source, in three groups; tested sequences of 4 and more were not seen in training."""

STUDENT, PAIRS = 2.365, 8
"""The 97.5 % quantile of Student's t for this number of pairs of runs (7 degrees of freedom)."""


class ReluDecoder(models.RecurrentDecoder):
    """A decoder that reads the positive part of its embeddings, as in the tutorials `reversal` and `translation`."""

    def extend(self, carry, x, *, mask=None, train=False):
        """Read further steps of the target."""
        return super().extend(carry, nn.relu(x), mask=mask, train=train)


def relu_after_embedding(settings: Settings) -> Finding:
    """C11: an encoder-decoder with and without the relu, paired by seed: the ratio of losses on unseen sequences."""
    pairs, task = max(settings.seeds, PAIRS), tasks.Reversal(longest=8)
    test = task.held_out(jax.random.key(1), encoder_decoders.TEST)
    loss, exact, parameters = {}, {}, 0
    for name, decoder in (("with", ReluDecoder), ("without", models.RecurrentDecoder)):
        _, learner = encoder_decoders.encoder_decoder(models.Recurrent(64), decoder(64, bridge=models.CopyState()))
        params = encoder_decoders.learn(learner, pairs, settings.steps, 3e-3, task)
        loss[name], right = encoder_decoders.judged(learner, params, test)
        exact[name], parameters = 100 * right.mean(axis=1), training.count(params)
    found = interval(loss["with"] / loss["without"])
    return Finding(
        quantity="loss with a relu / without, and 95 % interval",
        ours=found,
        verdict=significant(found),
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


def significant(found: metrics.Band) -> str:
    """The verdict of C11 from the loss with the relu over that without."""
    change = f"{found.median - 1:+.0%} of the loss ({found.low - 1:+.0%} to {found.high - 1:+.0%})"
    if found.low > 1:
        return f"false on reversal: it costs {change}"
    if found.high < 1:
        return f"false on reversal: it helps, {change}"
    return f"true on reversal: {change}; the tutorial's corpus is untested"


def falls_with_length(settings: Settings) -> Finding:
    """C12: exact matches and BLEU by length, with a context vector and with attention."""
    test, vocabulary = encoder_decoders.unseen(), encoder_decoders.TASK.vocabulary
    lengths = np.asarray(test.source_mask.sum(axis=1)) - 1
    exact, bleu, parameters = {}, {}, 0

    def texts(ids) -> list[str]:
        return [" ".join(vocabulary.symbols[token] for token in row if token >= 4) for row in np.asarray(ids)]

    truth = texts(test.target)
    for name in ("GRU, encoder-decoder", "GRU, attention"):
        found = encoder_decoders.trained(name, settings.seeds, settings.steps)
        parameters = parameters or found.parameters
        said = [texts(run) for run in evaluate.greedy(found.model, found.params, test)]
        for low, high in BUCKETS:
            rows = np.flatnonzero((lengths >= low) & (lengths <= high))
            exact[name, low] = metrics.band(100 * found.right[:, rows].mean(axis=1))
            scores = [
                metrics.translation([run[n] for n in rows], [[truth[n]] for n in rows], resamples=1) for run in said
            ]
            bleu[name, low] = float(np.median([score.bleu.value for score in scores]))
    plain, attention = (
        committed.row("translation", corpus="spa-eng", model=name, pairs=50_000) for name in ("lstm", "attention")
    )
    context = [exact["GRU, encoder-decoder", low] for low, _ in BUCKETS]
    attended = [exact["GRU, attention", low] for low, _ in BUCKETS]
    return Finding(
        quantity="% exact, 10 to 12 symbols, context vector",
        ours=context[-1],
        verdict=shorter_is_better(context, attended),
        also={f"exact, {name}, from {low}": band.median for (name, low), band in exact.items()}
        | {f"BLEU, {name}, from {low}": score for (name, low), score in bleu.items()}
        | {"spa-eng to 10 words, BLEU without attention": plain["bleu"], "with": attention["bleu"]},
        parameters=parameters,
    )


def shorter_is_better(context: list[metrics.Band], attention: list[metrics.Band]) -> str:
    """The verdict of C12 from exact matches by length, shortest first, without and with attention."""
    without = " / ".join(f"{band.median:.0f}" for band in context)
    with_it = " / ".join(f"{band.median:.0f}" for band in attention)
    if context[0].low <= context[-1].high:
        return f"false on reversal: {without} % exact by length"
    effect = "removes this" if attention[-1].median > 0.9 * attention[0].median else "falls too"
    return f"true on reversal: {without} % exact at 4-6 / 7-9 / 10-12 symbols; attention {effect}: {with_it}"
