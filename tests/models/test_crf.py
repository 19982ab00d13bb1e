"""Against all paths one by one: there are `tags ** time` of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models import CRF, Recurrent, Tagger, Transitions
from seqjax.models.crf import log_likelihood, log_partition, score, viterbi
from tests import contracts

TAGS, TIME = 3, 4
LENGTHS = (4, 1, 3, 0, 2)
MASK = contracts.upto(LENGTHS, TIME)
PATHS = {length: np.array([*itertools.product(range(TAGS), repeat=length)], int) for length in LENGTHS}


@pytest.fixture(scope="module")
def chain():
    rng = np.random.default_rng(0)
    emissions, start, between, end = (rng.normal(size=s) for s in ((5, TIME, TAGS), TAGS, (TAGS, TAGS), TAGS))
    return jnp.asarray(emissions, jnp.float32), Transitions(
        *(jnp.asarray(x, jnp.float32) for x in (start, between, end))
    )


def scores(emissions, transitions, path):
    """Of one path, a term at a time."""
    start, between, end = (np.asarray(x, np.float64) for x in transitions)
    if not len(path):
        return 0.0
    total = start[path[0]] + end[path[-1]]
    total += sum(float(emissions[place, tag]) for place, tag in enumerate(path))
    return total + sum(between[one, other] for one, other in itertools.pairwise(path))


def every_score(chain):
    """For each row, the score of each path of its length."""
    emissions, transitions = chain
    return [
        np.array([scores(np.asarray(row), transitions, path) for path in PATHS[length]])
        for row, length in zip(emissions, LENGTHS, strict=True)
    ]


def logsumexp(values):
    return np.log(np.exp(np.asarray(values)).sum())


def test_partition_is_the_sum_over_all_paths(chain):
    expected = [logsumexp(found) for found in every_score(chain)]
    np.testing.assert_allclose(jax.jit(log_partition)(*chain, MASK), expected, rtol=1e-5, atol=1e-6)
    whole = [logsumexp([scores(np.asarray(row), chain[1], path) for path in PATHS[4]]) for row in chain[0]]
    np.testing.assert_allclose(jax.jit(log_partition)(*chain), whole, rtol=1e-5)


def test_likelihoods_of_all_paths_are_a_distribution(chain):
    emissions, transitions = chain
    probability = jax.jit(jax.vmap(lambda tags: jnp.exp(log_likelihood(emissions, transitions, tags, MASK))))
    for row, (length, expected) in enumerate(zip(LENGTHS, every_score(chain), strict=True)):
        # There is no tag 99: padding may hold anything.
        tags = np.where(np.asarray(MASK)[None], 0, 99).repeat(len(PATHS[length]), axis=0)
        tags[:, row, :length] = PATHS[length]
        tags = np.resize(tags, (TAGS**TIME, *tags.shape[1:]))  # one shape, compiled once
        found = np.asarray(probability(jnp.asarray(tags)))[: len(PATHS[length]), row]
        np.testing.assert_allclose(found, np.exp(expected) / np.exp(expected).sum(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)


def test_gradients_of_the_partition_are_posteriors(chain):
    """By the emissions how likely each tag is at each step, by the transitions how often each is to be expected."""
    found = jax.jit(jax.grad(lambda chain: log_partition(chain[0], chain[1], MASK).sum()))(chain)
    steps = np.zeros((len(LENGTHS), TIME, TAGS))
    start, between, end = np.zeros(TAGS), np.zeros((TAGS, TAGS)), np.zeros(TAGS)
    for row, (length, given) in enumerate(zip(LENGTHS, every_score(chain), strict=True)):
        for path, weight in zip(PATHS[length], np.exp(given) / np.exp(given).sum(), strict=True):
            if not length:
                continue
            steps[row, np.arange(length), path] += weight
            start[path[0]] += weight
            end[path[-1]] += weight
            np.add.at(between, (path[:-1], path[1:]), weight)
    np.testing.assert_allclose(found[0], steps, rtol=1e-4, atol=1e-6)
    for one, expected in zip(found[1], (start, between, end), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-6)


def test_viterbi_finds_the_best_of_all_paths(chain):
    found = jax.jit(viterbi)(*chain, MASK)
    for row, (length, given) in enumerate(zip(LENGTHS, every_score(chain), strict=True)):
        np.testing.assert_array_equal(found.tags[row], [*PATHS[length][given.argmax()], *[0] * (TIME - length)])
        np.testing.assert_allclose(found.score[row], given.max(), rtol=1e-5)
    np.testing.assert_allclose(jax.jit(score)(*chain, found.tags, MASK), found.score, rtol=1e-5)
    greedy = np.argmax(chain[0], axis=-1)
    assert (np.asarray(jax.jit(viterbi)(*chain).tags) != greedy).any(), "transitions of no effect prove nothing"


def test_a_move_that_is_forbidden_is_never_made(chain):
    emissions, transitions = chain
    only_up = jnp.where(jnp.tril(jnp.ones((TAGS, TAGS)), -1) > 0, -jnp.inf, 0.0)
    tags = np.asarray(jax.jit(viterbi)(emissions, transitions._replace(between=only_up)).tags)
    assert (np.diff(tags, axis=1) >= 0).all()
    falling = jnp.array([[2, 1, 0, 0]] * 5)
    assert np.isneginf(jax.jit(log_likelihood)(emissions, transitions._replace(between=only_up), falling)).all()


@pytest.mark.parametrize("garbage", [1e30, np.inf, np.nan])
def test_padding_may_hold_anything(chain, garbage):
    emissions, transitions = chain
    dirty = jnp.where(MASK[..., None], emissions, garbage)
    tags = jnp.zeros((len(LENGTHS), TIME), int)

    @jax.jit
    def everything(emissions):
        likelihood, back = jax.vjp(lambda emissions: log_likelihood(emissions, transitions, tags, MASK), emissions)
        return likelihood, back(jnp.ones_like(likelihood)), viterbi(emissions, transitions, MASK)

    found = everything(dirty)
    assert found[0][3] == 0, "no word, nothing to be wrong about"
    jax.tree.map(np.testing.assert_array_equal, found, everything(emissions))


def test_module_holds_the_transitions_of_its_tagger(key):
    tagger = Tagger(Recurrent(4), TAGS, 9, 4)
    model, ids = CRF(tagger), jnp.array([[4, 5, 6]])
    shapes = jax.eval_shape(model.init, key, ids)
    params = contracts.filled(shapes, key)
    emissions, transitions = jax.jit(model.apply)(params, ids)
    np.testing.assert_array_equal(emissions, jax.jit(tagger.apply)({"params": params["params"]["tagger"]}, ids))
    for name, given in transitions._asdict().items():
        np.testing.assert_array_equal(given, params["params"][name])
    assert transitions.between.shape == (TAGS, TAGS)


def test_it_learns_what_the_words_do_not_say(key):
    """Every word is the same and tags take turns from 0 on: only their order can be learned."""
    emissions, tags = jnp.zeros((1, 6, 2)), jnp.array([[0, 1, 0, 1, 0, 1]])
    transitions = Transitions(jnp.zeros(2), jnp.zeros((2, 2)), jnp.zeros(2))
    descend = jax.jit(jax.grad(lambda transitions: -log_likelihood(emissions, transitions, tags).sum()))
    for _ in range(50):
        transitions = jax.tree.map(lambda value, slope: value - 0.5 * slope, transitions, descend(transitions))
    best = jax.jit(viterbi)
    np.testing.assert_array_equal(best(emissions, transitions).tags, tags)
    np.testing.assert_array_equal(best(emissions[:, :4], transitions).tags, tags[:, :4])
