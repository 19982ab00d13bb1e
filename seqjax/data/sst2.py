"""A strict reader of SST-2: sentences with a class each."""

from pathlib import Path
from typing import NamedTuple

from seqjax.data.files import DataError, contents, excerpt, filled, read_lines


class Example(NamedTuple):
    """A sentence and its class."""

    sentence: str
    label: int


class Examples(NamedTuple):
    """Sentences with their classes, and how many were left out: empty, or malformed where the caller allowed it."""

    rows: list[Example]
    skipped: int


def read_sst2(path: Path, *, skip_bad: bool = False) -> Examples:
    """Sentences of film reviews as in SST-2 (Socher et al. 2013, D13-1170): sentence<TAB>label, a line each, no header.

    Label 0 is negative, 1 positive.

    Args:
        skip_bad: count malformed lines instead of raising.

    Raises:
        DataError: nothing to read, or malformed lines.
    """
    where, rows = str(path), []
    faults: list[str] = []
    lines = read_lines(where, contents(path), faults)
    lines = lines[: filled(lines)]
    for number, line in enumerate(lines, start=1):
        if line is None:
            continue
        columns = line.split("\t")
        if len(columns) != 2:
            faults.append(f"{where}:{number}: expected sentence<TAB>label, found {excerpt(line)}")
        elif columns[1].strip() not in ("0", "1"):
            faults.append(f"{where}:{number}: expected label 0 or 1, found {excerpt(columns[1])}")
        elif sentence := columns[0].strip():
            rows.append(Example(sentence, int(columns[1])))
    if faults and not skip_bad:
        raise DataError(faults)
    if not rows:
        raise DataError([f"{where}: expected sentences with a label, found none"])
    return Examples(rows, len(lines) - len(rows))
