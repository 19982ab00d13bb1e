"""Learning in context: exact curves against sampling, and predictors against their definitions."""

import itertools

import numpy as np
import pytest

from seqjax.theory import in_context
from tests.refusals import refuses


def chains(symbols, alpha, rows, length, rng):
    transitions = rng.dirichlet(np.full(symbols, alpha), (rows, symbols))
    tokens = np.empty((rows, length), int)
    tokens[:, 0] = rng.integers(symbols, size=rows)
    bounds = transitions.cumsum(axis=2)
    for time in range(1, length):
        row = bounds[np.arange(rows), tokens[:, time - 1]]
        tokens[:, time] = (rng.random(rows)[:, None] > row[:, :-1]).sum(axis=1)
    return transitions, tokens


@pytest.mark.parametrize(
    ("symbols", "alpha", "bayes", "spread", "known", "unigram"),
    [
        (3, 1.0, [1.0986, 1.0280, 0.9277, 0.8580, 0.8399], 3e-4, 0.8190, 0.986),
        (8, 0.1, [2.079, 1.721, 1.105, 0.807, 0.737], 1e-3, 0.646, 1.539),
    ],
)
def test_published_curves_of_chains(symbols, alpha, bayes, spread, known, unigram):
    """Cross-entropy given the chain, which is not sampled; both sides have an error."""
    transitions, tokens = chains(symbols, alpha, 6_000, 127, np.random.default_rng(0))
    rows = np.take_along_axis(transitions, tokens[..., None], axis=1)

    def near(p, position, expected):
        cost = -(rows[:, position - 1] * np.log(np.maximum(p[:, position - 1], 1e-300))).sum(axis=1)
        assert abs(cost.mean() - expected) < 4 * np.hypot(cost.std() / len(cost) ** 0.5, spread)

    best = in_context.dirichlet_predictor(tokens, symbols, alpha)
    for position, expected in zip((1, 4, 16, 64, 127), bayes, strict=True):
        near(best, position, expected)
    near(rows, 127, known)
    near(in_context.unigram_predictor(tokens, symbols), 127, unigram)


def test_predictors_of_chains_are_posterior_means():
    """Of the Dirichlet posterior by integration on a grid, V = 2, alpha = 1.5; and counts, one by one."""
    grid = (np.arange(4_000) + 0.5) / 4_000
    prior = (grid * (1 - grid)) ** 0.5
    for word in itertools.product(range(2), repeat=4):
        found = in_context.dirichlet_predictor(np.array([word]), 2, 1.5)[0]
        for time in range(4):
            density = prior.copy()
            for before, after in itertools.pairwise(word[: time + 1]):
                density *= (grid if after else 1 - grid) if before == word[time] else 1
            assert found[time, 1] == pytest.approx((density @ grid) / density.sum(), abs=1e-5)
        counts = np.bincount(word, minlength=2)
        unigram = in_context.unigram_predictor(np.array([word]), 2)[0, -1]
        np.testing.assert_allclose(unigram, (counts + 1) / 6)


def regression(rows, examples, inputs, rng, gaussian=False):
    w = rng.normal(size=(rows, inputs)) / inputs**0.5
    x = rng.normal(size=(rows, examples + 1, inputs))
    if not gaussian:
        x *= inputs**0.5 / np.linalg.norm(x, axis=-1, keepdims=True)
    y = np.einsum("rni,ri->rn", x, w)
    return (x[:, :-1], y[:, :-1], x[:, -1]), y[:, -1]


@pytest.mark.parametrize("examples", [0, 1, 4, 8, 16])
def test_curves_of_regression_are_means_over_draws(examples):
    given, y = regression(8_000, examples, 8, np.random.default_rng(examples))
    for predicted, expected in [
        (in_context.predict_ridge(*given), in_context.ridge(examples, 8)),
        (in_context.predict_linear_attention(*given), in_context.linear_attention(examples, 8)),
        (in_context.predict_delta_rule(*given), in_context.delta_rule(examples, 8)),
        (in_context.predict_delta_rule(*given, beta=0.6), in_context.delta_rule(examples, 8, beta=0.6)),
    ]:
        error = (y - predicted) ** 2
        assert abs(error.mean() - expected) <= 4 * error.std() / len(error) ** 0.5 + 1e-12
        assert error.mean() >= in_context.ridge(examples, 8) - 4 * error.std() / len(error) ** 0.5
    given, y = regression(8_000, examples, 8, np.random.default_rng(examples), gaussian=True)
    error = (y - in_context.predict_linear_attention(*given, gain=1 / (examples + 9))) ** 2
    expected = in_context.linear_attention(examples, 8, gaussian=True)
    assert abs(error.mean() - expected) <= 4 * error.std() / len(error) ** 0.5


def test_published_curves_of_regression():
    found = [in_context.linear_attention(n, 8) for n in (4, 8, 16)]
    assert [round(value, 3) for value in found] == [0.636, 0.467, 0.304]
    assert round(in_context.linear_attention(16, 8), 4) == 0.3043
    assert round(in_context.delta_rule(16, 8), 4) == 0.1181
    assert in_context.ridge(16, 8) == 0
    assert in_context.ridge(2, 8) == 0.75
    assert in_context.linear_attention(0, 1) == 1
    assert in_context.linear_attention(3, 1) == 0


def test_no_gain_and_no_matrix_is_better_for_linear_attention():
    """The risk of x'G sum x_i y_i is quadratic in G: its minimiser over 40,000 draws is near I / (n + d - 1)."""
    inputs, examples = 3, 5
    (x, y, query), value = regression(40_000, examples, inputs, np.random.default_rng(0))
    features = np.einsum("ri,rnj,rn->rij", query, x, y).reshape(len(value), -1)
    best = np.linalg.lstsq(features, value, rcond=None)[0].reshape(inputs, inputs)
    np.testing.assert_allclose(best, np.eye(inputs) / (examples + inputs - 1), atol=4e-3)


def test_ridge_minimises_its_cost():
    given, _ = regression(3, 5, 4, np.random.default_rng(1))
    x, y, _ = given
    found = np.stack([in_context.predict_ridge(x, y, np.tile(unit, (3, 1)), 0.7) for unit in np.eye(4)], axis=1)
    slope = -2 * np.einsum("rni,rn->ri", x, y - np.einsum("rni,ri->rn", x, found)) + 1.4 * found
    np.testing.assert_allclose(slope, 0, atol=1e-12)


test_wrong_arguments_are_refused = refuses(
    lambda call, *given: call(*given),
    (in_context.ridge, -1, 8, "examples must be >= 0, got -1"),
    (in_context.delta_rule, 1, 0, "inputs must be >= 1, got 0"),
    (lambda: in_context.delta_rule(1, 8, beta=2.5), r"beta must lie in \[0, 2\], got 2.5"),
    (in_context.dirichlet_predictor, np.zeros((1, 1), int), 2, 0.0, "alpha must be > 0, got 0.0"),
    (in_context.unigram_predictor, np.full((1, 1), 2), 2, r"tokens must lie in \[0, 2\), got 2"),
)
