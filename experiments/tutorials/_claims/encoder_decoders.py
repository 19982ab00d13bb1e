"""Encoder-decoders and language models on the reversal of 1 to 12 symbols, of which three claims are tested."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from flax import linen as nn

from seqjax import losses, models, tasks
from seqjax.models.encoder_decoder import shift_right
from seqjax.types import Seq2SeqBatch

TASK = tasks.Reversal(longest=12)

VOCAB = len(TASK.vocabulary)

BATCH, TEST = 32, 1500


class Learner(NamedTuple):
    """A model of the target given the source: its initialiser, and its logits (teacher forcing)."""

    init: Callable[[jax.Array], Any]
    logits: Callable[[Any, Seq2SeqBatch], jax.Array]


def encoder_decoder(encoder: nn.Module, decoder: models.Decoder) -> tuple[nn.Module, Learner]:
    """An encoder-decoder, and how it is trained."""
    model = models.EncoderDecoder(encoder, decoder, VOCAB, VOCAB, embedding=32)
    first = TASK.sample(jax.random.key(0), 1)

    def logits(params, batch):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        return jnp.asarray(model.apply(params, batch.source, batch.target, **masks))

    return model, Learner(lambda key: model.init(key, first.source, first.target), logits)


def language_model(backbone: nn.Module) -> Learner:
    """A language model over one text: the source followed by the target."""
    model = models.LanguageModel(backbone, VOCAB, embedding=32)
    tokens, _, _ = joined(TASK.sample(jax.random.key(0), 1))

    def logits(params, batch):
        tokens, mask, places = joined(batch)
        found = jnp.asarray(model.apply(params, tokens, mask=mask))
        return jnp.take_along_axis(found, places[..., None], axis=1)

    return Learner(lambda key: model.init(key, tokens), logits)


def joined(batch: Seq2SeqBatch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Source, SOS and target without a gap; their mask; and the places whose logits predict the target."""
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

    def loss(params, batch):
        return losses.cross_entropy(learner.logits(params, batch), batch.target, batch.target_mask)

    return training.fitted(learner.init, loss, lambda key, _: task.sample(key, BATCH), seeds, steps, rate)


def judged(learner: Learner, params: Any, batch: Seq2SeqBatch) -> tuple[np.ndarray, np.ndarray]:
    """Of each run: the loss [runs], and which targets greedy decoding produces exactly [runs, rows].

    It does so if and only if the likeliest token is right everywhere, given the true tokens before it.
    """

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def judge(params, batch):
        logits = learner.logits(params, batch)
        right = (logits.argmax(axis=-1) == batch.target) | ~batch.target_mask
        return losses.cross_entropy(logits, batch.target, batch.target_mask), right.all(axis=1)

    loss, right = judge(params, batch)
    return np.asarray(loss), np.asarray(right)


class Found(NamedTuple):
    """A trained model, and which of the unseen targets each of its runs predicts exactly."""

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
"""A constructor and a learning rate each; 79,000 to 81,000 parameters."""


@functools.lru_cache(maxsize=len(NETWORKS))
def trained(name: str, seeds: int, steps: int) -> Found:
    """One of `NETWORKS` after training on sequences of 1 to 12 symbols."""
    build, rate = NETWORKS[name]
    model, learner = build()
    params = learn(learner, seeds, steps, rate)
    _, right = judged(learner, params, unseen())
    return Found(model, params, right, training.count(params))
