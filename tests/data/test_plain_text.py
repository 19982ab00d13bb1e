import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqjax.data import Whitespace, plain_text
from seqjax.data.files import DataError
from tests.files import BOM, failure, needs_data, public, written


@pytest.mark.parametrize("change", [lambda c: c, lambda c: BOM + c, lambda c: c.replace(b"\n", b"\r\n")])
def test_a_text_is_read_as_it_is(change, tmp_path):
    text = "  To be,\n\nor not\tto be:\u2028ñ\n\n"
    assert plain_text.read(written(tmp_path, "text.txt", change(text.encode()))) == (text, 0)


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\r\n \n"])
def test_sentences_are_lines(end, tmp_path):
    path = written(tmp_path, "text.txt", b" the <unk> of N \r\nit  's\xc2\x85so" + end)
    assert plain_text.sentences(path) == (["the <unk> of N", "it  's\x85so"], 0)
    assert Whitespace().split(" the <unk>  of N ") == ["the", "<unk>", "of", "N"]
    assert Whitespace().join(["the", "of"]) == "the of"


@pytest.mark.parametrize("read", [plain_text.read, plain_text.sentences])
def test_faults(read, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")
    for content in (b"", b"\n \r\n", BOM):
        path = written(tmp_path, "text.txt", content)
        assert failure(read, path) == [f"{path}: expected text, found none"]
    path = written(tmp_path, "text.txt", BOM + b"one\ntw\xffo\n")
    assert failure(read, path) == [f"{path}:2: expected UTF-8, found byte 0xff at offset 9"]


def test_a_blank_sentence_is_a_fault(tmp_path):
    path = written(tmp_path, "text.txt", b"one\n\ntwo\n  \nthree\n\n")
    assert failure(plain_text.sentences, path) == [f"{path}:{n}: expected a sentence, found none" for n in (2, 4)]


def test_bad_lines_are_skipped_and_counted_where_that_is_asked_for(tmp_path):
    path = written(tmp_path, "text.txt", b"one\n\nt\xffo\nth\rree\nfour\n")
    assert plain_text.sentences(path, skip_bad=True) == (["one", "four"], 3)
    assert plain_text.read(path, skip_bad=True) == ("one\n\nfour\n", 2)
    path.write_bytes(b"\xff\n")
    for read in (plain_text.read, plain_text.sentences):
        assert failure(read, path, skip_bad=True) == [f"{path}: expected text, found none"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_text_or_a_fault(content, tmp_path):
    path = written(tmp_path, "text.txt", content)
    for read in (plain_text.read, plain_text.sentences):
        try:
            assert read(path)[0]
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_a_text_is_cut_in_three():
    parts = plain_text.split("abcdefghij", held_out=2)
    assert parts == ("abcdef", "gh", "ij")
    for bad in (0, 5, -1):
        with pytest.raises(ValueError, match=rf"held_out must lie in \[1, 10 / 2\), got {bad}"):
            plain_text.split("abcdefghij", held_out=bad)


@needs_data
def test_the_public_texts_are_what_they_are_said_to_be():
    text, _ = plain_text.read(public("text", "tinyshakespeare", "input.txt"))
    assert len(text) in (1_059_624, 1_115_394), "a copy without the last part, or the public file"
    assert len(set(text)) == 65
    read = (plain_text.sentences(public("text", "ptb", f"ptb.{part}.txt")) for part in ("train", "valid"))
    (train, _), (validation, _) = read
    assert (len(train), len(validation)) == (42_068, 3_370)
    words = [[*Whitespace().split(line), "<eos>"] for line in train]
    assert sum(map(len, words)) == 929_589
    assert len({word for line in words for word in line}) == 10_000
    assert sum(len(line.split()) + 1 for line in validation) == 73_760
    assert len(set("".join(train))) == 49, "and the line end is the fiftieth"
