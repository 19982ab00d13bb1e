"""Readers of plain text for language models."""

from pathlib import Path
from typing import NamedTuple

from seqjax.data.files import DataError, filled, read_lines


class Parts(NamedTuple):
    """A text split into training, validation and test parts."""

    train: str
    validation: str
    test: str


def read(path: Path) -> str:
    """A whole file as one text, a newline character at each line end.

    Raises:
        DataError: there is no text, or it is not UTF-8.
        FileNotFoundError: there is no such file.
    """
    lines = _lines(path)
    return "\n".join(lines)


def sentences(path: Path) -> list[str]:
    """The sentences of a file with one in each line, stripped, such as the Penn Treebank of Mikolov et al. 2010.

    Raises:
        DataError: there is no text, it is not UTF-8, or a line between others is blank.
        FileNotFoundError: there is no such file.
    """
    lines = [line.strip() for line in _lines(path)]
    lines = lines[: filled([*lines])]
    blank = [f"{path}:{n}: expected a sentence, found none" for n, line in enumerate(lines, start=1) if not line]
    if blank:
        raise DataError(blank)
    return lines


def split(text: str, *, held_out: int) -> Parts:
    """The last `held_out` >= 1 characters for the test, as many before them for validation, the rest for training."""
    if not 1 <= held_out < len(text) / 2:
        raise ValueError(f"held_out must lie in [1, {len(text)} / 2), got {held_out}")
    return Parts(text[: -2 * held_out], text[-2 * held_out : -held_out], text[-held_out:])


def _lines(path: Path) -> list[str]:
    faults: list[str] = []
    lines = read_lines(str(path), path.read_bytes(), faults)
    if faults:
        raise DataError(faults)
    if not filled(lines):
        raise DataError([f"{path}: expected text, found none"])
    return [line for line in lines if line is not None]
