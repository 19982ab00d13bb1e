"""Claims on encoder-decoders: a relu after the embedding, long inputs, and models that have no such structure.

All are tested on reversal, the task of seed S1, with fresh sequences; the claims of S2 are about translation.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import claims_committed, training
from _claims.finding import Finding
from flax import linen as nn

from seqjax import evaluate, losses, metrics, models, sweep, tasks, train
from seqjax.models.encoder_decoder import shift_right
from seqjax.types import Seq2SeqBatch

TASK = tasks.Reversal(longest=12)

VOCAB = len(TASK.vocabulary)

BATCH, TEST = 32, 1500

BUCKETS = ((4, 6), (7, 9), (10, 12))
"""Symbols of a source; all sequences of 4 and more are tested unseen."""

STUDENT, PAIRS = 2.365, 8
"""The 97.5 % quantile of Student's t with one degree of freedom less than there are pairs of runs."""


class Learner(NamedTuple):
    """A model of the target given the source: its start, and its logits (teacher forcing)."""

    init: Callable[[jax.Array], Any]
    logits: Callable[[Any, Seq2SeqBatch], jax.Array]


class ReluDecoder(models.RecurrentDecoder):
    """A decoder that reads the positive part of its embeddings, as seed S1's does."""

    def extend(self, carry, x, *, mask=None, train=False):
        """Read further steps of the target."""
        return super().extend(carry, nn.relu(x), mask=mask, train=train)


def encoder_decoder(encoder: nn.Module, decoder: models.Decoder) -> tuple[nn.Module, Learner]:
    """A model that reads and then writes."""
    model = models.EncoderDecoder(encoder, decoder, VOCAB, VOCAB, embedding=32)
    first = TASK.sample(jax.random.key(0), 1)

    def logits(params, batch):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        return jnp.asarray(model.apply(params, batch.source, batch.target, **masks))

    return model, Learner(lambda key: model.init(key, first.source, first.target), logits)


def language_model(backbone: nn.Module) -> Learner:
    """A model without that structure: one text, source and target in a row."""
    model = models.LanguageModel(backbone, VOCAB, embedding=32)
    tokens, _, _ = joined(TASK.sample(jax.random.key(0), 1))

    def logits(params, batch):
        tokens, mask, places = joined(batch)
        found = jnp.asarray(model.apply(params, tokens, mask=mask))
        return jnp.take_along_axis(found, places[..., None], axis=1)

    return Learner(lambda key: model.init(key, tokens), logits)


