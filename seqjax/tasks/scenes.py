"""Scenes: pictures of one or two drawn objects, and all that can truly be said of them in a small grammar."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from seqjax._checks import at_least
from seqjax.data.batching import close_up
from seqjax.data.vocabulary import RESERVED, Vocabulary
from seqjax.types import EOS, PAD, InputError

SIZES = ("small", "big")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = (("left", "of"), ("right", "of"), ("above",), ("below",))
"""Of the first object named to the second; at least one of the first two or of the last two holds."""
WORDS = Vocabulary((*RESERVED, "a", *SIZES, *COLOURS, *SHAPES, "left", "right", "of", "above", "below"))
LENGTH = 11
"""Tokens of the longest caption, EOS included."""

RGB = np.array([(230, 40, 40), (40, 190, 60), (60, 90, 240), (235, 215, 50), (170, 60, 200), (240, 240, 240)]) / 255
RADIUS = np.array([2.2, 3.6])
"""Of each size, in pixels."""

PLACES, CELL = 4, 8
"""The image is a board of 4 x 4 places, each 8 x 8 pixels."""

MODULUS = 7
"""Scenes whose objects' numbers have a sum divisible by this are held out."""


class Scene(NamedTuple):
    """Objects as places in the lists above, rows from the top and columns from the left; arbitrary where not `real`."""

    size: Int[Array | np.ndarray, "batch objects"]
    colour: Int[Array | np.ndarray, "batch objects"]
    shape: Int[Array | np.ndarray, "batch objects"]
    row: Int[Array | np.ndarray, "batch objects"]
    column: Int[Array | np.ndarray, "batch objects"]
    real: Bool[Array | np.ndarray, "batch objects"]


class Captioned(NamedTuple):
    """Images, and what is to be written of each.

    Attributes:
        images: from 0 to 1.
        target: ends in EOS, which is unmasked; padded with PAD; does not include SOS.
    """

    images: Float[Array, "batch height width channels"]
    target: Int[Array, "batch target"]
    target_mask: Bool[Array, "batch target"]


class Described(NamedTuple):
    """An object as a caption names it."""

    size: int
    colour: int
    shape: int


class Statement(NamedTuple):
    """What a caption says: its objects, one or two, and between two the number of their relation."""

    objects: tuple[Described, ...]
    relation: int | None


class Verdict(NamedTuple):
    """Whether a caption describes a scene.

    Attributes:
        parsed: the grammar has such a caption.
        true: what it says is the case.
        complete: it is true and leaves out no object.
    """

    parsed: bool
    true: bool
    complete: bool


