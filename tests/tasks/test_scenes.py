"""Scenes are what their captions say, and the judge knows every caption of the grammar by enumeration."""

import functools
import itertools

import jax
import numpy as np
import pytest

from seqjax.tasks import Scenes, scenes
from seqjax.tasks.scenes import COLOURS, RELATIONS, SHAPES, SIZES, Scene
from seqjax.types import EOS, PAD

ROWS = 4000
WORDS = ["a", *SIZES, *COLOURS, *SHAPES, "left", "right", "of", "above", "below"]


@functools.cache
def drawn(is_test: bool, rows: int = ROWS) -> Scene:
    task = Scenes()
    draw = task.held_out if is_test else task.scenes
    return jax.tree.map(np.asarray, jax.jit(draw, static_argnums=1)(jax.random.key(3), rows))


def rows_of(scene: Scene) -> list[Scene]:
    return [Scene(*fields) for fields in zip(*scene, strict=True)]


def one(*objects: tuple[int, int, int, int, int]) -> Scene:
    """A scene of objects (size, colour, shape, row, column)."""
    there = [*objects, (0, 0, 0, 0, 0)][:2]
    fields = [np.array(field) for field in zip(*there, strict=True)]
    return Scene(*fields, real=np.array([True, len(objects) == 2]))


def phrase(size: int, colour: int, shape: int, *_: int) -> str:
    return f"a {SIZES[size]} {COLOURS[colour]} {SHAPES[shape]}"


def truths(scene: Scene) -> set[str]:
    """All captions that are true and complete, found anew: each relation is looked up in words."""
    objects = [tuple(int(field[n]) for field in scene[:5]) for n in (0, 1) if scene.real[n]]
    if len(objects) == 1:
        return {phrase(*objects[0])}
    said = set()
    for first, second in (objects, objects[::-1]):
        down, right = second[3] - first[3], second[4] - first[4]
        relations = {"left of": right > 0, "right of": right < 0, "above": down > 0, "below": down < 0}
        said |= {f"{phrase(*first)} {words} {phrase(*second)}" for words, true in relations.items() if true}
    return said


def test_worked_example():
    scene = one((0, 0, 0, 0, 0), (1, 2, 1, 3, 3))
    small, big = "a small red circle", "a big blue square"
    relations = {f"{small} left of {big}", f"{small} above {big}", f"{big} right of {small}", f"{big} below {small}"}
    assert set(scenes.captions(scene)) == relations
    assert scenes.captions(one((1, 2, 1, 2, 0))) == ["a big blue square"]
    assert scenes.judge("a big blue square", scene) == (True, True, False), "true, but not all"


@pytest.mark.parametrize("is_test", [False, True])
def test_scenes_are_what_the_docstring_says(is_test):
    scene = drawn(is_test)
    number = 24 * scene.size + 4 * scene.colour + scene.shape
    total = np.where(scene.real, number, 0).sum(axis=1)
    assert ((total % 7 == 0) == is_test).all()
    assert scene.real[:, 0].all()
    assert abs(1 - scene.real[:, 1].mean() - 0.25) < 4 * (0.25 * 0.75 / ROWS) ** 0.5
    place = 4 * scene.row + scene.column
    assert (place[:, 0] != place[:, 1]).all()
    for field, size in zip(scene, (2, 6, 4, 4, 4), strict=False):
        counts = np.bincount(field[:, 1][scene.real[:, 1]], minlength=size)
        expected = counts.sum() / size
        assert len(counts) == size
        assert (abs(counts - expected) < 5 * expected**0.5).all()


def test_captions_are_all_of_those_that_are_true():
    for scene in rows_of(drawn(False))[:300]:
        assert set(scenes.captions(scene)) == truths(scene)
        assert len(scenes.captions(scene)) == len(set(scenes.captions(scene))) or scene.size[0] == scene.size[1]