def joined(batch: Seq2SeqBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Source, SOS and target without a gap, which of it is real, and the places whose logits are the target's."""
    read, written = (mask.sum(axis=1, keepdims=True) for mask in (batch.source_mask, batch.target_mask))
    both = jnp.concatenate([batch.source, shift_right(batch.target)], axis=1)
    width, place = both.shape[1], jnp.arange(both.shape[1])[None]
    order = jnp.where(place < read, place, jnp.minimum(place - read + batch.source.shape[1], width - 1))
    mask = place < read + written
    tokens = jnp.where(mask, jnp.take_along_axis(both, order, axis=1), 0)
    places = jnp.minimum(read + jnp.arange(batch.target.shape[1])[None], width - 1)
    return tokens, mask, places


def learn(learner: Learner, seeds: int, steps: int, rate: float, task=TASK) -> Any:
    """Parameters of every run; runs of two learners with as many seeds see the same data."""

    def loss(params, batch, key):
        return losses.cross_entropy(learner.logits(params, batch), batch.target, batch.target_mask), {}

    state, advance = sweep.sweep(
        learner.init,
        loss,
        lambda rate: train.adam(rate, steps),
        lambda key, rate: task.sample(key, BATCH),
        keys=jax.random.split(jax.random.key(0), seeds),
        settings=jnp.full(seeds, rate),
        steps=max(1, steps // 20),
    )
    for now, _ in train.run(advance, state, steps):
        state = now
    return state.params


def judged(learner: Learner, params: Any, batch: Seq2SeqBatch) -> tuple[np.ndarray, np.ndarray]:
    """Of each run: the loss [runs], and which targets would be written without a fault [runs, rows].

    The likeliest tokens given the true ones before them are all true exactly if greedy decoding writes the target.
    """

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def judge(params, batch):
        logits = learner.logits(params, batch)
        right = (logits.argmax(axis=-1) == batch.target) | ~batch.target_mask
        return losses.cross_entropy(logits, batch.target, batch.target_mask), right.all(axis=1)

    loss, right = judge(params, batch)
    return np.asarray(loss), np.asarray(right)


def relu_after_embedding(seeds: int, steps: int) -> Finding:
    """C11: S1's network with and without the relu, paired by seed: the ratio of the losses on unseen sequences."""
    pairs, task = max(seeds, PAIRS), tasks.Reversal(longest=8)
    test = task.held_out(jax.random.key(1), TEST)
    loss, exact, parameters = {}, {}, 0
    for name, decoder in (("with", ReluDecoder), ("without", models.RecurrentDecoder)):
        _, learner = encoder_decoder(models.Recurrent(64), decoder(64, bridge=models.CopyState()))
        params = learn(learner, pairs, steps, 3e-3, task)
        loss[name], right = judged(learner, params, test)
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
    told = f"{found.median - 1:+.0%} of the loss ({found.low - 1:+.0%} to {found.high - 1:+.0%})"
    if found.low > 1:
        return f"no, on reversal: it costs {told}"
    if found.high < 1:
        return f"no, on reversal: it helps, {told}"
    return f"stands on reversal, S2's corpus untested: {told}"


class Found(NamedTuple):
    """A trained model, and of each run which of the unseen targets it would write without a fault."""

    model: nn.Module | None
    params: Any
    right: np.ndarray
    parameters: int


@functools.lru_cache(maxsize=1)
def unseen() -> Seq2SeqBatch:
    """The test sequences."""
    return TASK.held_out(jax.random.key(1), TEST)


def _transformer(width: int, **options: Any) -> dict[str, Any]:
    return {"features": width, "heads": 2, "layers": 2, "expansion": 2, **options}


NETWORKS: dict[str, tuple[Callable, float]] = {
    "GRU, encoder-decoder": (
        lambda: encoder_decoder(models.Recurrent(96), models.RecurrentDecoder(96, bridge=models.CopyState())),
        3e-3,
    ),
    "GRU, attention": (
        lambda: encoder_decoder(
            models.Bidirectional(80), models.BahdanauDecoder(76, attention=models.AdditiveAttention(32))
        ),
        3e-3,
    ),
    "GRU, language model": (lambda: (None, language_model(models.Recurrent(142))), 3e-3),
    "Transformer, encoder-decoder": (
        lambda: encoder_decoder(
            models.Transformer(**_transformer(42, causal=False)), models.TransformerDecoder(**_transformer(42))
        ),
        3e-3,
    ),
    "Transformer, language model": (lambda: (None, language_model(models.Transformer(**_transformer(68)))), 3e-3),
}
"""Each with its learning rate; 79,000 to 81,000 parameters."""


@functools.lru_cache(maxsize=len(NETWORKS))
def trained(name: str, seeds: int, steps: int) -> Found:
    """One of `NETWORKS` after training on sequences of 1 to 12 symbols."""
    build, rate = NETWORKS[name]
    model, learner = build()
    params = learn(learner, seeds, steps, rate)
    _, right = judged(learner, params, unseen())
    return Found(model, params, right, training.count(params))


def falls_with_length(seeds: int, steps: int) -> Finding:
    """C12: exact matches and BLEU by length, with a context vector and with attention."""
    test, vocabulary = unseen(), TASK.vocabulary
    lengths = np.asarray(test.source_mask.sum(axis=1)) - 1
    exact, bleu, parameters = {}, {}, 0

    def texts(ids) -> list[str]:
        return [" ".join(vocabulary.symbols[token] for token in row if token >= 4) for row in np.asarray(ids)]

    truth = texts(test.target)
    for name in ("GRU, encoder-decoder", "GRU, attention"):
        found = trained(name, seeds, steps)
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
        claims_committed.row("translation", corpus="spa-eng", model=name, pairs=50_000)
        for name in ("lstm", "attention")
    )
    context = [exact["GRU, encoder-decoder", low] for low, _ in BUCKETS]
    looking = [exact["GRU, attention", low] for low, _ in BUCKETS]
    return Finding(
        quantity="% exact, 10 to 12 symbols, context vector",
        ours=context[-1],
        verdict=shorter_is_better(context, looking),
        also={f"exact, {name}, from {low}": band.median for (name, low), band in exact.items()}
        | {f"BLEU, {name}, from {low}": score for (name, low), score in bleu.items()}
        | {"spa-eng to 10 words, BLEU without attention": plain["bleu"], "with": attention["bleu"]},
        parameters=parameters,
    )


def shorter_is_better(context: list[metrics.Band], attention: list[metrics.Band]) -> str:
    """The verdict of C12 from exact matches by length, shortest first, without and with attention."""
    told = " / ".join(f"{band.median:.0f}" for band in context)
    with_it = " / ".join(f"{band.median:.0f}" for band in attention)
    if context[0].low <= context[-1].high:
        return f"no, on reversal: {told} % exact by length"
    kept = "cures it" if attention[-1].median > 0.9 * attention[0].median else "falls too"
    return f"stands on reversal: {told} % exact at 4-6 / 7-9 / 10-12 symbols; attention {kept}: {with_it}"


def against_a_language_model(seeds: int, steps: int) -> Finding:
    """C13: exact matches of encoder-decoders and of language models over source and target, at equal parameters."""
    found = {name: trained(name, seeds, steps) for name in NETWORKS}
    exact = {name: metrics.band(100 * one.right.mean(axis=1)) for name, one in found.items()}
    return Finding(
        quantity="% exact, GRU encoder-decoder, unseen reversals",
        ours=exact["GRU, encoder-decoder"],
        verdict=surpasses(exact),
        also={f"exact, {name}": band.median for name, band in exact.items()}
        | {f"parameters, {name}": one.parameters for name, one in found.items()},
        parameters=found["GRU, encoder-decoder"].parameters,
    )


def surpasses(exact: dict[str, metrics.Band]) -> str:
    """The verdict of C13 from exact matches: an encoder-decoder wins if its worst seed beats the best one without."""
    wins, told = [], []
    for name, band in exact.items():
        family, _, structure = name.partition(", ")
        if structure != "language model":
            other = exact[f"{family}, language model"]
            wins.append(band.low > other.high)
            told.append(f"{name.removesuffix(', encoder-decoder')} {band.median:.0f} / {other.median:.0f} %")
    word = "stands" if all(wins) else "half" if any(wins) else "no"
    return f"{word}, on reversal: exact with / without the structure: {'; '.join(told)}"
