from typing import Any

import pytest

from seqjax.data import read_table
from seqjax.data.files import MissingData
from tests.files import BOM, failure, written

TABLE = b'id,text,kind\n1,"a, ""good"" film\nto see",B\n2,  bad ,A\n3,,A\n4,none,B\n'

COLUMNS: dict[str, Any] = {"text_column": "text", "label_column": "kind"}


@pytest.mark.parametrize("change", [lambda c: c, lambda c: BOM + c, lambda c: c.replace(b"\n", b"\r\n") + b"\r\n"])
def test_sentences_and_labels_are_read_by_name(change, tmp_path):
    """Quoted fields hold commas, quotes and line ends, which become spaces; a row without a sentence is skipped."""
    read = read_table(written(tmp_path, "table.csv", change(TABLE)), **COLUMNS)
    assert read == ([('a, "good" film to see', 1), ("bad", 0), ("none", 1)], ("A", "B"), 1)


def test_a_tsv_has_tabs(tmp_path):
    path = written(tmp_path, "table.tsv", b"kind\ttext\nx\ta, b\ny\tc\n")
    assert read_table(path, **COLUMNS) == ([("a, b", 0), ("c", 1)], ("x", "y"), 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: expected one column named text, found nothing"),
        (b"text,label\nx,y\n", ":1: expected one column named kind, found text, label"),
        (b"text;kind\nx;y\n", ":1: expected one column named text, found text;kind"),
        (b"text,kind,text\n", ":1: expected one column named text, found text, kind, text"),
        (b"text,kind\na,b\nc\n", ":3: expected 2 fields, found 1"),
        (b'text,kind\n"a\nb",\nc,d', ":2: expected a label in kind, found ''"),
        (b'text,kind\na,b\n"c,d\ne,f\n', ":3: expected fields as of RFC 4180, found unexpected end of data"),
        (b"text,kind\na,b\n\xff,c\n", ":3: expected UTF-8, found byte 0xff at offset 14"),
        (b"text,kind\na,b\nc,b\n", ": expected two or more different labels in kind, found 1: 'b'"),
        (b"text,kind\n", ": expected two or more different labels in kind, found 0"),
    ],
)
def test_faults(content, message, tmp_path):
    path = written(tmp_path, "table.csv", content)
    assert failure(lambda path: read_table(path, **COLUMNS), path) == [f"{path}{message}"]


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path):
    path = written(tmp_path, "table.csv", b"text,kind\na,b\nc\n\xff,x\n,y\ne,\nf,g\n")
    assert read_table(path, **COLUMNS, skip_bad=True) == ([("a", 0), ("f", 1)], ("b", "g"), 4)
    assert len(failure(lambda path: read_table(path, **COLUMNS), path)) == 3
    with pytest.raises(MissingData, match="there is no file nowhere"):
        read_table(tmp_path.joinpath("nowhere").relative_to(tmp_path), **COLUMNS)
