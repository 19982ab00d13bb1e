import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqjax.data import DataError, captions, read_coco, read_flickr8k
from tests.files import failure, needs_data, public, same_lines, written, zipped

LINES = b"b.jpg#1\tA dog .\na.jpg#0\tTwo men ride horses .\nb.jpg#0\tThe dog sits\na.jpg#10\tMen\na.jpg#2\tHorses\n"
FEATURES = np.arange(8, dtype=np.float32).reshape(2, 4)
"""Of b.jpg and a.jpg, the order in which they are named."""


def npy(array: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def files(folder: Path, lines: bytes = LINES, **features: Any) -> tuple[Path, Path]:
    """Captions and an npz; by default the features above."""
    features = {"b.jpg": FEATURES[0], "a.jpg": FEATURES[1]} | features
    path = folder / "features.npz"
    np.savez(path, **{name: array for name, array in features.items() if array is not None})
    return written(folder, "captions.txt", lines), path


def test_captions_are_joined_to_features_by_the_name_of_the_image(tmp_path):
    for lines in same_lines(LINES):
        found = read_flickr8k(*files(tmp_path, lines))
        assert found.names == ("b.jpg", "a.jpg")
        assert found.captions == [("The dog sits", "A dog ."), ("Two men ride horses .", "Horses", "Men")]
        np.testing.assert_array_equal(found.features, FEATURES)
    rows = written(tmp_path, "features.npy", npy(np.asfortranarray(FEATURES.astype(">f2"))))
    found = read_flickr8k(tmp_path / "captions.txt", rows)
    np.testing.assert_array_equal(found.features, FEATURES)
    assert found.features.dtype == np.float16
    grids = FEATURES.reshape(2, 2, 1, 2)
    found = read_flickr8k(*files(tmp_path, **{"b.jpg": grids[0], "a.jpg": grids[1]}))
    np.testing.assert_array_equal(found.features, grids)


def test_a_list_chooses_the_images_and_their_order(tmp_path):
    both = files(tmp_path)
    names = written(tmp_path, "names.txt", b"a.jpg\nb.jpg\n")
    assert read_flickr8k(*both, names).names == ("a.jpg", "b.jpg")
    np.testing.assert_array_equal(read_flickr8k(*both, names).features, FEATURES[::-1])
    one = read_flickr8k(*both, written(tmp_path, "names.txt", b"a.jpg"))
    assert (one.names, len(one.captions), one.features.tolist()) == (("a.jpg",), 1, FEATURES[1:].tolist())
    rows = written(tmp_path, "features.npy", npy(FEATURES[1:]))
    np.testing.assert_array_equal(read_flickr8k(both[0], rows, names).features, FEATURES[1:])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b"a.jpg#0 A dog\n", "captions.txt:6: expected <image>#<number><TAB><caption>, found 'a.jpg#0 A dog'"),
        (b"c.jpg#0\t \n", "captions.txt:6: expected <image>#<number><TAB><caption>, found 'c.jpg#0\\t '"),
        (b"a.jpg#2\tAgain\n", "captions.txt:6: expected a caption number not used before, found a.jpg#2 again"),
        (b"a.jpg#3\t\xff\n", "captions.txt:6: expected UTF-8, found byte 0xff"),
        (b"c.jpg#0\tA cat\n", "captions.txt:6: expected an image that features.npz has features of, found 'c.jpg'"),
    ],
)
def test_a_bad_line_is_named(lines, message, tmp_path):
    (line,) = failure(read_flickr8k, *files(tmp_path, LINES + lines))
    assert line.startswith(f"{tmp_path}/{message}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (b"a.jpg\na.jpg\n", "names.txt:2: expected an image not listed before, found 'a.jpg' again"),
        (b"a.jpg\nz.jpg\n", "names.txt:2: expected an image that captions.txt has captions of, found 'z.jpg'"),
        (b"b.jpg\n\na.jpg\n", "names.txt:2: expected an image that captions.txt has captions of, found ''"),
        (b"", "names.txt: expected images with captions, found none"),
    ],
)
def test_a_bad_list_is_named(names, message, tmp_path):
    assert failure(read_flickr8k, *files(tmp_path), written(tmp_path, "names.txt", names)) == [f"{tmp_path}/{message}"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"z.jpg": FEATURES[0]}, "/z.jpg: expected an image that captions.txt has captions of, found none"),
        (
            {"a.jpg": FEATURES[0, :3]},
            "/a.jpg: expected float32 of shape (4,) as of the first image, found float32 of shape (3,)",
        ),
        ({"a.jpg": np.array([1.0, 2, np.nan, 3], "f")}, "/a.jpg: expected finite numbers, found nan of 'a.jpg'"),
        ({"b.jpg": np.array([1.0, -np.inf])}, "/b.jpg: expected finite numbers, found -inf of 'b.jpg'"),
        (
            {"b.jpg": FEATURES, "a.jpg": FEATURES},
            "/b.jpg: expected the shape (features,) or (height, width, channels), found (2, 4)",
        ),
        ({"b.jpg": np.float32(3)}, "/b.jpg: expected numbers in one axis or more, found float32 of shape ()"),
        ({"b.jpg": np.zeros(0)}, "/b.jpg: expected numbers in one axis or more, found float64 of shape (0,)"),
        ({"b.jpg": np.array(["x"])}, "/b.jpg: expected numbers in one axis or more, found <U1 of shape (1,)"),
        ({"b.jpg": np.array([{}], object)}, "/b.jpg: expected numbers in one axis or more, found object of shape (1,)"),
    ],
)
def test_bad_features_are_named_by_their_image(features, message, tmp_path):
    paths = files(tmp_path, **features)
    assert failure(read_flickr8k, *paths) == [f"{paths[1]}{message}"]


