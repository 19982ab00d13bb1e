"""Files for the tests of the readers, and the errors that they end in."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from seqjax.data.catalogue import owner
from seqjax.data.files import DataError, data_folder

BOM = b"\xef\xbb\xbf"
needs_data = pytest.mark.skipif(
    not data_folder().is_dir(), reason="no data set was fetched, and SEQJAX_DATA is not set"
)


def public(*path: str) -> Path:
    """A public file, in a test that `needs_data`; where SEQJAX_DATA is set it must be there."""
    found = data_folder().joinpath(*path)
    if not os.environ.get("SEQJAX_DATA") and not found.exists():
        pytest.skip(f"{owner(found)} was not fetched")
    return found


def same_lines(text: bytes) -> list[bytes]:
    """Contents that are read as the same lines."""
    return [text, BOM + text, text.replace(b"\n", b"\r\n"), text.removesuffix(b"\n"), text + b"\n \r\n\n"]


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def failure(read: Callable, *arguments, **options) -> list[str]:
    """The lines of the error."""
    with pytest.raises(DataError) as caught:
        read(*arguments, **options)
    return str(caught.value).split("\n")


def tarred(*members: tuple[str, bytes] | tarfile.TarInfo, mode: Literal["w", "w:gz"] = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return made.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A link, a folder or a device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return made.getvalue()
