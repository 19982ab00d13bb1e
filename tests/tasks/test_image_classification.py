import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import tasks
from seqjax.data.batching import epoch_rows
from seqjax.data.images import Images, Rows
from seqjax.data.language import Language
from seqjax.tasks import ImageClassification, Shapes
from seqjax.tasks.image_classification import SHAPES
from seqjax.types import Batches
from tests import contracts
from tests.refusals import refuses

rng = np.random.default_rng(0)
IMAGES = Images(rng.integers(0, 256, (40, 3, 5, 2), np.uint8), rng.integers(0, 3, 40).astype(np.int32), ("a", "b", "c"))
ROWS = Rows(np.arange(0, 40, 2), np.arange(1, 40, 4), np.arange(3, 40, 4))
TASK = ImageClassification(IMAGES, ROWS)


def test_what_encodes_rows_is_not_mistaken_for_training_batches():
    assert isinstance(TASK.batches(5), Batches)
    kinds = [Language, *(getattr(tasks, name) for name in tasks.__all__)]
    assert not [kind for kind in kinds if issubclass(kind, Batches)]


def test_pixels_are_standardised_by_those_of_training_alone():
    pixels = IMAGES.pixels.astype(np.float64)
    mean, deviation = (f(axis=(0, 1, 2)) for f in (pixels[::2].mean, pixels[::2].std))
    for rows in (ROWS.train, ROWS.test):
        batch = TASK.standardise(rows)
        np.testing.assert_allclose(batch.inputs, (pixels[rows] - mean) / deviation, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(batch.labels, IMAGES.labels[rows])
        assert batch.mask is None
    train = np.asarray(TASK.standardise(ROWS.train).inputs, np.float64)
    np.testing.assert_allclose(train.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(train.var(axis=(0, 1, 2)), 1, atol=1e-5)


def test_other_images_are_on_the_same_scale():
    others = Images(IMAGES.pixels[5:9], IMAGES.labels[5:9], IMAGES.classes)
    for found, expected in zip(TASK.standardise_others(others), TASK.standardise(np.arange(5, 9)), strict=True):
        np.testing.assert_array_equal(found, expected)


test_other_images_are_of_the_same_kind = refuses(
    lambda **changes: TASK.standardise_others(IMAGES._replace(**changes)),
    ({"pixels": IMAGES.pixels[:, :2]}, r"others must be \(3, 5, 2\), got \(2, 5, 2\)"),
    ({"classes": ("a", "c", "b")}, "classes of others must be .*, got "),
)


def test_a_thousand_rows_of_training_are_enough_to_standardise():
    pixels = np.tile(np.array([1, 3], np.uint8), 502)
    pixels[[0, 1002]] = 200, 255  # a row of validation, and one of training behind the first thousand
    images = Images(pixels[:, None, None, None], np.zeros(1004, np.int32), ("a",))
    task = ImageClassification(images, Rows(np.arange(1, 1003), np.array([0]), np.array([1003])))
    np.testing.assert_array_equal(task.standardise(np.arange(1, 1001)).inputs.ravel(), np.tile([1, -1], 500))


def test_a_channel_without_contrast_stays_finite():
    images = IMAGES._replace(pixels=np.full((40, 3, 5, 2), 7, np.uint8))
    np.testing.assert_array_equal(ImageClassification(images, ROWS).standardise(ROWS.test).inputs, 0)


def test_every_training_row_comes_once_an_epoch_with_its_label(key):
    sample, choose = jax.jit(TASK.batches(5).batch), jax.jit(epoch_rows, static_argnums=(2, 3))
    batches = [sample(key, step) for step in range(8)]
    every = TASK.standardise(ROWS.train)
    for epoch in (batches[:4], batches[4:]):
        inputs = np.concatenate([batch.inputs for batch in epoch])
        labels = np.concatenate([batch.labels for batch in epoch])
        expected = np.concatenate([ROWS.train[np.asarray(choose(key, n, 20, 5))] for n in range(4)])
        if epoch is batches[:4]:
            np.testing.assert_array_equal(labels, IMAGES.labels[expected])
        order, known = (np.lexsort(x.reshape(20, -1).T) for x in (inputs, np.asarray(every.inputs)))
        np.testing.assert_allclose(inputs[order], np.asarray(every.inputs)[known], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(labels[order], np.asarray(every.labels)[known])
    np.testing.assert_allclose(TASK.batches(5).batch(key, 3).inputs, batches[3].inputs, rtol=1e-5, atol=1e-6)


# Shapes


@functools.cache
def compiled(noise: float) -> Any:
    return contracts.compiled(lambda key: Shapes(noise=noise).sample(key, 500))


def shapes(noise: float, seed: int = 0) -> Any:
    return compiled(noise)(jax.random.key(seed))


def drawn(label, size=64, centre=(0.5, 0.5), radius=0.4) -> np.ndarray:
    return np.asarray(jax.jit(Shapes.inside, static_argnums=0)(Shapes(size), label, jnp.array(centre), radius))


AREA = {
    "disc": np.pi,
    "ring": np.pi * (1 - 0.6**2),
    "square": 1.7**2,
    "frame": 1.7**2 - 1,
    "diamond": 2.0,
    "triangle": 2.0,
    "plus": 2 * 2 * 0.6 - 0.6**2,
    "bars": 2 * 2 * 0.6,
}
"""In units of the radius squared, by school geometry."""


@pytest.mark.parametrize("name", AREA)
def test_shapes_cover_as_much_as_they_should(name):
    area = drawn(SHAPES.index(name), 256).mean() / 0.4**2
    assert area == pytest.approx(AREA[name], rel=0.01)


def test_a_crescent_is_the_disc_without_another():
    """By counting the points of a fine grid."""
    side = np.linspace(-1, 1, 2001)
    up, right = side[:, None], side[None, :]
    inside = (up**2 + right**2 < 1) & (up**2 + (right - 0.5) ** 2 > 0.8**2)
    assert drawn(SHAPES.index("crescent"), 256).mean() / 0.4**2 == pytest.approx(4 * inside.mean(), rel=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_stand_upright_and_within_their_square(name):
    label = SHAPES.index(name)
    picture = drawn(label)
    turned = {"triangle": [picture[:, ::-1]], "crescent": [picture[::-1]], "bars": [picture[::-1], picture[:, ::-1]]}
    for same in turned.get(name, [picture[::-1], picture[:, ::-1], picture.T]):
        np.testing.assert_allclose(same, picture, atol=1e-4)
    assert 0 <= picture.min() < picture.max() <= 1
    edge = int(64 * (0.5 - 0.4)) - 1
    np.testing.assert_array_equal(np.pad(picture[edge:-edge, edge:-edge], edge), picture)


def test_a_triangle_points_up_and_a_crescent_opens_to_the_right():
    triangle, crescent = (drawn(SHAPES.index(name)) for name in ("triangle", "crescent"))
    assert triangle[:32].sum() < 0.5 * triangle[32:].sum()
    assert crescent[:, 32:].sum() < 0.5 * crescent[:, :32].sum()


def test_a_shape_moves_and_grows():
    small, moved = drawn(0, 32, (0.5, 0.5), 0.2), drawn(0, 32, (0.25, 0.75), 0.2)
    np.testing.assert_allclose(np.roll(small, (-8, 8), axis=(0, 1)), moved, atol=1e-4)
    assert drawn(0, 32, (0.5, 0.5), 0.4).sum() == pytest.approx(4 * small.sum(), rel=0.02)
    for label in range(10):  # as near to a corner as `sample` goes, nothing is cut off
        corner, middle = drawn(label, 32, (0.75, 0.25), 0.25), drawn(label, 32, radius=0.25)
        assert corner.sum() == pytest.approx(middle.sum(), rel=1e-3)


def test_samples_are_shapes_in_two_colours():
    batch = shapes(0.0)
    assert batch.inputs.shape == (500, 32, 32, 3)
    assert abs(np.bincount(batch.labels, minlength=10) - [50] * 10).max() < 35
    pixels = np.asarray(batch.inputs)
    assert 0 <= pixels.min() < pixels.max() <= 1
    ground = pixels[:, 0, 0]
    distance = np.linalg.norm(pixels - ground[:, None, None], axis=-1)
    farthest = distance.reshape(500, -1).argmax(axis=1)
    colour = pixels.reshape(500, -1, 3)[np.arange(500), farthest]
    assert np.linalg.norm(colour - ground, axis=1).min() > 0.4 - 1e-5
    # Each pixel is a mixture of the two colours: it lies on the line between them.
    step = (colour - ground)[:, None, None]
    fraction = ((pixels - ground[:, None, None]) * step).sum(-1) / (step**2).sum(-1)
    np.testing.assert_allclose(ground[:, None, None] + fraction[..., None] * step, pixels, atol=1e-4)


def test_labels_say_what_was_drawn():
    """The fraction of the shape's own square that is covered tells most shapes apart: it must go with the label."""
    batch = shapes(0.0)
    pixels = np.asarray(batch.inputs)
    step = np.abs(pixels - pixels[:, :1, :1]).max(axis=-1)
    covered = step / step.max(axis=(1, 2), keepdims=True)
    fill, sides = [], []
    for picture in covered:
        rows, columns = np.where(picture > 0.5)
        box = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        fill.append(box.mean())
        sides.append(np.mean(box.shape) / 32)
    by_label = [np.mean([f for f, label in zip(fill, batch.labels, strict=True) if label == n]) for n in range(10)]
    expected = {"disc": np.pi / 4, "square": 1, "diamond": 0.5, "triangle": 0.5, "frame": 1 - 1 / 1.7**2, "plus": 0.51}
    for name, value in expected.items():
        assert by_label[SHAPES.index(name)] == pytest.approx(value, abs=0.1), name
    # A disc is as wide as twice the radius, which goes from 0.18 to 0.42: to within a pixel and the chances of fifty.
    widths = np.array(sides)[np.asarray(batch.labels) == SHAPES.index("disc")]
    assert widths.min() == pytest.approx(0.36 + 0.02, abs=0.04)
    assert widths.max() == pytest.approx(0.84 - 0.02, abs=0.04)


def test_noise_is_added_and_the_key_decides():
    quiet, loud = shapes(0.0), shapes(0.5)
    np.testing.assert_array_equal(quiet.labels, loud.labels)
    noise = np.asarray(loud.inputs - quiet.inputs)
    assert noise.std() == pytest.approx(0.5, rel=0.01)
    assert abs(noise.mean()) < 0.01
    np.testing.assert_array_equal(shapes(0.5).inputs, loud.inputs)
    assert not np.array_equal(shapes(0.5, seed=1).labels, quiet.labels)


test_wrong_fields_are_refused = refuses(
    Shapes,
    ({"size": 7}, "size must be >= 8, got 7"),
    ({"noise": -0.1}, "noise must be >= 0, got -0.1"),
    ({"contrast": 0.9}, r"contrast must lie in \[0, 0.8\], got 0.9"),
)
