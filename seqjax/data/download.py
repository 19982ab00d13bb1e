"""Files from the network, checked before they are there, and archives made from a repository's."""

import gzip
import hashlib
import http.client
import io
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from seqjax.data.catalogue import Digest, Pick
from seqjax.data.files import DAMAGE, MOST_UNPACKED, DataError, untarred, unzipped, whole

CHUNK = 1 << 18
TIMEOUT = 30
"""Bytes, and seconds without any of them."""

ATTEMPTS = 3
"""At one address, as long as each brings something new."""

MOST_BYTES = 1 << 30
"""Of a download: an address may answer without end."""


class DownloadError(OSError):
    """No address gave a file; says where it may be put by hand."""


def fetch(
    path: Path,
    urls: Sequence[str],
    digest: Digest,
    *,
    pick: Pick | None = None,
    told: Callable[[int, int | None], None] = lambda done, total: None,
) -> None:
    """Download a file from the first address that has it; what arrives under `path` is whole, or nothing does.

    A download that was interrupted is continued, by any process and from any address, from `.<name>.part` beside
    `path`. The caller keeps other processes out.

    Args:
        pick: what makes the file from the tar.gz at the addresses, see `repack`.
        told: is called with the bytes that are there, and how many there will be, where the address says so.

    Raises:
        DownloadError: no address gave this content.
        OSError: the disk refused it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    failures = []
    for url in urls:
        again = True
        while again:
            # Of what was begun elsewhere, or long ago, the rest may not fit: only then once more, from its begin.
            again = partial.is_file()
            try:
                _download(url, partial, told)
            except _Unreachable as error:
                failures.append(f"{url}: {error}")
                break
            if not (wrong := _put(partial, path, digest, pick)):
                return
            partial.unlink(missing_ok=True)
            if not again:
                failures.append(f"{url}: {wrong}")
    tried = "\n".join(failures) or "no address is known"
    raise DownloadError(f"could not download {path.name}; it may be put by hand at {path.resolve()}\n{tried}")


class _Unreachable(Exception):
    """The network's fault, not the disk's."""


def _download(url: str, partial: Path, told: Callable[[int, int | None], None]) -> None:
    for left in reversed(range(ATTEMPTS)):
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            _receive(url, partial, before, told)
            return
        except _Unreachable:
            if not left or not partial.is_file() or partial.stat().st_size <= before:
                raise


def _receive(url: str, partial: Path, begin: int, told: Callable[[int, int | None], None]) -> None:
    """Append what comes after the first `begin` bytes; replace them where the address gives the whole only."""
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if begin and isinstance(error, urllib.error.HTTPError) and error.code == 416:
            return  # nothing comes after them: they are all, or too many, which the digest tells
        raise _Unreachable(error) from None
    with answer:
        rest = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-")
        done, length = begin if rest else 0, answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        with partial.open("ab" if rest else "wb") as file:
            for chunk in _body(answer):
                file.write(chunk)
                done += len(chunk)
                told(done, total)
                if done > MOST_BYTES:
                    break
            file.flush()
            os.fsync(file.fileno())
    if done > MOST_BYTES:
        partial.unlink()
        raise _Unreachable(f"expected at most {MOST_BYTES} bytes, found more")
    if total is not None and done < total:
        raise _Unreachable(f"expected {total} bytes, found the end after {done}")


def _body(answer: Any) -> Iterator[bytes]:
    try:
        while chunk := answer.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Unreachable(error) from None


def _put(partial: Path, path: Path, digest: Digest, pick: Pick | None) -> str:
    """Move a download to its place if its content is the one expected; otherwise what is wrong with it."""
    made = path.with_name(f".{path.name}.made") if pick else partial
    try:
        if pick:
            repack(partial, made, pick)
        if wrong := difference(made, digest, path.name):
            return wrong
        os.replace(made, path)
    except DataError as error:
        return str(error)
    finally:
        if pick:
            made.unlink(missing_ok=True)
    partial.unlink(missing_ok=True)
    return ""


def difference(path: Path, digest: Digest, name: str) -> str:
    """What is expected of a file's content and was not found; empty if it is the content expected.

    Args:
        name: of the file, which tells the wrapper if the digest is of what is inside.

    Raises:
        DataError: the wrapper is damaged.
    """
    computed = hashlib.new(digest.algorithm, usedforsecurity=False)
    for chunk in _inside(path, name) if digest.inside else _chunks(path):
        computed.update(chunk)
    found = computed.hexdigest()
    inside = " of what is inside" if digest.inside else ""
    source = f" (given by {digest.given_by})" if digest.given_by else ""
    return "" if found == digest.value else f"expected {digest.algorithm}{inside} {digest.value}{source}, found {found}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _inside(path: Path, name: str) -> Iterator[bytes]:
    if name.endswith(".zip"):
        yield unzipped(path)[1]
    elif name.endswith(".tar.gz"):
        for member, content in sorted(untarred(path, "tar.gz", most_bytes=MOST_UNPACKED)):
            yield f"{hashlib.sha256(content or b'').hexdigest()}  {member}\n".encode()
    else:
        size = 0
        with whole(path, "gzip"), gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > MOST_UNPACKED:
                    raise DataError([f"{path}: expected at most {MOST_UNPACKED} bytes unpacked, found more"])
                yield chunk


def repack(archive: Path, made: Path, pick: Pick, *, most_bytes: int = MOST_UNPACKED) -> None:
    """Make a tar.gz of some files of another, whose one top folder is left away; equal files make equal bytes.

    Nothing is unpacked to disk; links and devices are left out.

    Args:
        most_bytes: that the archive may hold unpacked, headers and padding included.

    Raises:
        DataError: the archive is damaged, holds more than that, or nothing is picked.
    """
    picked: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as file:
            metered = _Metered(file, archive, most_bytes)
            # As a stream ("r|"), read once from front to end. A sparse file is longer than what the stream holds of it.
            with tarfile.open(fileobj=cast(IO[bytes], metered), mode="r|") as tar:
                for member in tar:
                    if not member.isreg() or member.issparse():
                        continue
                    content = tar.extractfile(member)
                    found = pick(member.name.partition("/")[2], content.read() if content else b"")
                    picked |= [found] if found else []
            while metered.read(CHUNK):  # to the end, where the checksum is
                pass
    except DataError:
        raise
    except (*DAMAGE, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault
        raise DataError([f"{archive}: expected a whole tar.gz, found {error or type(error).__name__}"]) from None
    if not picked:
        raise DataError([f"{archive}: expected files of the data set, found none"])
    with (
        made.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in sorted(picked.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


class _Metered:
    """A stream of which no more may be read than so many bytes: also headers that would fill the memory count."""

    def __init__(self, stream: io.BufferedIOBase, archive: Path, most_bytes: int):
        self.stream, self.archive, self.most_bytes, self.left = stream, archive, most_bytes, most_bytes

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise DataError([f"{self.archive}: expected at most {self.most_bytes} bytes unpacked, found more"])
        return content
