import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.plain_text import split
from seqjax.data.tokenizers import Characters, Subwords, Whitespace
from seqjax.tasks import TextGeneration
from seqjax.types import EOS, UNK
from tests.refusals import refuses

TEXT = "the cat sat on the mat; the dog lay on the log. 0123456789 the end"
SENTENCES = (["a b a", "b <unk> c"], ["c d", "a"], ["b", "a b e a"])


def of_text(length=4) -> TextGeneration:
    return TextGeneration.of_text(split(TEXT, held_out=12), Characters(), length=length)


def test_a_text_goes_on_from_part_to_part():
    task = of_text()
    assert set(task.language.vocabulary.symbols[4:]) == set(TEXT[:-24])
    before = EOS
    for part, text in zip((task.train, task.validation, task.test), split(TEXT, held_out=12), strict=True):
        assert part.ids[0] == before, "the token before it is read"
        ids = part.ids[1:].tolist()
        assert ids == task.language.ids(text)
        assert part.characters == len(text)
        before = ids[-1]
    assert UNK not in task.train.ids
    assert UNK in task.validation.ids, "digits are in the validation text alone"


def test_sentences_end_and_their_own_unknown_is_ours():
    task = TextGeneration.of_sentences(*SENTENCES, Whitespace(), length=2)
    a, b, c = (task.language.ids(word)[0] for word in "abc")
    assert task.language.vocabulary.symbols[4:] == ("a", "b", "c")
    assert task.train.ids.tolist() == [EOS, a, b, a, EOS, b, UNK, c, EOS]
    assert task.test.ids.tolist() == [EOS, b, EOS, a, b, UNK, a, EOS]
    assert task.test.characters == len("b\na b e a\n")
    letters = TextGeneration.of_sentences(*SENTENCES, Characters(), length=2)
    assert len(letters.test.ids) - 1 == letters.test.characters == task.test.characters


def test_bits_do_not_depend_on_the_unit():
    """A sure loss of 7 nats in all, told by words, pieces or characters."""
    pieces = Subwords.train([" ".join(SENTENCES[0])] * 9, size=30, lower=False)
    for tokenizer in (Whitespace(), Characters(), pieces):
        part = TextGeneration.of_sentences(*SENTENCES, tokenizer, length=2).test
        np.testing.assert_allclose(part.bits(7 / (len(part.ids) - 1)), 7 / math.log(2) / 10)


def test_windows_to_learn_from(key):
    task = of_text()
    draw = jax.jit(task.sample, static_argnums=1)
    batch = draw(key, 500)
    np.testing.assert_array_equal(batch.inputs, draw(jax.random.key(0), 500).inputs)
    assert not np.array_equal(batch.inputs, draw(jax.random.fold_in(key, 1), 500).inputs)
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.labels[:, :-1])
    found = {tuple(row) for row in np.concatenate([batch.inputs, batch.labels[:, -1:]], axis=1).tolist()}
    ids = task.train.ids.tolist()
    assert found == {tuple(ids[start : start + 5]) for start in range(len(ids) - 4)}, "all places, and no others"


@settings(max_examples=100)
@given(st.integers(1, 12), st.integers(1, 12))
def test_every_token_is_judged_once(length, stride):
    task = of_text(length)
    if stride > length:
        with pytest.raises(ValueError, match=rf"stride must lie in \[1, {length}\], got {stride}"):
            task.windows(task.test, stride=stride)
        return
    windows = task.windows(task.test, stride=stride)
    ids = task.test.ids
    np.testing.assert_array_equal(windows.labels[windows.counted], ids[1:])
    np.testing.assert_array_equal(windows.inputs[windows.counted], ids[:-1])
    np.testing.assert_array_equal(windows.inputs[:, 1:], windows.labels[:, :-1])
    # How many tokens each is said from: the last one reaches back, and sees no less.
    seen = np.broadcast_to(1 + np.arange(length), windows.counted.shape)[windows.counted]
    assert (seen[:length] == 1 + np.arange(length)).all()
    assert (seen[length:] > length - stride).all()


test_bad_lengths = refuses(of_text, *((bad, rf"length must lie in \[1, 13\), .*, got {bad}") for bad in (0, 13)))
