import operator
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.data.sst2 import Example
from seqjax.data.tokenizers import Words
from seqjax.tasks import Sentiment
from seqjax.types import PAD, UNK
from tests.refusals import refuses

LETTERS = "abcdefghij"
ROWS = [
    Example(f"{'good' if n % 2 else 'bad'} film number {LETTERS[n // 10]} {LETTERS[n % 10]}", n % 2) for n in range(60)
]
TEST = [Example("a good surprise", 1), Example("bad", 0)]


def task(rows=ROWS, **options: Any):
    given: dict[str, Any] = {"held_out": 20, "seed": 0} | options
    return Sentiment.of(rows, TEST, Words(), **given)


def test_the_parts_are_all_rows_and_share_none():
    made = task([*ROWS, ROWS[3], Example(ROWS[4].sentence, 1), TEST[0]])
    assert len(made.validation) == 20
    assert sorted([*made.train, *made.validation]) == sorted(ROWS), "repeated and tested rows are left out"
    assert made.test == TEST
    assert 5 <= sum(row.label for row in made.validation) <= 15, "in no order"
    assert task().validation == task().validation != task(seed=1).validation


def test_the_vocabulary_is_counted_on_training_rows():
    words = [f"{one}{other}" for one in "abcde" for other in LETTERS[:6]]
    rows = [Example(f"{'good' if n % 2 else 'bad'} {words[n // 2]}", n % 2) for n in range(60)]
    for least, words_left_out in ((1, 1), (2, 10)):
        made = task(rows, least=least)
        counts = Counter(word for row in made.train for word in row.sentence.split())
        known = set(made.language.vocabulary.symbols[4:])
        assert known == {word for word, count in counts.items() if count >= least}
        assert len({*words} - known) >= words_left_out
    assert task().language.unknown("a good surprise") == ["surprise"]


def test_long_rows_are_left_out_or_cut_and_counted():
    rows = [*ROWS, Example("very " * 900 + "good", 1)]
    for options, width, counts in (({}, 901, (0, 0)), ({"longest": 5}, 5, (1, 0)), ({"truncate": 5}, 5, (0, 1))):
        made = task(rows, **options)
        parts = made.encode(made.train), made.encode(made.validation), made.encode(made.test)
        assert max(part.inputs.shape[1] for part in parts) == width
        assert (made.left_out, made.cut) == counts
        assert made.test == TEST


def test_a_batch():
    made = task()
    batch = made.encode(TEST)
    word = made.language.vocabulary.encode
    np.testing.assert_array_equal(batch.inputs, [word(["a", "good", "surprise"]), [*word(["bad"]), PAD, PAD]])
    assert batch.inputs[0, 2] == UNK
    np.testing.assert_array_equal(batch.mask, [[True] * 3, [True, False, False]])
    np.testing.assert_array_equal(batch.labels, [1, 0])


def test_every_training_row_comes_once_an_epoch(key):
    made = task()
    sample = jax.jit(made.batches(10).batch)
    for epoch in range(2):
        batches = [sample(key, jnp.int32(4 * epoch + step)) for step in range(4)]
        rows = [
            Example(" ".join(made.language.vocabulary.decode(ids)), int(label))
            for batch in batches
            for ids, label, mask in zip(batch.inputs, batch.labels, batch.mask, strict=True)
            if mask.sum() == (ids != PAD).sum()
        ]
        assert sorted(rows) == sorted(made.train)


def test_word_dropout_replaces_its_fraction_of_words_afresh_at_each_step(key):
    made = task()
    plain, lossy = (jax.jit(made.batches(40, word_dropout=rate).batch) for rate in (0.0, 0.25))
    lost = []
    for step in range(30):
        whole, batch = plain(key, jnp.int32(step)), lossy(key, jnp.int32(step))
        lost.append(np.asarray(batch.inputs == UNK))
        np.testing.assert_array_equal(batch.labels, whole.labels)
        np.testing.assert_array_equal(np.where(lost[-1], whole.inputs, batch.inputs), whole.inputs)
    np.testing.assert_allclose(np.mean(lost), 0.25, atol=0.02)
    assert not np.array_equal(lost[0], lost[1])
    for axis in (1, 2):
        assert np.all(lost, axis=axis).mean() < 0.01, "each word for itself, not whole sentences or columns"


test_wrong_arguments_are_refused = refuses(
    operator.call,
    (lambda: task(held_out=0), r"held_out must lie in \[1, 60\), got 0"),
    (lambda: task(held_out=60), r"held_out must lie in \[1, 60\), got 60"),
    (lambda: task().batches(10, word_dropout=1.0), r"word_dropout must lie in \[0, 1\), got 1.0"),
    (lambda: task().batches(41).batch(jax.random.key(0), jnp.int32(0)), r"batch_size must lie in \[1, 40\], got 41"),
)