@dataclass(frozen=True)
class Scenes:
    """Pictures of 32 x 32 pixels with one object (a quarter of them) or two, and a true caption of each.

    Example: a small red circle at the top left, a big blue square at the bottom right -> "a small red circle left of
    a big blue square", or "… above …", or "a big blue square right of …", or "… below …", drawn at random. A single
    object is named: "a big blue square". `judge` compares the meaning of a caption with the scene.

    An object has one of 2 sizes, 6 colours and 4 shapes and its own of 4 x 4 places; white noise is added. With the
    number 24 size + 4 colour + shape of each object, a scene is held out exactly when the sum is divisible by 7: no
    object or pair of objects that is tested occurs in training, at any place.

    Tokens are words, ids from 4 on; EOS (2) ends a caption, PAD (0) fills it up to `LENGTH`.

    Attributes:
        noise: its standard deviation, where 1 is the range from black to white.
    """

    noise: float = 0.05

    def __post_init__(self) -> None:
        at_least(0, noise=self.noise)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of all captions."""
        return WORDS

    def sample(self, key: Key[Array, ""], batch_size: int) -> Captioned:
        """Draw pictures with captions for training."""
        scene_key, picture_key = jax.random.split(key)
        return self.picture(picture_key, self.scenes(scene_key, batch_size))

    def scenes(self, key: Key[Array, ""], batch_size: int) -> Scene:
        """Draw scenes for training."""
        return _draw(key, batch_size, held_out=False)

    def held_out(self, key: Key[Array, ""], batch_size: int) -> Scene:
        """Draw scenes that `sample` never gives."""
        return _draw(key, batch_size, held_out=True)

    def picture(self, key: Key[Array, ""], scene: Scene) -> Captioned:
        """Draw each scene, and choose one of its captions."""
        place_key, noise_key, caption_key = jax.random.split(key, 3)
        images = _paint(place_key, scene)
        images = images + self.noise * jax.random.normal(noise_key, images.shape)
        target = _say(caption_key, scene)
        return Captioned(jnp.clip(images, 0.0, 1.0), target, target != PAD)

    def read(self, ids: Int[np.ndarray | Array, " target"]) -> str:
        """One caption as text, up to EOS."""
        return " ".join(WORDS.decode(np.asarray(ids).tolist()))


def parse(caption: str) -> Statement | None:
    """What a caption says; None if it is not one that the grammar has, to the last word."""
    words = caption.split(" ")
    first, rest = _described(words[:4]), words[4:]
    if first is None or not rest:
        return first and Statement((first,), None)
    relation = tuple(rest[:-4])
    second = _described(rest[-4:])
    if second is None or relation not in RELATIONS:
        return None
    return Statement((first, second), RELATIONS.index(relation))


def judge(caption: str, scene: Scene) -> Verdict:
    """Whether a caption is true and complete of a scene, given as one row of a batch.

    Its phrases must name different objects. "Left of" compares columns alone, "above" rows alone.
    """
    said = parse(caption)
    if said is None:
        return Verdict(False, False, False)
    there = [n for n, real in enumerate(scene.real) if real]

    def fits(phrase: Described, n: int) -> bool:
        return phrase == (int(scene.size[n]), int(scene.colour[n]), int(scene.shape[n]))

    if said.relation is None:
        true = any(fits(said.objects[0], n) for n in there)
    else:
        true = any(
            fits(said.objects[0], first)
            and fits(said.objects[1], second)
            and _holds(scene, said.relation, first, second)
            for first in there
            for second in there
            if first != second
        )
    return Verdict(True, true, true and len(said.objects) == len(there))


def captions(scene: Scene) -> list[str]:
    """All true and complete captions of a scene (one row of a batch)."""
    phrases = [
        f"a {SIZES[scene.size[n]]} {COLOURS[scene.colour[n]]} {SHAPES[scene.shape[n]]}"
        for n, real in enumerate(scene.real)
        if real
    ]
    if len(phrases) == 1:
        return phrases
    return [
        f"{phrases[first]} {' '.join(words)} {phrases[1 - first]}"
        for first in (0, 1)
        for relation, words in enumerate(RELATIONS)
        if _holds(scene, relation, first, 1 - first)
    ]


def named(caption: str, scene: Scene) -> list[int]:
    """Which object of a scene (one row) each word of a true caption belongs to; -1: to none, or to none for certain."""
    said = parse(caption)
    if said is None:
        raise InputError(f"caption must be one of the grammar, got {caption!r}")
    found = []
    for phrase in said.objects:
        there = [n for n, real in enumerate(scene.real) if real]
        fitting = [n for n in there if phrase == (scene.size[n], scene.colour[n], scene.shape[n])]
        found.append(fitting[0] if len(fitting) == 1 else -1)
    words = len(caption.split(" "))
    return [found[0] if n < 4 else found[-1] if n >= words - 4 else -1 for n in range(words)]


def _described(words: Sequence[str]) -> Described | None:
    match words:
        case ["a", size, colour, shape] if size in SIZES and colour in COLOURS and shape in SHAPES:
            return Described(SIZES.index(size), COLOURS.index(colour), SHAPES.index(shape))
        case _:
            return None


def _holds(scene: Scene, relation: int, first: int, second: int) -> bool:
    along = scene.column if relation < 2 else scene.row
    return bool(along[first] < along[second] if relation % 2 == 0 else along[first] > along[second])


def _draw(key: Key[Array, ""], batch_size: int, *, held_out: bool) -> Scene:
    alone_key, single_key, pair_key, place_key, further_key = jax.random.split(key, 5)
    singles, pairs = (jnp.asarray(table) for table in _numbers(held_out))
    single = jax.random.choice(single_key, singles, (batch_size,))
    pair = jax.random.choice(pair_key, pairs, (batch_size,))
    alone = jax.random.bernoulli(alone_key, 0.25, (batch_size,))
    number = jnp.where(alone[:, None], single, pair)
    # Two places of the board: the second is as many steps further as drawn, around its end.
    first = jax.random.randint(place_key, (batch_size,), 0, PLACES**2)
    further = jax.random.randint(further_key, (batch_size,), 1, PLACES**2)
    place = jnp.stack([first, (first + further) % PLACES**2], axis=1)
    real = jnp.stack([jnp.ones_like(alone), ~alone], axis=1)
    size, rest = number // 24, number % 24
    return Scene(size, rest // 4, rest % 4, place // PLACES, place % PLACES, real)


@functools.lru_cache(maxsize=2)
def _numbers(held_out: bool) -> tuple[Int[np.ndarray, "singles objects"], Int[np.ndarray, "pairs objects"]]:
    """Of the objects that may stand alone, and of all pairs."""
    every = np.arange(len(SIZES) * len(COLOURS) * len(SHAPES))
    singles = np.stack([every, every], axis=1)
    pairs = np.stack(np.meshgrid(every, every, indexing="ij"), axis=-1).reshape(-1, 2)
    alone = singles[(every % MODULUS == 0) == held_out]
    return alone, pairs[(pairs.sum(axis=1) % MODULUS == 0) == held_out]


def _paint(key: Key[Array, ""], scene: Scene) -> Float[Array, "batch height width channels"]:
    """The objects on black, somewhere within their places, with soft edges."""
    radius = jnp.asarray(RADIUS)[scene.size]
    play = CELL / 2 - radius
    offset = jax.random.uniform(key, (2, *radius.shape), minval=-1.0) * play[None]
    centre = CELL * (jnp.stack([scene.row, scene.column]) + 0.5) + offset
    pixel = jnp.arange(PLACES * CELL) + 0.5
    y = pixel[None, None, :, None] - centre[0][:, :, None, None]
    x = pixel[None, None, None, :] - centre[1][:, :, None, None]
    depth = jnp.stack(_depths(y, x, radius[:, :, None, None]), axis=2)
    depth = jnp.take_along_axis(depth, scene.shape[:, :, None, None, None], axis=2)[:, :, 0]
    cover = jnp.where(scene.real[:, :, None, None], jnp.clip(depth + 0.5, 0.0, 1.0), 0.0)
    return jnp.einsum("bohw,boc->bhwc", cover, jnp.asarray(RGB)[scene.colour])


def _depths(y: Array, x: Array, radius: Array) -> list[Array]:
    """How far inside each of `SHAPES` a pixel lies; negative outside. About the same area for all but the cross."""
    circle = radius - jnp.hypot(y, x)
    square = 0.89 * radius - jnp.maximum(abs(y), abs(x))
    sides = 0.866 * abs(x) - 0.5 * y
    triangle = 0.6 * radius - jnp.maximum(y, sides)
    cross = jnp.minimum(radius - jnp.maximum(abs(y), abs(x)), 0.35 * radius - jnp.minimum(abs(y), abs(x)))
    return [circle, square, triangle, cross]


def _say(key: Key[Array, ""], scene: Scene) -> Int[Array, "batch target"]:
    """Any of the scene's true and complete captions, each as likely."""
    order_key, relation_key = jax.random.split(key)
    batch = len(scene.real)
    first = jnp.where(scene.real[:, 1], jax.random.bernoulli(order_key, shape=(batch,)).astype(int), 0)
    which = jnp.stack([first, 1 - first], axis=1)
    scene = jax.tree.map(lambda field: jnp.take_along_axis(field, which, axis=1), scene)
    column, row = scene.column, scene.row
    holds = [column[:, 0] < column[:, 1], column[:, 0] > column[:, 1], row[:, 0] < row[:, 1], row[:, 0] > row[:, 1]]
    relation = jax.random.categorical(relation_key, jnp.where(jnp.stack(holds, axis=1), 0.0, -jnp.inf))
    sizes, colours, shapes = (jnp.array(WORDS.encode(words)) for words in (SIZES, COLOURS, SHAPES))
    relations = jnp.array([[*WORDS.encode(words), PAD][:2] for words in RELATIONS])
    article = jnp.full_like(scene.size, WORDS.encode(["a"])[0])
    phrases = jnp.stack([article, sizes[scene.size], colours[scene.colour], shapes[scene.shape]], axis=2)
    two = scene.real[:, 1:]
    parts = [phrases[:, 0], jnp.where(two, relations[relation], PAD), jnp.where(two, phrases[:, 1], PAD)]
    return close_up(jnp.concatenate([*parts, jnp.full((batch, 1), EOS)], axis=1))
