import builtins
import gzip
import hashlib
import io
import struct
import tarfile
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seqjax.data.files import DataError
from seqjax.data.images import (
    CLOTHES,
    DIGITS,
    OBJECTS,
    cifar,
    cifar_binary,
    crop,
    flip,
    mnist,
    read_folder,
    read_idx,
    split,
)
from tests.files import failure, needs_data, public, special, tarred, written
from tests.refusals import refuses

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
LABELS = np.array([9, 0, 4], np.uint8)


def idx(array: np.ndarray, *, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


IMAGES, NAMES = idx(PIXELS), idx(LABELS)


def both(folder: Path, images: bytes = IMAGES, labels: bytes = NAMES) -> Path:
    written(folder, "train-images-idx3-ubyte", images)
    written(folder, "train-labels-idx1-ubyte", labels)
    return folder


# IDX


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_images_and_labels_are_read(pack, tmp_path):
    both(tmp_path)
    if pack:
        for path in list(tmp_path.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(pack(path.read_bytes()))
            path.unlink()
    found = mnist(tmp_path)
    np.testing.assert_array_equal(found.pixels, PIXELS[..., None])
    np.testing.assert_array_equal(found.labels, [9, 0, 4])
    assert found.pixels.dtype == np.uint8
    assert found.labels.dtype == np.int32
    assert found.classes == DIGITS
    assert mnist(tmp_path, CLOTHES).classes[9] == "ankle boot"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected 00 00 08 03 at byte 0, found the end"),
        (IMAGES[:3], "expected 00 00 08 03 at byte 0, found 00 00 08"),
        (idx(PIXELS, kind=13), "expected 00 00 08 03 at byte 0, found 00 00 0d 03"),
        (NAMES, "expected 00 00 08 03 at byte 0, found 00 00 08 01"),
        (IMAGES[:15], "expected a header of 16 bytes, found the end at byte 15"),
        (IMAGES[:16], "expected 76 bytes, found the end at byte 16"),
        (IMAGES[:-1], "expected 76 bytes, found the end at byte 75"),
        (IMAGES + b"ab", "expected the end at byte 76, found 2 more bytes"),
        (idx(PIXELS[:0]), "expected a length >= 1 at byte 4, found 0"),
        (idx(PIXELS[:, :, :0]), "expected a length >= 1 at byte 12, found 0"),
        (IMAGES[:4] + b"\xff" * 12, f"expected {16 + 0xFFFFFFFF**3} bytes, found the end at byte 16"),
    ],
)
def test_a_malformed_file_is_named_with_the_byte(content, message, tmp_path):
    where = tmp_path / "train-images-idx3-ubyte"
    assert failure(mnist, both(tmp_path, content)) == [f"{where}: {message}"]
    packed = written(tmp_path, f"{where.name}.gz", gzip.compress(content))
    assert failure(mnist, tmp_path) == [f"{packed}: {message}"]


def test_labels_that_are_no_class_are_named(tmp_path):
    where = tmp_path / "train-labels-idx1-ubyte"
    assert failure(mnist, both(tmp_path, labels=idx(np.array([10, 9, 255], np.uint8)))) == [
        f"{where}: expected a label below 10 at byte 8, found 10",
        f"{where}: expected a label below 10 at byte 10, found 255",
    ]
    found = mnist(tmp_path, skip_bad=True)
    assert (found.labels.tolist(), found.skipped) == ([9], 2)
    np.testing.assert_array_equal(found.pixels, PIXELS[1:2, ..., None])
    assert len(failure(mnist, both(tmp_path, labels=idx(np.full(3, 99, np.uint8))), skip_bad=True)) == 3


def test_as_many_labels_as_images_are_needed(tmp_path):
    (line,) = failure(mnist, both(tmp_path, labels=idx(LABELS[:2])))
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    assert line == f"{labels}: expected 3 labels as images in {images}, found 2"


