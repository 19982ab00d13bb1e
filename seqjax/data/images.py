"""Labelled images: strict readers of public formats, rows set aside by a fixed seed, and random changes of images."""

import hashlib
import math
import struct
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from seqjax._checks import integers
from seqjax.data.files import DataError, decoded_image, excerpt, filled, gunzipped, missing, read_lines, untarred
from seqjax.types import InputError

DIGITS = tuple("0123456789")
"""MNIST's classes (LeCun et al. 1998)."""

CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
"""Fashion-MNIST's (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747)."""

OBJECTS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""CIFAR-10's (Krizhevsky 2009), in the order of their labels, which is that of the alphabet."""

CIFAR_SIZE = 32
"""Pixels of a side."""

Part = Literal["train", "test"]
"""Of a public data set."""


Pixels = Float[Array, "batch height width channels"]


class Images(NamedTuple):
    """Images with a class each.

    Attributes:
        labels: which of `classes`.
        classes: their names.
        skipped: images that were left out because they are malformed and the caller allowed it.
    """

    pixels: UInt8[np.ndarray, "rows height width channels"]
    labels: Int[np.ndarray, " rows"]
    classes: tuple[str, ...]
    skipped: int = 0


class Rows(NamedTuple):
    """Rows of the training, validation and test parts, each in increasing order; no row is in two parts."""

    train: Int[np.ndarray, " train_rows"]
    validation: Int[np.ndarray, " validation_rows"]
    test: Int[np.ndarray, " test_rows"]


def mnist(folder: Path, classes: tuple[str, ...] = DIGITS, *, part: Part = "train", skip_bad: bool = False) -> Images:
    """The files of one part of MNIST, or of what copies its format (Fashion-MNIST), gzipped or not.

    Args:
        part: "train" for `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, "test" for `t10k-…`.
        skip_bad: leave images whose label is no class out and count them, instead of raising.

    Raises:
        DataError: a damaged gzip, a wrong header, bytes that are missing or too many, labels that are no class, or not
            equally many images and labels; names the file and the offset of the byte.
        FileNotFoundError: a file is not in the folder.
    """
    prefix = {"train": "train", "test": "t10k"}[part]
    where, pixels = read_idx(folder / f"{prefix}-images-idx3-ubyte", axes=3)
    labels_where, labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte", axes=1)
    if len(labels) != len(pixels):
        raise DataError([f"{labels_where}: expected {len(pixels)} labels as images in {where}, found {len(labels)}"])
    faults = _no_classes(labels_where, labels, len(classes), header=8, record=1)
    return _labelled(pixels[..., None], labels, classes, faults, skip_bad)


def _no_classes(where: str, labels: np.ndarray, classes: int, *, header: int, record: int) -> list[str]:
    """A fault for each label that is no class, with its byte: one in each record, after a header."""
    return [
        f"{where}: expected a label below {classes} at byte {header + record * row}, found {labels[row]}"
        for row in np.flatnonzero(labels >= classes)
    ]


def _labelled(
    pixels: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], faults: list[str], skip_bad: bool
) -> Images:
    """The images whose label is a class; `faults` are the others'."""
    good = labels < len(classes)
    if faults and not (skip_bad and good.any()):
        raise DataError(faults)
    pixels, labels = (pixels[good], labels[good]) if faults else (pixels, labels)
    return Images(pixels, labels.astype(np.int32), classes, len(faults))


