"""Groups: against permutations themselves, all words of small length, and long runs of the weights by hand."""

import itertools
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.theory import groups
from tests.refusals import refuses

S3 = groups.symmetric(3)
SWAPS = groups.adjacent_transpositions(3)


@pytest.mark.parametrize(
    ("name", "order", "commutators"), [("Z2", 2, 1), ("Z3", 3, 1), ("S3", 6, 3), ("A5", 60, 60), ("S5", 120, 60)]
)
def test_orders(name, order, commutators):
    group = groups.named(name)
    assert (group.order, group.identity, len(group.commutator_subgroup)) == (order, 0, commutators)


def test_products_of_permutations_are_read_from_left_to_right():
    letters = list(itertools.permutations(range(4)))
    table = groups.symmetric(4).table
    for a, b in itertools.product(range(24), repeat=2):
        assert letters[table[a, b]] == tuple(letters[b][letters[a][x]] for x in range(4))
    assert [letters[token] for token in groups.adjacent_transpositions(4)] == [(1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2)]


@pytest.mark.parametrize(
    ("group", "tokens", "length"), [(S3, SWAPS, 7), (S3, range(6), 4), (groups.alternating(4), (1, 2, 5), 6)]
)
def test_ceilings_are_those_of_all_words(group, tokens, length):
    products, bags = Counter(), Counter()
    for word in itertools.product(tokens, repeat=length):
        product = group.identity
        for token in word:
            product = int(group.table[product, token])
        products[product] += 1
        bags[tuple(sorted(word)), product] += 1
    best = Counter()
    for (bag, _), count in bags.items():
        best[bag] = max(best[bag], count)
    total = len(tokens) ** length
    assert groups.chance(group, tokens, length) == pytest.approx(max(products.values()) / total, abs=1e-12)
    assert groups.commutative_ceiling(group, tokens, length) == pytest.approx(best.total() / total, abs=1e-12)


def test_published_commutative_ceilings():
    found = [groups.commutative_ceiling(S3, SWAPS, length) for length in (8, 16, 32, 64)]
    assert [round(value, 3) for value in found[:3]] == [0.492, 0.383, 0.338]
    assert round(found[3], 4) == 0.3334
    assert groups.commutative_ceiling(groups.cyclic(5), range(5), 6) == pytest.approx(1)
    assert groups.chance(S3, range(6), 1) == pytest.approx(1 / 6)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_rotation_follows_a_cyclic_group(n):
    factor, readout = (part.astype(np.complex64) for part in groups.rotation(n))
    tokens = np.random.default_rng(0).integers(n, size=5_000)
    h, right = np.complex64(1), 0
    for token, total in zip(tokens, tokens.cumsum() % n, strict=True):
        h = factor[token] * h
        right += (readout.conj() * h).real.argmax() == total
    assert right == 5_000
    if n == 2:
        np.testing.assert_allclose(factor, [1, -1], atol=1e-7)


@pytest.mark.parametrize("n", [3, 5])
def test_reflections_follow_a_symmetric_group(n):
    """In single precision, factor by factor, as a network would; one reflection for a swap, n - 1 at most."""
    group, found = groups.symmetric(n), groups.reflections(n)
    assert (found.gains[list(groups.adjacent_transpositions(n))] > 0).sum(axis=1).tolist() == [1] * (n - 1)
    keys, gains, readout = (part.astype(np.float32) for part in found)
    tokens = np.random.default_rng(0).integers(group.order, size=5_000)
    S, product, right = np.eye(n - 1, dtype=np.float32), group.identity, 0
    for token in tokens:
        for key, gain in zip(keys[token], gains[token], strict=True):
            S = S - gain * np.outer(S @ key, key)
        product = group.table[product, token]
        right += np.einsum("gij,ij->g", readout, S).argmax() == product
    assert right == 5_000
    assert abs(S @ S.T - np.eye(n - 1)).max() < 1e-3


def test_a_positive_factor_settles_and_a_sign_does_not():
    def step(carry, token):
        h = factor * carry + 0.25 * token.astype(jnp.float32)
        return h, jnp.stack([0.4 - h, h - 0.4], axis=-1)

    factor = 0.5
    answers = groups.answers_to_one_token(step, jnp.zeros(1), 1, 50)
    assert answers.tolist() == [0, 0] + [1] * 48  # .25, .375, .4375, …
    assert groups.settling_time(answers) == 3
    parity = np.arange(1, 51) % 2
    right = answers == parity
    assert (right[2:-1] ^ right[3:]).all(), "one of two words that follow each other"
    factor = -1.0
    assert groups.settling_time(groups.answers_to_one_token(step, jnp.full(1, 0.6), 1, 50)) is None
    assert groups.settling_time(np.array([1, 1, 1])) == 1


test_tables_that_are_no_group_are_refused = refuses(
    groups.Group,
    (np.zeros((2, 3), int), r"table must be square, with one element or more, got the shape \(2, 3\)"),
    (np.full((1, 1), 1), r"table must hold elements in \[0, 1\), got 1"),
    (np.array([[0, 1], [0, 0]]), r"table must be associative, got \(a b\) c != a \(b c\) for a, b, c = 1, 0, 1"),
    (np.zeros((2, 2), int), "table must have an identity, got none"),
    (np.array([[0, 0], [0, 1]]), "table must have an inverse of every element, got none of 0"),
)
test_wrong_arguments_are_refused = refuses(
    lambda call, *given: call(*given),
    (groups.named, "Q8", "group must be Z, S or A and a number, such as S3, got Q8"),
    (groups.symmetric, 7, "n must be <= 6, as tables grow as"),
    (groups.chance, S3, (6,), 3, r"tokens must be elements in \[0, 6\), got 6"),
    (groups.commutative_ceiling, S3, range(6), 40, "counts times elements, got"),
)
