"""Downloads from a local server, and archives made of others: whole, checked and bounded, or nothing."""

import gzip
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqjax.data import download
from seqjax.data.catalogue import Digest
from seqjax.data.download import difference, fetch, repack
from seqjax.data.files import DataError
from tests.files import special, tarred, zipped

BODY = bytes(range(256)) * 9_000  # more than one chunk
SHA256 = Digest(hashlib.sha256(BODY).hexdigest())
ALTERED = bytes([BODY[0] ^ 1]) + BODY[1:]


class Mirrors:
    """Addresses of a local server, and what was asked of it: path and first byte."""

    def __init__(self, port: int):
        self.port, self.asked = port, []

    def __getitem__(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def mirrors():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path[1:]
            begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
            mirrors.asked.append((name, begin))
            body = {"altered": ALTERED}.get(name, BODY)
            if name == "missing":
                self.send_error(404)
                return
            if begin >= len(body):
                self.send_error(416)
                return
            whole = name == "simple" or not begin  # "simple" knows no ranges
            self.send_response(200 if whole else 206)
            rest = body if whole else body[begin:]
            if not whole:
                self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            # "cut" always breaks off before its end, "breaks" after a million bytes.
            self.wfile.write({"cut": rest[: max(0, len(rest) - 9)], "breaks": rest[:1_000_000]}.get(name, rest))

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirrors = Mirrors(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield mirrors
        server.shutdown()
        thread.join()


def test_a_download_goes_on_to_the_next_mirror_until_one_is_whole(mirrors, tmp_path):
    path, told = tmp_path / "new" / "a.bin", []
    urls = [mirrors[name] for name in ("missing", "altered", "whole", "never")]
    fetch(path, urls, SHA256, told=lambda done, total: told.append((done, total)))
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == ["a.bin"]
    assert mirrors.asked == [("missing", 0), ("altered", 0), ("whole", 0)]
    assert told[-1] == (len(BODY), len(BODY))


def test_a_broken_connection_is_continued_where_it_broke(mirrors, tmp_path):
    fetch(tmp_path / "a.bin", [mirrors["breaks"]], SHA256)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert mirrors.asked == [("breaks", 0), ("breaks", 1_000_000), ("breaks", 2_000_000)]


@pytest.mark.parametrize(
    ("begun", "name", "asked"),
    [
        pytest.param(BODY[:1234], "whole", [1234], id="the rest"),
        pytest.param(BODY[:1234], "simple", [1234], id="no ranges: all of it"),
        pytest.param(BODY, "whole", [len(BODY)], id="nothing was left"),
        pytest.param(BODY + b"more", "whole", [len(BODY) + 4, 0], id="too much: once more"),
        pytest.param(ALTERED[:1234], "whole", [1234, 0], id="other begin: once more"),
        pytest.param(b"", "whole", [0], id="nothing"),
    ],
)
def test_what_a_dead_process_began_is_adopted(mirrors, tmp_path, begun, name, asked):
    (tmp_path / ".a.bin.part").write_bytes(begun)
    fetch(tmp_path / "a.bin", [mirrors[name]], SHA256)
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert mirrors.asked == [(name, begin) for begin in asked]
    assert os.listdir(tmp_path) == ["a.bin"]


def test_where_all_mirrors_fail_the_error_says_where_to_put_the_file(mirrors, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    urls = [*(mirrors[name] for name in ("missing", "altered")), "http://127.0.0.1:1/closed", "http://[/"]
    with pytest.raises(download.DownloadError, match=re.escape(f"may be put by hand at {path.resolve()}")) as caught:
        fetch(path, urls, SHA256)
    first, *tried = str(caught.value).split("\n")
    assert "a.bin" in first
    assert [line.partition(": ")[0] for line in tried] == urls
    assert "404" in tried[0]
    assert f"expected sha256 {SHA256.value}, found" in tried[1]
    assert os.listdir(tmp_path) == ["a.bin"], "nothing of another content is kept"
    assert path.read_bytes() == b"old"
    with pytest.raises(OSError, match="no address is known"):
        fetch(tmp_path / "b.bin", [], SHA256)


def test_what_came_before_the_end_of_a_connection_is_kept_for_the_next_command(mirrors, tmp_path):
    with pytest.raises(OSError, match=f"expected {len(BODY)} bytes, found the end after {len(BODY) - 9}"):
        fetch(tmp_path / "a.bin", [mirrors["cut"]], SHA256)
    assert os.listdir(tmp_path) == [".a.bin.part"]
    fetch(tmp_path / "a.bin", [mirrors["whole"]], SHA256)
    assert mirrors.asked[-1] == ("whole", len(BODY) - 9)
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_endless_answer_is_given_up(mirrors, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "MOST_BYTES", 1_000_000)
    with pytest.raises(OSError, match="expected at most 1000000 bytes, found more"):
        fetch(tmp_path / "a.bin", [mirrors["whole"]], SHA256)
    assert os.listdir(tmp_path) == []


def test_what_the_disk_refuses_is_not_blamed_on_the_mirror(mirrors, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(tmp_path / "a.bin", [mirrors["whole"], mirrors["whole"]], SHA256)
    assert mirrors.asked == [("whole", 0)]


LINES = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in (("a", b"1"), ("b/c", b"2")))
INSIDE = {
    "a.txt": (BODY, BODY, False),
    "a.txt.gz": (gzip.compress(BODY, 1), BODY, True),
    "a.zip": (zipped(("x/_about.txt", b"-"), ("x/a.txt", BODY)), BODY, True),
    "a.tar.gz": (
        gzip.compress(tarred(special("b", tarfile.DIRTYPE), ("b/c", b"2"), ("a", b"1"))),
        LINES.encode(),
        True,
    ),
}


@pytest.mark.parametrize("name", INSIDE)
def test_a_digest_is_of_what_is_inside_whatever_the_wrapper(name, tmp_path):
    wrapped, content, inside = INSIDE[name]
    (tmp_path / "part").write_bytes(wrapped)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert difference(tmp_path / "part", Digest(md5, "md5", inside), name) == ""
    text = difference(tmp_path / "part", Digest("0" * 32, "md5", inside), name)
    assert text.startswith("expected md5")
    assert text.endswith(f" {'0' * 32}, found {md5}")
    if inside:
        (tmp_path / "part").write_bytes(wrapped[:-20])
        with pytest.raises(DataError, match="expected a whole"):
            difference(tmp_path / "part", Digest(md5, "md5", inside), name)


# Archives


def pick(name: str, content: bytes) -> tuple[str, bytes] | None:
    """All text files, in capitals."""
    return (name.upper(), content) if name.endswith(".txt") else None


FILES = {"top/b/c.txt": b"2", "top/a.txt": b"1" * 3_000, "top/d": b"3", "top/e/../../f.txt": b"4"}
WHOLE = gzip.compress(
    tarred(special("top", tarfile.DIRTYPE), *FILES.items(), special("top/l.txt", tarfile.SYMTYPE, "a"))
)


def test_an_archive_is_made_of_what_is_picked_from_another(tmp_path):
    (tmp_path / "archive").write_bytes(WHOLE)
    for name in ("one", "two"):
        repack(tmp_path / "archive", tmp_path / name, pick)
    with tarfile.open(tmp_path / "one", "r:gz") as made:
        found = {member.name: file.read() for member in made if (file := made.extractfile(member))}
        assert [member.mtime for member in made] == [0] * 3
    assert list(found.items()) == [("A.TXT", b"1" * 3_000), ("B/C.TXT", b"2"), ("E/../../F.TXT", b"4")]
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_archive_is_fetched_and_made_with_nothing_left_over(tmp_path, mirrors, monkeypatch):
    monkeypatch.setattr(f"{__name__}.BODY", WHOLE)
    content = {"A.TXT": b"1" * 3_000, "B/C.TXT": b"2", "E/../../F.TXT": b"4"}
    lines = "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in content.items())
    digest = Digest(hashlib.sha256(lines.encode()).hexdigest(), inside=True)
    fetch(tmp_path / "a.tar.gz", [mirrors["whole"]], digest, pick=pick)
    assert os.listdir(tmp_path) == ["a.tar.gz"]
    with pytest.raises(OSError, match="expected sha256 of what is inside 0, found"):
        fetch(tmp_path / "b.tar.gz", [mirrors["whole"]], Digest("0", inside=True), pick=pick)
    with pytest.raises(OSError, match=r"expected a whole tar\.gz"):
        fetch(tmp_path / "b.tar.gz", [mirrors["altered"]], digest, pick=pick)
    assert os.listdir(tmp_path) == ["a.tar.gz"]


def sparse() -> bytes:
    """A header that claims a terabyte, almost all of it holes."""
    info = tarfile.TarInfo("top/a.txt")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(2**40), "GNU.sparse.map": f"{2**40 - 1},1"}
    info.size = 1
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"x"))
    return made.getvalue()


