"""Against counting in plain Python, against closed forms, and against a source whose entropy is known."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.theory.ngrams import NOTHING, KneserNey, plug_in_entropy
from tests.refusals import refuses

TEXTS = st.lists(st.integers(0, 3), min_size=3, max_size=40).map(lambda text: np.array(text, np.int32))


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 3))
def test_floor_is_the_entropy_of_the_counts(tokens, order):
    contexts = [tuple(tokens[max(0, t - order + 1) : t]) for t in range(len(tokens))]
    grams = Counter(zip(contexts, tokens.tolist(), strict=True))
    expected = -sum(c * math.log(c / sum(n for g, n in grams.items() if g[0] == h)) for (h, _), c in grams.items())
    np.testing.assert_allclose(plug_in_entropy(tokens, order), expected / len(tokens), atol=1e-12)


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 3), st.integers(0, 1000))
def test_no_model_of_that_order_is_below_the_floor(tokens, order, seed):
    """Neither one of random numbers, nor one that was fitted to the very text."""
    table = np.random.default_rng(seed).dirichlet(np.ones(4), size=5**order)
    padded = [NOTHING] * (order - 1) + tokens.tolist()
    cost = 0.0
    for t, token in enumerate(tokens):
        place = sum((h + 1) * 5**n for n, h in enumerate(padded[t : t + order - 1]))
        cost -= math.log(table[place][token])
    floor = plug_in_entropy(tokens, order)
    assert cost / len(tokens) >= floor - 1e-12
    assert KneserNey.fit(tokens, order=order, vocab=4).surprise(tokens).mean() >= floor - 1e-12


def test_known_texts():
    assert plug_in_entropy(np.array([0, 1, 2, 3] * 5), 1) == pytest.approx(math.log(4))
    assert plug_in_entropy(np.array([0, 1, 2, 3] * 5), 2) == pytest.approx(0, abs=1e-12)
    assert plug_in_entropy(np.array([7]), 3) == 0


def discounts(count):
    once, twice = sum(c == 1 for c in count.values()), sum(c == 2 for c in count.values())
    return min(max(once / max(once + 2 * twice, 1), 0.1), 0.9)


def by_definition(text, vocab, history, token):
    """Kneser-Ney of order len(history) + 1 straight from the equation."""
    p = 1 / vocab
    for k in range(1, len(history) + 2):
        grams = [tuple(text[t : t + k]) for t in range(len(text) - k + 1)]
        if k == len(history) + 1:
            count = Counter(grams)
        else:
            longer = {tuple(text[t : t + k + 1]) for t in range(len(text) - k)}
            count = Counter(g[1:] for g in longer)
        h = tuple(history[len(history) + 1 - k :])
        following = {g: c for g, c in count.items() if g[:-1] == h}
        total = sum(following.values())
        if total:
            discount = discounts(count)
            p = (max(following.get((*h, token), 0) - discount, 0) + discount * len(following) * p) / total
    return p


@settings(max_examples=60)
@given(TEXTS, st.integers(1, 3))
def test_smoothing_by_its_definition_and_sums(tokens, order):
    """For every context, seen or not."""
    model = KneserNey.fit(tokens, order=order, vocab=5)
    grams = np.array([*itertools.product(range(5), repeat=order)])
    p = model.probability(grams)
    assert (p > 0).all()
    np.testing.assert_allclose(p.reshape(-1, 5).sum(axis=1), 1, rtol=1e-12)
    expected = [by_definition(tokens.tolist(), 5, gram[:-1], gram[-1]) for gram in grams.tolist()]
    np.testing.assert_allclose(p, expected, rtol=1e-10)


def test_where_a_text_begins_contexts_are_short():
    text = np.array([0, 1, 0, 2, 1, 0, 0, 1])
    model = KneserNey.fit(text, order=3, vocab=3)
    surprise = model.surprise(np.array([1, 0, 2]))
    cut = [[NOTHING, NOTHING, 1], [NOTHING, 1, 0], [1, 0, 2]]
    np.testing.assert_allclose(surprise, -np.log(model.probability(np.array(cut))))
    # Without a context it counts predecessors, 2, 2 and 1 of them; all three tokens seen, the discount comes back.
    np.testing.assert_allclose(np.exp(-surprise[0]), 2 / 5)


def test_a_chain_of_known_entropy():
    """The rate of a Markov chain is reached by bigrams, not by unigrams, and floors do not exceed it by more than
    the sample does."""
    rng = np.random.default_rng(0)
    step = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.5, 0.0, 0.5]])
    values, vectors = np.linalg.eig(step.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    rate = -sum(stationary[i] * p * math.log(p) for i in range(3) for p in step[i] if p)
    ends, chain = np.cumsum(step, axis=1), [0]
    for u in rng.random(40_000):
        chain.append(int(np.searchsorted(ends[chain[-1]], u, side="right")))
    train, test = np.array(chain[:20_000]), np.array(chain[20_000:])
    found = {order: KneserNey.fit(train, order=order, vocab=3).surprise(test).mean() for order in (1, 2, 4)}
    assert found[2] == pytest.approx(rate, abs=0.02)
    assert found[4] == pytest.approx(rate, abs=0.02)
    marginal = -sum(p * math.log(p) for p in stationary)
    assert found[1] == pytest.approx(marginal, abs=0.02)
    assert plug_in_entropy(test, 2) == pytest.approx(rate, abs=0.01)
    assert plug_in_entropy(test, 2) <= found[2]


test_bad_arguments = refuses(
    lambda tokens, order: KneserNey.fit(np.array(tokens, np.int32), order=order, vocab=3),
    ([1, 2], 0, "order must be >= 1, got 0"),
    ([], 1, "tokens must be one or more, got none"),
    ([1], 2, r"needs 2 tokens or more, all in \[0, 3\), got 1"),
    ([1, 3], 2, r"all in \[0, 3\)"),
    ([1, -1], 2, r"all in \[0, 3\)"),
)
