"""Changes at random keep captions true: proved by recognising the changed pictures."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.tasks import Captioning, worlds
from seqjax.tasks.captioning import CHANGES, LENGTH, WORDS_AFTER
from seqjax.types import EOS, PAD
from tests.refusals import refuses


def after(change, caption: str) -> str:
    ids = WORDS_AFTER[CHANGES.index(change)][worlds.WORDS.encode(caption.split())]
    return " ".join(worlds.WORDS.decode(ids))


def test_changes_by_hand():
    caption = "a red square is to the left of a cyan shape ."
    assert after((False, False, (0, 1, 2)), caption) == caption
    assert after((True, False, (0, 1, 2)), caption) == caption
    assert after((False, True, (0, 1, 2)), caption) == "a red square is to the right of a cyan shape ."
    # What was in the first channel comes from the second now: red is where green was.
    assert after((False, False, (1, 0, 2)), caption) == "a green square is to the left of a magenta shape ."
    caption = "a gray cross is above a blue circle ."
    assert after((True, True, (2, 0, 1)), caption) == "a gray cross is below a red circle ."


def test_every_change_has_an_inverse_and_leaves_the_reserved_alone():
    assert len(set(CHANGES)) == len(CHANGES) == 24
    assert len(np.unique(WORDS_AFTER, axis=0)) == 24
    np.testing.assert_array_equal(WORDS_AFTER[:, :4], np.tile(np.arange(4), (24, 1)))
    np.testing.assert_array_equal(np.sort(WORDS_AFTER, axis=1), np.tile(np.arange(len(worlds.WORDS)), (24, 1)))
    (left,) = worlds.WORDS.encode(["left"])
    np.testing.assert_array_equal(np.unique(WORDS_AFTER[:, left], return_counts=True)[1], [12, 12])


def test_changed_pictures_are_still_told_truly():
    """Recognised anew, not followed: on worlds that are recognised for certain as they were drawn."""
    pictures, contents = worlds.draw(2, 40)
    sure = [
        n
        for n, world in enumerate(contents)
        if sorted(thing[:2] for thing in worlds.recognise(pictures[n])) == sorted(thing[:2] for thing in world)
    ]
    random = np.random.default_rng(0)
    said = [[worlds.say(random, contents[n]) for _ in range(6)] for n in sure]
    task = Captioning.of(pictures[sure], said)
    rows = len(task.image)
    batch = jax.jit(task.batches(rows).batch)(jax.random.key(0), 0)
    images, target = np.asarray(batch.images), np.asarray(batch.target)
    assert (images.min(), images.max()) == (0, 1)
    np.testing.assert_array_equal(batch.target_mask, target != PAD)
    texts = [" ".join(worlds.WORDS.decode(ids)) for ids in target]
    assert sorted(texts) != sorted(caption for given in said for caption in given)
    true = []
    for image, text in zip(np.round(255 * images).astype(np.uint8), texts, strict=True):
        statement = worlds.parse(text)
        assert statement is not None, text
        true.append(worlds.holds(statement, worlds.recognise(image)))
    assert np.mean(true) > 0.985


def test_an_epoch_has_every_row_once_with_its_own_image():
    shades = np.arange(1, 5, dtype=np.uint8)
    images = np.broadcast_to(50 * shades[:, None, None, None], (4, 6, 6, 3))
    said = [["there is a circle ."], [], ["there is a cross .", "there is a square ."], ["a cross is gray ."]]
    task = Captioning.of(images, said)
    np.testing.assert_array_equal(task.image, [0, 2, 2, 3])
    assert task.target.shape == (4, LENGTH)
    draw = jax.jit(task.batches(2).batch)
    for epoch in range(2):
        batches = [draw(jax.random.key(1), 2 * epoch + step) for step in range(2)]
        shown = np.round(np.concatenate([255 * batch.images[:, 0, 0, 0] for batch in batches])) / 50 - 1
        written = [" ".join(worlds.WORDS.decode(ids)) for batch in batches for ids in np.asarray(batch.target)]
        assert sorted(written) == sorted(caption for given in said for caption in given)
        for number, text in zip(shown, written, strict=True):
            assert text in said[int(number)]
    first = np.asarray(batches[0].target)
    assert (first[np.arange(2), (first != PAD).sum(axis=1) - 1] == EOS).all()
    np.testing.assert_array_equal(draw(jax.random.key(1), 2).images, batches[0].images)


def test_all_changes_are_equally_likely_for_each_row_at_each_step():
    image = np.arange(18, dtype=np.uint8).reshape(1, 2, 3, 3)
    task = Captioning.of(image, [["there is a cross ."] * 480])
    draw = jax.jit(task.batches(480).batch)
    first, second = (np.asarray(draw(jax.random.key(0), step).images) for step in range(2))
    assert not np.array_equal(first, second)
    for images in (first, second):
        pictures, counts = np.unique(images.reshape(480, -1), axis=0, return_counts=True)
        assert len(pictures) == 24
        assert np.sum((counts - 20) ** 2 / 20) < 23 + 4 * 46**0.5


test_wrong_captions_are_refused = refuses(
    lambda captions: Captioning.of(np.zeros((2, 4, 4, 3), np.uint8), captions),
    ([["there is a cross ."]], "captions must be given for each of 2 images, got 1"),
    ([[], []], "captions must hold at least one, got none"),
    ([["two crosses are red ."], []], "captions must be of the kinds that are known, got 'two crosses"),
)


def test_channels_go_where_the_words_say():
    """One pixel of each colour through every change of channels."""
    for number, (upside_down, mirrored, order) in enumerate(CHANGES):
        if upside_down or mirrored:
            continue
        for colour, channels in enumerate(worlds.CHANNELS):
            moved = tuple(np.asarray(jnp.take_along_axis(jnp.array(channels), jnp.array(order), axis=0)).tolist())
            expected = worlds.WORDS.encode([worlds.COLOURS[worlds.CHANNELS.index(moved)]])[0]
            assert WORDS_AFTER[number, worlds.WORDS.encode([worlds.COLOURS[colour]])[0]] == expected
