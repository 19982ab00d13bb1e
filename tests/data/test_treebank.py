import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.files import DataError, data_folder
from seqjax.data.treebank import UPOS, Sentence, conllu


def row(place, word, tag, columns=10):
    return "\t".join([str(place), word, "_", tag, *["_"] * 6][:columns])


TEXT = "\n".join(
    [
        "# sent_id = 1",
        "# text = Don't go",
        row("1-2", "Don't", "_"),
        row(1, "Do", "AUX"),
        row(2, "n't", "PART"),
        row("2.1", "you", "_"),
        row(3, "go", "VERB"),
        "",
        "",
        "# newpar",
        "",
        row(1, "ice cream", "NOUN"),
        row(2, "#", "SYM"),
        "",
        "",
    ]
)
SENTENCES = [Sentence(("Do", "n't", "go"), ("AUX", "PART", "VERB")), Sentence(("ice cream", "#"), ("NOUN", "SYM"))]


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "a.conllu"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.rstrip("\n").encode(),
        (TEXT + "\n \n\n").encode(),
    ],
    ids=["plain", "BOM", "CRLF", "no blank line at the end", "more than one"],
)
def test_words_and_tags_are_read(content, tmp_path):
    assert conllu(written(tmp_path, content)) == (SENTENCES, 0)


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
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(DataError) as caught:
        conllu(path)
    found = str(caught.value).split("\n")
    assert len(found) == len(faults)
    for one, expected in zip(found, faults, strict=True):
        assert one.startswith(f"{path}:{expected}")


def test_bytes_that_are_no_text_are_named_with_their_offset(tmp_path):
    path = written(tmp_path, GOOD.encode() + b"\n" + row(2, "caf\xe9", "X").encode("latin-1") + b"\n")
    offset = len(GOOD) + 1 + len("2\tcaf")
    with pytest.raises(DataError, match=f":2: expected UTF-8, found byte 0xe9 at offset {offset}$"):
        conllu(path)


def test_sentences_with_a_fault_can_be_left_out(tmp_path):
    bad = [[row(2, "b", "X"), row(2, "c", "Y")], [GOOD, "2\tb"], [row(1, "a", "X"), row("1.1", "b", "_", 3)]]
    blocks = ["\n".join(block) for block in (*bad, [GOOD], [row(1, "\udcff", "X"), row(2, "a", "X")])]
    content = "\n\n".join(blocks).encode(errors="surrogateescape")
    path = written(tmp_path, content)
    assert conllu(path, skip_bad=True) == ([Sentence(("a",), ("X",))], 4)
    with pytest.raises(DataError, match="UTF-8"):
        conllu(path)
    with pytest.raises(DataError, match="expected sentences, found none"):
        conllu(written(tmp_path, blocks[0]), skip_bad=True)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("12-.#\t\n_aX", max_size=200).map(str.encode))
def test_no_other_error_escapes(content):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), content)
        for skip_bad in (False, True):
            try:
                read = conllu(path, skip_bad=skip_bad)
            except DataError:
                continue
            assert all(s.words and len(s.words) == len(s.tags) and {*s.tags} <= {*UPOS} for s in read.sentences)


def test_the_public_treebank_is_read_whole():
    """Counts as the data folder's README gives them."""
    if not os.environ.get("SEQJAX_DATA"):
        pytest.skip("the public treebank is read where SEQJAX_DATA names its folder")
    for part, sentences, words in (("train", 12_544, 204_577), ("dev", 2_001, 25_147)):
        name = f"pos/ud_english_ewt/en_ewt-ud-{part}.conllu"
        read = conllu(data_folder(name) / name)
        assert (len(read.sentences), read.skipped) == (sentences, 0)
        assert sum(len(sentence.words) for sentence in read.sentences) == words
        assert {tag for sentence in read.sentences for tag in sentence.tags} == {*UPOS}
