import json

import pytest

from seqjax.data.coco import read_coco
from seqjax.data.files import DataError


def test_coco_joins_captions_to_images_by_id(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "x.jpg"}, {"id": 3, "file_name": "y.jpg"}],
        "annotations": [
            {"image_id": 3, "caption": " A red bus. "},
            {"image_id": 7, "caption": "A dog."},
            {"image_id": 3, "caption": "A bus."},
        ],
    }
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(content))
    assert read_coco(path) == (("x.jpg", "y.jpg"), [("A dog.",), ("A red bus.", "A bus.")])
    content["annotations"][1] = {"image_id": 8, "caption": "Nowhere."}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"'Nowhere.' of 8\n.*expected captions of x.jpg, found none"):
        read_coco(path)


@pytest.mark.parametrize(
    "content", ["", "[1]", "[" * 100_000, '{"images": [{"id": 1}]}', '{"images": [], "annotations": 3}']
)
def test_what_is_no_captions_of_coco_is_said(tmp_path, content):
    path = tmp_path / "captions.json"
    path.write_text(content)
    with pytest.raises(DataError, match="expected JSON with images"):
        read_coco(path)
