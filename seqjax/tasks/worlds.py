"""Worlds of coloured shapes as ShapeWorld draws them: recognised, judged by what is said of them, and drawn."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from seqjax.data.vocabulary import RESERVED, Vocabulary

SHAPES = ("square", "rectangle", "triangle", "pentagon", "cross", "circle", "semicircle", "ellipse")
COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan", "gray")
CHANNELS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 0))
"""Which channels of each colour are lighter than the darkest; a shade changes how much, not which."""
RELATIONS = ("to the left of", "to the right of", "above", "below")

OTHER_WORDS = ("a", "an", ".", "is", "left", "right", "above", "below", "to", "the", "of", "there", "shape")
WORDS = Vocabulary((*RESERVED, *SHAPES, *COLOURS, *OTHER_WORDS))
"""Of all captions that `parse` knows."""

SIDE = 100
"""Pixels of a world, up and across."""

LEAST = 10
"""Pixels of one colour that make an object."""


class Seen(NamedTuple):
    """An object of a world: numbers in the lists above, and its centre of mass in pixels from the top left."""

    shape: int
    colour: int
    y: float
    x: float


class Phrase(NamedTuple):
    """A description; None where anything will do."""

    shape: int | None
    colour: int | None

    def fits(self, seen: Seen) -> bool:
        """Whether an object answers to it."""
        return self.shape in (None, seen.shape) and self.colour in (None, seen.colour)


class Statement(NamedTuple):
    """There is an object that answers to all of `first`; where there is a relation, it has it to one of `second`."""

    first: tuple[Phrase, ...]
    relation: int | None = None
    second: tuple[Phrase, ...] = ()


def parse(caption: str) -> Statement | None:
    """What a caption says: that something is there, is something, or is somewhere; None for any other caption.

    Four patterns of ShapeWorld's grammar: "there is a red square .", "a shape is a red square .", "a square is red .",
    "a red square is to the left of a shape .".
    """
    for pattern in _PATTERNS:
        if found := pattern.fullmatch(caption):
            given = found.groupdict()
            first, second = _phrase(given, "first"), _phrase(given, "second")
            if relation := given.get("relation"):
                return Statement((first,), RELATIONS.index(relation), (second,))
            return Statement((first, second))
    return None


def holds(said: Statement, world: Sequence[Seen]) -> bool:
    """Whether a statement is true of a world. The two sides of a relation are different objects."""

    def all_fit(phrases: tuple[Phrase, ...], seen: Seen) -> bool:
        return all(phrase.fits(seen) for phrase in phrases)

    if said.relation is None:
        return any(all_fit(said.first, seen) for seen in world)
    return any(
        all_fit(said.first, first) and all_fit(said.second, second) and _stands(said.relation, first, second)
        for first in world
        for second in world
        if first is not second
    )


def recognise(image: UInt8[np.ndarray, "height width channels"]) -> list[Seen]:
    """The objects of a world.

    Every object has a colour of its own to the last bit; soft edges against black are added by their darkness. Its
    shape is that of the nearest template, after moving and scaling. An object partly covered by another may be
    mistaken.
    """
    pixels = image.astype(np.int64)
    code = pixels @ (1 << 16, 1 << 8, 1)
    values, counts = np.unique(code, return_counts=True)
    found = []
    for value in values[(values > 0) & (counts >= LEAST)]:
        rgb = np.array([value >> 16, value >> 8 & 255, value & 255])
        channels = tuple((rgb > rgb.min()).astype(int).tolist())
        if channels not in CHANNELS:
            continue  # a soft edge between two objects
        cover = _cover(pixels, code == value, rgb)
        middles = np.arange(SIDE) + 0.5
        y, x = (float(np.average(middles, weights=cover.sum(axis=axis))) for axis in (1, 0))
        found.append(Seen(_nearest(cover, y, x), CHANNELS.index(channels), y, x))
    return found


def draw(key: int, worlds: int) -> tuple[UInt8[np.ndarray, "rows height width channels"], list[list[Seen]]]:
    """Worlds much like ShapeWorld's, and what is in them: 1 to 10 objects, few more often than many.

    They overlap little. Sizes, proportions, turns and shades are as measured on ShapeWorld's examples.
    """
    random = np.random.default_rng(key)
    images = np.zeros((worlds, SIDE, SIDE, 3), np.uint8)
    return images, [_draw_one(random, image) for image in images]


def say(random: np.random.Generator, world: Sequence[Seen]) -> str:
    """Something true of a world, in any of the patterns that `parse` knows."""
    kind = random.integers(5)
    first, *others = (world[number] for number in random.permutation(len(world)).tolist())
    if kind == 0 or (kind > 2 and not others):
        return f"there is {_article(_name(random, first))} ."
    if kind == 1 and random.integers(2):
        return f"a shape is {_article(_full(first))} ."
    if kind == 1:
        return f"a {COLOURS[first.colour]} shape is {_article(SHAPES[first.shape])} ."
    if kind == 2:
        return f"{_article(SHAPES[first.shape])} is {COLOURS[first.colour]} ."
    true = [words for number, words in enumerate(RELATIONS) if _stands(number, first, others[0])]
    relation = true[int(random.integers(len(true)))]
    return f"{_article(_name(random, first))} is {relation} {_article(_name(random, others[0]))} ."


def _full(seen: Seen) -> str:
    return f"{COLOURS[seen.colour]} {SHAPES[seen.shape]}"


def _name(random: np.random.Generator, seen: Seen) -> str:
    names = [_full(seen), _full(seen), SHAPES[seen.shape], f"{COLOURS[seen.colour]} shape"]
    return names[int(random.integers(len(names)))]


def _article(name: str) -> str:
    return f"an {name}" if name.startswith("e") else f"a {name}"


_NOUN = f"an? (?:(?P<{{0}}_colour>{'|'.join(COLOURS)}) )?(?P<{{0}}_shape>{'|'.join(SHAPES)}|shape)"
_FIRST, _SECOND = _NOUN.format("first"), _NOUN.format("second")
_PATTERNS = [
    re.compile(pattern)
    for pattern in (
        rf"there is {_FIRST} \.",
        rf"{_FIRST} is {_SECOND} \.",
        rf"{_FIRST} is (?P<second_colour>{'|'.join(COLOURS)}) \.",
        rf"{_FIRST} is (?P<relation>{'|'.join(RELATIONS)}) {_SECOND} \.",
    )
]


def _phrase(given: dict[str, str | None], side: str) -> Phrase:
    shape, colour = given.get(f"{side}_shape"), given.get(f"{side}_colour")
    return Phrase(SHAPES.index(shape) if shape in SHAPES else None, COLOURS.index(colour) if colour else None)


def _stands(relation: int, first: Seen, second: Seen) -> bool:
    along = (first.x - second.x, first.y - second.y)[relation // 2]
    return along < 0 if relation % 2 == 0 else along > 0


Depth = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""How far inside a shape of area 1 with its centre of mass at 0 each point (y, x) lies, given its proportion."""


