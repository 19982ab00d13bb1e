"""A reader of tables of text: sentences in one column, their labels in another."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from seqjax.data.files import DataError, contents, excerpt, filled, read_lines
from seqjax.data.sst2 import Example


class Table(NamedTuple):
    """Sentences with a class each.

    Attributes:
        rows: sentences; the label of each is its place in `labels`.
        labels: the names of the classes, in alphabetical order.
        skipped: rows left out: without a sentence, or malformed where the caller allowed it.
    """

    rows: list[Example]
    labels: tuple[str, ...]
    skipped: int


def read_table(path: Path, *, text_column: str, label_column: str, skip_bad: bool = False) -> Table:
    """Sentences and labels of a file of comma-separated values, whose first line names the columns; in a .tsv, of tabs.

    Fields in double quotes may hold commas and line ends (RFC 4180).

    Args:
        skip_bad: leave malformed rows out and count them, instead of raising.

    Raises:
        DataError: there is no such column, a row with another number of fields or without a label, damaged quotes, or
            less than two different labels.
        MissingData: there is no such file.
    """
    where, faults = str(path), list[str]()
    lines = read_lines(where, contents(path), faults)
    lines = lines[: filled(lines)]
    header, *rows = _rows(where, [line or "" for line in lines], path.suffix.lower() == ".tsv", faults) or [(1, [])]
    header = [field.strip() for field in header[1]]
    places = []
    for column in (text_column, label_column):
        named = [place for place, name in enumerate(header) if name == column]
        if len(named) != 1:
            found = ", ".join(header) or "nothing"
            raise DataError([f"{where}:1: expected one column named {column}, found {found}"])
        places += named
    kept, unread = list[tuple[str, str]](), {number for number, line in enumerate(lines, start=1) if line is None}
    for line, fields in rows:
        if line in unread:
            continue
        if len(fields) != len(header):
            faults.append(f"{where}:{line}: expected {len(header)} fields, found {len(fields)}")
            continue
        text, label = (fields[place].strip() for place in places)
        if not label:
            faults.append(f"{where}:{line}: expected a label in {label_column}, found {excerpt(label)}")
        elif text:
            kept.append((" ".join(text.split()), label))
    if faults and not skip_bad:
        raise DataError(faults)
    labels = sorted({label for _, label in kept})
    if len(labels) < 2:
        found = f"{len(labels)}{': ' if labels else ''}{', '.join(map(excerpt, labels))}"
        raise DataError([f"{where}: expected two or more different labels in {label_column}, found {found}"])
    examples = [Example(text, labels.index(label)) for text, label in kept]
    return Table(examples, tuple(labels), len(rows) - len(kept))


def _rows(where: str, lines: Iterable[str], tabs: bool, faults: list[str]) -> list[tuple[int, list[str]]]:
    """The fields of each row, with the number of its first line; a fault where quotes are damaged, which ends them."""
    reader = csv.reader((f"{line}\n" for line in lines), "excel-tab" if tabs else "excel", strict=True)
    rows, line = [], 1
    try:
        for fields in reader:
            rows.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.append(f"{where}:{line}: expected fields as of RFC 4180, found {error}")
    return rows
