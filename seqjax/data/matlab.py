"""MATLAB's MAT-files: a strict reader of their arrays of numbers and of cells.

Level 5, as MATLAB writes it up to version 7; the source is "MAT-File Format" (The MathWorks, R2014a), chapter 1: a
header of 128 bytes, then data elements, each a tag with type and size followed by so many bytes, padded to whole 8.
"""

import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from seqjax.data.files import DataError

HEADER = 128

ORDERS: dict[bytes, Literal["<", ">"]] = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
"""Version 0x0100 and the letters MI, the end of the header, as either order of bytes has them."""

MOST_INFLATED = 1 << 29
"""Bytes, of all that a file holds compressed: a thousand may come out of one. Nottingham has 20 million."""

MOST_NESTED = 8
"""Cells within cells."""

# Types of data elements.
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}

# Classes of arrays; 16 and 17 are not in the source, but MATLAB writes them.
CELL, OPAQUE = 1, 17
NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
OTHERS = {2: "a struct", 3: "an object", 4: "text", 5: "a sparse array", 16: "a function", 17: "an object"}
COMPLEX = 0x800


def read(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The variables of these names: numbers in the dtype of their class, cells as an array of objects.

    What is logical comes as uint8, a cell that was never filled as 0 x 0. Other variables are passed over, whatever
    they hold. Nothing is read from beyond the element that it belongs to, and no size is believed before it is checked
    against the bytes that are there.

    Raises:
        DataError: a damaged file, or a variable that is missing, there twice, or neither real numbers nor cells of
            such; names the byte, and `element + byte` within what an element inflates to.
    """
    file = _opened(path)
    found: dict[str, np.ndarray] = {}
    left = MOST_INFLATED
    while file.place < file.end:
        matrix = file.element("a variable", MATRIX, COMPRESSED)
        if matrix.kind == COMPRESSED:
            inflated = matrix.inflated(left)
            left -= inflated.end
            matrix = inflated.element("a variable", MATRIX)
            inflated.ended()
        head = _head(matrix)
        if head.name not in names:
            continue
        if head.name in found:
            raise matrix.fault(matrix.start, f"one variable {head.name}", "another")
        found[head.name] = _array(matrix, head, head.name)
    if missing := [name for name in names if name not in found]:
        raise file.fault(file.end, f"a variable {' and '.join(missing)}", "the end")
    return found


@dataclass
class _Data:
    """A range of bytes, read up to `place`.

    Attributes:
        content: the file, or what one of its elements inflates to.
        base: prefix of places in error texts: "", or that element's place and a plus.
        start: of the element whose data it is: the place of its tag.
        kind: the type of that element.
    """

    path: Path
    content: memoryview
    order: Literal["<", ">"]
    place: int
    end: int
    base: str = ""
    start: int = 0
    kind: int = 0

    def fault(self, place: int, expected: str, found: object) -> DataError:
        return DataError([f"{self.path}: byte {self.base}{place}: expected {expected}, found {found}"])

    def element(self, what: str, *kinds: int) -> "_Data":
        """The data of the next element, which must be of one of these types; reading continues after it."""
        start, body, end = self.place, self.place + 8, self.end
        if body > end:
            raise self.fault(start, f"8 bytes, the tag of {what}", f"the end at byte {self.base}{end}")
        kind, size = struct.unpack_from(f"{self.order}II", self.content, start)
        if kind >> 16:  # a small element: two bytes of size, two of type, and the data in the other four
            kind, size, body, end = kind & 0xFFFF, kind >> 16, start + 4, body
        if kind not in kinds:
            raise self.fault(start, f"{what}, of type {' or '.join(map(str, kinds))}", f"type {kind}")
        filling = 0 if kind == COMPRESSED else (start - body - size) % 8
        self.place = body + size + filling
        if self.place > end:
            found = f"one that ends at byte {self.base}{self.place}"
            raise self.fault(start, f"{what} that ends by byte {self.base}{end}", found)
        return replace(self, place=body, end=body + size, start=start, kind=kind)

    def ended(self) -> None:
        if self.place < self.end:
            raise self.fault(self.place, "the end", f"{self.end - self.place} more bytes")

    def values(self, kind: int) -> np.ndarray:
        """All that is left, as numbers of a type, of whose size it must be a multiple."""
        dtype = np.dtype(STORED[kind]).newbyteorder(self.order)
        if (self.end - self.place) % dtype.itemsize:
            raise self.fault(self.place, f"numbers of {dtype.itemsize} bytes", f"{self.end - self.place} bytes")
        return np.frombuffer(self.content[self.place : self.end], dtype)

    def inflated(self, most: int) -> "_Data":
        """What it holds compressed."""
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(self.content[self.place : self.end], most + 1)
        except zlib.error as error:
            raise self.fault(self.start, "whole zlib data", error) from None
        if len(content) > most:
            raise self.fault(self.start, f"data that inflate to {most} bytes at most", "more")
        if not stream.eof or stream.unused_data:
            found = f"{len(stream.unused_data)} bytes after it" if stream.eof else "a part of it"
            raise self.fault(self.start, "whole zlib data", found)
        return replace(self, content=memoryview(content), place=0, end=len(content), base=f"{self.start}+")


def _opened(path: Path) -> _Data:
    content = path.read_bytes()
    if len(content) < HEADER:
        raise DataError([f"{path}: byte 0: expected a header of {HEADER} bytes, found the end at byte {len(content)}"])
    mark = content[HEADER - 4 : HEADER]
    if mark not in ORDERS:
        expected = " or ".join(mark.hex(" ") for mark in ORDERS)
        raise DataError([f"{path}: byte {HEADER - 4}: expected {expected}, found {mark.hex(' ')}"])
    return _Data(path, memoryview(content), ORDERS[mark], HEADER, len(content))


class _Head(NamedTuple):
    """How a matrix begins."""

    shape: tuple[int, ...]
    flags: int
    name: str

    @property
    def kind(self) -> int:
        """Its class."""
        return self.flags & 0xFF


def _head(matrix: _Data) -> _Head:
    part = matrix.element("array flags", UINT32)
    flags = part.values(UINT32)
    if len(flags) != 2:
        raise part.fault(part.start, "array flags of 8 bytes", f"{4 * len(flags)}")
    shape: tuple[int, ...] = ()
    if int(flags[0]) & 0xFF != OPAQUE:  # which alone has no dimensions
        part = matrix.element("dimensions", INT32)
        shape = tuple(map(int, part.values(INT32)))
        # NumPy has no more axes, nor longer ones even where another is 0.
        if not 2 <= len(shape) <= 64 or min(shape) < 0 or math.prod(max(1, length) for length in shape) >= 1 << 60:
            raise part.fault(part.start, "2 to 64 dimensions >= 0, for less than 2**60 numbers", list(shape))
    part = matrix.element("an array name", INT8)
    name = bytes(part.content[part.place : part.end])
    if not name.isascii():
        raise part.fault(part.start, "an array name in ASCII", name)
    return _Head(shape, int(flags[0]), name.decode())


def _array(matrix: _Data, head: _Head, name: str, depth: int = 0) -> np.ndarray:
    """The rest of a matrix, after its head; `name` is that of the variable, for cells have none."""
    if head.kind == CELL:
        found = _cells(matrix, head.shape, name, depth)
    elif head.kind in NUMBERS and not head.flags & COMPLEX:
        found = _numbers(matrix, head, name)
    else:
        other = "complex numbers" if head.kind in NUMBERS else OTHERS.get(head.kind, f"class {head.kind}")
        raise matrix.fault(matrix.start, f"numbers or cells in {name}", other)
    matrix.ended()
    return found


def _cells(matrix: _Data, shape: tuple[int, ...], name: str, depth: int) -> np.ndarray:
    count, left = math.prod(shape), matrix.end - matrix.place
    if 8 * count > left:
        raise matrix.fault(matrix.place, f"{count} cells in {name}, of 8 bytes or more", f"{left} bytes")
    if depth == MOST_NESTED:
        raise matrix.fault(matrix.start, f"cells in {name} nested {MOST_NESTED} deep at most", "more")
    cells = np.empty(count, object)
    for number in range(count):
        cell = matrix.element(f"a cell of {name}", MATRIX)
        empty = cell.place == cell.end
        cells[number] = np.empty((0, 0)) if empty else _array(cell, _head(cell), name, depth + 1)
    return cells.reshape(shape, order="F")


def _numbers(matrix: _Data, head: _Head, name: str) -> np.ndarray:
    """In the dtype of the class: MATLAB stores small whole numbers of any in fewer bytes."""
    part = matrix.element(f"numbers of {name}", *STORED)
    stored, dtype = part.values(part.kind), np.dtype(NUMBERS[head.kind])
    if len(stored) != math.prod(head.shape):
        raise part.fault(part.start, f"{math.prod(head.shape)} numbers of {name}", len(stored))
    with np.errstate(all="ignore"):
        numbers = stored.astype(dtype)
    lost = (numbers != stored) & (numbers == numbers)  # NaN is NaN
    if lost.any():
        raise part.fault(part.start, f"numbers of {name} that are {dtype}", stored[lost][0])
    return numbers.reshape(head.shape, order="F")