REFUSED = {
    "bomb": (gzip.compress(tarred(("top/a.txt", bytes(10**7)))), "expected at most 20000 bytes"),
    "bomb that is not picked": (gzip.compress(tarred(("top/a", bytes(10**7)))), "expected at most 20000 bytes"),
    "many": (gzip.compress(tarred(*((f"top/{n}", b"") for n in range(60)))), "expected at most 20000 bytes"),
    "bomb in a header": (gzip.compress(tarred(("a" * 10**6, b""))), "expected at most 20000 bytes"),
    "bomb after the end": (gzip.compress(tarred(("top/a.txt", b"")) + bytes(10**6)), "expected at most 20000 bytes"),
    "holes": (gzip.compress(sparse()), "expected files of the data set, found none"),
    "nothing": (gzip.compress(tarred(("top/a", b"1"))), "expected files of the data set, found none"),
    "empty": (b"", "expected files of the data set|expected a whole tar.gz"),
    "text": (b"<html>404</html>" * 99, "expected a whole tar.gz"),
    "plain": (tarred(("top/a.txt", b"1")), "expected a whole tar.gz"),
    "cut": (WHOLE[:-20], "expected a whole tar.gz"),
    "check sum": (WHOLE[:-8] + bytes(8), "expected a whole tar.gz"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_and_damaged_archives_are_refused(name, tmp_path):
    content, message = REFUSED[name]
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DataError, match=message):
        repack(tmp_path / "archive", tmp_path / "made", pick, most_bytes=20_000)
    assert os.listdir(tmp_path) == ["archive"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_only_data_errors_escape_from_altered_archives(tmp_path, data):
    altered = bytearray(gzip.decompress(WHOLE))
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, 2_048))] = data.draw(st.integers(0, 255))
    packed = bytearray(gzip.compress(bytes(altered), mtime=0))
    if data.draw(st.booleans()):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "archive").write_bytes(packed)
    with suppress(DataError):
        repack(tmp_path / "archive", tmp_path / "made", pick, most_bytes=20_000)
    assert {*os.listdir(tmp_path)} <= {"archive", "made"}