def read_idx(path: Path, *, axes: int) -> tuple[str, UInt8[np.ndarray, "..."]]:
    """An array of unsigned bytes in the IDX format, from a file or its gzip, and the file's name.

    Two zeros, 8 for "unsigned byte", the number of axes; each axis length as four bytes, big-endian; the bytes.

    Raises:
        DataError: it is anything else, or an axis has length 0.
    """
    where, content = gunzipped(path)
    magic = bytes([0, 0, 8, axes])
    if content[:4] != magic:
        raise DataError([f"{where}: expected {magic.hex(' ')} at byte 0, found {content[:4].hex(' ') or 'the end'}"])
    header = 4 + 4 * axes
    if len(content) < header:
        raise DataError([f"{where}: expected a header of {header} bytes, found the end at byte {len(content)}"])
    shape = struct.unpack(f">{axes}I", content[4:header])
    for axis, length in enumerate(shape):
        if not length:
            raise DataError([f"{where}: expected a length >= 1 at byte {4 + 4 * axis}, found 0"])
    end = header + math.prod(shape)
    if len(content) < end:
        raise DataError([f"{where}: expected {end} bytes, found the end at byte {len(content)}"])
    if len(content) > end:
        raise DataError([f"{where}: expected the end at byte {end}, found {len(content) - end} more bytes"])
    return where, np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def cifar(path: Path, *, skip_bad: bool = False) -> Images:
    """A tar.gz of JPEGs of 32x32 pixels in colour, `train/<class>/<number>.jpg`, read without unpacking to disk.

    Classes and rows are in the order of their names.

    Args:
        skip_bad: leave other members out and count them, instead of raising.

    Raises:
        DataError: a damaged tar, or a member that is no such image; names the member.
        ImportError: Pillow is not installed.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    faults: list[str] = []
    for member, content in untarred(path, "tar.gz", most_bytes=MOST_BYTES):
        label, name = _label_and_name(member)
        if name.startswith("."):
            continue
        if content is None or not label:
            faults.append(f"{path}/{member}: expected a file train/<class>/<number>.jpg, found another")
            continue
        try:
            found[label, name] = decoded_image(content, "JPEG", CIFAR_SIZE)
        except ValueError as error:
            faults.append(f"{path}/{member}: {error}")
    if faults and not (skip_bad and found):
        raise DataError(faults)
    if not found:
        raise DataError([f"{path}: expected images, found none"])
    order = sorted(found)
    classes = sorted({label for label, _ in order})
    labels = np.array([classes.index(label) for label, _ in order], np.int32)
    return Images(np.stack([found[name] for name in order]), labels, tuple(classes), len(faults))


def cifar_binary(path: Path, *, part: Part = "train", skip_bad: bool = False) -> Images:
    """CIFAR-10's binary version (Krizhevsky 2009), `cifar-10-binary.tar.gz`, read without unpacking to disk.

    `batches.meta.txt` holds the names of the ten classes, a line each. `data_batch_1.bin` to `data_batch_5.bin` are the
    part "train", `test_batch.bin` is the part "test"; their records are a label and 32x32 pixels, row by row, all reds
    before all greens before all blues: 3073 bytes. Rows are in the order of the files.

    Args:
        skip_bad: leave images whose label is no class out and count them, instead of raising.

    Raises:
        DataError: a damaged tar, a file that is missing or has another form, or labels that are no class; names the
            file and the byte.
    """
    folder = "cifar-10-batches-bin"
    batches = [f"data_batch_{n}.bin" for n in range(1, 6)] if part == "train" else ["test_batch.bin"]
    needed = ["batches.meta.txt", *batches]
    members: dict[str, bytes] = {}
    faults: list[str] = []
    for member, content in untarred(path, "tar.gz", most_bytes=MOST_RECORD_BYTES):
        place, _, name = member.removeprefix("./").rpartition("/")
        if place != folder or name not in needed:
            continue
        if content is None or name in members:
            found = f"found no such file, or more than {MOST_RECORD_BYTES} bytes" if content is None else "found two"
            faults.append(f"{path}/{member}: expected one file, {found}")
        members[name] = content or b""
    missing = [name for name in needed if name not in members]
    faults += [f"{path}: expected a file {folder}/{name}, found none" for name in missing]
    if faults:
        raise DataError(faults)
    classes = _class_names(f"{path}/{folder}/batches.meta.txt", members["batches.meta.txt"])
    record, arrays = 1 + 3 * CIFAR_SIZE**2, []
    for name in batches:
        content, where = members[name], f"{path}/{folder}/{name}"
        if not content or len(content) % record:
            faults.append(f"{where}: expected one or more records of {record} bytes, found {len(content)} bytes")
            continue
        arrays.append(np.frombuffer(content, np.uint8).reshape(-1, record))
        faults += _no_classes(where, arrays[-1][:, 0], len(classes), header=0, record=record)
    if len(arrays) < len(batches):
        raise DataError(faults)
    rows = np.concatenate(arrays)
    pixels = rows[:, 1:].reshape(-1, 3, CIFAR_SIZE, CIFAR_SIZE).transpose(0, 2, 3, 1)
    return _labelled(np.ascontiguousarray(pixels), rows[:, 0], classes, faults, skip_bad)


def read_folder(path: Path, *, side: int, skip_bad: bool = False) -> Images:
    """PNG and JPEG files of any size, in one folder for each class, which is the name of the folder.

    Of each the middle square is scaled to `side` pixels; transparent parts are white. Classes and rows are in the order
    of their names. Hidden files and folders are not read.

    Args:
        side: pixels.
        skip_bad: leave other files out and count them, instead of raising.

    Raises:
        DataError: a file that is no such image, or in no folder of a class, or less than two classes; names the file.
        MissingData: there is no such folder.
        ImportError: Pillow is not installed.
    """
    integers(1, side=side)
    if path.is_file():
        raise DataError([f"{path}: expected a folder with a folder for each class, found a file"])
    if not path.is_dir():
        raise missing(path)
    found: dict[tuple[str, str], np.ndarray] = {}
    faults: list[str] = []
    for file in sorted(path.glob("*")) + sorted(path.glob("*/*")):
        inside = file.relative_to(path).parts
        if any(part.startswith(".") for part in inside) or (len(inside) == 1 and file.is_dir()):
            continue
        if len(inside) == 1 or file.is_dir():
            faults.append(f"{file}: expected a PNG or JPEG in the folder of a class, found another file or folder")
            continue
        try:
            found[file.parent.name, file.name] = decoded_image(file.read_bytes(), ("PNG", "JPEG"), side, scaled=True)
        except ValueError as error:
            faults.append(f"{file}: {error}")
    if faults and not (skip_bad and found):
        raise DataError(faults)
    classes = sorted({label for label, _ in found})
    if len(classes) < 2:
        named = f": {classes[0]}" if classes else ""
        raise DataError([f"{path}: expected images in two folders or more, one a class, found {len(classes)}{named}"])
    labels = np.array([classes.index(label) for label, _ in found], np.int32)
    return Images(np.stack(list(found.values())), labels, tuple(classes), len(faults))


MOST_RECORD_BYTES = 1 << 25
"""Of one file of the binary version: those of CIFAR-10 have 30,730,000."""


def _class_names(where: str, content: bytes) -> tuple[str, ...]:
    """The ten lines of `batches.meta.txt`."""
    faults: list[str] = []
    lines = read_lines(where, content, faults)
    lines = [line for line in lines[: filled(lines)] if line is not None]
    for number, (line, name) in enumerate(zip_longest(lines, OBJECTS), start=1):
        if not faults and line != name:
            wanted, found = name or "the end", "the end" if line is None else excerpt(line)
            faults.append(f"{where}:{number}: expected {wanted}, found {found}")
    if faults:
        raise DataError(faults)
    return OBJECTS


def _label_and_name(member: str) -> tuple[str, str]:
    """Of `train/<class>/<number>.jpg`; no label where the name is built in another way."""
    folder, _, name = member.removeprefix("./").rpartition("/")
    top, _, label = folder.partition("/")
    return ("" if top != "train" or "/" in label or not name.endswith(".jpg") else label), name


MOST_BYTES = 1 << 16
"""Of one JPEG: those of CIFAR have less than 2,000, but an archive may hold anything."""


def split(rows: int, *, validation: int, test: int, seed: int, labels: Int[np.ndarray, " rows"] | None = None) -> Rows:
    """Set rows aside for validation and test, one or more each; which ones depends on the arguments alone.

    Args:
        labels: if given, each class has the same fraction in each part, to within a row or two.
    """
    if min(validation, test) < 1 or validation + test >= rows:
        raise InputError(
            f"validation and test must be >= 1 and leave some of {rows} rows to train, got {validation} and {test}"
        )
    hashed = [hashlib.sha256(f"{seed} {row}".encode()).digest() for row in range(rows)]
    order = np.array(sorted(range(rows), key=hashed.__getitem__))
    if labels is not None:
        # Row k of n in its class goes to (k + 1/2) / n of the order, so that every stretch has all classes.
        way = np.empty(rows)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels[order] == label)
            way[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
        order = order[np.argsort(way, kind="stable")]
    held_out = test + validation
    return Rows(np.sort(order[held_out:]), np.sort(order[test:held_out]), np.sort(order[:test]))


def crop(key: Key[Array, ""], images: Pixels, padding: int) -> Pixels:
    """Move each image by up to `padding` random pixels along both axes; the gap is filled by reflection."""
    batch, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    corners = jax.random.randint(key, (batch, 2), 0, 2 * padding + 1)

    def cut(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

    return jax.vmap(cut)(padded, corners)


def flip(key: Key[Array, ""], images: Pixels) -> Pixels:
    """Exchange left and right in a random half of the images."""
    flipped = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(flipped, images[:, :, ::-1], images)
