"""Vocabularies: tokens and their ids."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from jaxtyping import Array, Int

from seqjax._checks import at_least
from seqjax.types import EOS, PAD, SOS, UNK, InputError

RESERVED = ("<pad>", "<sos>", "<eos>", "<unk>")
"""The symbols of PAD, SOS, EOS and UNK, in the order of their ids."""


@dataclass(frozen=True)
class Vocabulary:
    """A list of symbols; the id of a symbol is its index.

    A token spelled like a reserved symbol is encoded as UNK, so that text cannot contain a reserved id.

    Attributes:
        symbols: `RESERVED`, then the tokens, without repetition.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        first = self.symbols[: len(RESERVED)]
        if first != RESERVED:
            raise InputError(f"symbols must begin with {RESERVED}, got {first}")
        if len(set(self.symbols)) < len(self.symbols):
            twice = [symbol for symbol, count in Counter(self.symbols).items() if count > 1]
            raise InputError(f"symbols must be unique, got more than one {twice[0]!r}")

    @classmethod
    def count(cls, sentences: Iterable[Sequence[str]], *, least: int = 1) -> "Vocabulary":
        """The vocabulary of these sentences, the most frequent tokens first, ties in alphabetical order.

        Args:
            least: rarer tokens are left out.
        """
        return cls.of_counts(Counter(chain.from_iterable(sentences)), least=least)

    @classmethod
    def of_counts(cls, counts: Mapping[str, int], *, least: int = 1) -> "Vocabulary":
        """As `count`, of tokens that are counted already."""
        at_least(1, least=least)
        kept = [token for token, count in counts.items() if count >= least and token not in RESERVED]
        kept.sort(key=lambda token: (-counts[token], token))
        return cls((*RESERVED, *kept))

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _ids(self) -> "_Ids":
        return _Ids((symbol, number) for number, symbol in enumerate(self.symbols) if number >= len(RESERVED))

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The id of each token; UNK if it has none. Does not append EOS."""
        return [*map(self._ids.__getitem__, tokens)]

    def decode(self, ids: Iterable[int] | Int[Array | np.ndarray, " time"]) -> list[str]:
        """The symbols of ids in [0, len(self)) up to the first EOS, without PAD and SOS."""
        tokens = []
        for number in map(int, ids):
            if not 0 <= number < len(self):
                raise InputError(f"ids must lie in [0, {len(self)}), got {number}")
            if number == EOS:
                break
            if number not in (PAD, SOS):
                tokens.append(self.symbols[number])
        return tokens

    def unknown(self, tokens: Sequence[str]) -> list[str]:
        """The distinct tokens that become UNK, in order of appearance."""
        return [token for token in dict.fromkeys(tokens) if token not in self._ids]

    def to_json(self) -> str:
        """The symbols as a JSON array."""
        return json.dumps(self.symbols, ensure_ascii=False, indent=0)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """The vocabulary that `to_json` wrote.

        Raises:
            InputError: the text is not an array of strings that make a vocabulary.
        """
        try:
            symbols = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"a vocabulary must be JSON: {error}") from None
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise InputError(f"a vocabulary must be a JSON array of strings, got {text[:60]!r}")
        return cls(tuple(symbols))


class _Ids(dict[str, int]):
    def __missing__(self, token: str) -> int:
        return UNK
