"""The judge of ShapeWorld's captions: against enumeration, known worlds, and the file that says what is true."""

import itertools
import re

import numpy as np
import pytest

from seqjax.data.shapeworld import read_shapeworld
from seqjax.tasks import worlds
from seqjax.tasks.worlds import COLOURS, RELATIONS, SHAPES, Seen
from tests.files import needs_data, public


def seen(name: str, y: float = 50, x: float = 50) -> Seen:
    colour, shape = name.split()
    return Seen(SHAPES.index(shape), COLOURS.index(colour), y, x)


def names(thing: Seen) -> set[str]:
    """All that a thing may be called."""
    colour, shape = COLOURS[thing.colour], SHAPES[thing.shape]
    return {shape, "shape", f"{colour} {shape}", f"{colour} shape"}


def a(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def test_every_caption_is_judged_as_its_words_say():
    """All captions over two shapes and two colours, against three things whose names are looked up in a list."""
    world = [seen("red square", 10, 10), seen("blue ellipse", 10, 80), seen("red ellipse", 70, 80)]
    shapes = ["square", "ellipse", "cross", "shape"]
    nouns = [*shapes, *(f"{colour} {shape}" for colour in ("red", "blue", "gray") for shape in shapes)]
    called = [names(thing) for thing in world]
    captions = {f"there is {a(noun)} .": any(noun in name for name in called) for noun in nouns}
    for first, second in itertools.product(nouns, nouns):
        captions[f"{a(first)} is {a(second)} ."] = any({first, second} <= name for name in called)
        for number, relation in enumerate(RELATIONS):
            # Of the three: left of are 0 to 1 and 0 to 2; above are 0 to 2 and 1 to 2.
            pairs = [[(0, 1), (0, 2)], [(1, 0), (2, 0)], [(0, 2), (1, 2)], [(2, 0), (2, 1)]][number]
            true = any(first in called[one] and second in called[other] for one, other in pairs)
            captions[f"{a(first)} is {relation} {a(second)} ."] = true
    for noun, colour in itertools.product(nouns, ("red", "blue", "gray")):
        ones = [COLOURS[thing.colour] == colour for thing, name in zip(world, called, strict=True) if noun in name]
        captions[f"{a(noun)} is {colour} ."] = any(ones)
    assert 0.1 < np.mean(list(captions.values())) < 0.9
    for caption, true in captions.items():
        said = worlds.parse(caption)
        assert said is not None, caption
        assert worlds.holds(said, world) == true, caption


WRONG = [f"there is {words}" for words in ("a red square", "a red square . .", "red square .", "a square red .", "a .")]
WRONG += [f"a square is {words} ." for words in ("red blue", "not red", "left of a circle", "above", "behind a circle")]
WRONG += ["", "the square is red .", "two squares are red .", "a red is a square ."]


@pytest.mark.parametrize("caption", [*WRONG, "there is a red square and there is a circle ."])
def test_what_is_no_caption_of_these_kinds(caption):
    assert worlds.parse(caption) is None


def test_nothing_is_beside_itself():
    said = worlds.parse("a square is above a square .")
    assert said is not None
    assert not worlds.holds(said, [seen("red square", 10, 10)])
    assert worlds.holds(said, [seen("red square", 10, 10), seen("red square", 20, 10)])
    assert not worlds.holds(said, [])


def test_drawn_worlds_are_recognised():
    """Alone, a thing is taken for what it is; colours are exact, and so is the place."""
    images, contents = worlds.draw(0, 250)
    assert images.shape == (250, 100, 100, 3)
    assert {len(world) for world in contents} >= {1, 2, 3, 4, 5, 6}
    alone = [(image, world[0]) for image, world in zip(images, contents, strict=True) if len(world) == 1]
    assert len(alone) > 30
    right = []
    for image, thing in alone:
        (found,) = worlds.recognise(image)
        assert found.colour == thing.colour
        assert np.hypot(found.y - thing.y, found.x - thing.x) < 0.6
        right.append(found.shape == thing.shape)
    assert np.mean(right) > 0.93
    counted = [len(worlds.recognise(image)) == len(world) for image, world in zip(images[:60], contents, strict=False)]
    assert np.mean(counted) > 0.9
    every = [thing for world in contents for thing in world]
    assert {thing.shape for thing in every} == set(range(8))
    assert {thing.colour for thing in every} == set(range(7))


def test_an_empty_world_holds_nothing():
    assert worlds.recognise(np.zeros((100, 100, 3), np.uint8)) == []


def test_the_same_key_draws_the_same():
    first, again, other = worlds.draw(3, 4), worlds.draw(3, 4), worlds.draw(4, 4)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert (first[0] != other[0]).any()


def test_what_is_said_is_true_and_of_every_kind():
    random = np.random.default_rng(0)
    _, contents = worlds.draw(1, 60)
    kinds = set()
    for world in contents:
        for _ in range(10):
            caption = worlds.say(random, world)
            said = worlds.parse(caption)
            assert said is not None, caption
            assert worlds.holds(said, world), caption
            assert not worlds.WORDS.unknown(caption.split())
            kinds |= {said.relation, caption.split()[0]}
            assert not re.search(r"\ba ellipse|\ban (?!ellipse)", caption), caption
    assert kinds == {None, 0, 1, 2, 3, "a", "an", "there"}


@needs_data
def test_the_judge_agrees_with_shapeworld():
    """On every third image: exactly where nothing overlaps, nearly always elsewhere."""
    read = read_shapeworld(public("captions", "shapeworld", "shapeworld.tar.gz"))
    agrees: dict[str, list[bool]] = {"there": [], "somewhere": [], read.kinds[0]: []}
    for row in range(0, len(read.images), 3):
        said = list(zip(map(worlds.parse, read.captions[row]), read.agreement[row], strict=True))
        if any(statement for statement, _ in said):
            world = worlds.recognise(read.images[row])
            for statement, true in said:
                if statement:
                    kind = "there" if statement.relation is None else "somewhere"
                    agrees[kind].append(worlds.holds(statement, world) == true)
                    if read.kind[row] == 0:
                        agrees[read.kinds[0]].append(agrees[kind][-1])
    assert {kind: len(found) > 100 for kind, found in agrees.items()} == dict.fromkeys(agrees, True)
    assert np.mean(agrees["there"]) > 0.97
    assert np.mean(agrees["somewhere"]) > 0.93
    assert np.mean(agrees["existential-colfree"]) == 1
