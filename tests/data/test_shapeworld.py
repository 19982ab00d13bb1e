import io
import tarfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from seqjax.data.files import decoded_image
from seqjax.data.shapeworld import MOST_BYTES, read_shapeworld
from tests.files import failure, needs_data, public, special, tarred, written

GIVEN = ["there is a red square .", "a shape is red .", "a square is blue .", "there is a circle .", "a cross is red ."]


def packed(pixels: np.ndarray, form: str = "PNG", mode: str | None = None) -> bytes:
    made = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(made, form)
    return made.getvalue()


def picture(shade: int, height: int = 100, width: int = 100) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[3, 7] = shade, 1, 2
    return pixels


def folder(worlds: int = 2, shade: int = 0) -> dict[str, bytes]:
    """The files of one kind, as they should be."""
    blocks = ["\n".join([f"{caption} {n}" for caption in GIVEN]) + "\n" for n in range(worlds)]
    return {
        "caption.txt": "\n".join(blocks).encode() + b"\n",
        "agreement.txt": b"1.0;1.0;0.0;0.0;0.0\n" * (worlds - 1) + b"0.0;0.0;0.0;0.0;1.0\n",
        **{f"world-{n}.png": packed(picture(shade + n)) for n in range(worlds)},
    }


def tar(
    path: Path, folders: dict[str, dict[str, bytes]], mode: Literal["w", "w:gz"] = "w:gz", top: str = "shapeworld/"
) -> Path:
    members = [(f"{top}{name}/{file}", content) for name, files in folders.items() for file, content in files.items()]
    path.write_bytes(tarred(*members, mode=mode))
    return path


def faults(path: Path) -> list[str]:
    lines = failure(read_shapeworld, path)
    return [line.replace(f"{path}/shapeworld/", "").replace(str(path), "TAR") for line in lines]


def test_worlds_are_read_in_order_whatever_their_order_in_the_tar(tmp_path):
    many = folder(11, 50)
    backwards = {"spatial": folder(2, 20), "existential": dict(reversed(many.items()))}
    for path in (tar(tmp_path / "a.tar.gz", backwards), tar(tmp_path / "b.tar", backwards, "w", "./shapeworld/")):
        read = read_shapeworld(path)
        assert read.kinds == ("existential", "spatial")
        np.testing.assert_array_equal(read.kind, [0] * 11 + [1] * 2)
        np.testing.assert_array_equal(read.images, [picture(s) for s in [*range(50, 61), 20, 21]])
        assert read.captions[10] == tuple(f"{caption} 10" for caption in GIVEN)
        assert read.captions[11] == tuple(f"{caption} 0" for caption in GIVEN)
        expected = [[True, True, False, False, False]] * 10 + [[False] * 4 + [True]]
        np.testing.assert_array_equal(read.agreement, [*expected, expected[0], expected[-1]])


