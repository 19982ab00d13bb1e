"""A strict reader of treebanks in the CoNLL-U format, for what a tagger needs of them: words and their tags."""

import re
from pathlib import Path
from typing import NamedTuple

from seqjax.data.files import DataError, contents, excerpt, filled, read_lines

UPOS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
    "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
"""The universal parts of speech (universaldependencies.org/u/pos); the place of each is its number as a class."""

COLUMNS = 10

NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")
"""The ids of multi-word tokens (4-5) and empty nodes (8.1)."""


class Sentence(NamedTuple):
    """The words of a sentence, as they were written, and the universal part of speech of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class Treebank(NamedTuple):
    """Sentences, and how many were left out because they were malformed and the caller allowed it."""

    sentences: list[Sentence]
    skipped: int


def conllu(path: Path, *, skip_bad: bool = False) -> Treebank:
    """The sentences of a file in CoNLL-U (universaldependencies.org/format.html): a word a line, ten columns.

    Comments and rows with a range or a decimal number for an id are ignored. An empty line ends a sentence.

    Args:
        skip_bad: leave sentences with a fault out and count them, instead of raising.

    Raises:
        DataError: nothing to read, or malformed lines.
    """
    where, faults = str(path), list[str]()
    lines = read_lines(where, contents(path), faults)
    sentences, skipped = [], 0
    words, tags = list[str](), list[str]()
    expected, bad = 1, False
    for number, line in enumerate([*lines[: filled(lines)], ""], start=1):
        if line is not None and not line.strip():
            if bad:
                skipped += 1
            elif words:
                sentences.append(Sentence(tuple(words), tuple(tags)))
            words, tags, expected, bad = [], [], 1, False
            continue
        if line is not None and line.startswith("#"):
            continue
        fault = None if line is None else _fault(line, expected)
        if fault:
            faults.append(f"{where}:{number}: {fault}")
        bad = bad or line is None or fault is not None
        columns = (line or "").split("\t")
        if NO_WORD.fullmatch(columns[0]):
            continue
        # After a wrong id, count on from it where it is one: a gap is one fault, not one for each line after it.
        expected = 1 + (int(columns[0]) if re.fullmatch(r"[0-9]{1,9}", columns[0]) else expected)
        if not bad:
            words.append(columns[1])
            tags.append(columns[3])
    if faults and not skip_bad:
        raise DataError(faults)
    if not sentences:
        raise DataError([f"{where}: expected sentences, found none"])
    return Treebank(sentences, skipped)


def _fault(line: str, expected: int) -> str | None:
    """What is wrong with a row, if anything."""
    columns = line.split("\t")
    if len(columns) != COLUMNS:
        return f"expected {COLUMNS} columns with tabs between them, found {len(columns)}: {excerpt(line)}"
    place, word, _, tag = columns[:4]
    if NO_WORD.fullmatch(place):
        return None
    if place != str(expected):
        return f"expected the id {expected}, found {excerpt(place)}"
    if not word.strip():
        return f"expected a word in column 2, found {excerpt(word)}"
    if tag not in UPOS:
        return f"expected a universal part of speech in column 4, found {excerpt(tag)}"
    return None
