"""Tokenizers: a sentence as tokens, and back."""

import base64
import binascii
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

MARK = "￭"
"""On the side of a token that had no space there (U+FFED, as OpenNMT's tokenizer uses it)."""


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
class Whitespace:
    """Words are what stands between spaces: for a text that was cut into words before."""

    def split(self, sentence: str) -> list[str]:
        return sentence.split()

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens)


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
