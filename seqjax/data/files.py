"""Files as they come: where they are, what is wrong with them, and their lines."""

import gzip
import io
import json
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from seqjax.data import catalogue
from seqjax.types import InputError

SHOWN = 20
"""Faults that an error names one by one."""

MOST_UNPACKED = 1 << 28
"""Bytes that an archive may hold unpacked. The tar of CIFAR-10 has 77 million."""


class DataError(InputError):
    """A file does not hold what it should: `path:line: expected …, found …` for each of the first faults."""

    def __init__(self, faults: Sequence[str]):
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        super().__init__("\n".join([*faults[:SHOWN], *more]))


class MissingData(InputError, FileNotFoundError):
    """A file of a data set is not there; the message ends with the command that downloads it, where there is one."""


def data_folder(*expected: str) -> Path:
    """The folder of the data sets: the one that the environment variable SEQJAX_DATA names, or one in the user's cache.

    Args:
        expected: files that must be there, relative to the folder.

    Raises:
        MissingData: SEQJAX_DATA names no folder, or a file is missing; says how to get it.
        InputError: SEQJAX_DATA is not set, and the user has no home.
    """
    if named := os.environ.get("SEQJAX_DATA"):
        folder = Path(named)
        if expected and not folder.is_dir():
            files, cure = ", ".join(expected), _cure(map(Path, expected))
            raise MissingData(f"SEQJAX_DATA must name the folder that holds {files}, got {folder}, which is none{cure}")
    else:
        try:
            folder = cache_folder() / "data"
        except RuntimeError as error:
            raise InputError(
                f"SEQJAX_DATA must name the folder of the data sets where there is no home: {error}"
            ) from None
    lacking = [folder / name for name in expected if not (folder / name).is_file()]
    if lacking:
        raise missing(*lacking)
    return folder


def cache_folder() -> Path:
    """Where the user's system keeps what can be made again, for seqjax.

    Raises:
        RuntimeError: the user has no home folder.
    """
    if named := os.environ.get("XDG_CACHE_HOME") or (sys.platform == "win32" and os.environ.get("LOCALAPPDATA")):
        return Path(named) / "seqjax"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "seqjax"


def missing(*paths: Path) -> MissingData:
    """An error for files that are not there."""
    return MissingData(f"there is no file {', '.join(map(str, paths))}{_cure(paths)}")


def _cure(paths: Iterable[Path]) -> str:
    """The end of an error: the command that downloads the files, if they are of known data sets."""
    names = list(dict.fromkeys(name for path in paths if (name := catalogue.owner(path))))
    return f"; to download it: python -m seqjax.data fetch {' '.join(names)}" if names else ""


