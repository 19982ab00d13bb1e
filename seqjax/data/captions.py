"""Captions of images, with features that another network made of the images: strict readers.

    photographs = data.read_flickr8k("Flickr8k.token.txt", "vgg.npz", "Flickr_8k.trainImages.txt")
    photographs.features                           # (images, 4096) or (images, height, width, channels)

Features are an `.npz` with one array an image, under the image's name, or an `.npy` with one row an image.
"""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Num

from seqjax.data.files import DataError, excerpt, filled, read_json, read_lines, whole

MOST_FEATURE_BYTES = 1 << 33
"""Of a file of features, unpacked: 14 x 14 places of 512 numbers for each of 8,000 images have 3,211,264,000 bytes."""


class CaptionedImages(NamedTuple):
    """Images by name, each with its captions as they were written.

    Attributes:
        names: of the image files.
        captions: of each image, one or more.
        features: of each image, `(features,)` or `(height, width, channels)`.
    """

    names: tuple[str, ...]
    captions: list[tuple[str, ...]]
    features: Num[np.ndarray, "images *shape"]


class _Told(NamedTuple):
    """The captions of an image, and where in a file it is named first."""

    where: str
    captions: tuple[str, ...]


def read_flickr8k(captions: Path | str, features: Path | str, names: Path | str | None = None) -> CaptionedImages:
    """Captions in the form of Flickr8k (Hodosh, Young & Hockenmaier 2013, doi:10.1613/jair.3994), with features.

    Args:
        captions: lines `<image>#<number><TAB><caption>` in any order.
        features: an `.npz` or `.npy`. An `.npy` has its rows in the order of the images.
        names: a file with one image a line, such as `Flickr_8k.trainImages.txt`: the images to read, in its order; all
            others are left out. None: all images, in the order of their first captions.

    Raises:
        DataError: a line of another form, a caption number or an image given twice, an image without captions or
            without features, features without captions, or features that are no vectors or grids of finite numbers, all
            of one shape; names the line, or the image.
        FileNotFoundError: a file is missing.
    """
    captions, features = Path(captions), Path(features)
    faults: list[str] = []
    told: dict[str, dict[int, str]] = {}
    first: dict[str, str] = {}
    for where, line in _lines(captions, faults):
        found = re.fullmatch(r"([^#\t]+)#(\d{1,9})\t(.*\S.*)", line)
        if found is None:
            faults.append(f"{where}: expected <image>#<number><TAB><caption>, found {excerpt(line)}")
        elif int(found[2]) in told.setdefault(found[1], {}):
            faults.append(f"{where}: expected a caption number not used before, found {found[1]}#{found[2]} again")
        else:
            first.setdefault(found[1], where)
            told[found[1]][int(found[2])] = found[3].strip()
    images = {
        name: _Told(first[name], tuple(numbered[number] for number in sorted(numbered)))
        for name, numbered in told.items()
        if numbered
    }
    known, listed = images.keys(), images
    if names is not None:
        listed = {}
        for where, line in _lines(Path(names), faults):
            name = line.strip()
            if name in listed:
                faults.append(f"{where}: expected an image not listed before, found {excerpt(name)} again")
            elif name not in images:
                faults.append(f"{where}: expected an image that {captions.name} has captions of, found {excerpt(name)}")
            else:
                listed[name] = _Told(where, images[name].captions)
    if faults:
        raise DataError(faults)
    if not listed:
        raise DataError([f"{names or captions}: expected images with captions, found none"])
    return _with_features(listed, known, captions, features)


def read_coco(captions: Path | str, features: Path | str) -> CaptionedImages:
    """Captions in the form of COCO's `captions_*.json` (Chen et al. 2015, arXiv:1504.00325), with features.

    Args:
        captions: `images` with `id` and `file_name`, whose order is that of the result, and `annotations` with
            `image_id` and `caption`.
        features: as in `read_flickr8k`, by `file_name`.

    Raises:
        DataError: as `read_flickr8k`; the image is named by its place in `images`.
        FileNotFoundError: a file is missing.
    """
    captions, features = Path(captions), Path(features)
    content = read_json(captions)
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        notes = [(note["image_id"], str(note["caption"]).strip()) for note in content["annotations"]]
        told: dict[Any, list[str]] = {image: [] for image in names}
        faults = []
        for place, (image, caption) in enumerate(notes):
            if image not in told or not caption:
                found = f"{excerpt(caption)} of {image}"
                faults.append(f"{captions}/annotations/{place}: expected a caption of one of its images, found {found}")
            else:
                told[image].append(caption)
    except (KeyError, TypeError) as error:
        form = "images with id and file_name, and annotations with image_id and caption"
        raise DataError([f"{captions}: expected {form}, found {type(error).__name__}: {error}"]) from None
    places = {image: f"{captions}/images/{place}" for place, image in enumerate(names)}
    faults += [
        f"{places[image]}: expected captions of {names[image]!r}, found none" for image in names if not told[image]
    ]
    if len({*names.values()}) < len(content["images"]):
        faults.append(f"{captions}: expected images with an id and a file_name of their own, found some twice")
    if faults or not names:
        raise DataError(faults or [f"{captions}: expected images with captions, found none"])
    images = {names[image]: _Told(places[image], tuple(told[image])) for image in names}
    return _with_features(images, images.keys(), captions, features)


