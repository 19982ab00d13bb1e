"""Language: a tokenizer with its vocabulary, from sentences to ids and back."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from jaxtyping import Array, Int

from seqjax.data.batching import Rows, pad
from seqjax.data.tokenizers import Characters, MarkedWords, Subwords, Tokenizer, Whitespace, Words
from seqjax.data.vocabulary import Vocabulary
from seqjax.types import InputError

TOKENIZERS = {kind.__name__: kind for kind in (Characters, Whitespace, Words, MarkedWords, Subwords)}


@dataclass(frozen=True)
class Language:
    """A tokenizer with its vocabulary: sentences to ids and back. Stored in run folders beside the weights."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary

    @classmethod
    def of(cls, tokenizer: Tokenizer, sentences: Iterable[str], *, least: int = 1) -> tuple["Language", Rows]:
        """With the vocabulary of these sentences, and their ids, which are split once.

        Args:
            least: as in `Vocabulary.count`.
        """
        places: defaultdict[str, int] = defaultdict(count().__next__)
        rows = Rows.of([*map(places.__getitem__, tokenizer.split(sentence))] for sentence in sentences)
        counts = np.bincount(rows.ids, minlength=len(places)).tolist()
        vocabulary = Vocabulary.of_counts(dict(zip(places, counts, strict=True)), least=least)
        ids = np.array(vocabulary.encode([*places]), np.int32)
        return cls(tokenizer, vocabulary), Rows(ids[rows.ids], rows.lengths)

    def ids(self, sentence: str) -> list[int]:
        """The ids of a sentence's tokens; UNK for tokens outside the vocabulary."""
        return self.vocabulary.encode(self.tokenizer.split(sentence))

    def rows(self, sentences: Iterable[str]) -> Rows:
        """The ids of many sentences."""
        return Rows.of(map(self.ids, sentences))

    def encode(self, sentences: Iterable[str], length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of sentences, each followed by EOS, of at most `length` tokens in all."""
        return pad(self.rows(sentences), length, end=True)

    def text(self, ids: Sequence[int] | Int[Array | np.ndarray, " time"]) -> str:
        """The sentence up to the first EOS."""
        return self.tokenizer.join(self.vocabulary.decode(ids))

    def unknown(self, sentence: str) -> list[str]:
        """The tokens of a sentence outside the vocabulary."""
        return self.vocabulary.unknown(self.tokenizer.split(sentence))

    def warning(self, sentence: str) -> str | None:
        """A message about the unknown words of a sentence that holds a word at least; None if there are none."""
        if not (ids := self.ids(sentence)):
            raise InputError(f"the sentence must hold a word, got {sentence!r}")
        unknown = self.unknown(sentence)
        return f"read as <unk>: {', '.join(unknown)} ({len(unknown)} of {len(ids)} words)" if unknown else None

    def to_json(self) -> str:
        """Tokenizer and vocabulary as text."""
        kind, fields = type(self.tokenizer).__name__, dataclasses.asdict(self.tokenizer)  # pyright: ignore
        return json.dumps({"tokenizer": {kind: fields}, "vocabulary": json.loads(self.vocabulary.to_json())}, indent=0)

    @classmethod
    def from_json(cls, text: str) -> "Language":
        """The language that `to_json` wrote.

        Raises:
            InputError: it is something else.
        """
        try:
            kept = json.loads(text)
            ((kind, fields),) = kept["tokenizer"].items()
            tokenizer = TOKENIZERS[kind](**fields)
            symbols = json.dumps(kept["vocabulary"])
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InputError(
                f"expected a tokenizer and a vocabulary in JSON, found {text[:60]!r} ({error!r})"
            ) from None
        return cls(tokenizer, Vocabulary.from_json(symbols))
