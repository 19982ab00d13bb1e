"""MATLAB 5 MAT-files: a strict reader of cell arrays of real matrices.

The source is "MAT-File Format" (The MathWorks, R2014a), chapter 1: a header of 128 bytes, then elements, each a tag
with type and size followed by that many bytes, padded to a multiple of 8.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from seqjax.data.files import DataError, contents
from seqjax.types import InputError

MOST_INFLATED = 1 << 29
"""Bytes that all compressed elements of a file may inflate to together. Nottingham has 20 million."""

# Types of elements; those of numbers with their dtypes; classes of arrays, with the flag of complex numbers.
INT32, UINT32, COMPRESSED = 5, 6, 15
NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
CELL, NUMERIC, COMPLEX = 1, range(6, 16), 0x800

Element = tuple[int, memoryview]
"""Type and content."""


# SciPy's `loadmat` uses types from the file as indices without checking them: one changed byte can crash Python.
def read_cells(path: Path, names: Collection[str]) -> dict[str, list[np.ndarray]]:
    """Read the cell arrays of these names, each as a list of its matrices in the dtype in which they are stored.

    Other variables are skipped. No size from the file is used before it is checked against the bytes that are there.

    Raises:
        DataError: a damaged file, or a variable that is missing, present twice, or not a cell array of real matrices.
    """
    content = memoryview(contents(path))
    found: dict[str, list[np.ndarray]] = {}
    try:
        _require(content[124:128] == b"\x00\x01IM", "a little-endian MATLAB 5 file", bytes(content[124:128]))
        for data in _variables(content[128:]):
            kind, (rows, columns), name, parts = _array(data)
            if name in names:
                _require(name not in found, f"one variable {name}", "another")
                _require(kind == CELL, f"{name} to be a cell array", f"class {kind:#x}")
                found[name] = [_matrix(part) for _, part in parts]
                _require(len(found[name]) == rows * columns, f"{rows * columns} cells in {name}", len(found[name]))
        for name in names:
            _require(name in found, f"a variable {name}", "none")
    except ValueError as error:
        raise DataError([f"{path}: {error}"]) from None
    return found


def _require(right: bool, expected: str, found: object) -> None:
    if not right:
        raise InputError(f"expected {expected}, found {found}")


def _elements(data: memoryview) -> Iterator[Element]:
    """Every element; the last one must end where the data end."""
    place = 0
    while place < len(data):
        _require(place + 8 <= len(data), "a tag of 8 bytes", len(data) - place)
        kind, size = struct.unpack_from("<II", data, place)
        start, end = place + 8, place + 8 + size
        if kind >> 16:  # a small element: two bytes of type, two of size, and four of content
            kind, size, start, end = kind & 0xFFFF, kind >> 16, place + 4, place + 8
        elif kind != COMPRESSED:
            end += -size % 8
        _require(start + size <= end <= len(data), f"{size} bytes of an element", min(end, len(data)) - start)
        yield kind, data[start : start + size]
        place = end


def _variables(data: memoryview) -> Iterator[memoryview]:
    left = MOST_INFLATED
    for kind, element in _elements(data):
        if kind != COMPRESSED:
            yield element
            continue
        stream = zlib.decompressobj()
        try:
            inflated = stream.decompress(element, left + 1)
        except zlib.error as error:
            raise InputError(f"expected whole zlib data, found {error}") from None
        left -= len(inflated)
        _require(left >= 0, f"{MOST_INFLATED} bytes of inflated data at most", "more")
        _require(stream.eof and not stream.unused_data, "whole zlib data", "a part of it, or more after it")
        yield from (variable for _, variable in _elements(memoryview(inflated)))


def _array(data: memoryview) -> tuple[int, tuple[int, int], str, Iterator[Element]]:
    """Class (and the flag of complex numbers), shape and name of an array, and the elements of its content."""
    content = _elements(data)
    head = list(islice(content, 3))
    found = [(kind, len(part)) for kind, part in head]
    _require(len(found) == 3 and found[:2] == [(UINT32, 8), (INT32, 8)], "array flags, 2 dimensions and a name", found)
    (_, flags), (_, shape), (_, name) = head
    kind = struct.unpack_from("<I", flags)[0] & (COMPLEX | 0xFF)
    return kind, struct.unpack("<II", shape), bytes(name).decode("latin-1"), content


def _matrix(data: memoryview) -> np.ndarray:
    kind, shape, _, content = _array(data)
    stored, numbers = next(content, (0, b""))
    _require(kind in NUMERIC and stored in NUMBERS, "real numbers", f"class {kind:#x}, stored as type {stored}")
    dtype = np.dtype(NUMBERS[stored])
    _require(len(numbers) == math.prod(shape) * dtype.itemsize, f"{list(shape)} of {dtype}", f"{len(numbers)} bytes")
    return np.frombuffer(numbers, dtype).reshape(shape, order="F")
