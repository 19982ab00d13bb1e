import itertools
from collections import defaultdict
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqjax.tasks import Agreement
from seqjax.tasks.agreement import FILLER, NOUN, PLURAL_VERB, SINGULAR_VERB, TAGS
from tests.refusals import refuses


def test_the_worked_example():
    batch = Agreement(distance=3, clauses=2).written(jnp.array([[1, 0]]), jnp.array([[[0, 2], [1, 1]]]))
    np.testing.assert_array_equal(batch.inputs, [[4, 7, 9, 6, 4, 8, 8, 5]])
    np.testing.assert_array_equal(batch.labels, [[1, 4, 4, 3, 0, 4, 4, 2]])
    tags = ["noun, plural", "verb, plural", "noun, singular", "verb, singular"]
    assert [TAGS[label] for label in (1, 3, 0, 2)] == tags


def every_sequence(task):
    """Each with its probability: numbers by the chain, fillers evenly."""
    gap = task.distance - 1
    numbers = [*itertools.product((0, 1), repeat=task.clauses)]
    between = [*itertools.product(range(task.fillers), repeat=task.clauses * gap)]
    plural, fillers = zip(*itertools.product(numbers, between), strict=True)
    batch = task.written(jnp.array(plural), jnp.array(fillers, int).reshape(len(fillers), task.clauses, gap))
    same = np.diff(plural, axis=1) == 0
    chances = 0.5 * np.where(same, task.repeat, 1 - task.repeat).prod(axis=1) / len(between)
    return zip(np.asarray(batch.inputs), np.asarray(batch.labels), chances, strict=True)


@pytest.mark.parametrize(
    "task",
    [
        Agreement(distance=1, clauses=1, fillers=1),
        Agreement(distance=1, clauses=4, repeat=0.8),
        Agreement(distance=2, clauses=3, repeat=0.3, fillers=2),
        Agreement(distance=3, clauses=2, repeat=0.9, fillers=2),
        Agreement(distance=2, clauses=2, repeat=0.5, fillers=3),
        Agreement(distance=2, clauses=2, repeat=0.0, fillers=1),
        Agreement(distance=1, clauses=3, repeat=1.0),
    ],
    ids=str,
)
def test_no_causal_tagger_does_better_than_the_ceiling(task):
    """The best of them says the likeliest tag given all words so far; found by going through all sequences."""
    chances: defaultdict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(len(TAGS)))
    total = 0.0
    for ids, labels, chance in every_sequence(task):
        total += chance
        for place, label in enumerate(labels):
            chances[tuple(ids[: place + 1])][label] += chance
    assert np.isclose(total, 1)
    best = np.zeros(task.length)
    for prefix, found in chances.items():
        best[len(prefix) - 1] += found.max()
    np.testing.assert_allclose(best[task.nouns].mean(), task.ceiling, rtol=1e-9)
    np.testing.assert_allclose(best[~task.nouns], 1, rtol=1e-9, err_msg="the other words need no context")


def test_who_sees_all_words_knows_all_tags():
    task = Agreement(distance=2, clauses=3, fillers=2)
    known: dict[tuple, tuple] = {}
    for ids, labels, _ in every_sequence(task):
        assert known.setdefault(tuple(ids), tuple(labels)) == tuple(labels)
    assert len(known) == 2**3 * 2**3


@given(st.integers(1, 6), st.integers(1, 5), st.floats(0, 1), st.integers(1, 4))
def test_the_ceiling_lies_between_guessing_and_knowing(distance, clauses, repeat, fillers):
    task = Agreement(distance, clauses, repeat, fillers)
    assert 0.5 <= task.ceiling < 1
    assert task.ceiling == Agreement(distance + 1, clauses, repeat, fillers).ceiling, "however far the verb"
    assert task.nouns.sum() == clauses
    assert task.nouns.shape == (task.length,)


def test_samples_are_drawn_as_it_says(key):
    task = Agreement(distance=3, clauses=4, repeat=0.8, fillers=2)
    batch = task.sample(key, 4000)
    ids, labels = np.asarray(batch.inputs), np.asarray(batch.labels)
    assert ids.shape == labels.shape == (4000, task.length)
    assert batch.mask is None
    plural = ids[:, 3::4] == PLURAL_VERB
    assert (ids[:, task.nouns] == NOUN).all()
    assert np.isin(ids[:, 3::4], (SINGULAR_VERB, PLURAL_VERB)).all()
    np.testing.assert_array_equal(labels[:, task.nouns], plural)
    between = ids.reshape(4000, 4, 4)[:, :, 1:3]
    assert {*np.unique(between)} == {FILLER, FILLER + 1}
    same = plural[:, 1:] == plural[:, :-1]
    for fraction, expected in ((plural[:, 0].mean(), 0.5), (same.mean(), 0.8), ((between == FILLER).mean(), 0.5)):
        assert abs(fraction - expected) < 4 * 0.5 / 4000**0.5
    np.testing.assert_array_equal(task.sample(key, 4000).inputs, ids)
    assert not np.array_equal(task.sample(jax.random.key(1), 4000).inputs, ids)
    assert ids.max() < task.vocab
    assert replace(task, distance=1).sample(key, 2).inputs.shape == (2, 8)


test_numbers_out_of_bounds_are_refused = refuses(
    Agreement,
    ({"distance": 0}, "distance must be >= 1, got 0"),
    ({"clauses": 0}, "clauses must be >= 1, got 0"),
    ({"fillers": 0}, "fillers must be >= 1, got 0"),
    ({"repeat": 1.5}, r"repeat must lie in \[0, 1\], got 1.5"),
    ({"repeat": float("nan")}, r"repeat must lie in \[0, 1\], got nan"),
)
