from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqjax.data.files import DataError
from seqjax.data.sst2 import Example, read_sst2
from tests.files import BOM, failure, needs_data, public, same_lines, written

ROWS = [Example("it 's a charming film .", 1), Example("déjà vu", 0), Example("no", 0)]
TEXT = "it 's a charming film .\t1\ndéjà vu\t0\nno\t0\n".encode()


@pytest.mark.parametrize("content", [*same_lines(TEXT), TEXT.replace(b"no\t0", b"  no \t 0 ")])
def test_sentences_and_their_labels(content, tmp_path):
    assert read_sst2(written(tmp_path, "train.tsv", content)) == (ROWS, 0)


def test_malformed_lines_are_named(tmp_path):
    content = b"good\t1\nno tab\n\nbad\t2\nbad\t-1\nbad\t\nbad\tpositive\none\ttwo\t1\nab\xff\t1\n\t1\nlast\t0"
    path = written(tmp_path, "train.tsv", content)
    assert failure(read_sst2, path) == [
        f"{path}:9: expected UTF-8, found byte 0xff at offset {content.index(0xFF)}",
        f"{path}:2: expected sentence<TAB>label, found 'no tab'",
        f"{path}:3: expected sentence<TAB>label, found ''",
        f"{path}:4: expected label 0 or 1, found '2'",
        f"{path}:5: expected label 0 or 1, found '-1'",
        f"{path}:6: expected label 0 or 1, found ''",
        f"{path}:7: expected label 0 or 1, found 'positive'",
        f"{path}:8: expected sentence<TAB>label, found 'one\\ttwo\\t1'",
    ]
    assert read_sst2(path, skip_bad=True) == ([Example("good", 1), Example("last", 0)], 9)


def test_a_label_without_a_sentence_is_skipped_and_counted(tmp_path):
    assert read_sst2(written(tmp_path, "train.tsv", b"good\t1\n \t0\n")) == ([Example("good", 1)], 1)


@pytest.mark.parametrize("content", [b"", b"\n \n", BOM, b"\t1\n"])
def test_an_empty_file_is_an_error(content, tmp_path):
    path = written(tmp_path, "train.tsv", content)
    assert failure(read_sst2, path) == [f"{path}: expected sentences with a label, found none"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([b"\t", b"\n", b"\r", b"0", b"1", b"\xff", b"a", b" ", BOM])).map(b"".join))
def test_only_data_errors_escape(tmp_path, content):
    with suppress(DataError):
        read_sst2(written(tmp_path, "train.tsv", content))
    with suppress(DataError):
        read = read_sst2(written(tmp_path, "train.tsv", content), skip_bad=True)
        assert all(row.sentence == row.sentence.strip() != "" and row.label in (0, 1) for row in read.rows)
        assert len(read.rows) + read.skipped <= content.count(b"\n") + 1


@needs_data
@pytest.mark.parametrize(("part", "negative", "positive"), [("train", 3310, 3610), ("dev", 428, 444)])
def test_the_public_files(part, negative, positive):
    read = read_sst2(public("sentiment", "sst2", f"{part}.tsv"))
    assert read.skipped == 0
    assert [sum(row.label == label for row in read.rows) for label in (0, 1)] == [negative, positive]
