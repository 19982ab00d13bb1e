import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from seqjax.data import matlab
from seqjax.data.files import DataError

DTYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
CELL, TEXT, SPARSE, DOUBLE, UINT8, INT16, UINT64, OPAQUE = 1, 4, 5, 6, 9, 10, 15, 17
"""Classes."""


# A writer of our own, from the source: for big endian, which SciPy does not write, and for what is wrong.


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def small(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")


def head(name: str, kind: int, shape: tuple[int, ...], order: str = "<", flags: int = 0) -> bytes:
    return (
        element(6, struct.pack(f"{order}II", flags << 8 | kind, 0), order)
        + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
        + (small if 0 < len(name) <= 4 else element)(1, name.encode(), order)
    )


def matrix(name: str, kind: int, shape: tuple[int, ...], data: bytes, order: str = "<", flags: int = 0) -> bytes:
    return element(14, head(name, kind, shape, order, flags) + data, order)


def compressed(data: bytes, order: str = "<") -> bytes:
    packed = zlib.compress(data)
    return struct.pack(f"{order}II", 15, len(packed)) + packed


def written(folder: Path, *elements: bytes, order: str = "<") -> Path:
    path = folder / "made.mat"
    mark = struct.pack(f"{order}HH", 0x0100, ord("M") << 8 | ord("I"))
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + mark + b"".join(elements))
    return path


def cells(*found) -> np.ndarray:
    made = np.empty((1, len(found)), object)
    made[0, :] = found
    return made


