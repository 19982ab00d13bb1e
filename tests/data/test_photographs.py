import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.data.files import DataError, data_folder
from seqjax.data.photographs import coco, flickr8k, image_features

TOKENS = "a.jpg#1\tTwo dogs run .\nb.jpg#0\tA boy .\na.jpg#0\tDogs .\nc.jpg#0\tA cat sleeps .\n"


def flickr(tmp_path: Path, tokens: str = TOKENS, names: str = "c.jpg\na.jpg\n"):
    (tmp_path / "tokens.txt").write_text(tokens)
    (tmp_path / "names.txt").write_text(names)
    return flickr8k(tmp_path / "tokens.txt", tmp_path / "names.txt")


def test_images_come_in_the_order_of_the_list_and_captions_by_number(tmp_path):
    found = flickr(tmp_path)
    assert found.names == ("c.jpg", "a.jpg")
    assert found.captions == [("A cat sleeps .",), ("Dogs .", "Two dogs run .")]


@pytest.mark.parametrize(
    ("tokens", "names", "expected"),
    [
        (
            TOKENS + "d.jpg A dog\n",
            "a.jpg",
            r"tokens.txt:5: expected <image>#<number>, a tab and a caption, found",
        ),
        (TOKENS + "d.jpg#0\t \n", "a.jpg", r"tokens.txt:5: expected <image>#<number>"),
        (TOKENS + "b.jpg#0\tTwice\n", "a.jpg", r"tokens.txt:5: expected a caption number .*, found b.jpg#0 again"),
        (TOKENS, "a.jpg\nx.jpg", r"names.txt:2: expected an image that tokens.txt has captions of, found 'x.jpg'"),
        (TOKENS, "a.jpg\nb.jpg\na.jpg", r"names.txt:3: expected an image not listed before, found 'a.jpg' again"),
    ],
)
def test_faults_of_flickr_are_told_by_line(tmp_path, tokens, names, expected):
    with pytest.raises(DataError, match=expected):
        flickr(tmp_path, tokens, names)


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
    assert coco(path) == (("x.jpg", "y.jpg"), [("A dog.",), ("A red bus.", "A bus.")])
    content["annotations"][1] = {"image_id": 8, "caption": "Nowhere."}
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"'Nowhere.' of 8\n.*expected captions of x.jpg, found none"):
        coco(path)


@pytest.mark.parametrize("content", ["", "[1]", '{"images": [{"id": 1}]}', '{"images": [], "annotations": 3}'])
def test_what_is_no_captions_of_coco_is_said(tmp_path, content):
    path = tmp_path / "captions.json"
    path.write_text(content)
    with pytest.raises(DataError, match="expected JSON with images"):
        coco(path)


def test_a_captioner_reads_the_features_of_listed_images(tmp_path):
    rng = np.random.default_rng(0)
    grids = {name: rng.normal(size=(2, 3, 8)).astype(np.float32) for name in ("a.jpg", "b.jpg", "c.jpg")}
    np.savez(tmp_path / "seen.npz", **grids)  # pyright: ignore[reportArgumentType]
    features = image_features(tmp_path / "seen.npz", flickr(tmp_path).names)
    np.testing.assert_array_equal(features, np.stack([grids["c.jpg"], grids["a.jpg"]]))
    model = models.Captioner(None, models.RecurrentDecoder(4), target_vocab=9, features=4, embedding=4)
    logits, _ = model.init_with_output(jax.random.key(0), jnp.asarray(features), jnp.ones((2, 5), jnp.int32))
    assert jnp.asarray(logits).shape == (2, 5, 9)


def test_features_that_do_not_fit_are_told_by_image(tmp_path):
    path = tmp_path / "seen.npz"
    np.savez(path, **{"a.jpg": np.zeros(4), "b.jpg": np.zeros(5)})  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=r"expected features of c.jpg, found none"):
        image_features(path, ["a.jpg", "c.jpg"])
    with pytest.raises(DataError, match=r"expected float64\[4\] as of a.jpg, found .* of b.jpg"):
        image_features(path, ["a.jpg", "b.jpg"])
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=r"expected a whole .npz"):
        image_features(path, ["a.jpg"])


@pytest.mark.skipif(not os.environ.get("SEQJAX_DATA"), reason="SEQJAX_DATA names no folder of data")
def test_the_public_captions():
    folder = data_folder(None) / "captions" / "flickr8k"
    for split, images in (("train", 5827), ("dev", 964)):
        found = flickr8k(folder / "Flickr8k.token.txt", folder / f"Flickr_8k.{split}Images.txt")
        assert len(found.names) == images
        assert {len(captions) for captions in found.captions} == {5}
