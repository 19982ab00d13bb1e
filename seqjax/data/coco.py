"""A strict reader of COCO's captions of photographs."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.data.files import DataError, excerpt


class CocoCaptions(NamedTuple):
    """Images by name, each with its captions as written.

    Attributes:
        names: of the image files.
        captions: of each image, in the order of the file.
    """

    names: tuple[str, ...]
    captions: list[tuple[str, ...]]


def read_coco(path: Path) -> CocoCaptions:
    """The images of one `captions_*.json` of COCO (Chen et al. 2015, arXiv:1504.00325), in the order of its `images`.

    Raises:
        DataError: no JSON of that form, a caption of an image that is not there, or an image without captions.
    """
    try:
        content = json.loads(path.read_bytes())
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        notes = [(note["image_id"], note["caption"].strip()) for note in content["annotations"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        form = "images with id and file_name, and annotations with image_id and caption"
        raise DataError([f"{path}: expected JSON with {form}, found {type(error).__name__}: {error}"]) from None
    captions: dict[Any, list[str]] = {image: [] for image in names}
    faults = []
    for image, caption in notes:
        if image not in captions or not caption:
            faults.append(f"{path}: expected a caption of one of its images, found {excerpt(caption)} of {image}")
        else:
            captions[image].append(caption)
    faults += [f"{path}: expected captions of {names[image]}, found none" for image in names if not captions[image]]
    if faults:
        raise DataError(faults)
    return CocoCaptions(tuple(names.values()), [tuple(found) for found in captions.values()])
