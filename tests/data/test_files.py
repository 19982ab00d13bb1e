"""What all readers have in common: line ends, archives that hold more than memory, and JSON."""

import gzip
import tarfile

import pytest

from seqjax.data import cifar, conllu, files, mnist, multi30k, plain_text, read_shapeworld, read_sst2, tatoeba
from tests.files import failure, tarred, written, zipped

ALONE = "expected lines that end in \\n or \\r\\n, found \\r alone at offset"


@pytest.mark.parametrize(
    ("read", "content", "faults"),
    [
        (tatoeba, b"a\tb\rc\td\ne\tf\n", {1: 3}),
        (tatoeba, b"a\tb\rc\td\r", {1: 3}),
        (tatoeba, b"a\tb\ne\tf\r\r\n", {2: 7}),
        (tatoeba, b"\xef\xbb\xbfa\tb\rc\td\r\n", {1: 6}),
        (read_sst2, b"good\t1\r\nbad\t0\rfine\t1", {2: 13}),
        (conllu, b"# text\r1\ta" + b"\t_" * 8 + b"\n", {1: 6}),
        (plain_text.read, b"to be\ror\nnot\r", {1: 5, 2: 12}),
        (plain_text.sentences, b"one\rtwo\nthree\n", {1: 3}),
    ],
)
def test_a_carriage_return_alone_ends_no_line(read, content, faults, tmp_path):
    path = written(tmp_path, "a.txt", content)
    assert failure(read, path)[: len(faults)] == [f"{path}:{line}: {ALONE} {at}" for line, at in faults.items()]


def test_a_carriage_return_alone_shifts_no_pair(tmp_path):
    german = written(tmp_path, "val.de", b"a\rb\nc\n")
    written(tmp_path, "val.en", b"A\nC\n")
    assert failure(multi30k, tmp_path, "val", "de", "en") == [f"{german}:1: {ALONE} 1"]
    assert multi30k(tmp_path, "val", "de", "en", skip_bad=True) == ([("c", "C")], 1)


ZEROS = bytes(1 << 17)
JPEGS = tarred(*[(f"train/a/{n}.jpg", ZEROS[:9000]) for n in range(9)])
WORLDS = tarred(*[(f"shapeworld/k/world-{n}.png", ZEROS[:9000]) for n in range(9)])


@pytest.mark.parametrize(
    ("read", "name", "content"),
    [
        (tatoeba, "a.zip", zipped(("a.txt", b"a\tb\n" * 20_000))),
        (lambda path: multi30k(path.parent, "t", "a", "b"), "t.a.gz", gzip.compress(ZEROS)),
        (lambda path: mnist(path.parent), "train-images-idx3-ubyte.gz", gzip.compress(ZEROS)),
        (cifar, "a.tar.gz", gzip.compress(JPEGS)),
        (read_shapeworld, "a.tar.gz", gzip.compress(WORLDS)),
    ],
    ids=["zip", "gzip", "IDX", "cifar", "shapeworld"],
)
def test_no_more_is_unpacked_than_fits(read, name, content, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_UNPACKED", 1 << 16)
    path = written(tmp_path, name, content)
    assert failure(read, path) == [f"{path}: expected at most 65536 bytes unpacked, found more"]


@pytest.mark.parametrize("read", [cifar, read_shapeworld])
def test_a_tar_holds_what_it_says(read, tmp_path):
    """Neither a sparse file, long from few bytes, nor an archive compressed twice, the inner one without a bound."""
    sparse = tarfile.TarInfo("train/a/0.jpg" if read is cifar else "shapeworld/k/world-0.png")
    sparse.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": "60000", "GNU.sparse.map": "0,0"}
    path = written(tmp_path, "a.tar.gz", gzip.compress(tarred(sparse)))
    assert f"{path}/{sparse.name}: expected a file" in failure(read, path)[0]
    for content in (gzip.compress(gzip.compress(JPEGS)), tarred(("a", b"b"), mode="w:bz2")):  # pyright: ignore
        assert "expected a whole tar" in failure(read, written(tmp_path, "b.tar.gz", content))[0]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"[" * 100_000, ""),
        (b'{"a": ' * 5000, ""),
        (b'{\n"a": 1', ":2"),
        (b"\xff", ""),
        (b"[" + b"9" * 5000 + b"]", ""),
    ],
)
def test_what_is_no_json_is_a_data_error(content, line, tmp_path):
    path = written(tmp_path, "a.json", content)
    assert failure(files.read_json, path)[0].startswith(f"{path}{line}: expected JSON, found ")
    assert files.read_json(written(tmp_path, "b.json", b'{"a": [1]}')) == {"a": [1]}


def test_a_summary_names_what_there_is():
    assert files.summary("pairs", long=1234, cut=1) == "1,234 of the pairs left out as too long, 1 of the pairs cut"
    assert files.summary("pairs", cut=0) == ""
