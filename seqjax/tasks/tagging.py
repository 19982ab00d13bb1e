"""Part-of-speech tagging of real sentences: a treebank in memory, with words, their spelling and their tags as ids."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32

from seqjax.data.batching import Buckets, bounded, by_length, pad
from seqjax.data.treebank import UPOS, Sentence
from seqjax.data.vocabulary import Vocabulary
from seqjax.types import PAD, InputError, Labelled

LETTERS = 12
"""Letters of a word's spelling. The middle of longer words, six in a thousand, is left out."""


class Spelled(NamedTuple):
    """Words twice: as ids, and spelled, one row of letters a word."""

    ids: Int[Array | np.ndarray, "batch time"]
    spelling: Int[Array | np.ndarray, "batch time letters"]


@dataclass(frozen=True)
class Speller:
    """How words become ids; a run folder keeps its two vocabularies, so that weights keep a meaning."""

    words: Vocabulary
    letters: Vocabulary

    def read(
        self, sentences: Sequence[Sequence[str]], length: int | None = None
    ) -> tuple[Spelled, Bool[np.ndarray, "batch time"]]:
        """Some sentences as a batch, and which of its steps are real."""
        ids, mask = pad([self.words.encode(sentence) for sentence in sentences], length)
        spelling = np.full((*ids.shape, LETTERS), PAD, np.int32)
        spelling[mask] = self._spelled([word for sentence in sentences for word in sentence])
        return Spelled(ids, spelling), mask

    def _spelled(self, words: Sequence[str]) -> Int32[np.ndarray, "words letters"]:
        half = LETTERS // 2
        short = [word if len(word) <= LETTERS else word[:half] + word[-half:] for word in words]
        return pad([self.letters.encode(word) for word in short], LETTERS)[0]


def hold_out(sentences: Sequence[Sentence], held_out: int, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """The sentences without a random `held_out` of them, and those; both in their order.

    Raises:
        InputError: held_out does not lie in [1, sentences).
    """
    if not 1 <= held_out < len(sentences):
        raise InputError(f"held_out must lie in [1, {len(sentences)}), got {held_out}")
    apart = set(random.Random(seed).sample(range(len(sentences)), held_out))
    parts = ([], [])
    for place, sentence in enumerate(sentences):
        parts[place in apart].append(sentence)
    return parts


@dataclass(frozen=True, eq=False)
class Tagging:
    """Say the part of speech of each word.

        train, test = (treebank.conllu(path).sentences for path in paths)
        task = Tagging.of(train, test, held_out=500, seed=0, least=2)
        task.encode(task.test).inputs.ids        # (rows, longest): ids of words, followed by PAD
        task.encode(task.test).labels            # the index of each word's tag in UPOS

    Attributes:
        speller: its vocabularies are counted on the training sentences alone.
        validation: sentences held out of training, for model selection.
        test: sentences for the reported number.
        left_out, cut: how many sentences were too long; see `of`.
    """

    speller: Speller
    train: list[Sentence]
    validation: list[Sentence]
    test: list[Sentence]
    left_out: int = 0
    cut: int = 0

    @classmethod
    def of(
        cls,
        train: Sequence[Sentence],
        test: Sequence[Sentence],
        *,
        held_out: int,
        seed: int,
        least: int = 1,
        longest: int = 0,
        truncate: int = 0,
    ) -> "Tagging":
        """Hold sentences out of training and count the vocabularies of the others.

        Args:
            held_out: sentences of `train` set aside for validation; which ones is a function of the seed.
            least: smallest count in training of a word with an id of its own.
            longest, truncate: sentences of more words are left out, or cut, as by `batching.bounded`; 0: none.

        Raises:
            InputError: held_out does not lie in [1, training sentences).
        """

        def shortened(sentence: Sentence, length: int) -> Sentence:
            return Sentence(sentence.words[:length], sentence.tags[:length])

        (train, left_out, cut), (test, of_test, cut_of_test) = (
            bounded(part, lambda sentence: [sentence.words], shortened, longest=longest, truncate=truncate)
            for part in (train, test)
        )
        kept, validation = hold_out(train, held_out, seed)
        words = Vocabulary.count((sentence.words for sentence in kept), least=least)
        letters = Vocabulary.count(word for sentence in kept for word in sentence.words)
        return cls(Speller(words, letters), kept, validation, test, left_out + of_test, cut + cut_of_test)

    def encode(self, sentences: Sequence[Sentence]) -> Labelled:
        """Some sentences as one batch."""
        inputs, mask = self.speller.read([sentence.words for sentence in sentences])
        labels = pad([[UPOS.index(tag) for tag in sentence.tags] for sentence in sentences])[0]
        return Labelled(jax.tree.map(jnp.asarray, inputs), jnp.asarray(labels), jnp.asarray(mask))

    def buckets(self, sentences: Sequence[Sentence], batch_size: int, count: int) -> Buckets:
        """Some sentences in at most `count` shapes."""
        lengths = np.array([[len(sentence.words) for sentence in sentences]])
        groups = by_length(lengths, batch_size=batch_size, count=count)
        return Buckets(tuple(self.encode([sentences[row] for row in rows]) for rows in groups), batch_size)

    def unseen(self, sentences: Sequence[Sentence]) -> Bool[np.ndarray, "rows time"]:
        """Which words occur in no training sentence."""
        seen = {word for sentence in self.train for word in sentence.words}
        rows = [[word not in seen for word in sentence.words] for sentence in sentences]
        return pad(rows)[0] == 1