def test_an_image_without_features_is_named_by_its_line(tmp_path):
    missing: dict[str, Any] = {"b.jpg": None}
    both = files(tmp_path, **missing)
    message = "expected an image that features.npz has features of, found 'b.jpg'"
    assert failure(read_flickr8k, *both) == [f"{both[0]}:1: {message}"]
    names = written(tmp_path, "names.txt", b"a.jpg\nb.jpg\n")
    assert failure(read_flickr8k, *both, names) == [f"{names}:2: {message}"]


def test_rows_without_names_must_be_as_many_as_images(tmp_path):
    text = written(tmp_path, "captions.txt", LINES)
    rows = written(tmp_path, "rows.npy", npy(FEATURES[:1]))
    assert failure(read_flickr8k, text, rows) == [f"{rows}: expected 2 rows, one an image, found 1"]
    rows.write_bytes(npy(np.array([[1.0, 2.0], [np.nan, 3.0]])))
    assert failure(read_flickr8k, text, rows) == [f"{rows}: expected finite numbers, found nan of 'a.jpg'"]


def test_damage_and_claims_of_a_size_are_refused(tmp_path, monkeypatch):
    text, path = files(tmp_path)
    whole = path.read_bytes()
    for content in (b"", b"rubbish", whole[:-30], whole[:200]):
        path.write_bytes(content)
        assert failure(read_flickr8k, text, path)[0].startswith(f"{path}: expected a whole npz file, found ")
    claim = npy(FEATURES[0]).replace(b"(4,), }      ", b"(9999999,), }")
    path.write_bytes(zipped(("b.jpg.npy", claim), ("a.jpg.npy", claim)))
    assert failure(read_flickr8k, text, path) == [
        f"{path}/b.jpg: expected (9999999,) numbers of float32, found 16 bytes"
    ]
    path.write_bytes(whole)
    monkeypatch.setattr(captions, "MOST_FEATURE_BYTES", 287)
    assert "expected at most 287 bytes" in failure(read_flickr8k, text, path)[0]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_flickr8k(text, tmp_path / "nowhere.npz")
    other = written(tmp_path, "features.pt", b"")
    assert failure(read_flickr8k, text, other) == [
        f"{other}: expected an .npz or .npy of features, found another ending"
    ]


COCO: Any = {
    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
    "annotations": [
        {"image_id": 3, "caption": " A red bus. "},
        {"image_id": 7, "caption": "A dog."},
        {"image_id": 3, "caption": "A bus."},
    ],
}


def test_captions_of_coco_are_joined_by_id(tmp_path):
    _, path = files(tmp_path)
    found = read_coco(written(tmp_path, "coco.json", json.dumps(COCO).encode()), path)
    assert found[:2] == (("b.jpg", "a.jpg"), [("A dog.",), ("A red bus.", "A bus.")])
    np.testing.assert_array_equal(found.features, FEATURES)


def test_what_is_wrong_with_captions_of_coco_is_said(tmp_path):
    _, path = files(tmp_path)
    notes = [COCO["annotations"][0], {"image_id": 8, "caption": "Nowhere."}]
    where = written(tmp_path, "coco.json", json.dumps(COCO | {"annotations": notes}).encode())
    assert failure(read_coco, where, path) == [
        f"{where}/annotations/1: expected a caption of one of its images, found 'Nowhere.' of 8",
        f"{where}/images/0: expected captions of 'b.jpg', found none",
    ]
    twice = [*COCO["images"], {"id": 3, "file_name": "c.jpg"}]
    where.write_text(json.dumps(COCO | {"images": twice}))
    assert "found some twice" in failure(read_coco, where, path)[0]
    for content in ("", "[1]", "[" * 100_000, '{"images": [{"id": 1}]}', '{"images": [], "annotations": 3}', "3"):
        where.write_text(content)
        with pytest.raises(DataError, match=r"coco\.json.*: expected (JSON|images with)"):
            read_coco(where, path)


@needs_data
def test_real_captions_with_made_features(tmp_path):
    folder = public("captions", "flickr8k")
    names = folder / "Flickr_8k.devImages.txt"
    count = len(names.read_text().split())
    path = written(tmp_path, "features.npy", npy(np.zeros((count, 3), np.float32)))
    found = read_flickr8k(folder / "Flickr8k.token.txt", path, names)
    assert (len(found.names), {len(given) for given in found.captions}) == (count, {5})
    assert found.names[0] == "2090545563_a4e66ec76b.jpg"