def contents(path: Path) -> bytes:
    """All of a file.

    Raises:
        MissingData: there is no such file.
        DataError: it is a folder.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except IsADirectoryError:
        raise DataError([f"{path}: expected a file, found a folder"]) from None


def read_lines(where: str, content: bytes, faults: list[str]) -> list[str | None]:
    """All lines, including the empty one after the last line end, which is \\n or \\r\\n.

    None, and a fault, where a line is not UTF-8 or has another \\r: it may be the line end of another system.
    """
    # Not `splitlines`: it also cuts at characters that are part of a sentence.
    lines: list[str | None] = []
    offset = 0
    for number, raw in enumerate(chain(io.BytesIO(content), [b""] * (content[-1:] in (b"", b"\n"))), start=1):
        text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        begin, text = offset + len(raw) - len(text), text[:-2] if text.endswith(b"\r\n") else text.removesuffix(b"\n")
        fault, offset = None, offset + len(raw)
        try:
            lines.append(text.decode())
        except UnicodeDecodeError as error:
            fault = f"expected UTF-8, found byte {text[error.start]:#04x} at offset {begin + error.start}"
        if not fault and b"\r" in text:
            fault = f"expected lines that end in \\n or \\r\\n, found \\r alone at offset {begin + text.index(13)}"
            lines.pop()
        if fault:
            faults.append(f"{where}:{number}: {fault}")
            lines.append(None)
    return lines


def filled(lines: list[str | None]) -> int:
    """How many lines there are without the blank ones at the end."""
    return max((number for number, line in enumerate(lines, start=1) if line is None or line.strip()), default=0)


def summary(rows: str, *, malformed: int = 0, long: int = 0, cut: int = 0) -> str:
    """What was done to rows, such as "3 of the pairs left out as too long"; empty if nothing was."""
    counts = {"left out as malformed or empty": malformed, "left out as too long": long, "cut": cut}
    return ", ".join(f"{count:,} of the {rows} {what}" for what, count in counts.items() if count)


def excerpt(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}…")


def unzipped(path: Path) -> tuple[str, bytes]:
    """The name and the content of the one text in a zip."""
    content = contents(path)
    with whole(path, "zip"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        texts = [name for name in archive.namelist() if name.endswith(".txt")]
        names = [name for name in texts if not name.rsplit("/", 1)[-1].startswith(("_", "."))]
        if len(names) != 1:
            found = ", ".join(names) or "none"
            raise DataError([f"{path}: expected one text besides _about.txt, found {found}"])
        with archive.open(names[0]) as file:
            return f"{path}/{names[0]}", unpacked(path, file.read)


def gunzipped(path: Path) -> tuple[str, bytes]:
    """The name and the content of a file or of its gzip."""
    packed = path.with_name(f"{path.name}.gz")
    if packed.is_file():
        with whole(packed, "gzip"), gzip.open(packed) as file:
            return str(packed), unpacked(packed, file.read)
    if not path.is_file():
        raise MissingData(f"expected {packed} or {path.name} beside it, found neither{_cure([path])}")
    return str(path), path.read_bytes()


def untarred(path: Path, kind: str, *, most_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    """Names and contents of what is no folder in a tar or tar.gz, without unpacking to disk.

    Args:
        kind: "tar" or "tar.gz", as errors call it.
        most_bytes: of a file; None instead of its content if it has more, or is a link or a device.
    """
    content = contents(path)
    with whole(path, kind):
        if content[:2] == b"\x1f\x8b":
            # As a whole: a tar ends before its gzip does, whose check sum would not be read.
            with gzip.open(io.BytesIO(content)) as file:
                content = unpacked(path, file.read)
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                # A sparse file is longer than what the tar holds of it.
                plain = member.isreg() and not member.issparse() and member.size <= most_bytes
                file = archive.extractfile(member) if plain else None
                if not member.isdir():
                    yield member.name, file and file.read()


def unpacked(path: Path, read: Callable[[int], bytes]) -> bytes:
    """All that `read` gives, at most `MOST_UNPACKED`: a small archive may hold more than fits into memory."""
    content = io.BytesIO()
    while chunk := read(1 << 20):
        content.write(chunk)
        if content.tell() > MOST_UNPACKED:
            raise DataError([f"{path}: expected at most {MOST_UNPACKED} bytes unpacked, found more"])
    return content.getvalue()


@contextmanager
def whole(path: Path, kind: str) -> Iterator[None]:
    """Turn what is raised over a damaged archive into a DataError."""
    try:
        yield
    except DataError:
        raise
    except (tarfile.TarError, *DAMAGE) as error:
        raise DataError([f"{path}: expected a whole {kind} file, found {error or type(error).__name__}"]) from None


def read_json(path: Path) -> Any:
    """What a file in JSON holds.

    Raises:
        DataError: it is not JSON, or has more than 50 levels of arrays and objects.
        FileNotFoundError: there is no such file.
    """

    def deeper(value: Any, levels: int) -> bool:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return not levels or any(deeper(one, levels - 1) for one in inner)

    content = path.read_bytes()
    try:
        if not deeper(found := json.loads(content), 50):
            return found
        raise RecursionError("more than 50 levels")
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError([f"{path}{line}: expected JSON, found {error}"]) from None


Form = Literal["JPEG", "PNG"]


def decoded_image(
    content: bytes, form: Form | tuple[Form, ...], side: int, *, scaled: bool = False
) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of a square image in RGB.

    Args:
        scaled: take an image of any size, shape and mode with 8 bits a channel: the middle square of it, turned as it
            is to be shown, and scaled to `side`.

    Raises:
        InputError: it is something else.
        ImportError: Pillow is not installed.
    """
    forms = (form,) if isinstance(form, str) else form
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError(f"{'s and '.join(forms)}s need Pillow: pip install 'seqjax[data]'") from None
    try:
        image = Image.open(io.BytesIO(content), formats=forms)
        if scaled and image.mode[0] not in "IF":
            shown = ImageOps.exif_transpose(image)
            opaque = shown.convert("RGBA" if shown.has_transparency_data else "RGB")
            if opaque.mode == "RGBA":
                opaque = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
            return np.array(ImageOps.fit(opaque, (side, side), Image.Resampling.BOX))
        if not scaled and image.size == (side, side) and image.mode == "RGB":
            return np.array(image)
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        found = str(error).partition(" <_io.")[0]  # the address of an object
        raise InputError(f"expected a whole {' or '.join(forms)}, found {found or type(error).__name__}") from None
    if scaled:
        raise InputError(f"expected 8 bits a channel, found mode {image.mode}")
    found = f"{image.size[0]} x {image.size[1]} in mode {image.mode}"
    raise InputError(f"expected {side} x {side} pixels in mode RGB, found {found}")


# What zipfile and gzip raise over bytes that they cannot read.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, KeyError)
