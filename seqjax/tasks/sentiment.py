"""Sentiment of real sentences: does a reviewer like the film?"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax.data.batching import Epochs, pad
from seqjax.data.labelled import Example
from seqjax.data.text import Tokenizer, Vocabulary
from seqjax.tasks.translation import Language
from seqjax.types import UNK, Labelled


@dataclass(frozen=True, eq=False)
class Sentiment:
    """Say which class a sentence has.

        train, test = (labelled.sst2(folder / part).rows for part in ("train.tsv", "dev.tsv"))
        task = Sentiment.of(train, test, Words(), held_out=720, seed=0)
        task.batch(task.test).inputs            # (rows, longest): ids of words, PAD behind them
        task.batches(64).batch(key, step)       # of the training rows

    Attributes:
        language: tokenizer and vocabulary, which is counted on the training rows alone.
        train, validation, test: they share no sentence.
    """

    language: Language
    train: list[Example]
    validation: list[Example]
    test: list[Example]

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
    ) -> "Sentiment":
        """Take a validation part out of some rows; what they share with `test`, or have twice, is left out.

        Args:
            held_out: rows for validation.
            least: how often a word must be seen in training to have an id of its own.

        Raises:
            ValueError: held_out does not lie in [1, rows), repeated rows not counted.
        """
        seen = {row.sentence for row in test}
        once = {row.sentence: row for row in reversed(rows) if row.sentence not in seen}
        kept = [once[sentence] for sentence in dict.fromkeys(row.sentence for row in rows) if sentence in once]
        if not 1 <= held_out < len(kept):
            raise ValueError(f"held_out must lie in [1, {len(kept)}), got {held_out}")
        random.Random(seed).shuffle(kept)
        train = kept[held_out:]
        vocabulary = Vocabulary.count((tokenizer.split(row.sentence) for row in train), least=least)
        return cls(Language(tokenizer, vocabulary), train, kept[:held_out], list(test))

    def batch(self, rows: Sequence[Example]) -> Labelled:
        """Some rows as one batch."""
        tokens, mask = pad([self.language.ids(row.sentence) for row in rows])
        return Labelled(jnp.asarray(tokens), jnp.array([row.label for row in rows], jnp.int32), jnp.asarray(mask))

    def batches(self, batch_size: int, *, word_dropout: float = 0.0) -> Epochs:
        """Batches of training rows, all of one shape; every row once in an epoch.

        Args:
            word_dropout: fraction of training words replaced by UNK, so that UNK is a familiar input at test time.

        Raises:
            ValueError: word_dropout does not lie in [0, 1).
        """
        return Epochs(self.batch(self.train), batch_size, WordDropout(word_dropout))


@dataclass(frozen=True)
class WordDropout:
    """Replace a random fraction of the words of a batch by UNK (Bowman et al. 2016, arXiv:1511.06349).

    Attributes:
        rate: of the words, in [0, 1).
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"word_dropout must lie in [0, 1), got {self.rate}")

    def __call__(self, key: Key[Array, ""], batch: Labelled) -> Labelled:
        if not self.rate:
            return batch
        lost = jax.random.bernoulli(key, self.rate, batch.inputs.shape)
        return batch._replace(inputs=jnp.where(lost, UNK, batch.inputs))  # padding too, which no model reads


@dataclass(frozen=True, eq=False)
class NaiveBayes:
    """How likely a sentence is positive if, given its class, every n-gram were there or not for itself.

    The linear baseline: the log-odds are a sum over the n-grams of a sentence, each counted once (the binarised
    multinomial model of Wang & Manning 2012, P12-2018, sec. 2.1).

    Attributes:
        tokenizer: cuts sentences into words.
        words: n-grams of 1 to so many words.
        prior: log-odds before anything is read.
        evidence: what an n-gram adds; those never seen add nothing.
    """

    tokenizer: Tokenizer
    words: int
    prior: float
    evidence: dict[tuple[str, ...], float]

    @classmethod
    def of(cls, rows: Sequence[Example], tokenizer: Tokenizer, *, words: int, smoothing: float) -> "NaiveBayes":
        """Count n-grams; of no use without a row of each class.

        Args:
            smoothing: how often each n-gram is taken to have been seen before, in both classes.
        """
        counts = {label: Counter[tuple[str, ...]]() for label in (0, 1)}
        for row in rows:
            counts[row.label].update(_ngrams(tokenizer.split(row.sentence), words))
        negative, positive = counts[0], counts[1]
        every = negative.keys() | positive.keys()
        total = math.log((negative.total() + smoothing * len(every)) / (positive.total() + smoothing * len(every)))
        evidence = {
            ngram: total + math.log((positive[ngram] + smoothing) / (negative[ngram] + smoothing)) for ngram in every
        }
        labels = Counter(row.label for row in rows)
        return cls(tokenizer, words, math.log(labels[1] / labels[0]), evidence)

    def __call__(self, sentence: str) -> float:
        """Log-odds of the positive class."""
        found = _ngrams(self.tokenizer.split(sentence), self.words)
        return self.prior + math.fsum(self.evidence.get(ngram, 0.0) for ngram in found)


def _ngrams(tokens: Sequence[str], longest: int) -> set[tuple[str, ...]]:
    return {
        tuple(tokens[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(tokens) - length + 1)
    }
