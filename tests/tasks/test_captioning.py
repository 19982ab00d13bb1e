"""Changes at random keep captions true: proved by recognising the changed pictures. Any captions are learned, too."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import data, decode, losses, metrics, models, train
from seqjax.data.language import Language
from seqjax.data.tokenizers import Words
from seqjax.data.vocabulary import Vocabulary
from seqjax.tasks import Captioning, worlds
from seqjax.tasks.captioning import CHANGES, LENGTH, WORDS_AFTER, change_world
from seqjax.types import EOS, PAD, SOS, UNK
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
    task = Captioning.of_worlds(pictures[sure], said)
    rows = len(task.image)
    batch = jax.jit(task.batches(rows, change_world).batch)(jax.random.key(0), 0)
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
    task = Captioning.of_worlds(images, said)
    np.testing.assert_array_equal(task.image, [0, 2, 2, 3])
    assert task.target.shape == (4, LENGTH)
    draw = jax.jit(task.batches(2, change_world).batch)
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
    task = Captioning.of_worlds(image, [["there is a cross ."] * 480])
    draw = jax.jit(task.batches(480, change_world).batch)
    first, second = (np.asarray(draw(jax.random.key(0), step).images) for step in range(2))
    assert not np.array_equal(first, second)
    for images in (first, second):
        pictures, counts = np.unique(images.reshape(480, -1), axis=0, return_counts=True)
        assert len(pictures) == 24
        assert np.sum((counts - 20) ** 2 / 20) < 23 + 4 * 46**0.5


test_wrong_captions_are_refused = refuses(
    lambda captions: Captioning.of_worlds(np.zeros((2, 4, 4, 3), np.uint8), captions),
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


# Any sentences, about features that another network made

COLOURS = ("red", "brown", "gray", "green", "white")
ANIMALS = ("dog", "cat", "horse", "bird", "cow")
DOING = ("runs", "sleeps", "waits", "eats")


def photographs(folder, kind: str) -> tuple[Any, Any]:
    """Captions and made features of every animal in every colour at all it does, read from files: most, and the others.

    Features are sums of a random vector for each of the three, in noise: one vector, or a grid with the animal in one
    place and all else in others.
    """
    random = np.random.default_rng(0)
    known = {word: random.normal(size=24) for word in (*COLOURS, *ANIMALS, *DOING)}
    lines, features = {True: "", False: ""}, {}
    everything = [(c, a, d) for c in COLOURS for a in ANIMALS for d in DOING]
    for number, words in enumerate(everything):
        colour, animal, doing = words
        name = f"{number}.jpg"
        parts = [known[word] for word in words]
        made = np.sum(parts, axis=0) if kind == "vector" else np.stack([*parts, np.zeros(24)]).reshape(2, 2, 24)
        features[name] = (made + 0.05 * random.normal(size=made.shape)).astype(np.float32)
        held_out = number % 7 == 0
        lines[held_out] += f"{name}#0\tA {colour} {animal} {doing}.\n{name}#1\tThe {animal} {doing}: it is {colour}!\n"
    (folder / "captions.txt").write_text(lines[False] + lines[True])
    np.savez(folder / "features.npz", **features)
    found = []
    for held_out in (False, True):
        names = folder / "names.txt"
        names.write_text("\n".join(dict.fromkeys(line.split("#")[0] for line in lines[held_out].splitlines())))
        found.append(data.read_flickr8k(folder / "captions.txt", folder / "features.npz", names))
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["vector", pytest.param("grid", marks=pytest.mark.slow)])
def test_a_captioner_learns_any_sentences_from_the_features_of_another_network(kind, tmp_path, key):
    learned, others = photographs(tmp_path, kind)
    task = Captioning.count(learned.features, learned.captions, Words())
    held_out = Captioning.of(others.features, others.captions, task.language)
    assert (held_out.target != UNK).all()
    decoder = models.RecurrentDecoder(48) if kind == "vector" else models.BahdanauDecoder(48)
    model = models.Captioner(None, decoder, len(task.language.vocabulary), features=48, embedding=24)

    def loss(params, batch, key):
        logits = model.apply(params, batch.images, batch.target, target_mask=batch.target_mask)
        return losses.cross_entropy(logits, batch.target, batch.target_mask)

    optimizer = train.adam(1e-2, steps=300)
    params = jax.jit(model.init)(key, jnp.asarray(task.images[:1]), jnp.asarray(task.target[:1]))
    advance = train.scan(loss, optimizer, task.batches(32), steps=300)
    state, _ = advance(train.init(params, optimizer, key))

    @jax.jit
    def write(params, images):
        carry = model.apply(params, images, None, task.target.shape[1], method="begin")
        step = partial(model.apply, params, method="step")
        return decode.greedy(step, carry, jnp.full(len(images), SOS), length=task.target.shape[1]).tokens

    texts = [task.language.text(ids) for ids in np.asarray(write(state.params, jnp.asarray(held_out.images)))]
    scores = metrics.translation(texts, held_out.references, resamples=10)
    assert scores.bleu.value > 90
    strange = [held_out.references[(n + 5) % len(texts)] for n in range(len(texts))]
    assert metrics.translation(texts, strange, resamples=10).bleu.value < 60, "captions of other images"


def test_the_vocabulary_is_that_of_the_training_captions():
    features = np.zeros((2, 3), np.float32)
    task = Captioning.count(features, [["A dog!", "a DOG"], ["one cat"]], Words(punctuation=""), least=2)
    assert task.language.vocabulary.symbols[4:] == ("a", "dog")
    other = Captioning.of(features[:1], [["A dog, a zebra."]], task.language, length=6)
    a, dog = task.language.vocabulary.encode(["a", "dog"])
    np.testing.assert_array_equal(other.target, [[a, dog, a, UNK, EOS, PAD]])
    assert other.references == [["a dog a zebra"]]


def test_features_stay_what_they_are_and_pixels_become_fractions(key):
    language = Language(Words(), Vocabulary.count([["a"]]))
    for images, factor in ((np.array([[3, 255]], np.uint8), 255), (np.array([[3, 255]], np.float16), 1)):
        batch = Captioning.of(images, [["a"]], language).batches(1).batch(key, 0)
        np.testing.assert_allclose(batch.images, [[3 / factor, 255 / factor]], rtol=1e-6)
        assert batch.images.dtype == jnp.float32
    with pytest.raises(ValueError, match=r"captions must hold a word, got '\?-\?' of image 0"):
        Captioning.of(np.zeros((1, 2)), [["?-?"]], Language(Words(punctuation=""), language.vocabulary))
