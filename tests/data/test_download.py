import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import os
import re
import stat
import tarfile
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqjax.data.download import SOURCES, fetch, unpack
from seqjax.data.files import DataError
from tests.files import special, tarred, zipped

BODY = bytes(range(256)) * 9_000  # more than one chunk
SHA256 = hashlib.sha256(BODY).hexdigest()


class Mirrors:
    """Addresses of a local server, and what was asked of it."""

    def __init__(self, port: int):
        self.port, self.asked = port, []

    def __getitem__(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def mirrors():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            mirrors.asked.append(self.path[1:])
            if self.path == "/missing":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            altered = bytes([BODY[0] ^ 1]) + BODY[1:]
            self.wfile.write({"/whole": BODY, "/cut": BODY[:-1], "/altered": altered}[self.path])

        def log_message(self, format, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirrors = Mirrors(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield mirrors
        server.shutdown()
        thread.join()


def test_a_download_goes_on_to_the_next_mirror_until_one_is_whole(mirrors, tmp_path):
    path = tmp_path / "new" / "a.bin"
    urls = [mirrors[name] for name in ("missing", "cut", "altered", "whole", "never")]
    fetch(urls, path, SHA256)
    assert path.read_bytes() == BODY
    assert os.listdir(path.parent) == ["a.bin"]
    assert mirrors.asked == ["missing", "cut", "altered", "whole"]
    fetch(urls, path, SHA256)
    assert len(mirrors.asked) == 4, "what is there is not fetched again"
    path.write_bytes(b"old")
    fetch([mirrors["whole"]], path, SHA256)
    assert path.read_bytes() == BODY


def test_where_all_mirrors_fail_the_error_says_where_to_put_the_file(mirrors, tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=re.escape(f"may be put by hand at {path.resolve()}")) as caught:
        fetch([*(mirrors[name] for name in ("missing", "cut", "altered")), "http://127.0.0.1:1/closed"], path, SHA256)
    first, *tried = str(caught.value).split("\n")
    assert "a.bin" in first
    assert [line.split("/")[3].split(":")[0] for line in tried] == ["missing", "cut", "altered", "closed"]
    assert "404" in tried[0]
    assert f"expected SHA-256 {SHA256}, found" in tried[2]
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"
    with pytest.raises(OSError, match="no address is known"):
        fetch([], tmp_path / "b.bin", SHA256)


def test_what_the_disk_refuses_is_not_blamed_on_the_mirror(mirrors, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetch([mirrors["whole"], mirrors["whole"]], tmp_path / "a.bin", SHA256)
    assert mirrors.asked == ["whole"]
    assert os.listdir(tmp_path) == []


def test_the_known_hashes_are_those_of_the_files_at_hand():
    for name, source in SOURCES.items():
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert all(url.startswith("https://") and url.endswith(Path(name).name) for url in source.urls)
    folder = os.environ.get("SEQJAX_DATA")
    if not folder:
        pytest.skip("the hashes are compared where SEQJAX_DATA names the folder of the files")
    for name, source in SOURCES.items():
        assert hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest() == source.sha256


# Archives

COMPRESSIONS = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


FILES = {"a.txt": b"a" * 3_000, "b/c.txt": b"", "b/d/e.txt": b"e"}
WHOLE = {name: pack(tarred(*FILES.items())) for name, pack in COMPRESSIONS.items()} | {"zip": zipped(*FILES.items())}


@pytest.mark.parametrize("kind", WHOLE)
def test_archives_are_unpacked(kind, tmp_path):
    archive = tmp_path / "archive"
    archive.write_bytes(WHOLE[kind])
    unpack(archive, tmp_path / "new" / "folder", most_bytes=20_000)
    assert files(tmp_path / "new") == {f"folder/{name}": content for name, content in FILES.items()}
    with pytest.raises(FileExistsError, match="folder must not be there"):
        unpack(archive, tmp_path / "new" / "folder", most_bytes=20_000)


def test_a_tar_may_begin_with_its_own_folder(tmp_path):
    (tmp_path / "archive").write_bytes(tarred(special("./", tarfile.DIRTYPE), ("./a", b"1")))
    unpack(tmp_path / "archive", tmp_path / "out", most_bytes=20_000)
    assert files(tmp_path / "out") == {"a": b"1"}


def sparse() -> bytes:
    """A header that claims a terabyte, almost all of it holes."""
    info = tarfile.TarInfo("a")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(2**40), "GNU.sparse.map": f"{2**40 - 1},1"}
    info.size = 1
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"x"))
    return made.getvalue()


ESCAPES = ["../evil", "a/../../evil", "/evil", "..\\evil", "C:evil", "b/../../evil/x"]


def misplaced(content):
    """A zip whose end says that the directory is 1,000 bytes later: everything else then begins before the file."""
    end = content.rindex(b"PK\5\6") + 16
    offset = int.from_bytes(content[end : end + 4], "little") + 1000
    return content[:end] + offset.to_bytes(4, "little") + content[end + 4 :]


REFUSED = {
    **{f"tar {name}": (tarred(("ok", b"1"), (name, b"2")), "expected relative names") for name in ESCAPES},
    **{f"zip {name}": (zipped(("ok", b"1"), (name, b"2")), "expected relative names") for name in ESCAPES},
    "symlink": (tarred(special("l", tarfile.SYMTYPE, "/tmp")), "a link or a device"),
    "symlink within": (tarred(("a", b""), special("l", tarfile.SYMTYPE, "a")), "a link or a device"),
    "symlink then file": (tarred(special("l", tarfile.SYMTYPE, ".."), ("l/evil", b"2")), "a link or a device"),
    "hard link": (tarred(("a", b""), special("l", tarfile.LNKTYPE, "a")), "a link or a device"),
    "device": (tarred(special("d", tarfile.CHRTYPE)), "a link or a device"),
    "pipe": (tarred(special("d", tarfile.FIFOTYPE)), "a link or a device"),
    "zip symlink": (zipped((zip_link("l"), b"/tmp")), "a link or a device"),
    "tar bomb": (gzip.compress(tarred(("a", bytes(10**7)))), "expected at most 20000 bytes"),
    "zip bomb": (zipped(("a", bytes(10**7))), "expected at most 20000 bytes"),
    "many in a zip": (zipped(*((f"{n}", b"") for n in range(60))), "expected at most 20000 bytes"),
    "many in a tar": (tarred(*((f"{n}", b"") for n in range(60))), "expected at most 20000 bytes"),
    "bomb in a header": (gzip.compress(tarred(("a" * 10**6, b""))), "expected at most 20000 bytes"),
    "holes": (sparse(), "expected at most 20000 bytes"),
    "file and folder": (tarred(("a", b"1"), ("a/b", b"2")), "expected a whole zip or tar"),
    "nothing": (tarred(), "expected at least one file"),
    "empty": (b"", "expected a whole zip or tar"),
    "text": (b"<html>404</html>" * 99, "expected a whole zip or tar"),
    **{f"cut {kind}": (WHOLE[kind][:-20], "expected a whole zip or tar") for kind in ("gz", "bz2", "xz", "zip")},
    "misplaced zip": (misplaced(WHOLE["zip"]), "expected a whole zip or tar"),
    "cut plain": (WHOLE["plain"][:2_000], "expected a whole zip or tar"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_and_damaged_archives_write_nothing(name, tmp_path):
    content, message = REFUSED[name]
    archive = tmp_path / "inner" / "archive"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(DataError, match=message):
        unpack(archive, archive.parent / "out", most_bytes=20_000)
    assert files(tmp_path) == {"inner/archive": content}
    assert os.listdir(archive.parent) == ["archive"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_only_data_errors_escape_from_altered_archives(tmp_path, kind, data):
    altered = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, min(len(altered), 2_048) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path / "inner"
    folder.mkdir(exist_ok=True)
    archive = folder / "archive"
    archive.write_bytes(bytes(altered))
    out = folder / "out"
    with suppress(DataError):
        unpack(archive, out, most_bytes=20_000)
        assert out.is_dir()
    for path in sorted(out.rglob("*"), reverse=True):
        path.chmod(0o700)
        path.unlink() if path.is_file() else path.rmdir()
    if out.exists():
        out.rmdir()
    assert os.listdir(folder) == ["archive"]
    assert os.listdir(tmp_path) == ["inner"]
