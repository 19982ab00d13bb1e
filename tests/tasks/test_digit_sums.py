import functools

import jax
import numpy as np
import pytest

from seqjax.tasks import DigitSums
from seqjax.types import EOS, PAD, Seq2SeqBatch
from tests.draws import before_eos
from tests.refusals import refuses

ROWS = 20_000
SYMBOLS = DigitSums().vocabulary.symbols


def lines(ids) -> list[str]:
    return ["".join(SYMBOLS[token] for token in row) for row in before_eos(ids)]


@functools.cache
def draw(digits: int, is_test: bool) -> Seq2SeqBatch:
    task = DigitSums(digits=digits)
    return jax.jit(task.held_out if is_test else task.sample, static_argnums=1)(jax.random.key(0), ROWS)


def pairs(batch: Seq2SeqBatch) -> list[tuple[int, int]]:
    """The numbers of each row; both sides are right."""
    found = []
    for source, target in zip(lines(batch.source), lines(batch.target), strict=True):
        first, second = map(int, source.split("+"))
        assert source == f"{first}+{second}"
        assert target == str(first + second)
        found.append((first, second))
    np.testing.assert_array_equal(batch.source_mask, batch.source != PAD)
    np.testing.assert_array_equal(batch.target_mask, batch.target != PAD)
    return found


def held_out(first: int, second: int) -> bool:
    return abs(first - second) % 11 in (5, 6)


def test_worked_example():
    vocabulary = DigitSums().vocabulary
    assert [*vocabulary.encode("123+45"), EOS] == [5, 6, 7, 14, 8, 9, 2]
    assert [*vocabulary.encode("168"), EOS] == [5, 10, 12, 2]
    assert held_out(12, 7)
    assert held_out(7, 12)
    assert not held_out(123, 45)


def test_every_pair_of_one_digit_is_on_its_side():
    train, test = (set(pairs(draw(1, is_test))) for is_test in (False, True))
    every = {(first, second) for first in range(10) for second in range(10)}
    assert train == {pair for pair in every if not held_out(*pair)}
    assert test == {pair for pair in every if held_out(*pair)}


@pytest.mark.parametrize("is_test", [False, True])
def test_each_pair_of_two_digits_is_as_likely_as_any_on_its_side(is_test):
    counts = np.zeros((100, 100))
    np.add.at(counts, tuple(np.array(pairs(draw(2, is_test))).T), 1)
    inside = np.array([[held_out(first, second) == is_test for second in range(100)] for first in range(100)])
    assert inside.sum() == (1818 if is_test else 8182)
    assert counts[~inside].sum() == 0
    expected, freedom = ROWS / inside.sum(), inside.sum() - 1
    statistic = np.sum((counts[inside] - expected) ** 2 / expected)
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5
    # Ten numbers are divisible by 11, but nine only leave each other remainder.
    fraction = inside[::11].sum() / inside.sum()
    assert counts[::11].sum() / ROWS == pytest.approx(fraction, abs=2 * (fraction * (1 - fraction) / ROWS) ** 0.5)


@pytest.mark.parametrize("digits", [3, 9])
@pytest.mark.parametrize("is_test", [False, True])
def test_sides_share_no_pair_and_each_is_uniform(digits, is_test):
    found = pairs(draw(digits, is_test))
    assert all(held_out(*pair) == is_test for pair in found)
    # Uniform on [0, 1]: the mean has standard deviation (12 rows)^-.5, the variance (180 rows)^-.5.
    fractions = np.array(found) / 10**digits
    np.testing.assert_allclose(fractions.mean(axis=0), 0.5, atol=4 / (12 * ROWS) ** 0.5 + 10.0**-digits)
    np.testing.assert_allclose(fractions.var(axis=0), 1 / 12, atol=4 / (180 * ROWS) ** 0.5 + 10.0**-digits)
    assert abs(np.corrcoef(fractions.T)[0, 1]) < 4 / ROWS**0.5
    last = np.bincount([first % 10 for first, _ in found], minlength=10)
    assert np.sum((last - ROWS / 10) ** 2 / (ROWS / 10)) < 9 + 4 * 18**0.5


def test_every_sum_occurs_in_training():
    train = {first + second for first in range(100) for second in range(100) if not held_out(first, second)}
    assert train == set(range(199))


def test_shapes_are_the_longest():
    batch = draw(3, False)
    for mask, length in ((batch.source_mask, 8), (batch.target_mask, 5)):
        assert mask.shape == (ROWS, length)
        assert mask.all(axis=1).any()


test_wrong_fields_are_refused = refuses(
    DigitSums, *(({"digits": digits}, rf"digits must lie in \[1, 9\], got {digits}") for digits in (0, 10))
)
