"""From sentences to token ids and back: vocabularies, and ways to cut a sentence into tokens."""

import base64
import binascii
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Int

from seqjax.types import EOS, PAD, SOS, UNK

RESERVED = ("<pad>", "<sos>", "<eos>", "<unk>")
"""How PAD, SOS, EOS and UNK are spelled, in the order of their ids."""

MARK = "￭"
"""On the side of a token that had no space there (U+FFED, as OpenNMT's tokenizer uses it)."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that have an id: the place of each in `symbols`.

    Text cannot forge a reserved id: a token spelled like a reserved symbol is unknown, as any other that is not here.

    Attributes:
        symbols: `RESERVED`, then the tokens; no two alike.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        first = self.symbols[: len(RESERVED)]
        if first != RESERVED:
            raise ValueError(f"symbols must begin with {RESERVED}, got {first}")
        if len(set(self.symbols)) < len(self.symbols):
            twice = [symbol for symbol, count in Counter(self.symbols).items() if count > 1]
            raise ValueError(f"symbols must be unique, got more than one {twice[0]!r}")

    @classmethod
    def count(cls, sentences: Iterable[Sequence[str]], *, least: int = 1, most: int | None = None) -> "Vocabulary":
        """The tokens of these sentences, the most frequent first, ties in alphabetical order.

        Args:
            least: rarer tokens are left out.
            most: tokens, the reserved ones not counted; None: all of them.
        """
        if least < 1:
            raise ValueError(f"least must be >= 1, got {least}")
        if most is not None and most < 0:
            raise ValueError(f"most must be >= 0, got {most}")
        counts = Counter(token for sentence in sentences for token in sentence)
        kept = [token for token, count in counts.items() if count >= least and token not in RESERVED]
        kept.sort(key=lambda token: (-counts[token], token))
        return cls((*RESERVED, *kept[:most]))

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols) if number >= len(RESERVED)}

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The id of each token, UNK where it has none; EOS is not added here."""
        return [self._ids.get(token, UNK) for token in tokens]

    def decode(self, ids: Iterable[int] | Int[Array | np.ndarray, " time"]) -> list[str]:
        """The symbols up to the first EOS, without PAD and SOS.

        Raises:
            ValueError: an id does not lie in [0, len(self)).
        """
        tokens = []
        for number in map(int, ids):
            if not 0 <= number < len(self):
                raise ValueError(f"ids must lie in [0, {len(self)}), got {number}")
            if number == EOS:
                break
            if number not in (PAD, SOS):
                tokens.append(self.symbols[number])
        return tokens

    def unknown(self, tokens: Sequence[str]) -> list[str]:
        """The tokens that become UNK, each once, in their order."""
        return [token for token in dict.fromkeys(tokens) if token not in self._ids]

    def to_json(self) -> str:
        """The symbols as a JSON array."""
        return json.dumps(self.symbols, ensure_ascii=False, indent=0)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """What `to_json` wrote.

        Raises:
            ValueError: the text is not an array of strings that make a vocabulary.
        """
        try:
            symbols = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"a vocabulary must be JSON: {error}") from None
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ValueError(f"a vocabulary must be a JSON array of strings, got {text[:60]!r}")
        return cls(tuple(symbols))


@runtime_checkable
class Tokenizer(Protocol):
    """A frozen dataclass of strings, numbers and booleans, so that `dataclasses.asdict` of it is plain JSON."""

    def split(self, sentence: str) -> list[str]:
        """The tokens of a sentence."""
        ...

    def join(self, tokens: Sequence[str]) -> str:
        """A sentence of these tokens; `join(split(sentence))` is the sentence as this tokenizer sees it."""
        ...


@dataclass(frozen=True)
class Characters:
    """Every character is a token, the space too; nothing is lost."""

    def split(self, sentence: str) -> list[str]:
        return list(sentence)

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)


@dataclass(frozen=True)
class Words:
    """Runs of letters; whatever else there is separates them and is lost, but for the punctuation that is asked for.

    The usual preparation of Tatoeba pairs (seed S2; the tutorials on sequence-to-sequence learning): "I'm very
    excited!" becomes i m very excited ! and, with `punctuation=""` as in S2, i m very excited.

    Attributes:
        lower: lower-case everything.
        fold: take the accents off (canonical decomposition) and keep the letters A to Z alone.
        punctuation: characters that are tokens of their own.
    """

    lower: bool = True
    fold: bool = True
    punctuation: str = ".!?"

    def __post_init__(self) -> None:
        if any(character.isalpha() or character.isspace() for character in self.punctuation):
            raise ValueError(f"punctuation must hold neither letters nor spaces, got {self.punctuation!r}")

    @cached_property
    def _token(self) -> re.Pattern[str]:
        letters = "[A-Za-z]+" if self.fold else r"[^\W\d_]+"
        return re.compile("|".join([letters, *map(re.escape, self.punctuation)]))

    def split(self, sentence: str) -> list[str]:
        sentence = sentence.lower() if self.lower else sentence
        if self.fold:
            decomposed = unicodedata.normalize("NFD", sentence)
            sentence = "".join(character for character in decomposed if not unicodedata.combining(character))
        else:
            sentence = unicodedata.normalize("NFC", sentence)
        return self._token.findall(sentence)

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