def test_the_judge_knows_every_caption_of_one_and_two_objects():
    """Every caption that the grammar has for the words of two objects, against every way in which they can stand."""
    first, second = (0, 1, 2), (1, 1, 3)
    phrases = [phrase(*first), phrase(*second), phrase(0, 1, 3)]
    said = [*phrases, *(f"{a} {' '.join(r)} {b}" for a in phrases for r in RELATIONS for b in phrases)]
    for row, column in itertools.product(range(3), range(3)):
        if (row, column) == (1, 1):
            continue
        scene = one((*first, 1, 1), (*second, row, column))
        true = truths(scene)
        assert true
        for caption in said:
            verdict = scenes.judge(caption, scene)
            assert verdict.parsed
            assert verdict.complete == (caption in true), caption
            assert verdict.true == (caption in true or caption in phrases[:2]), caption


def test_any_other_word_makes_a_caption_false_or_no_caption():
    """Unless it says something that is true as well, such as "above" in place of "below" never is."""
    for scene in rows_of(drawn(True))[:12]:
        true = truths(scene)
        for caption in true:
            words = caption.split()
            for place, other in itertools.product(range(len(words)), [*WORDS, "<unk>", ""]):
                if other == words[place]:
                    continue
                changed = " ".join([*words[:place], other, *words[place + 1 :]])
                verdict = scenes.judge(changed, scene)
                assert verdict.complete == (changed in true), changed
                assert verdict.parsed == (scenes.parse(changed) is not None)
                # Words trade places with their own kind alone.
                kinds = [SIZES, COLOURS, SHAPES, ("left", "right"), ("above", "below")]
                same = any(other in kind and words[place] in kind for kind in kinds)
                assert verdict.parsed == same, changed


RED, BLUE = "a small red circle", "a big blue square"
WRONG = ["", "a", "a small red", "small red circle", "a red small circle", f"{RED} ", RED.capitalize()]
WRONG += [f"{RED} {words}" for words in ("left of", BLUE, f"left {BLUE}", f"above of {BLUE}", "left of a big blue")]


@pytest.mark.parametrize("caption", [*WRONG, f"{RED} left of {BLUE} above {RED}"])
def test_what_is_no_caption(caption):
    assert scenes.parse(caption) is None
    assert scenes.judge(caption, one((0, 0, 0, 0, 0), (1, 2, 1, 3, 3))) == (False, False, False)


def test_two_objects_alike_are_two():
    alike = one((0, 0, 0, 1, 1), (0, 0, 0, 1, 2))
    assert scenes.judge("a small red circle left of a small red circle", alike).complete
    assert not scenes.judge("a small red circle above a small red circle", alike).true
    alone = one((0, 0, 0, 1, 1))
    assert not scenes.judge("a small red circle left of a small red circle", alone).true
    assert scenes.named("a small red circle left of a small red circle", alike) == [-1] * 10


def test_words_are_told_their_object():
    scene = one((0, 0, 0, 0, 0), (1, 2, 1, 3, 3))
    assert scenes.named("a big blue square right of a small red circle", scene) == [1] * 4 + [-1] * 2 + [0] * 4
    assert scenes.named("a small red circle above a big blue square", scene) == [0] * 4 + [-1] + [1] * 4
    assert scenes.named("a big blue square", scene) == [1] * 4
    with pytest.raises(ValueError, match="one of the grammar, got 'a blue square'"):
        scenes.named("a blue square", scene)


def test_targets_are_true_and_any_truth_may_come():
    task, scene = Scenes(), drawn(False)
    batch = jax.tree.map(np.asarray, jax.jit(task.picture)(jax.random.key(5), scene))
    assert batch.target.shape == (ROWS, scenes.LENGTH)
    seen = dict.fromkeys(RELATIONS, 0)
    for row, target, mask in zip(rows_of(scene), batch.target, batch.target_mask, strict=True):
        end = target.tolist().index(EOS)
        assert (target[end + 1 :] == PAD).all()
        np.testing.assert_array_equal(mask, np.arange(scenes.LENGTH) <= end)
        caption = task.read(target)
        assert caption in truths(row)
        for words in RELATIONS:
            seen[words] += f" {' '.join(words)} " in caption
    assert max(seen.values()) < 1.25 * min(seen.values())


