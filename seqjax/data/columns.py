"""A reader of one column of numbers."""

import csv
import math
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from seqjax.data.files import DataError, excerpt, filled, read_lines


def read_column(path: Path, name: str = "", *, least: int = 1) -> Float64[np.ndarray, " time"]:
    """One column of a file of comma-separated values, whose first line names the columns.

    Args:
        name: of the column; empty: the only one there is.
        least: how many numbers there must be.

    Raises:
        DataError: there is no such column, fewer numbers, a row with another number of fields, a field that is no
            finite number, or the same number everywhere.
        FileNotFoundError: there is no such file.
    """
    faults: list[str] = []
    lines = read_lines(str(path), path.read_bytes(), faults)
    lines = lines[: filled(lines)]
    if faults:
        raise DataError(faults)
    # A line at a time, as no number holds a line end: the number of a line is then that of its row.
    header, *rows = [_fields(line) for line in lines if line is not None] or [[]]
    named = [place for place, column in enumerate(header) if column == name or not name]
    if len(named) != 1:
        wanted = f"one column named {name}" if name else "the name of one column"
        raise DataError([f"{path}:1: expected {wanted}, found {', '.join(header) or 'nothing'}"])
    (place,), numbers = named, []
    for line, fields in enumerate(rows, start=2):
        if len(fields) != len(header):
            faults.append(f"{path}:{line}: expected {len(header)} fields, found {len(fields)}")
            continue
        number = _number(fields[place])
        if number is None:
            faults.append(f"{path}:{line}: expected a number, found {excerpt(fields[place])}")
        else:
            numbers.append(number)
    if faults:
        raise DataError(faults)
    if len(numbers) < least:
        raise DataError([f"{path}: expected {least} numbers or more in {header[place]}, found {len(numbers)}"])
    if least > 1 and min(numbers) == max(numbers):
        raise DataError([f"{path}: expected numbers that vary, found {numbers[0]} in every line of {header[place]}"])
    return np.array(numbers)


def _fields(line: str) -> list[str]:
    return [field.strip() for field in next(csv.reader([line]), [])]


def _number(field: str) -> float | None:
    """The finite number that a field holds, if it holds one."""
    try:
        number = float(field)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
