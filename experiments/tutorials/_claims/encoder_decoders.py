"""Encoder-decoders and language models on pairs of sequences: reversals of 1 to 12 symbols, and Spanish sentences."""

import dataclasses
import functools
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from flax import linen as nn

from seqjax import losses, models, tasks
from seqjax.data import corpora, files
from seqjax.data.language import Language
from seqjax.data.tokenizers import Words
from seqjax.data.vocabulary import Vocabulary
from seqjax.models.encoder_decoder import shift_right
from seqjax.types import Seq2SeqBatch

TASK = tasks.Reversal(longest=12)

BATCH, TEST = 32, 1500

WORDS, PAIRS, SPANISH_TEST, LEAST = 6, 8_000, 1_000, 3
"""Of the Spanish pairs: words a side at most, pairs to train on and to test, and least count of a word with an id."""

ARCHIVE = "translation/tatoeba/spa-eng.zip"


class Problem(NamedTuple):
    """Pairs of token sequences with one vocabulary.

    Attributes:
        sample: `(key, rows) -> Seq2SeqBatch`, to train on.
        unseen: pairs to test on.
        vocabulary: of both sides.
    """

    sample: Callable[[jax.Array, int], Seq2SeqBatch]
    unseen: Seq2SeqBatch
    vocabulary: Vocabulary


@functools.lru_cache(maxsize=2)
def reversal(longest: int = TASK.longest) -> Problem:
    """Reversals of 1 to `longest` symbols."""
    task = dataclasses.replace(TASK, longest=longest)
    return Problem(task.sample, task.held_out(jax.random.key(1), TEST), task.vocabulary)


@functools.lru_cache(maxsize=1)
def spanish(pairs: int = PAIRS) -> Problem:
    """Spanish to English, `pairs` of the tutorial `translation`; no sentence of a test pair is in training.

    Both languages share a vocabulary, so that a language model over both has the same words as an encoder-decoder.

    Raises:
        MissingData: the archive is not there; says how to get it.
    """
    folder, tokenizer = files.data_folder(ARCHIVE), Words(punctuation="")
    read, _ = corpora.normalise(corpora.tatoeba(folder / ARCHIVE, source_column=2).pairs, tokenizer, tokenizer)
    short = corpora.dedup(corpora.within(corpora.dedup(read), tokenizer, tokenizer, longest=WORDS).rows)
    split = corpora.split(short, held_out=SPANISH_TEST, seed=0)
    split = split._replace(train=random.Random(0).sample(split.train, pairs))
    sides = (tokenizer.split(side) for pair in split.train for side in pair)
    language = Language(tokenizer, Vocabulary.count(sides, least=LEAST))
    task = tasks.Translation(language, language, split)
    train = task.encode(split.train)

    def sample(key, rows):
        drawn = jax.random.randint(key, (rows,), 0, pairs)
        return jax.tree.map(lambda array: array[drawn], train)

    return Problem(sample, task.encode(split.test[:SPANISH_TEST]), language.vocabulary)


class Learner(NamedTuple):
    """A model of the target given the source: its initialiser, and its logits (teacher forcing)."""

    init: Callable[[jax.Array], Any]
    logits: Callable[[Any, Seq2SeqBatch], jax.Array]


def encoder_decoder(
    problem: Problem, encoder: nn.Module, decoder: models.Decoder, **options: Any
) -> tuple[nn.Module, Learner]:
    """An encoder-decoder, and how it is trained."""
    vocab = len(problem.vocabulary)
    model = models.EncoderDecoder(encoder, decoder, vocab, vocab, embedding=32, **options)
    first = problem.sample(jax.random.key(0), 1)

    def logits(params, batch):
        masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
        return jnp.asarray(model.apply(params, batch.source, batch.target, **masks))

    return model, Learner(lambda key: model.init(key, first.source, first.target), logits)


def language_model(problem: Problem, backbone: nn.Module) -> tuple[None, Learner]:
    """A language model over one text: the source followed by the target."""
    model = models.LanguageModel(backbone, len(problem.vocabulary), embedding=32)
    tokens, _, _ = joined(problem.sample(jax.random.key(0), 1))

    def logits(params, batch):
        tokens, mask, places = joined(batch)
        found = jnp.asarray(model.apply(params, tokens, mask=mask))
        return jnp.take_along_axis(found, places[..., None], axis=1)

    return None, Learner(lambda key: model.init(key, tokens), logits)


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