def test_every_caption_of_a_scene_is_as_likely():
    scene = one((0, 0, 0, 0, 0), (1, 2, 1, 3, 3))
    many = Scene(*(np.repeat(field[None], 2000, axis=0) for field in scene))
    targets = np.asarray(jax.jit(Scenes().picture)(jax.random.key(5), many).target)
    counts = np.unique(targets, axis=0, return_counts=True)[1]
    assert len(counts) == 4
    assert (abs(counts - 500) < 5 * 500**0.5).all()


def test_objects_are_painted_where_they_are_in_their_colour():
    scene = drawn(False)
    images = np.asarray(jax.jit(Scenes(noise=0.0).picture)(jax.random.key(5), scene).images)
    assert images.shape == (ROWS, 32, 32, 3)
    blocks = images.reshape(ROWS, 4, 8, 4, 8, 3)
    rows = np.arange(ROWS)
    # Where the places touch, the soft edge of one object may lie over the other.
    apart = np.maximum(abs(np.diff(scene.row)), abs(np.diff(scene.column)))[:, 0] > 1
    for n in (0, 1):
        real = scene.real[:, n] & (apart | ~scene.real[:, 1])
        block = blocks[rows, scene.row[:, n], :, scene.column[:, n]][real]
        places = block.sum(axis=3).reshape(-1, 64).argmax(axis=1)
        brightest = block.reshape(len(block), 64, 3)[np.arange(len(block)), places]
        expected = scenes.RGB[scene.colour[:, n][real]]
        fraction = (brightest / expected).mean(axis=1, keepdims=True)
        assert np.abs(brightest - fraction * expected).max() < 0.02
        assert fraction.min() > 0.75, "a bar of a small cross may cover no pixel in full"
        area = (block / expected[:, None, None]).mean(axis=3).sum(axis=(1, 2))
        for size, (low, high) in enumerate(((5, 17), (14, 42))):
            assert low < area[scene.size[:, n][real] == size].min()
            assert area[scene.size[:, n][real] == size].max() < high
    empty = np.ones((ROWS, 4, 4), bool)
    for n in (0, 1):
        empty[rows[scene.real[:, n]], scene.row[:, n][scene.real[:, n]], scene.column[:, n][scene.real[:, n]]] = False
    assert blocks.transpose(0, 1, 3, 2, 4, 5)[empty].sum(axis=(1, 2, 3)).max() < 3, "hardly anything over the edge"


def test_shapes_differ_and_noise_lies_over_them():
    """At one place and size, no two shapes or sizes look alike, by far more than the noise."""
    many = [(size, 5, shape, 1, 1) for size in range(2) for shape in range(4)]
    scenery = [Scene(*(field[None] for field in one(single))) for single in many]
    paint = jax.jit(scenes._paint)
    quiet = np.stack([np.asarray(paint(jax.random.key(0), scene))[0] for scene in scenery])
    distances = np.linalg.norm((quiet[:, None] - quiet[None, :]).reshape(64, -1), axis=1)
    assert np.sort(distances)[8] > 1.0
    noisy = np.asarray(jax.jit(Scenes(noise=0.05).picture)(jax.random.key(0), scenery[0]).images)
    assert 0.02 < noisy[:, 16:].std() < 0.04, "half of it is clipped at black"
    assert 0 <= noisy.min() < noisy.max() <= 1


def test_the_same_key_gives_the_same_batch_and_noise_is_checked():
    sample = jax.jit(Scenes().sample, static_argnums=1)
    first, again, other = (sample(jax.random.key(n), 4) for n in (1, 1, 2))
    np.testing.assert_array_equal(first.images, again.images)
    assert (np.asarray(first.images) != np.asarray(other.images)).any()
    with pytest.raises(ValueError, match="noise must be >= 0, got -1"):
        Scenes(noise=-1.0)
