from collections import Counter

import jax
import numpy as np
import pytest

from seqjax.tasks import Reversal
from seqjax.tasks.reversal import HELD_OUT_FROM
from seqjax.types import SOS, UNK
from tests.draws import before_eos
from tests.refusals import refuses

ROWS = 20_000


def words(ids) -> list[tuple[int, ...]]:
    """The symbols of each row."""
    return [tuple(token - UNK for token in row) for row in before_eos(ids)]


def chi_square(counts: Counter, values: range) -> float:
    """Distance from uniform, in standard deviations of chi square; fails on values outside."""
    assert set(counts) <= set(values)
    expected, freedom = sum(counts.values()) / len(values), len(values) - 1
    statistic = sum((counts[value] - expected) ** 2 / expected for value in values)
    return (statistic - freedom) / (2 * freedom) ** 0.5


def drawn(task: Reversal, key, rows: int):
    """For training, and held out."""
    return [jax.jit(part, static_argnums=1)(key, rows) for part in (task.sample, task.held_out)]


@pytest.fixture(scope="module")
def parts():
    return drawn(Reversal(), jax.random.key(1), ROWS)


def test_worked_example():
    vocabulary = Reversal(symbols=25, shortest=4, longest=4).vocabulary
    assert vocabulary.encode(["3", "1", "4", "17"]) == [6, 4, 7, 20]
    assert vocabulary.decode([20, 7, 4, 6, 2]) == ["17", "4", "1", "3"]
    assert len(vocabulary) == 29
    # Of 3 symbols and length 4 all 81 sequences are met, a third of them held out: those of sum 6, 9 or 12.
    small = drawn(Reversal(symbols=3, shortest=4, longest=4), jax.random.key(2), 3_000)
    train, test = (set(words(batch.source)) for batch in small)
    assert (len(train), len(test)) == (54, 27)
    assert {sum(word) for word in test} == {6, 9, 12}
    assert (1, 2, 3, 3) in test
    assert (1, 2, 3, 2) in train


def test_both_sides(parts):
    for batch in parts:
        source, target = words(batch.source), words(batch.target)
        assert [word[::-1] for word in source] == target
        assert batch.source.shape == batch.target.shape == (ROWS, 21)
        for ids, mask in ((batch.source, batch.source_mask), (batch.target, batch.target_mask)):
            lengths = [len(word) + 1 for word in source]
            np.testing.assert_array_equal(mask, np.arange(21)[None] < np.array(lengths)[:, None])
            assert not np.isin(ids, (SOS, UNK)).any()


def test_train_and_held_out_share_nothing_not_even_up_to_order(parts):
    train, test = ({tuple(sorted(word)) for word in words(batch.source) if len(word) > 3} for batch in parts)
    assert not train & test
    assert all(sum(word) % 25 == 0 for word in test)
    assert all(sum(word) % 25 != 0 for word in train)


def test_lengths_and_symbols_are_uniform(parts):
    for batch, shortest in zip(parts, (1, HELD_OUT_FROM), strict=True):
        found = words(batch.source)
        assert abs(chi_square(Counter(map(len, found)), range(shortest, 21))) < 4
        for place in (0, 1, -1):
            long = [word[place] for word in found if len(word) >= 4]
            assert abs(chi_square(Counter(long), range(1, 26))) < 4
    short = Counter(symbol for word in words(parts[0].source) if len(word) < 4 for symbol in word)
    assert abs(chi_square(short, range(1, 26))) < 4
    # In training every other remainder is as frequent as any.
    remainders = Counter(sum(word) % 25 for word in words(parts[0].source) if len(word) >= 4)
    assert abs(chi_square(remainders, range(1, 25))) < 4


def test_short_sequences_are_all_for_training(parts):
    found = words(parts[0].source)
    assert {word for word in found if len(word) == 1} == {(symbol,) for symbol in range(1, 26)}
    assert any(sum(word) % 25 == 0 for word in found if len(word) == 3)
    assert min(map(len, words(parts[1].source))) == HELD_OUT_FROM


def test_one_length(key):
    for batch in drawn(Reversal(shortest=30, longest=30), key, 50):
        assert {len(word) for word in words(batch.source)} == {30}
        assert batch.source_mask.all()


test_wrong_fields_are_refused = refuses(
    Reversal,
    ({"symbols": 1}, "symbols must be >= 2, got 1"),
    ({"shortest": 0}, "shortest must be >= 1, got 0"),
    ({"shortest": 5, "longest": 4}, "longest must be >= shortest = 5, got 4"),
)


test_nothing_short_is_held_out = refuses(
    lambda longest: Reversal(longest=longest).held_out(jax.random.key(0), 1),
    (3, "longest must be >= 4 for sequences to be held out, got 3"),
)
