"""Sentiment of real sentences: does a reviewer like the film? Or any other classes of sentences."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax.data.batching import Epochs, bounded, pad
from seqjax.data.language import Language
from seqjax.data.sst2 import Example
from seqjax.data.tokenizers import Tokenizer
from seqjax.data.vocabulary import Vocabulary
from seqjax.types import UNK, InputError, Labelled


@dataclass(frozen=True, eq=False)
class Sentiment:
    """Classify sentences by sentiment.

        train, test = (read_sst2(folder / part).rows for part in ("train.tsv", "dev.tsv"))
        task = Sentiment.of(train, test, Words(), held_out=720, seed=0)
        task.encode(task.test).inputs            # (rows, longest): ids of words, followed by PAD
        task.batches(64).batch(key, step)       # of the training rows

    Attributes:
        language: tokenizer and vocabulary, which is counted on the training rows alone.
        train, validation, test: they share no sentence.
        left_out, cut: how many rows were too long; see `of`.
        labels: names of the classes.
    """

    language: Language
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    left_out: int = 0
    cut: int = 0
    labels: tuple[str, ...] = ("negative", "positive")

    @classmethod
    def of(
        cls,
        rows: Sequence[Example],
        test: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        held_out: int,
        seed: int,
        least: int = 1,
        longest: int = 0,
        truncate: int = 0,
        labels: tuple[str, ...] = ("negative", "positive"),
    ) -> "Sentiment":
        """Hold rows out for validation; rows that `test` has too, and repeated ones, are left out.

        Args:
            held_out: rows for validation.
            least: smallest count in training of a word with an id of its own.
            longest, truncate: rows with more tokens are left out, or cut, as by `batching.bounded`; 0: none.
            labels: names of the classes.

        Raises:
            InputError: held_out does not lie in [1, rows), repeated rows not counted.
        """

        def shortened(row: Example, length: int) -> Example:
            return row._replace(sentence=tokenizer.join(tokenizer.split(row.sentence)[:length]))

        (rows, left_out, cut), (test, of_test, cut_of_test) = (
            bounded(part, lambda row: [tokenizer.split(row.sentence)], shortened, longest=longest, truncate=truncate)
            for part in (rows, test)
        )
        seen = {row.sentence for row in test}
        once = {row.sentence: row for row in reversed(rows) if row.sentence not in seen}
        kept = [once[sentence] for sentence in dict.fromkeys(row.sentence for row in rows) if sentence in once]
        if not 1 <= held_out < len(kept):
            raise InputError(f"held_out must lie in [1, {len(kept)}), got {held_out}")
        random.Random(seed).shuffle(kept)
        train = kept[held_out:]
        vocabulary = Vocabulary.count((tokenizer.split(row.sentence) for row in train), least=least)
        language, counts = Language(tokenizer, vocabulary), (left_out + of_test, cut + cut_of_test)
        return cls(language, train, kept[:held_out], test, *counts, labels)

    def encode(self, rows: Sequence[Example]) -> Labelled:
        """Some rows as one batch."""
        tokens, mask = pad([self.language.ids(row.sentence) for row in rows])
        return Labelled(jnp.asarray(tokens), jnp.array([row.label for row in rows], jnp.int32), jnp.asarray(mask))

    def batches(self, batch_size: int, *, word_dropout: float = 0.0) -> Epochs:
        """Batches of training rows, all of one shape; every row once in an epoch.

        Args:
            word_dropout: fraction of training words replaced by UNK, in [0, 1), so that UNK is familiar at test time.
        """
        return Epochs(self.encode(self.train), batch_size, WordDropout(word_dropout))


@dataclass(frozen=True)
class WordDropout:
    """Replace a random fraction of the words of a batch by UNK (Bowman et al. 2016, arXiv:1511.06349)."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise InputError(f"word_dropout must lie in [0, 1), got {self.rate}")

    def __call__(self, key: Key[Array, ""], batch: Labelled) -> Labelled:
        if not self.rate:
            return batch
        lost = jax.random.bernoulli(key, self.rate, batch.inputs.shape)
        return batch._replace(inputs=jnp.where(lost, UNK, batch.inputs))  # padding too, which no model reads