@pytest.mark.parametrize("change", [lambda b: b.replace(b"\n", b"\r\n"), lambda b: b + b"\n\n", lambda b: b.strip()])
def test_line_ends_and_empty_lines_at_the_end_do_not_matter(change, tmp_path):
    files = folder()
    changed = {name: change(content) if name.endswith(".txt") else content for name, content in files.items()}
    read, plain = (read_shapeworld(tar(tmp_path / f"{n}.tar", {"k": f}, "w")) for n, f in enumerate((changed, files)))
    assert read.captions == plain.captions
    np.testing.assert_array_equal(read.agreement, plain.agreement)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("caption.txt", None, "k: expected caption.txt, found none"),
        ("agreement.txt", None, "k: expected agreement.txt, found none"),
        ("world-0.png", None, "k: expected world-0.png, found none"),
        ("world-1.png", None, "k: expected equally many, found 1 images, 2 times captions and 2 lines of agreement"),
        ("caption.txt", b"a\nb\nc\n\nd\n", "k/caption.txt:4: expected caption 4 of 5, found ''"),
        ("caption.txt", b"a\nb\nc\nd\ne\nf\n", "k/caption.txt:6: expected an empty line, found 'f'"),
        ("caption.txt", b"a\nb\nc\nd\ne\n\n\na\n", "k/caption.txt:7: expected caption 1 of 5, found ''"),
        ("caption.txt", b"a\nb\nc\nd\n", "k/caption.txt:5: expected caption 5 of 5, found ''"),
        ("caption.txt", b"a\n\xff\nc\nd\ne\n" * 2, "k/caption.txt:2: expected UTF-8, found byte 0xff at offset 2"),
        ("agreement.txt", b"1.0;1.0;0.0;0.0\n" * 2, "k/agreement.txt:1: expected 5 times 0.0 or 1.0 with semicolons"),
        ("agreement.txt", b"1.0;1.0;0.0;0.5;0.0\n" * 2, "k/agreement.txt:1: expected 5 times 0.0 or 1.0 with"),
        ("agreement.txt", b"1.0;1.0;0.0;0.0;0.0;\n" * 2, "k/agreement.txt:1: expected 5 times 0.0 or 1.0 with"),
        ("agreement.txt", b"\n1.0;1.0;0.0;0.0;0.0\n", "k/agreement.txt:1: expected 5 times 0.0 or 1.0 with"),
        ("agreement.txt", b"1.0;1.0;0.0;0.0;0.0\n", "k: expected equally many, found 2 images, 2 times captions and 1"),
        ("world-1.png", b"\x89PNG\r\n\x1a\n", "k/world-1.png: expected a whole PNG, found"),
        ("world-1.png", packed(picture(1))[:-40], "k/world-1.png: expected a whole PNG, found"),
        ("world-1.png", packed(picture(1, 50)), "k/world-1.png: expected 100 x 100 pixels in mode RGB, found 100 x 50"),
        ("world-1.png", packed(picture(1), mode="L"), "k/world-1.png: expected 100 x 100 pixels in mode RGB, found"),
        ("world-1.png", packed(picture(1), "JPEG"), "k/world-1.png: expected a whole PNG, found"),
        ("world-01.png", b"", "k/world-01.png: expected a file shapeworld/<kind>/world-<n>.png"),
        ("readme.md", b"", "k/readme.md: expected a file shapeworld/<kind>/world-<n>.png"),
        ("world-3.png", packed(picture(3)), "k/world-2.png: expected an image, found none"),
        ("big.png", bytes(MOST_BYTES + 1), "k/big.png: expected a file of at most"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(name, content, expected, tmp_path):
    files = folder() | {name: content}
    path = tar(tmp_path / "t.tar", {"k": {key: value for key, value in files.items() if value is not None}}, "w")
    found = faults(path)
    assert any(line.startswith(expected) for line in found), found


def test_bad_worlds_are_skipped_and_counted_where_that_is_asked_for(tmp_path):
    bad = folder(6) | {
        "world-1.png": b"",
        "agreement.txt": b"1.0;1.0;0.0;0.0;0.0\n" * 2 + b"1.0\n" * 2 + b"0.0;0.0;0.0;0.0;0.0\n" * 2,
    }
    bad["caption.txt"] = bad["caption.txt"].replace(GIVEN[0].encode() + b" 4", b"\xff")
    without = folder(2)
    del without["caption.txt"]
    path = tar(tmp_path / "t.tar", {"a": without, "b": bad, "c": folder(1, 9)}, "w")
    read = read_shapeworld(path, skip_bad=True)
    assert (read.kinds, read.kind.tolist(), read.skipped) == (("a", "b", "c"), [1, 1, 2], 6)
    np.testing.assert_array_equal(read.images, [picture(0), picture(5), picture(9)])
    assert [given[0][-1] for given in read.captions] == ["0", "5", "0"]
    np.testing.assert_array_equal(read.agreement.sum(axis=1), [2, 0, 1])
    assert faults(tar(tmp_path / "t.tar", {"a": without}, "w")) == ["a: expected caption.txt, found none"]


def test_another_tar_and_no_tar(tmp_path):
    whole = tar(tmp_path / "whole.tar.gz", {"k": folder(4, 9)})
    content = whole.read_bytes()
    for cut in (0, 1, 40, len(content) // 2, len(content) - 9):
        assert faults(written(tmp_path, "cut.tar.gz", content[:cut]))[0].startswith(
            "TAR: expected a whole tar file, found"
        )
    assert faults(tar(tmp_path / "empty.tar", {}, "w")) == ["TAR: expected folders shapeworld/<kind>, found none"]
    link = tarred(special("shapeworld/k/world-0.png", tarfile.SYMTYPE, "/etc/passwd"))
    assert faults(written(tmp_path, "link.tar", link)) == ["k/world-0.png: expected a file of at most 1048576 bytes"]
    with pytest.raises(FileNotFoundError):
        read_shapeworld(tmp_path / "nowhere.tar")


def test_a_picture_alone():
    np.testing.assert_array_equal(decoded_image(packed(picture(200)), "PNG", 100), picture(200))
    with pytest.raises(ValueError, match="expected 100 x 100 pixels in mode RGB, found 64 x 48 in mode RGB"):
        decoded_image(packed(picture(1, 48, 64)), "PNG", 100)


def test_without_pillow_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'seqjax\[data\]'"):
        decoded_image(b"", "PNG", 100)


@needs_data
def test_shapeworld_as_it_is():
    read = read_shapeworld(public("captions", "shapeworld", "shapeworld.tar.gz"))
    assert read.images.shape == (1360, 100, 100, 3)
    assert read.agreement.shape == (1360, 5)
    assert read.agreement.sum() == 3448
    assert len({word for given in read.captions for caption in given for word in caption.split()}) == 96
    np.testing.assert_array_equal(np.bincount(read.kind), [80] * 17)
    assert read.captions[0][0] == "a semicircle is magenta ."
    assert read.agreement[0].tolist() == [False, True, False, True, False]
