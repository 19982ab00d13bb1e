import numpy as np
import pytest

from seqjax.data import read_column
from seqjax.data.files import DataError
from tests.files import BOM, failure, written

TABLE = b'day,temperature,"wind, mean"\n1,20.5,3\n2, -1e1 ,4\n3,7,5\n'


@pytest.mark.parametrize("change", [lambda c: c, lambda c: BOM + c, lambda c: c.replace(b"\n", b"\r\n") + b"\r\n"])
def test_a_column_is_read_by_name(change, tmp_path):
    path = written(tmp_path, "table.csv", change(TABLE))
    np.testing.assert_array_equal(read_column(path, "temperature"), [20.5, -10.0, 7.0])
    np.testing.assert_array_equal(read_column(path, "wind, mean", least=3), [3, 4, 5])


def test_the_only_column_needs_no_name(tmp_path):
    np.testing.assert_array_equal(read_column(written(tmp_path, "table.csv", b"x\n1\n2")), [1, 2])


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "x", ":1: expected one column named x, found nothing"),
        (b"a,b\n1,2\n", "x", ":1: expected one column named x, found a, b"),
        (b"a,b\n1,2\n", "", ":1: expected the name of one column, found a, b"),
        (b"a,a\n1,2\n", "a", ":1: expected one column named a, found a, a"),
        (b"a\nzero\n", "a", ":2: expected a number, found 'zero'"),
        (b"a,b\n1,2\n,2\n", "a", ":3: expected a number, found ''"),
        (b"a\n1\nNaN\n", "a", ":3: expected a number, found 'NaN'"),
        (b"a\n1\n-inf\n", "a", ":3: expected a number, found '-inf'"),
        (b"a,b\n1,2\n1\n", "a", ":3: expected 2 fields, found 1"),
        (b"a\n1\n\n2\n", "a", ":3: expected 1 fields, found 0"),
        (b"a\n1\n\xff\n", "a", ":3: expected UTF-8, found byte 0xff at offset 4"),
        (b"a\n", "a", ": expected 2 numbers or more in a, found 0"),
        (b"a\n1\n", "a", ": expected 2 numbers or more in a, found 1"),
        (b"a\n3\n3\n3\n", "a", ": expected numbers that vary, found 3.0 in every line of a"),
    ],
)
def test_faults(content, name, message, tmp_path):
    path = written(tmp_path, "table.csv", content)
    assert failure(lambda path: read_column(path, name, least=2), path) == [f"{path}{message}"]


def test_all_faults_are_listed_and_a_missing_file_is_named(tmp_path):
    path = written(tmp_path, "table.csv", b"a\none\n2\nthree\n")
    with pytest.raises(DataError, match=r"one'\n.*:4: expected a number, found 'three'"):
        read_column(path, "a")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_column(tmp_path / "nowhere", "a")