def learn(learner: Learner, problem: Problem, seeds: int, steps: int, rate: float) -> Any:
    """Parameters of every run; runs of two learners with as many seeds see the same data."""

    def loss(params, batch):
        return losses.cross_entropy(learner.logits(params, batch), batch.target, batch.target_mask)

    return training.fitted(learner.init, loss, lambda key, _: problem.sample(key, BATCH), seeds, steps, rate)


def judged(learner: Learner, params: Any, batch: Seq2SeqBatch) -> tuple[np.ndarray, np.ndarray]:
    """Of each run: the loss [runs], and which targets greedy decoding produces exactly [runs, rows].

    It does so if and only if the likeliest token is right everywhere, given the true tokens before it.
    """

    def judge(params):
        logits = learner.logits(params, batch)
        right = (logits.argmax(axis=-1) == batch.target) | ~batch.target_mask
        return losses.cross_entropy(logits, batch.target, batch.target_mask), right.all(axis=1)

    # One after another: the logits of thousands of words are large.
    loss, right = jax.jit(lambda params: jax.lax.map(judge, params))(params)
    return np.asarray(loss), np.asarray(right)


class Found(NamedTuple):
    """A trained model, and of each of its runs the loss and which of the unseen targets it predicts exactly."""

    model: nn.Module | None
    params: Any
    loss: np.ndarray
    right: np.ndarray
    parameters: int


class Widths(NamedTuple):
    """Of a GRU's two halves, of encoder and decoder with attention, of a GRU alone, and the same for Transformers."""

    gru: int
    attention: tuple[int, int]
    gru_alone: int
    transformer: int
    transformer_alone: int


REVERSAL_WIDTHS = Widths(96, (80, 76), 142, 42, 68)

SPANISH_WIDTHS = Widths(96, (36, 48), 130, 42, 72)

NAMES = (
    "GRU, encoder-decoder",
    "GRU, attention",
    "GRU, language model",
    "Transformer, encoder-decoder",
    "Transformer, language model",
)
"""What `networks` has."""

RATE = 3e-3


def _transformer(width: int, **options: Any) -> dict[str, Any]:
    return {"features": width, "heads": 2, "layers": 2, "expansion": 2, **options}


def networks(problem: Problem, widths: Widths) -> dict[str, Callable[[], tuple[nn.Module | None, Learner]]]:
    """Constructors of both kinds of network, recurrent and Transformer."""
    encoder, decoder = widths.attention
    attention = models.AdditiveAttention(32)
    return {
        "GRU, encoder-decoder": lambda: encoder_decoder(
            problem,
            models.Recurrent(widths.gru),
            models.RecurrentDecoder(widths.gru, bridge=models.CopyState()),
        ),
        "GRU, attention": lambda: encoder_decoder(
            problem, models.Bidirectional(encoder), models.BahdanauDecoder(decoder, attention=attention)
        ),
        "GRU, language model": lambda: language_model(problem, models.Recurrent(widths.gru_alone)),
        "Transformer, encoder-decoder": lambda: encoder_decoder(
            problem,
            models.Transformer(**_transformer(widths.transformer, causal=False)),
            models.TransformerDecoder(**_transformer(widths.transformer)),
        ),
        "Transformer, language model": lambda: language_model(
            problem, models.Transformer(**_transformer(widths.transformer_alone))
        ),
    }


@functools.lru_cache(maxsize=5)
def trained(name: str, seeds: int, steps: int) -> Found:
    """One of `networks` on reversals; 79,000 to 81,000 parameters."""
    return _trained(reversal(), REVERSAL_WIDTHS, name, seeds, steps)


@functools.lru_cache(maxsize=5)
def trained_on_spanish(name: str, seeds: int, steps: int) -> Found:
    """One of `networks` on Spanish pairs, of equal parameters within 3 %."""
    return _trained(spanish(), SPANISH_WIDTHS, name, seeds, steps)


def _trained(problem: Problem, widths: Widths, name: str, seeds: int, steps: int) -> Found:
    model, learner = networks(problem, widths)[name]()
    params = learn(learner, problem, seeds, steps, RATE)
    return Found(model, params, *judged(learner, params, problem.unseen), training.count(params))
