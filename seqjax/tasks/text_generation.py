"""Text generation: running text as token ids, in windows for training and for evaluation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Key

from seqjax._checks import integers
from seqjax.data.language import Language
from seqjax.data.plain_text import Parts
from seqjax.data.tokenizers import Tokenizer
from seqjax.data.vocabulary import Vocabulary
from seqjax.types import EOS, InputError, Labelled


class Stretch(NamedTuple):
    """A stretch of running text.

    Attributes:
        ids: of its tokens; the first one, from before the stretch, is only read.
        characters: of the other tokens, line ends included, so that units can be compared by bits per character.
    """

    ids: Int32[np.ndarray, " tokens"]
    characters: int

    def bits(self, nats: float) -> float:
        """Bits per character, from nats per token."""
        return nats / math.log(2) * (len(self.ids) - 1) / self.characters


class Windows(NamedTuple):
    """A whole text as windows, with the next token of each step as its label.

    Attributes:
        counted: which steps are evaluated: every token of the text once.
    """

    inputs: Int32[np.ndarray, "rows time"]
    labels: Int32[np.ndarray, "rows time"]
    counted: Bool[np.ndarray, "rows time"]


@dataclass(frozen=True, eq=False)
class TextGeneration:
    """Predict the next token of a running text.

        parts = plain_text.split("to be or not to be, that is", held_out=5)
        task = TextGeneration.of_text(parts, Characters(), length=5)
        task.sample(key, 1).inputs      # the ids of " or n", say
        task.sample(key, 1).labels      # those of "or no"

    Attributes:
        language: how text becomes ids; its vocabulary is counted on the training text alone.
        train, validation, test: stretches of one text, or of sentences, each followed by EOS.
        length: tokens that a window reads.
    """

    language: Language
    train: Stretch
    validation: Stretch
    test: Stretch
    length: int

    def __post_init__(self) -> None:
        integers(0, length=self.length)
        shortest = min(len(part.ids) for part in (self.train, self.validation, self.test))
        if not 1 <= self.length < shortest:
            raise InputError(f"length must lie in [1, {shortest}), the tokens of the shortest part, got {self.length}")

    @classmethod
    def of_text(cls, parts: Parts, tokenizer: Tokenizer, *, length: int, least: int = 1) -> "TextGeneration":
        """One text, cut in three: each part goes on where the one before it ends.

        Args:
            least: tokens that are rarer in the training part become UNK.
        """
        language = Language(tokenizer, Vocabulary.count([tokenizer.split(parts.train)], least=least))

        def stretch(before: int, part: str) -> Stretch:
            return Stretch(np.array([before, *language.ids(part)], np.int32), len(part))

        train = stretch(EOS, parts.train)
        validation = stretch(int(train.ids[-1]), parts.validation)
        return cls(language, train, validation, stretch(int(validation.ids[-1]), parts.test), length)

    @classmethod
    def of_sentences(
        cls, train: Sequence[str], validation: Sequence[str], test: Sequence[str], tokenizer: Tokenizer, *, length: int
    ) -> "TextGeneration":
        """Sentences, each followed by EOS, which also precedes the first; characters count it as a line end."""
        language = Language(tokenizer, Vocabulary.count(map(tokenizer.split, train)))
        return cls(
            language, _stretch(language, train), _stretch(language, validation), _stretch(language, test), length
        )

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Windows of the training text that begin anywhere, as nanoGPT draws them."""
        ids = jnp.asarray(self.train.ids)
        starts = jax.random.randint(key, (batch_size,), 0, len(ids) - self.length)
        windows = ids[starts[:, None] + jnp.arange(self.length + 1)[None, :]]
        return Labelled(windows[:, :-1], windows[:, 1:])

    def windows(self, stretch: Stretch, *, stride: int) -> Windows:
        """A whole stretch in windows `stride` <= length tokens apart; each evaluates the tokens that are new in it.

        With stride = length windows are adjacent, as in training and in nanoGPT's evaluation. With a smaller stride all
        tokens after the first window have more than length - stride tokens of context. The last window is moved back
        to have full length.
        """
        if not 1 <= stride <= self.length:
            raise InputError(f"stride must lie in [1, {self.length}], got {stride}")
        last = len(stretch.ids) - 1 - self.length
        starts = np.append(np.arange(0, last, stride), last)
        place = starts[:, None] + np.arange(self.length)[None, :]
        judged = np.append(0, starts[:-1] + self.length)  # before this one, by the windows before
        return Windows(stretch.ids[place], stretch.ids[place + 1], place >= judged[:, None])


def _stretch(language: Language, sentences: Sequence[str]) -> Stretch:
    ids = [EOS]
    for sentence in sentences:
        ids += [*language.ids(sentence), EOS]
    return Stretch(np.array(ids, np.int32), sum(len(sentence) + 1 for sentence in sentences))
