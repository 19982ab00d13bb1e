"""Image classification: what is in the picture? Data sets held in memory, and drawn shapes without end."""

from dataclasses import dataclass, field
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from seqjax._checks import at_least, integers
from seqjax.data.batching import Epochs
from seqjax.data.images import Images, Rows, crop, flip
from seqjax.types import InputError, Labelled


@dataclass(frozen=True, eq=False)
class ImageClassification:
    """Name the class of an image out of a data set.

        images = data.mnist(folder)
        rows = data.images.split(len(images.labels), validation=5_000, test=10_000, seed=0, labels=images.labels)
        task = ImageClassification(images, rows)
        task.batches(128).batch(key, step).inputs   # (128, 28, 28, 1): pixels of training images, standardised
        task.standardise(task.rows.test).labels       # (10_000,)

    Attributes:
        images: the data set.
        rows: which of them are for what.
    """

    images: Images
    rows: Rows

    def standardise(self, rows: Int[Array | np.ndarray, " batch"]) -> Labelled:
        """The images of these rows, each channel with mean 0 and variance 1 over a thousand rows of training."""
        return Labelled(self.scale(jnp.asarray(self.images.pixels)[rows]), jnp.asarray(self.images.labels)[rows])

    def standardise_others(self, others: Images) -> Labelled:
        """Images that are in no row, such as those of a public test file, on the same scale.

        Raises:
            InputError: they have another shape, or other classes.
        """
        for name, found, wanted in (
            ("others", others.pixels.shape[1:], self.images.pixels.shape[1:]),
            ("classes of others", others.classes, self.images.classes),
        ):
            if found != wanted:
                raise InputError(f"{name} must be {wanted}, got {found}")
        return Labelled(self.scale(jnp.asarray(others.pixels)), jnp.asarray(others.labels))

    def batches(self, batch_size: int, augment: "Augment | None" = None) -> "StandardisedEpochs":
        """Batches for training: every training image once in an epoch, standardised as by `standardise`."""
        rows = self.rows.train
        epochs = Epochs((self.images.pixels[rows], self.images.labels[rows]), batch_size)
        return StandardisedEpochs(epochs, self.scale, augment)

    @cached_property
    def scale(self) -> "Scale":
        """The scale that `standardise` uses."""
        pixels = self.images.pixels[self.rows.train[:1000]].astype(np.float32)
        mean, deviation = pixels.mean(axis=(0, 1, 2)), pixels.std(axis=(0, 1, 2))
        return Scale(tuple(mean.tolist()), tuple(np.where(deviation > 0, deviation, 1).tolist()))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each channel, from 0 to 255."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(
        self, pixels: UInt8[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width channels"]:
        mean, deviation = (np.array(part, np.float32)[None, None, None] for part in (self.mean, self.deviation))
        return (pixels.astype(jnp.float32) - mean) / deviation


@dataclass(frozen=True)
class Augment:
    """Random changes of training images: `data.images.crop`, then `data.images.flip`.

    Attributes:
        padding: pixels by which an image is moved at most along both axes.
        mirror: whether left and right are exchanged in half of the images.
    """

    padding: int
    mirror: bool

    def __post_init__(self) -> None:
        integers(0, padding=self.padding)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class StandardisedEpochs:
    """Batches of images whose channels have mean 0 and variance 1; see `ImageClassification.batches`."""

    epochs: Epochs
    scale: Scale = field(metadata={"static": True})
    augment: Augment | None = field(default=None, metadata={"static": True})

    def batch(self, key: Key[Array, ""], step: Int[Array, ""] | int) -> Labelled:
        """The images of batch `step`."""
        if self.augment is None:
            pixels, labels = self.epochs.batch(key, step)
            return Labelled(self.scale(pixels), labels)
        rows_key, crop_key, flip_key = jax.random.split(key, 3)
        pixels, labels = self.epochs.batch(rows_key, step)
        pixels = crop(jax.random.fold_in(crop_key, step), self.scale(pixels), self.augment.padding)
        if self.augment.mirror:
            pixels = flip(jax.random.fold_in(flip_key, step), pixels)
        return Labelled(pixels, labels)


SHAPES = ("disc", "ring", "square", "frame", "diamond", "triangle", "plus", "cross", "crescent", "bars")


@dataclass(frozen=True)
class Shapes:
    """Name the shape that was drawn: ten of them, at any place, in any size and colour, under noise.

    Without noise, pixels lie in [0, 1]. The colours of shape and ground are drawn from the cube. Every batch is fresh.

    Example: label 2 is a filled square; label 3 the same, hollow.

    Attributes:
        size: pixels of a side, at least 8.
        noise: standard deviation of the noise on each pixel.
        contrast: least distance of the two colours, in [0, 0.8].
    """

    size: int = 32
    noise: float = 0.15
    contrast: float = 0.4

    def __post_init__(self) -> None:
        integers(8, size=self.size)
        at_least(0, noise=self.noise)
        if not 0 <= self.contrast <= 0.8:
            raise InputError(f"contrast must lie in [0, 0.8], got {self.contrast}")

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh images; inputs are [batch, size, size, 3]."""
        label_key, place_key, radius_key, colour_key, noise_key = jax.random.split(key, 5)
        labels = jax.random.randint(label_key, (batch_size,), 0, len(SHAPES))
        radius = jax.random.uniform(radius_key, (batch_size, 1), minval=0.18, maxval=0.42)
        centre = jax.random.uniform(place_key, (batch_size, 2), minval=radius, maxval=1 - radius)
        inside = jax.vmap(self.inside)(labels, centre, radius[:, 0])[..., None]
        ground, step = self._colours(colour_key, batch_size)
        noise = self.noise * jax.random.normal(noise_key, (batch_size, self.size, self.size, 3))
        return Labelled(ground + inside * step + noise, labels)

    def inside(
        self, label: Int[Array, ""] | int, centre: Float[Array, "2"], radius: Float[Array, ""] | float
    ) -> Float[Array, "height width"]:
        """How much of each pixel the shape covers, from 0 to 1; centre and radius in units of the image's side."""
        pixels = (jnp.arange(self.size) + 0.5) / self.size
        up = ((centre[0] - pixels) / radius)[:, None]
        right = ((pixels - centre[1]) / radius)[None, :]
        depth = jnp.stack(_depths(up, right))[label]
        # A pixel whose middle lies on the edge is half covered.
        return jnp.clip(depth * radius * self.size + 0.5, 0, 1)

    def _colours(self, key: Key[Array, ""], batch_size: int) -> tuple[Array, Array]:
        """The ground's colour, and the step from there to the shape's."""
        ground_key, way_key = jax.random.split(key)
        ground = jax.random.uniform(ground_key, (batch_size, 1, 1, 3))
        # To the other half of the cube in one channel at least: of each channel's free side, a random fraction.
        room = jnp.where(ground < 0.5, 1 - ground, -ground)
        fraction = jax.random.uniform(way_key, (batch_size, 1, 1, 3))
        step = room * fraction
        length = jnp.linalg.norm(step, axis=-1, keepdims=True)
        longest = jnp.linalg.norm(room, axis=-1, keepdims=True)
        return ground, jnp.where(length < self.contrast, room / longest * self.contrast, step)


def _depths(up: Float[Array, "height 1"], right: Float[Array, "1 width"]) -> list[Float[Array, "height width"]]:
    """How far inside each of `SHAPES`, drawn in the square from -1 to 1, every point lies; negative outside."""
    across, along = jnp.maximum(jnp.abs(up), jnp.abs(right)), jnp.abs(up) + jnp.abs(right)
    disc, square, whole = 1 - jnp.hypot(up, right), 0.85 - across, 1 - across
    rising, falling = jnp.abs(up - right) / jnp.sqrt(2.0), jnp.abs(up + right) / jnp.sqrt(2.0)
    return [
        disc,
        jnp.minimum(disc, 0.4 - disc),
        square,
        jnp.minimum(square, 0.35 - square),
        (1 - along) / jnp.sqrt(2.0),
        jnp.minimum((1 - up - 2 * jnp.abs(right)) / jnp.sqrt(5.0), up + 1),
        jnp.minimum(whole, 0.3 - jnp.minimum(jnp.abs(up), jnp.abs(right))),
        jnp.minimum(disc, 0.25 - jnp.minimum(rising, falling)),
        jnp.minimum(disc, jnp.hypot(up, right - 0.5) - 0.8),
        jnp.minimum(whole, jnp.abs(up) - 0.4),
    ]
