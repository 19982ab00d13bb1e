"""Readers of plain text for language models."""

from pathlib import Path
from typing import NamedTuple

from seqjax.data.files import DataError, contents, filled, read_lines
from seqjax.types import InputError


class Parts(NamedTuple):
    """A text split into training, validation and test parts."""

    train: str
    validation: str
    test: str


class Text(NamedTuple):
    """A text, and how many malformed lines were left out."""

    text: str
    skipped: int


class Sentences(NamedTuple):
    """Sentences, and how many malformed lines were left out."""

    sentences: list[str]
    skipped: int


def read(path: Path, *, skip_bad: bool = False) -> Text:
    """A whole file as one text, a newline character at each line end.

    Args:
        skip_bad: leave malformed lines out and count them, instead of raising.

    Raises:
        DataError: there is no text, or it is not UTF-8.
        FileNotFoundError: there is no such file.
    """
    lines, faults = _lines(path, skip_bad)
    return Text("\n".join(lines), len(faults))


def sentences(path: Path, *, skip_bad: bool = False) -> Sentences:
    """The sentences of a file with one in each line, stripped, such as the Penn Treebank of Mikolov et al. 2010.

    Args:
        skip_bad: as in `read`.

    Raises:
        DataError: there is no text, it is not UTF-8, or a line between others is blank.
        FileNotFoundError: there is no such file.
    """
    lines, faults = _lines(path, skip_bad)
    lines = [line.strip() for line in lines[: filled([*lines])]]
    blank = [f"{path}:{n}: expected a sentence, found none" for n, line in enumerate(lines, start=1) if not line]
    if blank and not skip_bad:
        raise DataError(blank)
    return Sentences([line for line in lines if line], len(faults) + len(blank))


def split(text: str, *, held_out: int) -> Parts:
    """The last `held_out` >= 1 characters for the test, as many before them for validation, the rest for training."""
    if not 1 <= held_out < len(text) / 2:
        raise InputError(f"held_out must lie in [1, {len(text)} / 2), got {held_out}")
    return Parts(text[: -2 * held_out], text[-2 * held_out : -held_out], text[-held_out:])


def _lines(path: Path, skip_bad: bool) -> tuple[list[str], list[str]]:
    """The good lines, and what is wrong with the others."""
    faults: list[str] = []
    lines = read_lines(str(path), contents(path), faults)
    if faults and not skip_bad:
        raise DataError(faults)
    good = [line for line in lines if line is not None]
    if not filled([*good]):
        raise DataError([f"{path}: expected text, found none"])
    return good, faults
