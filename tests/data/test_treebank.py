from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqjax.data.files import DataError
from seqjax.data.treebank import UPOS, Sentence, conllu
from tests.files import failure, needs_data, public, same_lines, written


def row(place, word, tag, columns=10):
    return "\t".join([str(place), word, "_", tag, *["_"] * 6][:columns])


FIRST = ["# sent_id = 1", "# text = Don't go", row("1-2", "Don't", "_"), row(1, "Do", "AUX"), row(2, "n't", "PART")]
FIRST += [row("2.1", "you", "_"), row(3, "go", "VERB"), "", ""]
TEXT = "\n".join([*FIRST, "# newpar", "", row(1, "ice cream", "NOUN"), row(2, "#", "SYM"), "", ""])
SENTENCES = [Sentence(("Do", "n't", "go"), ("AUX", "PART", "VERB")), Sentence(("ice cream", "#"), ("NOUN", "SYM"))]


@pytest.mark.parametrize("content", [*same_lines(TEXT.encode()), TEXT.rstrip("\n").encode()])
def test_words_and_tags_are_read(content, tmp_path):
    assert conllu(written(tmp_path, "a.conllu", content)) == (SENTENCES, 0)


GOOD = row(1, "a", "X")


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        (["1\ta"], [r"1: expected 10 columns with tabs between them, found 2: '1\ta'"]),
        ([row(1, "a", "X", columns=9)], ["1: expected 10 columns with tabs between them, found 9: "]),
        ([GOOD + "\t_"], ["1: expected 10 columns with tabs between them, found 11: "]),
        ([row("1-2", "a", "_", columns=4)], ["1: expected 10 columns with tabs between them, found 4: "]),
        ([row(0, "a", "X")], ["1: expected the id 1, found '0'"]),
        ([row(2, "a", "X")], ["1: expected the id 1, found '2'"]),
        ([row("01", "a", "X")], ["1: expected the id 1, found '01'"]),
        ([row("one", "a", "X")], ["1: expected the id 1, found 'one'"]),
        ([row("\u0661", "a", "X")], ["1: expected the id 1, found '\u0661'"]),
        ([row("1" * 5000, "a", "X")], ["1: expected the id 1, found '1111"]),
        ([GOOD, row(3, "b", "X"), row(4, "c", "X")], ["2: expected the id 2, found '3'"]),
        ([GOOD, row(1, "b", "X")], ["2: expected the id 2, found '1'"]),
        ([GOOD, "", row(2, "b", "X")], ["3: expected the id 1, found '2'"]),
        ([row(1, "", "X")], ["1: expected a word in column 2, found ''"]),
        ([row(1, " ", "X")], ["1: expected a word in column 2, found ' '"]),
        ([row(1, "a", "NN")], ["1: expected a universal part of speech in column 4, found 'NN'"]),
        ([row(1, "a", "_")], ["1: expected a universal part of speech in column 4, found '_'"]),
        ([row(1, "a", "noun"), row(2, "", "X")], ["1: expected a universal", "2: expected a word"]),
        ([], [" expected sentences, found none"]),
        (["# only", "", "# comments"], [" expected sentences, found none"]),
    ],
)
def test_faults_are_named_with_their_line(lines, faults, tmp_path):
    path = written(tmp_path, "a.conllu", "\n".join(lines).encode())
    for one, expected in zip(failure(conllu, path), faults, strict=True):
        assert one.startswith(f"{path}:{expected}")


def test_bytes_that_are_no_text_are_named_with_their_offset(tmp_path):
    content = GOOD.encode() + b"\n" + row(2, "caf\xe9", "X").encode("latin-1") + b"\n"
    path, offset = written(tmp_path, "a.conllu", content), len(GOOD) + 1 + len("2\tcaf")
    assert failure(conllu, path) == [f"{path}:2: expected UTF-8, found byte 0xe9 at offset {offset}"]


def test_sentences_with_a_fault_can_be_left_out(tmp_path):
    bad = [[row(2, "b", "X"), row(2, "c", "Y")], [GOOD, "2\tb"], [row(1, "a", "X"), row("1.1", "b", "_", 3)]]
    blocks = ["\n".join(block) for block in (*bad, [GOOD], [row(1, "\udcff", "X"), row(2, "a", "X")])]
    path = written(tmp_path, "a.conllu", "\n\n".join(blocks).encode(errors="surrogateescape"))
    assert conllu(path, skip_bad=True) == ([Sentence(("a",), ("X",))], 4)
    assert "UTF-8" in failure(conllu, path)[0]
    empty = written(tmp_path, "a.conllu", blocks[0].encode())
    assert "expected sentences, found none" in failure(conllu, empty, skip_bad=True)[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text("12-.#\t\n_aX", max_size=200).map(str.encode))
def test_no_other_error_escapes(tmp_path, content):
    for skip_bad in (False, True):
        with suppress(DataError):
            read = conllu(written(tmp_path, "a.conllu", content), skip_bad=skip_bad)
            assert all(s.words and len(s.words) == len(s.tags) and {*s.tags} <= {*UPOS} for s in read.sentences)


@needs_data
def test_the_public_treebank_is_read_whole():
    """Counts as the data folder's README gives them."""
    for part, sentences, words in (("train", 12_544, 204_577), ("dev", 2_001, 25_147)):
        read = conllu(public(f"pos/ud_english_ewt/en_ewt-ud-{part}.conllu"))
        assert (len(read.sentences), read.skipped) == (sentences, 0)
        assert sum(len(sentence.words) for sentence in read.sentences) == words
        assert {tag for sentence in read.sentences for tag in sentence.tags} == {*UPOS}
