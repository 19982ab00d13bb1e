"""A strict reader of ShapeWorld: images of coloured shapes with captions."""

import re
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from seqjax.data.files import DataError, decoded_image, excerpt, filled, read_lines, untarred

CAPTIONS = 5
"""Of each image."""

SIDE = 100
"""Pixels of an image, up and across."""

MOST_BYTES = 1 << 20
"""Of one file in the tar: those of ShapeWorld have less than 50,000, but an archive may hold anything."""


class ShapeWorld(NamedTuple):
    """Worlds of coloured shapes on black, each with five captions of one kind that are true of it or not.

    Attributes:
        kinds: of statements, the names of the folders, in alphabetical order.
        kind: which of them a world's captions are of; rows are ordered by it and then by the number of the world.
        agreement: whether each caption is true.
        skipped: worlds that were left out because they are malformed and the caller allowed it.
    """

    images: UInt8[np.ndarray, "rows height width channels"]
    captions: list[tuple[str, ...]]
    agreement: Bool[np.ndarray, "rows captions"]
    kind: np.ndarray
    kinds: tuple[str, ...]
    skipped: int = 0


def read_shapeworld(path: Path, *, skip_bad: bool = False) -> ShapeWorld:
    """The examples of ShapeWorld (Kuhnle & Copestake 2017, arXiv:1704.04517), from a tar that is not unpacked to disk.

    Each folder `shapeworld/<kind>/` holds `world-<n>.png` for n from 0 on (100 x 100 pixels, RGB), `caption.txt` (five
    captions for each, then an empty line) and `agreement.txt` (a line for each, such as 1.0;0.0;1.0;1.0;0.0).

    Args:
        skip_bad: leave worlds with a fault out and count them, instead of raising.

    Raises:
        DataError: a damaged tar, image or line, another or a missing file, or unequal numbers.
        ImportError: Pillow is not installed.
    """
    folders: dict[str, dict[str, bytes]] = {}
    faults: list[str] = []
    for name, content in untarred(path, "tar", most_bytes=MOST_BYTES):
        if content is None:
            raise DataError([f"{path}/{name}: expected a file of at most {MOST_BYTES} bytes"])
        found = re.fullmatch(
            r"(?:\./)?shapeworld/([^/]+)/(caption\.txt|agreement\.txt|world-(?:0|[1-9]\d*)\.png)", name
        )
        if found is None:
            faults.append(
                f"{path}/{name}: expected a file shapeworld/<kind>/world-<n>.png, caption.txt or agreement.txt"
            )
        else:
            folders.setdefault(found[1], {})[found[2]] = content
    images, captions, agreement, kind = [], [], [], []
    for number, (name, files) in enumerate(sorted(folders.items())):
        where = f"{path}/shapeworld/{name}"
        missing = [needed for needed in ("caption.txt", "agreement.txt", "world-0.png") if needed not in files]
        if missing:
            faults.append(f"{where}: expected {' and '.join(missing)}, found none")
            continue
        said = _captions(f"{where}/caption.txt", files["caption.txt"], faults)
        agreed = _agreement(f"{where}/agreement.txt", files["agreement.txt"], faults)
        worlds = [f"world-{n}.png" for n in range(len(files) - 2)]
        if not len(said) == len(agreed) == len(worlds):
            counts = f"found {len(worlds)} images, {len(said)} times captions and {len(agreed)} lines of agreement"
            faults.append(f"{where}: expected equally many, {counts}")
        for world, given, agrees in zip_longest(worlds, said[: len(worlds)], agreed[: len(worlds)]):
            try:
                image = decoded_image(files[world], "PNG", SIDE)
            except KeyError:
                faults.append(f"{where}/{world}: expected an image, found none")
            except ValueError as error:
                faults.append(f"{where}/{world}: {error}")
            else:
                if given and agrees:
                    images.append(image)
                    captions.append(given)
                    agreement.append(agrees)
                    kind.append(number)
    if faults and not (skip_bad and images):
        raise DataError(faults)
    if not folders:
        raise DataError([f"{path}: expected folders shapeworld/<kind>, found none"])
    skipped = sum(name.startswith("world-") for files in folders.values() for name in files) - len(images)
    return ShapeWorld(np.stack(images), captions, np.array(agreement), np.array(kind), tuple(sorted(folders)), skipped)


def _captions(where: str, content: bytes, faults: list[str]) -> list[tuple[str, ...] | None]:
    """Of each world; None, and a fault, where a line cannot be read."""
    lines = read_lines(where, content, faults)
    lines = [*lines[: filled(lines)], ""]  # whether an empty line follows the last ones or not
    found = []
    for start in range(0, len(lines), CAPTIONS + 1):
        block = lines[start : start + CAPTIONS + 1]
        for number in range(CAPTIONS + 1):
            line = block[number] if number < len(block) else ""
            if line is not None and bool(line.strip()) != (number < CAPTIONS):
                wanted = "an empty line" if number == CAPTIONS else f"caption {number + 1} of {CAPTIONS}"
                faults.append(f"{where}:{start + number + 1}: expected {wanted}, found {excerpt(line)}")
                return found  # what follows is out of step
        given = tuple(line for line in block[:CAPTIONS] if line is not None)
        found.append(given if len(given) == CAPTIONS else None)
    return found


def _agreement(where: str, content: bytes, faults: list[str]) -> list[list[bool] | None]:
    """Of each world; None, and a fault, where a line says something else."""
    lines = read_lines(where, content, faults)
    found = []
    for number, line in enumerate(lines[: filled(lines)], start=1):
        values = (line or "").split(";")
        sound = len(values) == CAPTIONS and {*values} <= {"0.0", "1.0"}
        if line is not None and not sound:
            faults.append(
                f"{where}:{number}: expected {CAPTIONS} times 0.0 or 1.0 with semicolons, found {excerpt(line)}"
            )
        found.append([value == "1.0" for value in values] if sound else None)
    return found
