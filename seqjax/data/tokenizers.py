"""Tokenizers: a sentence as tokens, and back."""

import base64
import binascii
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from seqjax.types import InputError

MARK = "￭"
"""Marks the side of a token where there was no space (U+FFED, as in OpenNMT's tokenizer)."""


@runtime_checkable
class Tokenizer(Protocol):
    """A frozen dataclass of strings, numbers and booleans, so that `dataclasses.asdict` of it is plain JSON."""

    def split(self, sentence: str) -> list[str]:
        """The tokens of a sentence."""
        ...

    def join(self, tokens: Sequence[str]) -> str:
        """The inverse of `split`, up to what the tokenizer normalises."""
        ...


@dataclass(frozen=True)
class Characters:
    """Every character is a token, spaces included; lossless."""

    def split(self, sentence: str) -> list[str]:
        return list(sentence)

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)


@dataclass(frozen=True)
class Whitespace:
    """Split at white space: for text that is already tokenised."""

    def split(self, sentence: str) -> list[str]:
        return sentence.split()

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


@dataclass(frozen=True)
class Words:
    """Runs of letters with their marks; everything else separates words and is dropped, except `punctuation`.

    As usual for Tatoeba pairs: "I'm very excited!" becomes i m very excited ! and, with `punctuation=""` as in the
    tutorial `translation`, i m very excited.

    Attributes:
        lower: convert to lower case.
        fold: remove the accents of Latin, Greek and Cyrillic letters. Marks of other scripts, such as the vowel signs
            of Hindi, are parts of letters and stay.
        punctuation: characters that are tokens of their own.
    """

    lower: bool = True
    fold: bool = True
    punctuation: str = ".!?"

    def __post_init__(self) -> None:
        if any(unicodedata.category(character)[0] in "LM" or character.isspace() for character in self.punctuation):
            raise InputError(f"punctuation must contain neither letters nor spaces, got {self.punctuation!r}")

    @cached_property
    def _token(self) -> re.Pattern[str]:
        # ASCII apart: that a space is in none of the hundreds of ranges of letters takes a microsecond, for every word.
        ascii, other = "[A-Za-z]", r"(?![\0-\x7f])"
        letters = _characters("L")
        rest = f"{ascii}*(?:{other}[{letters}{_attached()}]{ascii}*)*"
        return re.compile("|".join([ascii + rest, f"{other}[{letters}]{rest}", *map(re.escape, self.punctuation)]))

    @cached_property
    def _spaces(self) -> str:
        """The characters of ASCII, with a space for each that is in no token."""
        return "".join(mark if mark.isalpha() or mark in self.punctuation else " " for mark in map(chr, range(128)))

    def split(self, sentence: str) -> list[str]:
        sentence = sentence.lower() if self.lower else sentence
        if sentence.isascii():  # the same tokens in a third of the time
            for mark in self.punctuation:
                sentence = sentence.replace(mark, f" {mark} ")
            return sentence.translate(self._spaces).split()
        if self.fold:
            sentence = _ACCENT.sub("", unicodedata.normalize("NFD", sentence))
        return self._token.findall(unicodedata.normalize("NFC", sentence))

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


@dataclass(frozen=True)
class MarkedWords:
    """Words and punctuation as separate tokens, with marks where there was no space, so that joining is exact.

    "Ein T-Shirt, bitte." becomes ein t ￭-￭ shirt ￭, bitte ￭. Joined text can be compared with raw references (BLEU
    with case ignored). Runs of white space count as one space, characters are composed (NFC); the mark is a space.

    Attributes:
        lower: convert to lower case.
        lines: for running text: each line end is a token, instead of white space.
    """

    lower: bool = True
    lines: bool = False

    def split(self, sentence: str) -> list[str]:
        if not self.lines:
            return self._split(sentence)
        first, *others = map(self._split, sentence.split("\n"))
        return first + [token for line in others for token in ("\n", *line)]

    def _split(self, sentence: str) -> list[str]:
        tokens = []
        for word in _tidy(sentence, self.lower, MARK).split():
            pieces = _pieces().findall(word)
            for place, piece in enumerate(pieces):
                if _is_word(piece):
                    tokens.append(piece)
                    continue
                before = MARK if place > 0 else ""
                # Between two pieces one mark is enough: following punctuation has its own.
                after = MARK if place + 1 < len(pieces) and _is_word(pieces[place + 1]) else ""
                tokens.append(before + piece + after)
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        spaced = " ".join(tokens).replace(" \n", "\n").replace("\n ", "\n")
        return spaced.replace(f" {MARK}", "").replace(f"{MARK} ", "").replace(MARK, "")


@dataclass(frozen=True)
class Subwords:
    """Byte-pair encoding: frequent words are one token, rare words several (Sennrich et al. 2016, arXiv:1508.07909).

    Needs sentencepiece (`pip install 'seqjax[bpe]'`). Joining is exact up to white space and, with `lower`, case.

    Attributes:
        model: the serialised sentencepiece model in base 64; made by `train`.
        lower: convert to lower case.
    """

    model: str
    lower: bool = True

    @classmethod
    def train(cls, sentences: Iterable[str], *, size: int, lower: bool = True) -> "Subwords":
        """Learn at most `size` pieces; deterministic.

        Raises:
            ImportError: sentencepiece is not installed.
            InputError: there is no text, or `size` cannot hold its characters.
        """
        tidy = [line for sentence in sentences if (line := _tidy(sentence, lower, _SPACE))]
        if not tidy:
            raise InputError("sentences must hold some text, got none")
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
            raise InputError(f"size must hold the {characters} characters and more, got {size} ({error})") from None
        return cls(base64.b64encode(trained.getvalue()).decode(), lower)

    @cached_property
    def _processor(self) -> Any:
        processor = _sentencepiece().SentencePieceProcessor
        try:
            return processor(model_proto=base64.b64decode(self.model, validate=True))
        except (RuntimeError, binascii.Error):
            raise InputError(f"model must be sentencepiece's in base 64, got {self.model[:40]!r}") from None

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
    """Composed characters, single spaces, and no `mark`."""
    sentence = sentence.lower() if lower else sentence
    return " ".join(unicodedata.normalize("NFC", sentence).replace(mark, " ").split())


def _is_word(piece: str) -> bool:
    return piece[0].isalnum() or piece[0] == "_"


_ACCENT = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\ufe20-\ufe2f]")
"""The marks that belong to no script in particular: Unicode's blocks of combining diacritical marks."""


@cache
def _pieces() -> re.Pattern[str]:
    """A word, or one other character with its marks."""
    return re.compile(rf"\w[\w{_attached()}]*|\W[{_attached()}]*")


def _attached() -> str:
    """What continues a word without being a letter: marks, and the joiners of Persian and Indic scripts."""
    return _characters("M") + "\u200c\u200d\U000e0100-\U000e01ef"


@cache
def _characters(kind: str) -> str:
    """The letters (L) or marks (M) of Unicode, as they are written between the brackets of a regular expression."""
    # `\w` lacks marks and has numerals. The signs of ordinal numbers are letters to Unicode alone.
    found = groupby(range(0x40000), lambda n: unicodedata.category(chr(n))[0] == kind and chr(n) not in "ªº")
    ranges = [[*points] for inside, points in found if inside]
    return "".join(f"{chr(points[0])}-{chr(points[-1])}" for points in ranges)
