"""Files as they come: where they are, what is wrong with them, and their lines."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

SHOWN = 20
"""Faults that an error names one by one."""


class DataError(ValueError):
    """A file does not hold what it should: `path:line: expected …, found …` for each of the first faults."""

    def __init__(self, faults: Sequence[str]):
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        super().__init__("\n".join([*faults[:SHOWN], *more]))


def data_folder(*expected: str) -> Path:
    """The folder of the data sets, which the environment variable SEQJAX_DATA names.

    Args:
        expected: files that must be there, relative to the folder.

    Raises:
        FileNotFoundError: SEQJAX_DATA names no folder, or a file is missing; says what to set or where to put the file.
    """
    files = ", ".join(expected) or "the data sets"
    named = os.environ.get("SEQJAX_DATA")
    if not named:
        raise FileNotFoundError(f"no data folder: set SEQJAX_DATA to the folder that holds {files}")
    folder = Path(named)
    if not folder.is_dir():
        raise FileNotFoundError(f"SEQJAX_DATA must name the folder that holds {files}, got {folder}, which is none")
    for name in expected:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"SEQJAX_DATA names {folder}, which lacks {name}: put it at {folder / name}")
    return folder


def read_lines(where: str, content: bytes, faults: list[str]) -> list[str | None]:
    """All lines, including the empty one after the last line end; None, and a fault, where a line is not UTF-8."""
    # Not `splitlines`: it also cuts at characters that are part of a sentence.
    lines: list[str | None] = []
    offset = 0
    for number, raw in enumerate(content.split(b"\n"), start=1):
        text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            lines.append(text.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            place = offset + len(raw) - len(text) + error.start
            faults.append(f"{where}:{number}: expected UTF-8, found byte {text[error.start]:#04x} at offset {place}")
            lines.append(None)
        offset += len(raw) + 1
    return lines


def filled(lines: list[str | None]) -> int:
    """How many lines there are without the blank ones at the end."""
    return max((number for number, line in enumerate(lines, start=1) if line is None or line.strip()), default=0)


def excerpt(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}…")


def unzipped(path: Path) -> tuple[str, bytes]:
    """The name and the content of the one text in a zip."""
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            texts = [name for name in archive.namelist() if name.endswith(".txt")]
            names = [name for name in texts if not name.rsplit("/", 1)[-1].startswith(("_", "."))]
            if len(names) != 1:
                found = ", ".join(names) or "none"
                raise DataError([f"{path}: expected one text besides _about.txt, found {found}"])
            return f"{path}/{names[0]}", archive.read(names[0])
    except DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError([f"{path}: expected a whole zip file, found {error or type(error).__name__}"]) from None


def gunzipped(path: Path) -> tuple[str, bytes]:
    """The name and the content of a file or of its gzip."""
    packed = path.with_name(f"{path.name}.gz")
    if packed.is_file():
        try:
            return str(packed), gzip.decompress(packed.read_bytes())
        except DAMAGE as error:
            raise DataError([f"{packed}: expected a whole gzip file, found {error or type(error).__name__}"]) from None
    if not path.is_file():
        raise FileNotFoundError(f"expected {packed} or {path.name} beside it, found neither")
    return str(path), path.read_bytes()


def decoded_image(
    content: bytes, form: Literal["JPEG", "PNG"], side: int
) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of a square image in RGB.

    Raises:
        ValueError: it is something else.
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"{form}s need Pillow: pip install 'seqjax[data]'") from None
    try:
        image = Image.open(io.BytesIO(content), formats=(form,))
        if image.size == (side, side) and image.mode == "RGB":
            return np.array(image)
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a whole {form}, found {error or type(error).__name__}") from None
    found = f"{image.size[0]} x {image.size[1]} in mode {image.mode}"
    raise ValueError(f"expected {side} x {side} pixels in mode RGB, found {found}")


# What zipfile and gzip raise over bytes that they cannot read.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, KeyError)
