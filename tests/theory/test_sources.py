"""Hidden Markov sources: against sums over all paths of states, and published entropy rates and floors."""

import itertools
import math

import numpy as np
import pytest

from seqjax.theory import sources
from tests.refusals import refuses

SMALL = {
    "even": sources.even_process(0.3),
    "mess3": sources.mess3(),
    "random": sources.random_source(3, 2, seed=4),
}


def by_paths(source, word, start=None):
    """Probability of a word: the sum over all paths of states, from the stationary distribution or from one state."""
    total = 0.0
    for path in itertools.product(range(source.states), repeat=len(word) + 1):
        p = source.stationary[path[0]] if start is None else float(path[0] == start)
        for symbol, here, there in zip(word, path, path[1:], strict=False):
            p *= source.transitions[symbol, here, there]
        total += p
    return total


@pytest.mark.parametrize("name", SMALL)
def test_filter_and_entropies_are_those_of_enumeration(name):
    source, length = SMALL[name], 4
    for start in (None, *range(source.states)):
        words = list(itertools.product(range(source.symbols), repeat=length))
        p = np.array([by_paths(source, word, start) for word in words])
        assert p.sum() == pytest.approx(1, abs=1e-12)
        if start is None:
            blocks = p.reshape((source.symbols,) * length)
            marginals = [blocks.sum(axis=tuple(range(n, length))) for n in range(length + 1)]
            np.testing.assert_allclose(
                source.block_entropies(length),
                [-(m * np.log(np.where(m > 0, m, 1))).sum() for m in marginals],
                atol=1e-12,
            )
            possible = np.array(words)[p > 0]
            found = source.predict(possible[:, :-1])
            for time in range(length - 1):
                prefix = tuple(possible[:, : time + 1].T)
                expected = marginals[time + 2][prefix] / marginals[time + 1][prefix][:, None]
                np.testing.assert_allclose(found[:, time], expected, atol=1e-12)
            if not source.unifilar:
                last = np.diff(source.block_entropies(length))[-1]
                assert source.entropy_rate(length).high == pytest.approx(last, abs=1e-12)
    rates = [source.entropy_rate(length) for length in (1, 2, 4)]
    assert all(b.low >= a.low - 1e-15 and b.high <= a.high + 1e-15 for a, b in itertools.pairwise(rates))
    assert rates[-1].low <= rates[-1].high


def test_lower_end_of_the_rate_knows_the_first_state():
    """H(X_3 | X_1 X_2, S_0) by sums over paths."""
    source = SMALL["mess3"]
    expected = 0.0
    for start in range(3):
        p = np.array([by_paths(source, word, start) for word in itertools.product(range(3), repeat=3)]).reshape(3, 3, 3)
        blocks = p, p.sum(axis=2)
        expected -= source.stationary[start] * ((blocks[0] * np.log(blocks[0])).sum())
        expected += source.stationary[start] * ((blocks[1] * np.log(blocks[1])).sum())
    assert source.entropy_rate(3).low == pytest.approx(expected, abs=1e-12)


def test_even_process():
    even = sources.even_process()
    assert even.unifilar
    assert even.entropy_rate() == pytest.approx((2 / 3 * math.log(2),) * 2, abs=1e-14)
    assert round(even.entropy_rate().low, 6) == 0.462098
    floors = [even.window_floor(window) for window in range(1, 24)]
    assert [round(floors[window - 1], 4) for window in (3, 5, 9)] == [0.0719, 0.0360, 0.0090]
    np.testing.assert_allclose(np.divide(floors[4:], floors[2:-2]), 0.5, rtol=1e-9)  # every second step halves it
    # Averaged over all of 64 tokens, the first of which has no context, exact predictors are below these floors.
    means = [np.append(0, even.position_floors(window, 63)).mean() for window in (3, 5, 9)]
    assert [round(mean, 4) for mean in means] == [0.0649, 0.0313, 0.0073]
    settled = even.position_floors(5, 64)[23:]
    assert settled.min() > 0.99 * floors[4]
    for p in (0.3, 0.8):
        h = -(p * math.log(p) + (1 - p) * math.log(1 - p)) / (2 - p)
        assert sources.even_process(p).entropy_rate(3).low == pytest.approx(h, abs=1e-14)


def test_mess3():
    source = sources.mess3()
    rate = source.entropy_rate(10)
    assert rate.gap < 3e-6
    assert round(rate.low, 5) == round(rate.high, 5) == 0.79346
    assert [round(source.window_floor(window, 10), 4) for window in (1, 2, 3, 4)] == [0.0643, 0.0199, 0.0047, 0.0013]
    assert not source.unifilar


def test_random_source():
    source = sources.random_source()
    rate = source.entropy_rate(9)
    assert (round(rate.low, 5), round(rate.high, 5)) == (1.26048, 1.26069)
    entropies = source.conditional_entropies(2)
    assert [round(entropies[window] - rate.high, 3) for window in (1, 2)] == [0.021, 0.008]


def test_beliefs_that_agree_are_counted_once_and_others_are_not(monkeypatch):
    """The even process has one more belief a step; without merging, 2^100 words could not be enumerated."""
    assert sources.even_process().conditional_entropies(100)[-1] == pytest.approx(2 / 3 * math.log(2), abs=1e-12)
    monkeypatch.setattr(sources, "MOST_WORDS", 1000)
    with pytest.raises(ValueError, match="lengths must leave <= 1000 words to enumerate, got 2187 at 7"):
        sources.mess3().conditional_entropies(30)


test_arrays_that_are_no_source_are_refused = refuses(
    sources.Source,
    (np.array([[[0.5]], [[0.4]]]), "transitions must add up to 1 from every state, got 0.9 from 0"),
    (np.array([[[1.5]], [[-0.5]]]), "transitions must be >= 0, got -0.5"),
    (np.array([[[np.nan]]]), "transitions must hold one number or more, all finite"),
    (np.array([[[0.5, 0.5], [0.0, 1.0]]]), "undefined, got no path from state 1 to 0"),
)
test_impossible_words_are_refused = refuses(
    sources.even_process().filter,
    (np.array([[0, 1, 0]]), "got an impossible one at step 2"),
    (np.array([[0, 2]]), r"tokens must lie in \[0, 2\), got 2"),
)