def _with_features(images: dict[str, _Told], known: Any, captions: Path, path: Path) -> CaptionedImages:
    """The images with their features; `known` are all images that have captions, read or not."""
    size = path.stat().st_size
    if size > MOST_FEATURE_BYTES:
        raise DataError([f"{path}: expected at most {MOST_FEATURE_BYTES} bytes, found {size}"])
    if path.suffix == ".npy":
        with whole(path, "npy"):
            found = _array(str(path), path.read_bytes())
        if len(found) != len(images):
            raise DataError([f"{path}: expected {len(images)} rows, one an image, found {len(found)}"])
        _check(str(path), found, images)
        features = found
    elif path.suffix == ".npz":
        with whole(path, "npz"), zipfile.ZipFile(path) as archive:
            features = _members(path, archive, images, known, captions)
    else:
        raise DataError([f"{path}: expected an .npz or .npy of features, found another ending"])
    return CaptionedImages(tuple(images), [image.captions for image in images.values()], features)


def _members(path: Path, archive: zipfile.ZipFile, images: dict[str, _Told], known: Any, captions: Path) -> np.ndarray:
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    faults = [
        f"{told.where}: expected an image that {path.name} has features of, found {name!r}"
        for name, told in images.items()
        if name not in members
    ]
    faults += [
        f"{path}/{name}: expected an image that {captions.name} has captions of, found none"
        for name in members
        if name not in known
    ]
    if faults:
        raise DataError(faults)
    size = sum(members[name].file_size for name in images)
    if size > MOST_FEATURE_BYTES:
        raise DataError([f"{path}: expected at most {MOST_FEATURE_BYTES} bytes unpacked, found {size}"])
    rows = []
    for name in images:
        where = f"{path}/{name}"
        row = _array(where, archive.read(members[name]))
        if rows and (row.shape, row.dtype) != (rows[0].shape, rows[0].dtype):
            wanted = f"{rows[0].dtype} of shape {rows[0].shape} as of the first image"
            faults.append(f"{where}: expected {wanted}, found {row.dtype} of shape {row.shape}")
            continue
        _check(where, row[None], (name,))
        rows.append(row)
    if faults:
        raise DataError(faults)
    return np.stack(rows)


def _array(where: str, content: bytes) -> np.ndarray:
    """An array of numbers in NumPy's format, whose header may claim more of them than there are."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.kind not in "fiu" or not all(shape) or not shape:
        raise DataError([f"{where}: expected numbers in one axis or more, found {dtype} of shape {shape}"])
    content = content[file.tell() :]
    if len(content) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise DataError([f"{where}: expected {shape} numbers of {dtype}, found {len(content)} bytes"])
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _check(where: str, rows: np.ndarray, names: Sequence[str] | dict[str, _Told]) -> None:
    """Require rows of vectors or grids, all finite."""
    if rows.ndim not in (2, 4):
        raise DataError(
            [f"{where}: expected the shape (features,) or (height, width, channels), found {rows.shape[1:]}"]
        )
    for name, row in zip(names, rows, strict=True):
        if not np.isfinite(row).all():
            raise DataError([f"{where}: expected finite numbers, found {row[~np.isfinite(row)][0]} of {name!r}"])


def _lines(path: Path, faults: list[str]) -> list[tuple[str, str]]:
    """Each line and where it is, without the blank ones at the end."""
    lines = read_lines(str(path), path.read_bytes(), faults)
    return [(f"{path}:{n}", line) for n, line in enumerate(lines[: filled(lines)], start=1) if line is not None]