def test_the_test_files_are_read_and_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"t10k-images-idx3-ubyte.gz or t10k-images-idx3-ubyte beside it"):
        mnist(both(tmp_path), part="test")
    written(tmp_path, "t10k-images-idx3-ubyte.gz", gzip.compress(idx(255 - PIXELS)))
    written(tmp_path, "t10k-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS[::-1])))
    found = mnist(tmp_path, part="test")
    np.testing.assert_array_equal(found.pixels[..., 0], 255 - PIXELS)
    np.testing.assert_array_equal(found.labels, [4, 0, 9])
    np.testing.assert_array_equal(mnist(tmp_path).labels, [9, 0, 4])
    where = written(tmp_path, "t10k-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS + 1)))
    assert failure(mnist, tmp_path, part="test") == [f"{where}: expected a label below 10 at byte 8, found 10"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz or train-images-idx3-ubyte beside it"):
        mnist(tmp_path)


@given(content=st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(lambda rest: IMAGES[:4] + rest)))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_only_our_error_escapes_from_any_bytes(content, tmp_path):
    for name, bytes_ in (("a", content), ("b.gz", content), ("c.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(bytes_)
        try:
            where, array = read_idx(tmp_path / name.removesuffix(".gz"), axes=3)
        except DataError as error:
            assert str(tmp_path / name) in str(error)  # noqa: PT017
        else:
            assert idx(array) == content
            assert where == str(tmp_path / name)


# CIFAR as JPEG


def jpeg(colour=(200, 30, 60), *, size=(32, 32), mode="RGB", kind="JPEG") -> bytes:
    made = io.BytesIO()
    Image.new(mode, size, colour if mode == "RGB" else 77).save(made, kind)
    return made.getvalue()


def jpeg_that_says(size: tuple[int, int]) -> bytes:
    """Small, but of this width and height by its own header: `SOF0`, two bytes of length, one of precision."""
    content = jpeg(mode="L")
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + b"".join(side.to_bytes(2, "big") for side in size[::-1]) + content[start + 4 :]


def tar(folder: Path, members: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    return written(folder, "images.tar.gz", tarred(*members.items(), *more, mode="w:gz"))


def test_images_come_in_the_order_of_their_names(tmp_path):
    colours = {"frog/0001": (250, 0, 0), "cat/0000": (0, 250, 0), "frog/0000": (0, 0, 250)}
    members = {f"train/{name}.jpg": jpeg(colour) for name, colour in colours.items()}
    members |= {"./train/cat/0001.jpg": jpeg((9, 9, 9)), "train/cat/._0000.jpg": b"", ".DS_Store": b"x"}
    found = cifar(tar(tmp_path, members, special("train", tarfile.DIRTYPE)))
    assert found.classes == ("cat", "frog")
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1])
    assert found.pixels.shape == (4, 32, 32, 3)
    for pixels, colour in zip(found.pixels, [(0, 250, 0), (9, 9, 9), (0, 0, 250), (250, 0, 0)], strict=True):
        assert np.abs(pixels.astype(int) - np.array(colour)).max() <= 3, "JPEG is not exact"


def test_rows_and_columns_stay_where_they_are(tmp_path):
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:8, 16:] = 255
    made = io.BytesIO()
    Image.fromarray(picture).save(made, "JPEG", quality=95)
    (found,) = cifar(tar(tmp_path, {"train/a/0.jpg": made.getvalue()})).pixels
    assert np.abs(found.astype(int) - picture).max() < 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a whole JPEG, found cannot identify image file"),
        (jpeg()[:-20], "expected a whole JPEG, found image file is truncated"),
        (jpeg()[:100], "expected a whole JPEG, found "),
        (jpeg(kind="PNG"), "expected a whole JPEG, found cannot identify image file"),
        (jpeg(size=(32, 31)), "expected 32 x 32 pixels in mode RGB, found 32 x 31 in mode RGB"),
        (jpeg_that_says((20_000, 20_000)), "expected "),
        (jpeg(mode="L"), "expected 32 x 32 pixels in mode RGB, found 32 x 32 in mode L"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_image_is_named_by_its_member(content, message, tmp_path):
    path = tar(tmp_path, {"train/cat/0.jpg": jpeg(), "train/cat/1.jpg": content, "train/dog/2.jpg": b"?"})
    first, second = failure(cifar, path)
    assert first.startswith(f"{path}/train/cat/1.jpg: {message}")
    assert second.startswith(f"{path}/train/dog/2.jpg: expected a whole JPEG")
    found = cifar(path, skip_bad=True)
    assert (found.classes, len(found.pixels), found.skipped) == (("cat",), 1, 2)


@pytest.mark.parametrize(
    "name", ["cat/0.jpg", "test/cat/0.jpg", "train/0.jpg", "train/a/b/0.jpg", "train/cat/0.png", "/etc/passwd", "../x"]
)
def test_another_member_is_named(name, tmp_path):
    path = tar(tmp_path, {name: jpeg()})
    assert failure(cifar, path) == [f"{path}/{name}: expected a file train/<class>/<number>.jpg, found another"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_not_followed(kind, tmp_path):
    path = tar(tmp_path, {"train/cat/0.jpg": jpeg()}, special("train/cat/1.jpg", kind, "../../secret"))
    (line,) = failure(cifar, path)
    assert line.startswith(f"{path}/train/cat/1.jpg: expected a file")


def test_nothing_and_rubbish_are_errors(tmp_path):
    whole = tar(tmp_path, {f"train/cat/{n}.jpg": jpeg((n, 3 * n, 255 - n)) for n in range(9)}).read_bytes()
    assert failure(cifar, tar(tmp_path, {}))[0].endswith("expected images, found none")
    for content in (b"", b"rubbish", whole[: len(whole) // 2], whole[:-30], gzip.compress(b"rubbish" * 300)):
        assert (
            "images.tar.gz: expected a whole tar.gz file, found "
            in failure(cifar, written(tmp_path, "images.tar.gz", content))[0]
        )
    with pytest.raises(FileNotFoundError):
        cifar(tmp_path / "absent.tar.gz")


# CIFAR as its authors give it

BIN = "cifar-10-batches-bin"
META = "".join(f"{name}\n" for name in OBJECTS).encode() + b"\n"
BATCHES = [f"{BIN}/data_batch_{n}.bin" for n in (2, 1, 3, 5, 4)]


def records(*labels: int, start: int = 0) -> bytes:
    """A label, then 3072 bytes; of record n the red of row r and column c is n + r, the green c, the blue 255."""
    row, column = np.mgrid[:32, :32]
    made = b""
    for n, label in enumerate(labels, start):
        made += bytes([label])
        for plane in (n + row, column, np.full_like(row, 255)):
            made += plane.astype(np.uint8).tobytes()
    return made


def binary(folder: Path, changed: dict[str, bytes | None] | None = None) -> Path:
    """An archive with one record a batch, batch n of label n, and two for test; None leaves a file out."""
    members: dict[str, bytes | None] = {name: records(int(name[-5]), start=int(name[-5])) for name in BATCHES}
    members |= {f"{BIN}/test_batch.bin": records(9, 0), f"{BIN}/batches.meta.txt": META, f"{BIN}/readme.html": b"?"}
    kept = {name: content for name, content in (members | (changed or {})).items() if content is not None}
    return written(folder, "cifar-10-binary.tar.gz", tarred(special(BIN, tarfile.DIRTYPE), *kept.items(), mode="w:gz"))


def test_the_binary_version_is_read_in_the_order_of_its_batches(tmp_path):
    found = cifar_binary(binary(tmp_path))
    np.testing.assert_array_equal(found.labels, [1, 2, 3, 4, 5])
    assert (found.pixels.shape, found.pixels.dtype, found.labels.dtype) == ((5, 32, 32, 3), np.uint8, np.int32)
    for n, row, column in ((0, 0, 0), (2, 31, 4), (4, 5, 30)):
        assert found.pixels[n, row, column].tolist() == [n + 1 + row, column, 255]
    test = cifar_binary(binary(tmp_path), part="test")
    assert [test.classes[label] for label in test.labels] == ["truck", "airplane"]
    assert test.classes == tuple(sorted(test.classes)), "the labels of the JPEG version are the same"


@pytest.mark.parametrize(
    ("changed", "part", "messages"),
    [
        ({f"{BIN}/test_batch.bin": None}, "test", ["expected a file cifar-10-batches-bin/test_batch.bin, found none"]),
        (dict.fromkeys(BATCHES[:2]), "train", [f"expected a file {name}, found none" for name in BATCHES[1::-1]]),
        (
            {f"{BIN}/test_batch.bin": records(1)[:-1]},
            "test",
            ["/test_batch.bin: expected one or more records of 3073 bytes, found 3072 bytes"],
        ),
        ({f"{BIN}/test_batch.bin": b""}, "test", ["expected one or more records of 3073 bytes, found 0 bytes"]),
        (
            {BATCHES[0]: records(3, 10, 255)},
            "train",
            [f"data_batch_2.bin: expected a label below 10 at byte {n}" for n in (3073, 2 * 3073)],
        ),
        (
            {f"{BIN}/batches.meta.txt": META.replace(b"bird", b"fish")},
            "test",
            ["/batches.meta.txt:3: expected bird, found 'fish'"],
        ),
        (
            {f"{BIN}/batches.meta.txt": META[:-7]},
            "test",
            ["/batches.meta.txt:10: expected truck, found the end"],
        ),
    ],
)
def test_a_bad_file_of_the_binary_version_is_named(changed, part, messages, tmp_path):
    path = binary(tmp_path, changed)
    found = failure(cifar_binary, path, part=part)
    assert all(line.startswith(str(path)) for line in found)
    for line, message in zip(found, messages, strict=True):
        assert message in line


def test_of_the_binary_version_bad_labels_can_be_left_out(tmp_path):
    found = cifar_binary(binary(tmp_path, {f"{BIN}/test_batch.bin": records(7, 77, 8)}), part="test", skip_bad=True)
    assert (found.labels.tolist(), found.skipped) == ([7, 8], 1)
    assert found.pixels[1, 0, 0].tolist() == [2, 0, 255]


def test_links_damage_and_two_of_a_file_are_refused_in_the_binary_version(tmp_path):
    path, name = binary(tmp_path), f"{BIN}/test_batch.bin"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], gzip.compress(b"rubbish" * 300)):
        written(tmp_path, path.name, content)
        assert failure(cifar_binary, path)[0].startswith(f"{path}: expected a whole tar.gz file, found ")
    for members in (
        [special(name, tarfile.SYMTYPE, "/etc/passwd")],
        [(name, records(1)), (f"./{name}", records(1))],
    ):
        written(tmp_path, path.name, tarred((f"{BIN}/batches.meta.txt", META), *members, mode="w:gz"))
        assert "expected one file, found" in failure(cifar_binary, path, part="test")[0]


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    path, real = tar(tmp_path, {"train/cat/0.jpg": jpeg()}), builtins.__import__

    def without(name, *rest):
        if name == "PIL":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"JPEGs need Pillow: pip install 'seqjax\[data\]'"):
        cifar(path)


# A folder of files


def picture(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, kind, **options)
    return made.getvalue()


def folder_of(top: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    return top


def test_a_folder_has_a_class_in_each_folder(tmp_path):
    """The middle square, a pixel the mean of four; grey as RGB, transparent as white, turned as it is to be shown."""
    grey = np.repeat(np.repeat(np.array([[9, 9, 10, 20, 9], [9, 9, 30, 40, 9]], np.uint8), 2, axis=0), 2, axis=1)
    clear = np.zeros((2, 2, 4), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    rows = np.repeat(np.array([0, 200], np.uint8), 8)[:, None] * np.ones((1, 16), np.uint8)
    members = {
        "b/2.png": picture(grey[:, 2:]), "b/1.PNG": picture(clear), "a/x.jpeg": picture(rows, "JPEG", exif=turned),
        ".hidden/x": b"", "a/.DS_Store": b"",
    }  # fmt: skip
    found = read_folder(folder_of(tmp_path, members), side=2)
    assert found.classes == ("a", "b")
    assert (found.labels.tolist(), found.pixels.shape, found.skipped) == ([0, 1, 1], (3, 2, 2, 3), 0)
    np.testing.assert_allclose(found.pixels[0], np.array([[200, 0]] * 2)[..., None] * np.ones(3), atol=3)
    assert (found.pixels[1] == 255).all()
    assert found.pixels[2, :, :, 1].tolist() == [[10, 20], [30, 40]]


def test_faults_of_a_folder(tmp_path):
    good = picture(np.zeros((4, 4), np.uint8))
    path = folder_of(tmp_path / "all", {"a/1.png": good, "b/1.png": good, "b/2.png": b"", "b/3.jpg": good[:40]})
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(path / "b" / "4.png")
    folder_of(path, {"top.png": good, "b/more/1.png": good})
    faults = failure(read_folder, path, side=4)
    assert [fault.partition(": ")[0] for fault in faults] == [
        f"{path}/{name}" for name in ("top.png", "b/2.png", "b/3.jpg", "b/4.png", "b/more")
    ]
    assert faults[1].endswith("expected a whole PNG or JPEG, found cannot identify image file")
    assert faults[3].endswith("expected 8 bits a channel, found mode I;16")
    assert read_folder(path, side=4, skip_bad=True).skipped == 5
    one = folder_of(tmp_path / "one", {"a/1.png": good})
    assert failure(read_folder, one, side=4) == [
        f"{one}: expected images in two folders or more, one a class, found 1: a"
    ]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_folder(tmp_path / "nowhere", side=4)
    assert "found a file" in failure(read_folder, one / "a" / "1.png", side=4)[0]


# Rows set aside


def test_no_row_is_in_two_parts_and_none_is_lost():
    parts = split(200, validation=30, test=50, seed=0)
    assert [len(part) for part in parts] == [120, 30, 50]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(200))
    again, other = (split(200, validation=30, test=50, seed=seed) for seed in (0, 1))
    for one, same, different in zip(parts, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)


def test_the_split_is_the_same_on_every_machine():
    """Were it another one some day, test images of a trained model would come among those for training."""
    first = sorted(range(20), key=lambda row: hashlib.sha256(f"7 {row}".encode()).hexdigest())
    assert split(20, validation=3, test=4, seed=7).test.tolist() == sorted(first[:4])
    assert split(20, validation=3, test=4, seed=7).validation.tolist() == sorted(first[4:7])


@given(
    counts=st.lists(st.integers(8, 40), min_size=2, max_size=5), fraction=st.floats(0.1, 0.4), seed=st.integers(0, 5)
)
@settings(max_examples=50)
def test_each_class_has_its_fraction_of_each_part(counts, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = len(labels)
    held_out = max(1, int(fraction * rows))
    parts = split(rows, validation=held_out, test=held_out, seed=seed, labels=labels)
    assert len(parts.validation) == len(parts.test) == held_out
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    for part in parts:
        found = Counter(labels[part])
        for label, count in enumerate(counts):
            assert abs(found[label] - count * len(part) / rows) <= 2


def test_which_rows_of_a_class_is_by_chance():
    labels = np.arange(4000) % 2
    chosen = split(4000, validation=1000, test=1000, seed=0, labels=labels)
    for part in chosen:
        # Means of a part drawn evenly from 0 … 3999 have a standard deviation below 37.
        assert abs(part.mean() - 2000) < 150
    assert np.bincount(labels[chosen.test]).tolist() == [500, 500]


test_a_part_that_would_be_empty_is_refused = refuses(
    lambda validation, test: split(10, validation=validation, test=test, seed=0),
    *((*ab, "leave some of 10 rows to train, got {} and {}".format(*ab)) for ab in [(0, 5), (5, 0), (5, 5), (-1, 2)]),
)


# Random changes


CROP = jax.jit(crop, static_argnums=2)


def numbered(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 5, 6, 2)).astype(np.float32)


def test_a_crop_is_a_window_of_the_mirrored_image(key):
    images = numbered(200)
    found = np.asarray(CROP(key, jnp.asarray(images), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    seen = Counter()
    for image, whole in zip(found, padded, strict=True):
        windows = {place: whole[place[0] : place[0] + 5, place[1] : place[1] + 6] for place in np.ndindex(5, 5)}
        places = [place for place, window in windows.items() if np.array_equal(image, window)]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 25, "every place comes"
    assert max(seen.values()) < 25, "none too often"
    assert not np.array_equal(CROP(jax.random.key(1), jnp.asarray(images), 2), found)
    np.testing.assert_array_equal(CROP(key, jnp.asarray(images), 0), images)


def test_a_flip_mirrors_half_of_the_images(key):
    images = numbered(400)
    found = np.asarray(flip(key, jnp.asarray(images)))
    mirrored = (found == images[:, :, ::-1]).all(axis=(1, 2, 3))
    same = (found == images).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert abs(mirrored.sum() - 200) < 50
    assert not np.array_equal(flip(jax.random.key(1), jnp.asarray(images)), found)


# The real files


@needs_data
@pytest.mark.parametrize(("name", "smallest"), [("mnist", 5421), ("fashion-mnist", 6000)])
def test_real_idx_files(name, smallest):
    found = mnist(public("images", name))
    assert found.pixels.shape == (60_000, 28, 28, 1)
    counts = np.bincount(found.labels)
    assert len(counts) == 10
    assert counts.min() == smallest
    rows = split(60_000, validation=5_000, test=10_000, seed=0, labels=found.labels)
    fractions = np.bincount(found.labels[rows.test]) / counts
    np.testing.assert_allclose(fractions, 1 / 6, atol=1e-3)


@needs_data
def test_real_jpegs(tmp_path):
    """A few of them: all fifty thousand take ten seconds."""
    with tarfile.open(public("images", "cifar-10-jpg", "CIFAR-10-images-train.tar.gz")) as archive:
        files = [(member.name, archive.extractfile(member)) for member, _ in zip(archive, range(40), strict=False)]
        found = cifar(tar(tmp_path, {name: file.read() for name, file in files if file}))
    assert found.classes == ("airplane",)
    assert found.pixels.shape == (40, 32, 32, 3)
    assert found.pixels.std() > 30