def _regular(sides: int) -> Depth:
    reach = (sides * np.tan(np.pi / sides)) ** -0.5
    turns = 2 * np.pi * np.arange(sides) / sides
    return lambda y, x, _: reach - np.max([x * np.cos(turn) + y * np.sin(turn) for turn in turns], axis=0)


def _oblong(y: np.ndarray, x: np.ndarray, proportion: float) -> np.ndarray:
    return np.minimum(proportion**0.5 / 2 - abs(x), proportion**-0.5 / 2 - abs(y))


def _round(y: np.ndarray, x: np.ndarray, proportion: float) -> np.ndarray:
    # Near its edge, which is all that matters.
    return (np.pi**-0.5 - np.hypot(x / proportion**0.5, y * proportion**0.5)) / proportion**0.5


def _half_round(y: np.ndarray, x: np.ndarray, _: float) -> np.ndarray:
    radius = (2 / np.pi) ** 0.5
    y = y + 4 * radius / (3 * np.pi)
    return np.minimum(radius - np.hypot(x, y), y)


def _cross(y: np.ndarray, x: np.ndarray, _: float) -> np.ndarray:
    length = 1.8**0.5
    wide, narrow = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    return np.minimum(length / 2 - wide, length / 6 - narrow)


class _Kind(NamedTuple):
    """How a shape is drawn: its depth, after what turn it looks the same, its sizes and its area for size 1."""

    depth: Depth
    turn: float
    sizes: tuple[float, float] = (10.0, 25.0)
    area: float = 1.0
    oblong: bool = False


_KINDS = {
    "square": _Kind(_oblong, 90),
    "rectangle": _Kind(_oblong, 180, (14.0, 25.0), 1.0, oblong=True),
    "triangle": _Kind(_regular(3), 120, area=0.433),
    "pentagon": _Kind(_regular(5), 72, area=0.65),
    "cross": _Kind(_cross, 90, area=0.555),
    "circle": _Kind(_round, 5, area=0.785),
    "semicircle": _Kind(_half_round, 360, area=0.393),
    "ellipse": _Kind(_round, 180, (14.0, 25.0), 0.785, oblong=True),
}

