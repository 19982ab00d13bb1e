import jax
import numpy as np
import pytest

from seqjax.data import Sentence, conllu
from seqjax.data.treebank import UPOS
from seqjax.data.vocabulary import Vocabulary
from seqjax.tasks import Speller, Tagging
from seqjax.tasks.tagging import LETTERS
from seqjax.types import PAD, UNK
from tests.files import needs_data, public


def sentence(text: str) -> Sentence:
    """From word/TAG word/TAG …"""
    words, tags = zip(*(pair.split("/") for pair in text.split()), strict=True)
    return Sentence(words, tags)


TRAIN = [sentence(text) for text in ("the/DET cat/NOUN sat/VERB", "the/DET dog/NOUN", "sit/VERB", "a/DET cat/NOUN")]
TEST = [sentence(text) for text in ("the/DET dot/NOUN", "zat/X the/DET cat/NOUN sat/VERB")]


@pytest.fixture
def task():
    return Tagging.of([*TRAIN, sentence("unheard/ADJ of/ADP")], TEST, held_out=1, seed=4, least=1)


def test_sentences_are_held_out_of_train(task):
    assert len(task.validation) == 1
    every = [*TRAIN, sentence("unheard/ADJ of/ADP")]
    assert sorted([*task.train, *task.validation]) == sorted(every)
    kept = {word for one in task.train for word in one.words}
    assert {*task.speller.words.symbols[4:]} == kept
    assert {*task.speller.letters.symbols[4:]} == {letter for word in kept for letter in word}
    assert task.test == TEST
    again = Tagging.of(every, TEST, held_out=1, seed=4)
    assert again.validation == task.validation
    assert len({str(Tagging.of(every, TEST, held_out=1, seed=seed).validation) for seed in range(9)}) > 1
    often = Tagging.of(every, TEST, held_out=1, seed=4, least=2)
    assert {*often.speller.words.symbols[4:]} == {w for w in kept if sum(s.words.count(w) for s in task.train) > 1}
    for wrong in (0, 5):
        with pytest.raises(ValueError, match=rf"held_out must lie in \[1, 5\), got {wrong}"):
            Tagging.of(every, TEST, held_out=wrong, seed=0)


def test_long_sentences_are_left_out_or_cut_and_counted():
    long = Sentence(("so",) * 500, ("ADV",) * 500)
    made = Tagging.of([*TRAIN, long], TEST, held_out=1, seed=4, longest=3)
    assert (len(made.train) + len(made.validation), made.test, made.left_out, made.cut) == (4, TEST[:1], 2, 0)
    made = Tagging.of([*TRAIN, long], TEST, held_out=1, seed=4, truncate=2)
    assert {len(one.words) for one in (*made.train, *made.validation, *made.test)} == {1, 2}
    assert (made.test[1], made.left_out, made.cut) == (sentence("zat/X the/DET"), 0, 3)


SPELLER = Speller(Vocabulary.count(s.words for s in TRAIN), Vocabulary.count(w for s in TRAIN for w in s.words))


def test_words_are_ids_and_letters():
    inputs, mask = SPELLER.read([("cat", "zat"), ("a",)])
    symbols = SPELLER.words.symbols
    np.testing.assert_array_equal(inputs.ids, [[symbols.index("cat"), UNK], [symbols.index("a"), PAD]])
    np.testing.assert_array_equal(mask, [[True, True], [True, False]])
    letters = SPELLER.letters.symbols.index
    assert inputs.spelling.shape == (2, 2, LETTERS)
    np.testing.assert_array_equal(inputs.spelling[0, 1, :4], [UNK, letters("a"), letters("t"), PAD])
    np.testing.assert_array_equal(inputs.spelling[1], [[letters("a"), *[PAD] * (LETTERS - 1)], [PAD] * LETTERS])
    assert SPELLER.read([("cat",)], 5)[0].spelling.shape == (1, 5, LETTERS)
    with pytest.raises(ValueError, match="rows must have at most 1 tokens, got 2 in row 0"):
        SPELLER.read([("a", "cat")], 1)


