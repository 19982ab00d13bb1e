"""Claims of the tutorial `translation`, on reversal and on its pairs: a relu after the embedding, and long inputs."""

from collections.abc import Callable

import numpy as np
from _claims import committed, encoder_decoders, training
from _claims.finding import Finding, Settings
from flax import linen as nn

from seqjax import evaluate, metrics, models

BUCKETS = ((4, 6), (7, 9), (10, 12))
"""Symbols of a source, in three groups; tested sequences of 4 and more were not seen in training."""

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
    """C12: exact matches and BLEU by length, with a context vector and with attention."""
    test, vocabulary = encoder_decoders.reversal().unseen, encoder_decoders.TASK.vocabulary
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
    context = [exact["GRU, encoder-decoder", low] for low, _ in BUCKETS]
    attended = [exact["GRU, attention", low] for low, _ in BUCKETS]
    return Finding(
        quantity="% exact, 10 to 12 symbols, context vector",
        ours=context[-1],
        verdict=shorter_is_better(context, attended),
        also={f"exact, {name}, from {low}": band.median for (name, low), band in exact.items()}
        | {f"BLEU, {name}, from {low}": score for (name, low), score in bleu.items()},
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


def falls_with_length_on_spanish(_: Settings) -> Finding:
    """C12b: exact matches and BLEU by length of experiments/seq2seq/translation.py, up to 10 words."""
    rows = {
        name: committed.row("translation", corpus="spa-eng", model=name, pairs=50_000) for name in ("lstm", "attention")
    }
    exact, bleu = (
        {
            name: {group: metrics.Band(*found[score]) for group, found in row["by_length"].items()}
            for name, row in rows.items()
        }
        for score in ("exact", "bleu")
    )
    longest = list(exact["lstm"])[-1]
    of_longest = exact["lstm"][longest]
    return Finding(
        quantity=f"% exact, {longest} words, without attention",
        ours=metrics.Band(*(100 * x for x in of_longest)),
        verdict=on_spanish(exact, bleu),
        also={f"exact, {name}, {group}": band.median for name, bands in exact.items() for group, band in bands.items()}
        | {f"BLEU, {name}, {group}": band.median for name, bands in bleu.items() for group, band in bands.items()}
        | {f"sentences, {group}": found["sentences"] for group, found in rows["lstm"]["by_length"].items()}
        | {"BLEU without attention": rows["lstm"]["bleu"], "with": rows["attention"]["bleu"]},
        parameters=rows["lstm"]["parameters"],
    )


def on_spanish(exact: dict[str, dict[str, metrics.Band]], bleu: dict[str, dict[str, metrics.Band]]) -> str:
    """The verdict of C12b from scores by model and length: true if the longest are worse, by intervals apart.

    Bands are estimates with 95 % intervals over sentences.
    """
    words = " / ".join(exact["lstm"])
    told = []
    for name, bands in exact.items():
        percent = " / ".join(f"{100 * band.median:.0f}" for band in bands.values())
        points = " / ".join(f"{band.median:.0f}" for band in bleu[name].values())
        told.append(f"{name} {percent} % exact, BLEU {points}")
    shortest, *_, longest = exact["lstm"].values()
    word = "true" if shortest.low > longest.high else "false" if longest.low > shortest.high else "open"
    return f"{word} on Spanish pairs, at {words} words: {'; '.join(told)}"
