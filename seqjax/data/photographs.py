"""Photographs with captions: readers of Flickr8k and COCO, and of what another network saw in the pictures.

    photographs = data.flickr8k(folder / "Flickr8k.token.txt", folder / "Flickr_8k.trainImages.txt")
    features = data.image_features("vgg.npz", photographs.names)   # (images, 14, 14, 512), say

`models.Captioner(None, …)` reads such features, a grid or one vector an image.
"""

import json
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax.data.files import DataError, excerpt, filled, read_lines


class Photographs(NamedTuple):
    """Images by name, each with its captions as they were written.

    Attributes:
        names: of the image files.
        captions: of each image, in the order of their numbers.
    """

    names: tuple[str, ...]
    captions: list[tuple[str, ...]]


def flickr8k(captions: Path, names: Path) -> Photographs:
    """The images of one list of Flickr8k (Hodosh, Young & Hockenmaier 2013, doi:10.1613/jair.3994), in its order.

    Args:
        captions: lines `<image>#<number><TAB><caption>`, for more images than are listed, in any order.
        names: one image a line.

    Raises:
        DataError: a line of another form, a caption given twice, an image listed twice or without captions.
    """
    faults: list[str] = []
    said: dict[str, dict[int, str]] = {}
    for where, line in _lines(captions, faults):
        found = re.fullmatch(r"([^#\t]+)#(\d+)\t(.*\S.*)", line)
        if found is None:
            faults.append(f"{where}: expected <image>#<number>, a tab and a caption, found {excerpt(line)}")
        elif int(found[2]) in said.setdefault(found[1], {}):
            faults.append(f"{where}: expected a caption number not used before, found {found[1]}#{found[2]} again")
        else:
            said[found[1]][int(found[2])] = found[3].strip()
    listed: dict[str, None] = {}
    for where, line in _lines(names, faults):
        name = line.strip()
        if name in listed:
            faults.append(f"{where}: expected an image not listed before, found {excerpt(name)} again")
        elif name not in said:
            faults.append(f"{where}: expected an image that {captions.name} has captions of, found {excerpt(name)}")
        listed[name] = None
    if faults:
        raise DataError(faults)
    return Photographs(tuple(listed), [tuple(said[name][number] for number in sorted(said[name])) for name in listed])


def coco(path: Path) -> Photographs:
    """The images of one `captions_*.json` of COCO (Chen et al. 2015, arXiv:1504.00325), in the order of its `images`.

    Raises:
        DataError: no JSON of that form, a caption of an image that is not there, or an image without captions.
    """
    try:
        content = json.loads(path.read_bytes())
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        given = [(note["image_id"], note["caption"].strip()) for note in content["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        form = "images with id and file_name, and annotations with image_id and caption"
        raise DataError([f"{path}: expected JSON with {form}, found {type(error).__name__}: {error}"]) from None
    said: dict[Any, list[str]] = {image: [] for image in names}
    faults = []
    for image, caption in given:
        if image not in said or not caption:
            faults.append(f"{path}: expected a caption of one of its images, found {excerpt(caption)} of {image}")
        else:
            said[image].append(caption)
    faults += [f"{path}: expected captions of {names[image]}, found none" for image in names if not said[image]]
    if faults:
        raise DataError(faults)
    return Photographs(tuple(names.values()), [tuple(captions) for captions in said.values()])


def image_features(path: Path, names: Sequence[str]) -> np.ndarray:
    """The features of each image, stacked in the order of the names: an `.npz` with an array by the name of each.

    Raises:
        DataError: no whole `.npz`, images that it lacks, or arrays of several shapes.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            faults = [f"{path}: expected features of {name}, found none" for name in names if name not in archive.files]
            found = {} if faults else {name: archive[name] for name in names}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, AttributeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, struct.error):
        raise DataError([f"{path}: expected a whole .npz of numbers, found something else"]) from None
    kinds = {name: (array.shape, array.dtype) for name, array in found.items()}
    for name, kind in kinds.items():
        first = kinds[names[0]]
        if kind != first:
            faults.append(f"{path}: expected {first[1]}{list(first[0])} as of {names[0]}, found {kind} of {name}")
    if faults:
        raise DataError(faults)
    return np.stack([found[name] for name in names])


def _lines(path: Path, faults: list[str]) -> list[tuple[str, str]]:
    """Each line and where it is, without the blank ones at the end."""
    lines = read_lines(str(path), path.read_bytes(), faults)
    return [
        (f"{path}:{number}", line) for number, line in enumerate(lines[: filled(lines)], start=1) if line is not None
    ]