def assert_same(expected: np.ndarray, actual: np.ndarray):
    assert actual.dtype == expected.dtype.newbyteorder("=")
    assert actual.shape == expected.shape
    if actual.dtype == object:
        for one, other in zip(expected.ravel(), actual.ravel(), strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(expected, actual)


NUMBERS = st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=2, max_dims=4, min_side=0)))
VARIABLES = st.recursive(NUMBERS, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda one: cells(*one)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=VARIABLES, two=VARIABLES, compress=st.booleans())
def test_what_scipy_wrote_is_read_as_scipy_reads_it(one, two, compress, tmp_path):
    path = tmp_path / "scipy.mat"
    savemat(path, {"one": one, "number_two": two}, do_compression=compress)
    expected = loadmat(path, mat_dtype=True)
    found = matlab.read(path, ["number_two", "one"])
    assert set(found) == {"one", "number_two"}
    for name, variable in found.items():
        assert_same(expected[name], variable)
    assert_same(two, found["number_two"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pack", [compressed, lambda data, order: data])
def test_both_orders_of_bytes(order, pack, tmp_path):
    """Whole numbers in fewer bytes than their class has, which is how MATLAB stores them; small elements and not."""
    pair = matrix("", INT16, (1, 2), small(3, struct.pack(f"{order}2h", -2, 515), order), order)
    three = matrix("", UINT8, (3, 1), small(2, b"\1\2\3", order), order)
    path = written(
        tmp_path,
        pack(matrix("x", DOUBLE, (2, 3), element(4, struct.pack(f"{order}6H", *range(1, 7)), order), order), order),
        pack(matrix("pieces", CELL, (1, 2), pair + three, order), order),
        pack(matrix("long", UINT64, (1, 1), element(13, struct.pack(f"{order}Q", 2**64 - 2), order), order), order),
        order=order,
    )
    found = matlab.read(path, ("x", "pieces", "long"))
    assert_same(np.array([[1.0, 3, 5], [2, 4, 6]]), found["x"])
    assert_same(cells(np.array([[-2, 515]], "i2"), np.array([[1], [2], [3]], "u1")), found["pieces"])
    assert_same(np.array([[2**64 - 2]], "u8"), found["long"])
    expected = loadmat(path, mat_dtype=True)
    for name, variable in found.items():
        assert_same(expected[name], variable)


def test_a_cell_that_was_never_filled_is_empty(tmp_path):
    path = written(tmp_path, matrix("x", CELL, (1, 1), element(14, b"")))
    assert_same(cells(np.empty((0, 0))), matlab.read(path, ["x"])["x"])


def test_logical_is_zero_and_one(tmp_path):
    path = tmp_path / "logical.mat"
    savemat(path, {"x": np.array([[True, False, True]])})
    assert_same(np.array([[1, 0, 1]], "u1"), matlab.read(path, ["x"])["x"])


OTHERS = {
    "a struct": {"field": 1.0},
    "text": "a tune",
    "a sparse array": csc_array(np.eye(3)),
    "complex numbers": np.array([[1 + 2j]]),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(("told", "other"), OTHERS.items())
def test_other_variables_are_passed_over_but_named_where_asked_for(told, other, compress, tmp_path):
    path = tmp_path / "others.mat"
    savemat(path, {"other": other, "x": np.eye(2), "nested": cells(np.eye(2), other)}, do_compression=compress)
    assert_same(np.eye(2), matlab.read(path, ["x"])["x"])
    where = r"128\+0" if compress else "128"
    with pytest.raises(DataError, match=rf"mat: byte {where}: expected numbers or cells in other, found {told}$"):
        matlab.read(path, ["other"])
    with pytest.raises(DataError, match=rf"expected numbers or cells in nested, found {told}$"):
        matlab.read(path, ["x", "nested"])


def test_an_object_without_dimensions_is_passed_over(tmp_path):
    flags = element(6, struct.pack("<II", OPAQUE, 0))
    opaque = element(14, flags + small(1, b"o") + small(1, b"MCOS") + element(1, b"string"))
    path = written(tmp_path, opaque, ONE)
    assert_same(np.array([[7]], "u1"), matlab.read(path, ["one"])["one"])
    with pytest.raises(DataError, match=r"mat: byte 128: expected numbers or cells in o, found an object$"):
        matlab.read(path, ["o"])


def test_what_is_missing_is_named(tmp_path):
    path = written(tmp_path, ONE)
    with pytest.raises(DataError, match=rf"mat: byte {128 + len(ONE)}: expected a variable two and three, found the"):
        matlab.read(path, ["two", "one", "three"])


def nested(depth: int) -> bytes:
    """Cells in cells of `one`."""
    inner = matrix("", UINT8, (1, 1), small(2, b"\7"))
    for _ in range(depth - 1):
        inner = matrix("", CELL, (1, 1), inner)
    return matrix("one", CELL, (1, 1), inner)


def test_cells_are_nested_to_a_bound(tmp_path):
    found = matlab.read(written(tmp_path, nested(matlab.MOST_NESTED)), ["one"])["one"]
    for _ in range(matlab.MOST_NESTED):
        found = found[0, 0]
    assert_same(np.array([[7]], "u1"), found)
    with pytest.raises(DataError, match="expected cells in one nested 8 deep at most, found more"):
        matlab.read(written(tmp_path, nested(matlab.MOST_NESTED + 1)), ["one"])


# The places in ONE, a uint8 7: tag 128, flags 136, dimensions 152, name 168, numbers 176, end 184.
ONE = matrix("one", UINT8, (1, 1), small(2, b"\7"))
FLAGS, SHAPE, NAME = ONE[8:24], ONE[24:40], ONE[40:48]
LAST = zlib.compress(ONE)

FAULTS = {
    # What does not end where it should.
    "tag": ([ONE[:5]], r"128: expected 8 bytes, the tag of a variable, found the end at byte 133"),
    "matrix": ([ONE[:-1]], r"128: expected a variable that ends by byte 183, found one that ends at byte 184"),
    "behind": ([ONE, bytes(7)], r"184: expected 8 bytes, the tag of a variable, found the end at byte 191"),
    "leftover": (
        [matrix("one", UINT8, (1, 1), small(2, b"\7") + bytes(16))],
        r"184: expected the end, found 16 more bytes",
    ),
    "no name": (
        [element(14, FLAGS + SHAPE), ONE],
        r"168: expected 8 bytes, the tag of an array name, found the end at",
    ),
    "name beyond its matrix": (
        [element(14, FLAGS + SHAPE + struct.pack("<II", 1, 17)), ONE],
        r"168: expected an array name that ends by byte 176, found one that ends at byte 200",
    ),
    "numbers beyond their matrix": (
        [matrix("one", UINT8, (1, 9), struct.pack("<II", 2, 9) + bytes(8)), ONE],
        r"176: expected numbers of one that ends by byte 192, found one that ends at byte 200",
    ),
    "small of five": (
        [matrix("one", UINT8, (1, 5), struct.pack("<I", 5 << 16 | 2) + bytes(12))],
        r"176: expected numbers of one that ends by byte 184, found one that ends at byte 192",
    ),
    # What is of another type.
    "variable": ([element(5, bytes(8))], r"128: expected a variable, of type 14 or 15, found type 5"),
    "shape": ([element(14, FLAGS + element(6, bytes(8)))], r"152: expected dimensions, of type 5, found type 6"),
    "numbers": (
        [matrix("one", UINT8, (1, 1), element(16, b"\7"))],
        r"176: expected numbers of one, of type 1 or .*, found type 16",
    ),
    "cell": (
        [matrix("one", CELL, (1, 1), compressed(ONE) + bytes(8))],
        r"176: expected a cell of one, of type 14, found type 15",
    ),
    # What is of another size.
    "flags": ([element(14, element(6, bytes(4)))], r"136: expected array flags of 8 bytes, found 4"),
    "half a length": (
        [element(14, FLAGS + element(5, bytes(10)))],
        r"160: expected numbers of 4 bytes, found 10 bytes",
    ),
    "one axis": ([matrix("one", UINT8, (1,), b"")], r"152: expected 2 to 64 dimensions >= 0.*, found \[1\]"),
    "negative": ([matrix("one", UINT8, (1, -1), b"")], r"152: expected 2 to 64 dimensions >= 0.*, found \[1, -1\]"),
    "65 axes": ([matrix("one", UINT8, (1,) * 65, b"")], r"152: expected 2 to 64 dimensions"),
    "huge and empty": ([matrix("one", UINT8, (0,) + (1 << 30,) * 2, b"")], r"152: .* for less than 2\*\*60 numbers"),
    "too few": ([matrix("one", UINT8, (2, 2), small(2, b"\7"))], r"176: expected 4 numbers of one, found 1"),
    "too many": ([matrix("one", UINT8, (1, 1), small(2, b"\7\7"))], r"176: expected 1 numbers of one, found 2"),
    "half a number": (
        [matrix("one", DOUBLE, (1, 1), element(9, bytes(7)))],
        r"184: expected numbers of 8 bytes, found 7 bytes",
    ),
    "too few cells": ([matrix("one", CELL, (1, 2), ONE)], r"232: expected 8 bytes, the tag of a cell of one, found"),
    "far too many cells": (
        [matrix("one", CELL, (1 << 29, 1 << 30), ONE)],
        r"176: expected 576460752303423488 cells in one, of 8 bytes or more, found 56 bytes",
    ),
    # What says something else.
    "name": ([ONE.replace(b"one", b"\xf6ne")], r"168: expected an array name in ASCII, found b'\\xf6ne'"),
    "twice": ([ONE, ONE], r"184: expected one variable one, found another"),
    "class": ([matrix("one", 99, (1, 1), b"")], r"128: expected numbers or cells in one, found class 99"),
    "fraction": (
        [matrix("one", UINT8, (1, 2), element(9, struct.pack("<2d", 1, 0.5)))],
        r"176: expected numbers of one that are uint8, found 0\.5",
    ),
    "NaN": (
        [matrix("one", UINT8, (1, 1), element(9, struct.pack("<d", np.nan)))],
        r"176: expected numbers of one that are uint8, found nan",
    ),
    "sign": (
        [matrix("one", UINT8, (1, 1), small(1, b"\xff"))],
        r"176: expected numbers of one that are uint8, found -1",
    ),
    # Compressed.
    "no zlib": ([element(15, b"nothing")], r"128: expected whole zlib data, found Error -3"),
    "sum": ([element(15, LAST[:-1] + b"\0")], r"128: expected whole zlib data, found Error -3 .* incorrect data check"),
    "cut": ([element(15, LAST[:-4])], r"128: expected whole zlib data, found a part of it"),
    "more": ([element(15, LAST + b"more")], r"128: expected whole zlib data, found 4 bytes after it"),
    "within": (
        [ONE.replace(b"one", b"two"), compressed(matrix("one", UINT8, (2, 2), small(2, b"\7")))],
        r"184\+48: expected 4 numbers of one, found 1",
    ),
    "two in one": ([compressed(ONE + ONE)], r"128\+56: expected the end, found 56 more bytes"),
    "compressed again": ([compressed(compressed(ONE))], r"128\+0: expected a variable, of type 14, found type 15"),
    "cut within": ([compressed(ONE[:-1])], r"128\+0: expected a variable that ends by byte 128\+55, found"),
}


@pytest.mark.parametrize(("elements", "expected"), FAULTS.values(), ids=FAULTS)
def test_every_fault_names_its_byte(elements, expected, tmp_path):
    with pytest.raises(DataError, match=rf"made\.mat: byte {expected}"):
        matlab.read(written(tmp_path, *elements), ["one"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "byte 0: expected a header of 128 bytes, found the end at byte 0"),
        (bytes(127), "byte 0: expected a header of 128 bytes, found the end at byte 127"),
        (bytes(128), "byte 124: expected 00 01 49 4d or 01 00 4d 49, found 00 00 00 00"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "byte 124: expected 00 01 49 4d or .* found 00 02 49 4d"),
    ],
)
def test_the_header_is_that_of_level_five(content, expected, tmp_path):
    path = tmp_path / "no.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected):
        matlab.read(path, [])


def test_no_more_is_inflated_than_a_bound(tmp_path, monkeypatch):
    """Of all elements together, whether they are asked for or not."""
    big = matrix("big", UINT8, (1, 1 << 20), element(2, bytes(1 << 20)))
    path = written(tmp_path, compressed(ONE), compressed(big))
    monkeypatch.setattr(matlab, "MOST_INFLATED", len(ONE) + len(big))
    matlab.read(path, ["one"])
    monkeypatch.setattr(matlab, "MOST_INFLATED", len(ONE) + len(big) - 1)
    where = 128 + len(compressed(ONE))
    with pytest.raises(DataError, match=rf"byte {where}: expected data that inflate to {len(big) - 1} bytes at most"):
        matlab.read(path, ["one"])
    monkeypatch.setattr(matlab, "MOST_INFLATED", 10_000)
    assert peak(path) < 200_000


def peak(path: Path) -> int:
    """Bytes of memory that were taken at once to find a fault."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            matlab.read(path, ["one"])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "elements",
    [
        [struct.pack("<II", 14, 0xFFFFFFF8) + ONE[8:]],
        [matrix("one", DOUBLE, (1 << 15, 1 << 15), element(9, bytes(8)))],
        [matrix("one", CELL, (1 << 15, 1 << 15), element(14, b""))],
        [struct.pack("<II", 15, 0x7FFFFFFF) + LAST],
    ],
)
def test_sizes_are_checked_before_memory_is_taken(elements, tmp_path):
    assert peak(written(tmp_path, *elements)) < 200_000


WHOLE = matrix("one", CELL, (1, 2), matrix("", UINT8, (2, 3), element(2, bytes(range(6)))) + ONE)


def survives(path: Path):
    """A fault that is told, or numbers and cells of them: nothing else, and so no other exception."""

    def is_array(found) -> bool:
        return isinstance(found, np.ndarray) and (found.dtype != object or all(map(is_array, found.ravel())))

    try:
        found = matlab.read(path, ["one"])
    except DataError:
        return
    assert is_array(found["one"])


@pytest.mark.parametrize("pack", [compressed, bytes], ids=["compressed", "plain"])
def test_a_file_cut_anywhere_is_refused(pack, tmp_path):
    path = written(tmp_path, pack(WHOLE))
    content = path.read_bytes()
    matlab.read(path, ["one"])
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=r"made\.mat: byte \d"):
            matlab.read(path, ["one"])


@pytest.mark.parametrize("pack", [compressed, bytes], ids=["compressed", "plain"])
def test_any_byte_may_be_changed(pack, tmp_path):
    path = written(tmp_path, pack(WHOLE))
    content = path.read_bytes()
    for place in range(120, len(content)):
        for change in (0x01, 0x04, 0x80, 0xFF):
            path.write_bytes(content[:place] + bytes([content[place] ^ change]) + content[place + 1 :])
            survives(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_many_bytes_may_be_changed(data, tmp_path):
    """In what a compressed element inflates to as well: its sum is then right."""
    inner = bytearray(WHOLE)
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    ):
        inner[place] = byte
    survives(written(tmp_path, data.draw(st.sampled_from([compressed, bytes]))(bytes(inner))))