@dataclass(frozen=True)
class MarkedWords:
    """Words and punctuation apart, marked where no space was, so that they can be joined as they were.

    "Ein T-Shirt, bitte." becomes ein t ￭-￭ shirt ￭, bitte ￭. with every letter kept but its case: what is joined can
    be compared with raw references (BLEU with case ignored). Runs of white space count as one space, characters are
    composed (NFC), and the mark itself is a space.

    Attributes:
        lower: lower-case everything.
    """

    lower: bool = True

    def split(self, sentence: str) -> list[str]:
        tokens = []
        for word in _tidy(sentence, self.lower, MARK).split():
            pieces = re.findall(r"\w+|\W", word)
            for place, piece in enumerate(pieces):
                if _is_word(piece):
                    tokens.append(piece)
                    continue
                before = MARK if place > 0 else ""
                # Between two pieces one mark is enough: a following mark of punctuation bears its own.
                after = MARK if place + 1 < len(pieces) and _is_word(pieces[place + 1]) else ""
                tokens.append(before + piece + after)
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        spaced = " ".join(tokens)
        return spaced.replace(f" {MARK}", "").replace(f"{MARK} ", "").replace(MARK, "")


@dataclass(frozen=True)
class Subwords:
    """Byte-pair encoding, frequent words whole and rare ones in pieces (Sennrich et al. 2016, arXiv:1508.07909).

    By sentencepiece, which `pip install 'seqjax[bpe]'` installs. Joined exactly, up to runs of white space and, if
    asked for, case; also characters that the model never saw, which are tokens of their own.

    Attributes:
        model: what sentencepiece learned, its bytes in base 64; `train` makes it.
        lower: lower-case everything.
    """

    model: str
    lower: bool = True

    @classmethod
    def train(cls, sentences: Iterable[str], *, size: int, lower: bool = True) -> "Subwords":
        """Learn `size` pieces at most, the same ones from the same sentences.

        Raises:
            ImportError: sentencepiece is not installed.
            ValueError: there is no text, or `size` cannot hold its characters.
        """
        tidy = [line for sentence in sentences if (line := _tidy(sentence, lower, _SPACE))]
        if not tidy:
            raise ValueError("sentences must hold some text, got none")
        trained = io.BytesIO()
        try:
            _sentencepiece().SentencePieceTrainer.train(
                sentence_iterator=iter(tidy),
                model_writer=trained,
                model_type="bpe",
                vocab_size=size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                normalization_rule_name="identity",
                max_sentence_length=max(10, *(len(line.encode()) for line in tidy)),  # it refuses less than 10
                num_threads=1,
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            characters = len({*"".join(tidy)})
            raise ValueError(f"size must hold the {characters} characters and more, got {size} ({error})") from None
        return cls(base64.b64encode(trained.getvalue()).decode(), lower)

    @cached_property
    def _processor(self) -> Any:
        processor = _sentencepiece().SentencePieceProcessor
        try:
            return processor(model_proto=base64.b64decode(self.model, validate=True))
        except (RuntimeError, binascii.Error):
            raise ValueError(f"model must be sentencepiece's in base 64, got {self.model[:40]!r}") from None

    def split(self, sentence: str) -> list[str]:
        return self._processor.encode(_tidy(sentence, self.lower, _SPACE), out_type=str)

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens).replace(_SPACE, " ").strip()


_SPACE = "▁"  # sentencepiece's own, U+2581


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise ImportError("subwords need sentencepiece: pip install 'seqjax[bpe]'") from None
    return sentencepiece


def _tidy(sentence: str, lower: bool, mark: str) -> str:
    """Composed characters, single spaces, and no character that a tokenizer keeps for itself."""
    sentence = sentence.lower() if lower else sentence
    return " ".join(unicodedata.normalize("NFC", sentence).replace(mark, " ").split())


def _is_word(piece: str) -> bool:
    return piece[0].isalnum() or piece[0] == "_"