def test_of_long_words_both_ends_are_read():
    half = LETTERS // 2
    exact, longer = "cat" * LETTERS, "c" * half + "z" * 50 + "t" * half
    letters = SPELLER.letters.symbols.index
    found = SPELLER.read([(exact[:LETTERS], longer)])[0].spelling[0]
    np.testing.assert_array_equal(found[0], [letters(letter) for letter in exact[:LETTERS]])
    np.testing.assert_array_equal(found[1], [letters("c")] * half + [letters("t")] * half)


def test_a_batch_has_the_tags_of_its_words(task):
    batch = task.encode(TEST)
    noun, determiner = UPOS.index("NOUN"), UPOS.index("DET")
    np.testing.assert_array_equal(np.asarray(batch.labels)[0, :2], [determiner, noun])
    np.testing.assert_array_equal(np.asarray(batch.labels)[1], [UPOS.index(tag) for tag in TEST[1].tags])
    np.testing.assert_array_equal(batch.mask, [[True, True, False, False], [True] * 4])
    for found, expected in zip(batch.inputs, task.speller.read([s.words for s in TEST])[0], strict=True):
        np.testing.assert_array_equal(found, expected)


def test_unseen_words_are_those_of_no_training_sentence(task):
    unseen = task.unseen(TEST)
    seen = {word for one in task.train for word in one.words}
    assert unseen.shape == (2, 4)
    for row, one in zip(unseen, TEST, strict=True):
        assert row.tolist() == [*(word not in seen for word in one.words), *[False] * (4 - len(one.words))]
    assert unseen.sum() >= 2


def test_buckets_hold_each_sentence_once_in_few_shapes(key):
    sentences = [sentence(" ".join([f"w{length}/X"] * length)) for length in (1, 1, 2, 2, 3, 7, 7, 8, 8, 9)]
    task = Tagging.of([*sentences, *TRAIN], TEST, held_out=4, seed=0)
    buckets = task.buckets(sentences, 2, 2)
    shapes = [part.labels.shape for part in buckets.parts]
    assert shapes == [(5, 3), (5, 9)]
    assert buckets.per_epoch == 4
    whole = task.encode(sentences)
    for number, part in enumerate(buckets.parts):
        longest = shapes[number][1]
        expected = jax.tree.map(lambda array, n=number, t=longest: array[5 * n : 5 * n + 5, :t], whole)
        jax.tree.map(np.testing.assert_array_equal, part, expected)
    seen = []
    for step in range(buckets.per_epoch):
        batch = jax.jit(buckets.samples[int(jax.jit(buckets.choose)(key, step))])(key, step)
        assert batch.labels.shape[0] == 2
        seen += np.asarray(batch.mask).sum(axis=1).tolist()
    assert len(seen) == 8
    assert not set(seen) - {1, 2, 3, 7, 8, 9}
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        task.buckets(sentences, 2, 0)
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 10\], got 11"):
        task.buckets(sentences, 11, 2)


@needs_data
def test_the_public_treebank_becomes_a_task():
    files = (public(f"pos/ud_english_ewt/en_ewt-ud-{part}.conllu") for part in ("train", "dev"))
    train, test = (conllu(file).sentences[:2000] for file in files)
    task = Tagging.of(train, test, held_out=200, seed=0, least=2)
    assert len(task.train) == 1800
    batch, unseen = task.encode(task.test), task.unseen(task.test)
    read = [task.speller.words.decode(row[row != PAD]) for row in np.asarray(batch.inputs.ids)]
    assert [len(row) for row in read] == [len(one.words) for one in task.test]
    known = set(task.speller.words.symbols[4:])
    for row, one, new in zip(read, task.test, unseen, strict=True):
        assert row == [word if word in known else "<unk>" for word in one.words]
        assert all(found == "<unk>" for found, unheard in zip(row, new, strict=False) if unheard)
    assert 0.05 < unseen.sum() / np.asarray(batch.mask).sum() < 0.3
