import re
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

from seqjax.data import matlab
from seqjax.data.files import DataError

DTYPES = st.sampled_from(("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"))
MATRICES = arrays(DTYPES, array_shapes(min_dims=2, max_dims=2, min_side=0))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(MATRICES, max_size=4), compress=st.booleans())
def test_cells_are_read_as_scipy_reads_them(pieces, compress, tmp_path):
    path = tmp_path / "scipy.mat"
    cells = np.empty((1, len(pieces)), object)
    cells[0, :] = pieces
    variables = {"x": cells, "text": "a tune", "struct": {"field": 1}, "z": np.array([[1j]])}
    savemat(path, variables, do_compression=compress)
    found = matlab.read_cells(path, ["x"])
    assert set(found) == {"x"}
    for expected, actual in zip(loadmat(path, variable_names=["x"])["x"].ravel(), found["x"], strict=True):
        np.testing.assert_array_equal(expected, actual, strict=True)


# A writer of wrong files.


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def array(name: str, kind: int, shape: tuple[int, ...], data: bytes) -> bytes:
    flags, shape_ = struct.pack("<II", kind, 0), struct.pack(f"<{len(shape)}I", *shape)
    return element(14, element(6, flags) + element(5, shape_) + element(1, name.encode()) + data)


def compressed(data: bytes) -> bytes:
    packed = zlib.compress(data)
    return struct.pack("<II", 15, len(packed)) + packed


def written(folder: Path, *elements: bytes) -> Path:
    path = folder / "made.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"".join(elements))
    return path


PIECE = array("", 9, (2, 3), element(2, bytes(range(6))))
ONE = array("one", 1, (1, 2), PIECE + array("", 6, (1, 1), struct.pack("<HH4s", 2, 1, b"\7")))

FAULTS = {
    "tag": ([ONE, bytes(7)], "a tag of 8 bytes, found 7"),
    "size": ([struct.pack("<II", 14, 0xFFFFFFF8) + ONE[8:]], "4294967288 bytes of an element, found"),
    "small of five": ([array("one", 1, (1, 1), struct.pack("<HH4s", 2, 5, b""))], "5 bytes of an element, found 4"),
    "variable": ([element(5, bytes(8))], "array flags, 2 dimensions and a name, found"),
    "one dimension": ([array("one", 1, (1,), PIECE)], "array flags, 2 dimensions and a name, found"),
    "text": ([array("one", 4, (1, 1), element(2, b"a"))], "one to be a cell array, found class 0x4"),
    "cells": ([array("one", 1, (1 << 31, 1 << 31), PIECE)], "4611686018427387904 cells in one, found 1"),
    "complex": (
        [array("one", 1, (1, 1), array("", 0x806, (1, 1), element(2, b"\7")))],
        "real numbers, found class 0x8",
    ),
    "index": ([array("one", 1, (1, 1), array("", 9, (1, 1), element(99, b"\7")))], "real numbers, found .* type 99"),
    "numbers": ([array("one", 1, (1, 1), array("", 9, (1 << 31, 9), element(9, bytes(8))))], r"\[2147483648, 9\] of f"),
    "twice": ([ONE, ONE], "one variable one, found another"),
    "missing": ([ONE.replace(b"one", b"two")], "a variable one, found none"),
    "no zlib": ([element(15, b"nothing")], "whole zlib data, found Error -3"),
    "zlib sum": ([element(15, zlib.compress(ONE)[:-1] + b"\0")], "whole zlib data, found Error -3 .* data check"),
    "zlib cut": ([element(15, zlib.compress(ONE)[:-4])], "whole zlib data, found a part of it"),
    "in zlib": ([compressed(ONE[:-8])], r"\d+ bytes of an element, found"),
}


@pytest.mark.parametrize(("elements", "expected"), FAULTS.values(), ids=FAULTS)
def test_every_fault_is_named_before_memory_is_taken(elements, expected, tmp_path):
    path = written(tmp_path, *elements)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"^{re.escape(str(path))}: expected {expected}"):
            matlab.read_cells(path, ["one"])
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"", bytes(128), b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"])
def test_the_header_is_that_of_version_5(content, tmp_path):
    path = tmp_path / "no.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a little-endian MATLAB 5 file, found b'"):
        matlab.read_cells(path, [])


def test_inflated_bytes_are_bounded_over_all_variables(tmp_path, monkeypatch):
    path = written(tmp_path, compressed(ONE), compressed(array("zeros", 9, (1, 1 << 20), element(2, bytes(1 << 20)))))
    assert len(matlab.read_cells(path, ["one"])["one"]) == 2
    monkeypatch.setattr(matlab, "MOST_INFLATED", 1 << 20)
    with pytest.raises(DataError, match="expected 1048576 bytes of inflated data at most, found more"):
        matlab.read_cells(path, ["one"])


@pytest.mark.parametrize("pack", [compressed, bytes], ids=["compressed", "plain"])
def test_a_file_cut_anywhere_is_refused(pack, tmp_path):
    path = written(tmp_path, pack(ONE))
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(DataError, match=r"made\.mat: expected .* found"):
            matlab.read_cells(path, ["one"])


@pytest.mark.parametrize("pack", [compressed, bytes], ids=["compressed", "plain"])
def test_a_changed_byte_ends_in_an_error_or_in_matrices(pack, tmp_path):
    """Also one in what a compressed element inflates to, whose checksum is then right."""
    for place in range(len(ONE)):
        for change in (0x01, 0x04, 0x10, 0x80, 0xFF):
            path = written(tmp_path, pack(ONE[:place] + bytes([ONE[place] ^ change]) + ONE[place + 1 :]))
            try:
                found = matlab.read_cells(path, ["one"])["one"]
            except DataError as error:
                assert "expected" in str(error)  # noqa: PT017
            else:
                assert [piece.ndim for piece in found] == [2, 2]
