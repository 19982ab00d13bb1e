"""Files from the network, checked before they are there, and archives that may write nowhere but in their folder."""

import bz2
import errno
import gzip
import hashlib
import http.client
import io
import lzma
import os
import shutil
import stat
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from seqjax.data.files import DAMAGE, DataError

CHUNK = 1 << 20
TIMEOUT = 30
"""Bytes, and seconds without any of them."""


class Source(NamedTuple):
    """Where a file can be had, and the SHA-256 of its content."""

    urls: tuple[str, ...]
    sha256: str


# The hashes are those of copies of these files whose gzip headers (name, 21 December 2017) are the originals'; that
# the addresses give the same bytes was not tried, as there was no network. Tatoeba's zip files are not in the table:
# the copies at hand are not the public files, byte for byte, so their hashes would refuse every download.
_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/HEAD/data/task1/raw/"
SOURCES = {
    f"translation/multi30k/{name}": Source((_MULTI30K + name,), sha256)
    for name, sha256 in {
        "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
        "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
        "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
        "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    }.items()
}
"""By path within the data folder."""


def fetch(urls: Sequence[str], path: Path, sha256: str) -> None:
    """Download a file from the first address that has it; what arrives under `path` is whole, or nothing does.

    A file that is there already and has this hash is left alone, without any network access.

    Raises:
        OSError: no address gave this content, and where the file may be put by hand; or the disk refused it.
    """
    if path.is_file() and _sha256(path) == sha256:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    failures = []
    try:
        for url in urls:
            digest = hashlib.sha256()
            try:
                with partial.open("wb") as file:
                    for chunk in _body(url):
                        file.write(chunk)
                        digest.update(chunk)
                    file.flush()
                    os.fsync(file.fileno())
            except _Unreachable as error:
                failures.append(f"{url}: {error}")
                continue
            if digest.hexdigest() == sha256:
                os.replace(partial, path)
                return
            failures.append(f"{url}: expected SHA-256 {sha256}, found {digest.hexdigest()}")
    finally:
        partial.unlink(missing_ok=True)
    tried = "\n".join(failures) or "no address is known"
    raise OSError(f"could not download {path.name}; it may be put by hand at {path.resolve()}\n{tried}")


class _Unreachable(Exception):
    """The network's fault, not the disk's."""


def _body(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            while chunk := answer.read(CHUNK):
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(error) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path, *, most_bytes: int) -> None:
    """Unpack a zip or a tar, plain or compressed, into a new folder, which appears whole or not at all.

    Args:
        most_bytes: that it may hold unpacked, headers and padding included.

    Raises:
        DataError: the archive is damaged, holds more than that, or would write outside of the folder: absolute names,
            `..`, links and devices are refused.
        FileExistsError: the folder is there.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} must not be there before {archive} is unpacked")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with archive.open("rb") as file:
            opener = _unzip if _starts(file, b"PK") else _untar
            opener(file, partial, _Budget(archive, most_bytes))
        if not any(partial.iterdir()):
            raise DataError([f"{archive}: expected at least one file, found none"])
        os.replace(partial, folder)
    except DataError:
        raise
    except _DAMAGE as error:
        # Python's zipfile may seek to before the file's begin, where a damaged directory points: EINVAL.
        known = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if known and not isinstance(error, _CLASHES):
            raise  # the disk's fault
        raise DataError([f"{archive}: expected a whole zip or tar, found {error or type(error).__name__}"]) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


_DAMAGE = (*DAMAGE, tarfile.TarError, lzma.LZMAError)
# Raised for a name that is a file and a folder at once.
_CLASHES = (FileExistsError, NotADirectoryError, IsADirectoryError)

_HEADER = 512
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class _Budget:
    """Bytes that may still come out of an archive."""

    def __init__(self, archive: Path, most_bytes: int):
        self.archive, self.most_bytes, self.left = archive, most_bytes, most_bytes

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DataError([f"{self.archive}: expected at most {self.most_bytes} bytes unpacked, found more"])

    def check(self, name: str, *, plain: bool) -> None:
        """Refuse what is neither a file nor a folder below the one to unpack into."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or set(name) & set("\\:\0"):
            raise DataError([f"{self.archive}: expected relative names without .., found {name!r}"])
        if not plain:
            raise DataError([f"{self.archive}: expected files and folders, found {name!r}, a link or a device"])


class _Metered:
    """A stream that is read on a budget: also headers that would fill the memory are paid for."""

    def __init__(self, stream: io.BufferedIOBase, budget: _Budget):
        self.stream, self.budget = stream, budget

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.budget.spend(len(content))
        return content


def _untar(file: io.BufferedReader, folder: Path, budget: _Budget) -> None:
    opener = next((opener for magic, opener in _COMPRESSIONS.items() if _starts(file, magic)), None)
    stream = file if opener is None else opener(file)
    declared = _Budget(budget.archive, budget.most_bytes)
    # As a stream ("r|"), read once from front to end: each member is checked before a byte of it is written.
    metered = cast(IO[bytes], _Metered(stream, budget))
    with tarfile.open(fileobj=metered, mode="r|") as tar:
        for member in tar:
            # A sparse file is longer than what the stream holds of it.
            declared.spend(member.size)
            budget.check(member.name, plain=member.isreg() or member.isdir())
            tar.extract(member, folder, filter="data")
    while metered.read(CHUNK):  # to the end, where the checksum is
        pass


def _unzip(file: io.BufferedReader, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        for member in members:
            budget.spend(member.file_size + _HEADER)
            kind = stat.S_IFMT(member.external_attr >> 16)
            budget.check(member.orig_filename, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
        for member in members:
            archive.extract(member, folder)  # reads no more than the size just checked


def _starts(file: io.BufferedReader, magic: bytes) -> bool:
    file.seek(0)
    found = file.read(len(magic))
    file.seek(0)
    return found == magic