GRID, REACH = 24, 1.6
"""Points of a template, up and across, and how far it reaches from the centre, where the area is 1."""


@functools.lru_cache(maxsize=1)
def _templates() -> tuple[Float[np.ndarray, "templates points"], Int[np.ndarray, " templates"]]:
    """Every shape at every turn of 6 degrees, and which shape it is."""
    line = (np.arange(GRID) + 0.5) / GRID * 2 * REACH - REACH
    y, x = np.meshgrid(line, line, indexing="ij")
    made, shapes = [], []
    for number, name in enumerate(SHAPES):
        kind = _KINDS[name]
        for proportion in (1.5, 2.0, 2.5, 3.0) if kind.oblong else (1.0,):
            for turn in np.radians(np.arange(0, kind.turn, 6)):
                depth = kind.depth(*_turned(y, x, turn), proportion)
                made.append(np.clip(depth * GRID / (2 * REACH) + 0.5, 0, 1).ravel())
                shapes.append(number)
    return np.array(made), np.array(shapes)


def _turned(y: np.ndarray, x: np.ndarray, turn: float) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x


def _cover(
    pixels: Int[np.ndarray, "height width channels"],
    core: Bool[np.ndarray, "height width"],
    rgb: Int[np.ndarray, " channels"],
) -> Float[np.ndarray, "height width"]:
    """How much of each pixel an object covers: all where it has its colour, some at its edge against black."""
    padded = np.pad(core, 1)
    near = np.max([padded[y : y + SIDE, x : x + SIDE] for y in range(3) for x in range(3)], axis=0)
    fraction = pixels @ rgb / (rgb @ rgb)
    mixed = abs(pixels - fraction[..., None] * rgb).max(axis=2)
    return np.where(core, 1.0, np.where(near & (mixed < 3) & (fraction < 1), fraction, 0.0))


def _nearest(cover: Float[np.ndarray, "height width"], y: float, x: float) -> int:
    """The shape of the template that is nearest to an object once it is moved to the middle and has area 1."""
    from scipy.ndimage import map_coordinates

    line = ((np.arange(GRID) + 0.5) / GRID * 2 - 1) * REACH * cover.sum() ** 0.5 - 0.5
    points = np.meshgrid(line + y, line + x, indexing="ij")
    seen = map_coordinates(cover, points, order=1).ravel()
    templates, shapes = _templates()
    return int(shapes[((templates - seen) ** 2).sum(axis=1).argmin()])


def _draw_one(random: np.random.Generator, image: UInt8[np.ndarray, "height width channels"]) -> list[Seen]:
    world, sizes = [], []
    for _ in range(random.integers(1, random.integers(2, 12))):
        number, colour = int(random.integers(len(SHAPES))), int(random.integers(len(COLOURS)))
        kind = _KINDS[SHAPES[number]]
        size = random.uniform(*kind.sizes)
        y, x = random.uniform(size / 2, SIDE - size / 2, 2)
        if any(
            np.hypot(y - seen.y, x - seen.x) < 0.4 * (size + other) for seen, other in zip(world, sizes, strict=True)
        ):
            continue
        proportion = random.uniform(2, 3) if kind.oblong else 1.0
        scale = size * (kind.area / proportion) ** 0.5
        # Only the part of the image that the object can reach.
        top, left = (int(max(0, place - size)) for place in (y, x))
        part = image[top : int(y + size) + 1, left : int(x + size) + 1]
        points = np.meshgrid(*(np.arange(n) + 0.5 for n in part.shape[:2]), indexing="ij")
        turned = _turned((points[0] + top - y) / scale, (points[1] + left - x) / scale, random.uniform(0, 2 * np.pi))
        cover = np.clip(kind.depth(*turned, proportion) * scale + 0.5, 0, 1)[..., None]
        part[:] = (1 - cover) * part + cover * _shade(random, colour)
        world.append(Seen(number, colour, float(y), float(x)))
        sizes.append(size)
    return world


def _shade(random: np.random.Generator, colour: int) -> Float[np.ndarray, " channels"]:
    """Half of the colours are lighter than the pure one, half are darker."""
    amount = random.uniform(-0.35, 0.4)
    if COLOURS[colour] == "gray":
        return np.full(3, 128 * (1 + amount))
    light, dark = 255 * min(1.0, 1 + amount), 255 * max(0.0, amount)
    return np.where(np.array(CHANNELS[colour]) > 0, light, dark)
