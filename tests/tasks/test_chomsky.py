"""Every answer is checked by plain Python: `eval`, lists and slices."""

import itertools
import operator

import numpy as np
import pytest

from seqjax import tasks
from tests.draws import draw
from tests.refusals import refuses

ROWS = 10_000


def even_pairs(word):
    return [sum(a != b for a, b in itertools.pairwise(word)) % 2]


def cycle(word):
    place = 0
    for move in word:
        place = {0: place, 1: place + 1, 2: place - 1}[move] % 5
    return [place]


def arithmetic(word):
    assert all((token < 5) == (place % 2 == 0) for place, token in enumerate(word))
    return [eval("".join("01234+-*"[token] for token in word)) % 5]


def stack(word):
    found = []
    for token in word:
        found = found[:-1] if token == 2 else [*found, token % 3]  # PUSH 0 has the id 3, PUSH 1 has 4
    return [*found[::-1], 2]


def missing(word):
    half, hole = len(word) // 2, word.index(2)
    (first, second) = word[:half], word[half:]
    found = (second if hole < half else first)[hole % half]
    assert [found if bit == 2 else bit for bit in first] == [found if bit == 2 else bit for bit in second]
    return [found]


CASES = {
    tasks.EvenPairs(9): even_pairs,
    tasks.CycleNavigation(9): cycle,
    tasks.ModularArithmetic(9): arithmetic,
    tasks.ReverseString(9): lambda word: word[::-1],
    tasks.OddsFirst(9): lambda word: word[::2] + word[1::2],
    tasks.StackManipulation(9): stack,
    tasks.MissingDuplicate(9): missing,
}
EXAMPLES = {
    "EvenPairs": ([0, 1, 1, 0, 1], [1]),
    "CycleNavigation": ([1, 1, 0, 2, 1], [2]),
    "ModularArithmetic": ([2, 5, 3, 7, 4], [4]),
    "ReverseString": ([0, 1, 1], [1, 1, 0]),
    "OddsFirst": ([0, 1, 1, 0, 0], [0, 1, 0, 1, 0]),
    "StackManipulation": ([0, 1, 2, 2, 2, 4, 3], [0, 1, 2]),
    "MissingDuplicate": ([0, 1, 1, 0, 2, 1], [1]),
}


@pytest.mark.parametrize("task", CASES, ids=lambda task: type(task).__name__)
def test_answers_are_those_of_python(task):
    answer, name = CASES[task], type(task).__name__
    word, expected = EXAMPLES[name]
    assert answer(word) == expected
    batch, found = draw(task, ROWS), set()
    assert batch.inputs.shape == batch.labels.shape == (ROWS, task.time)
    for inputs, labels, mask, scored in itertools.islice(zip(*batch, strict=True), 500):
        steps = int(mask.sum())
        np.testing.assert_array_equal(mask, np.arange(task.time) < steps)
        word = inputs[:steps][inputs[:steps] != task.vocab - 1].tolist()
        assert inputs.tolist() == [*word, *[task.vocab - 1] * (steps - len(word)), *[0] * (task.time - steps)]
        expected = answer(word)
        assert labels.tolist() == [0] * len(word) + expected + [0] * (task.time - len(word) - len(expected))
        assert np.flatnonzero(scored).tolist() == list(range(len(word), len(word) + len(expected)))
        assert steps - len(word) == (len(word) + 1 if name == "StackManipulation" else len(expected))
        found.add(len(word))
    lengths = {"ModularArithmetic": range(1, 10, 2), "MissingDuplicate": range(2, 9, 2), "EvenPairs": range(2, 10)}
    assert found == set(lengths.get(name, range(1, 10)))


@pytest.mark.parametrize("task", CASES, ids=lambda task: type(task).__name__)
def test_chance_is_the_best_answer_that_looks_at_nothing_but_the_length(task):
    """At each place after the word the most frequent answer."""
    batch, length = draw(task, ROWS), 6 if isinstance(task, tasks.MissingDuplicate) else 5
    chosen = (batch.inputs[:, :length] != task.vocab - 1).all(axis=1) & (batch.inputs[:, length] == task.vocab - 1)
    right = sum(
        np.bincount(column[counted]).max()
        for column, counted in zip(batch.labels[chosen].T, batch.scored[chosen].T, strict=True)
        if counted.any()
    )
    total = batch.scored[chosen].sum()
    assert right / total == pytest.approx(task.chance(length), abs=4 * 0.5 / chosen.sum() ** 0.5)


def test_long_words_leave_less_to_guess():
    assert tasks.CycleNavigation().chance(40) == pytest.approx(0.2, abs=1e-4)
    assert 0.2 < tasks.ModularArithmetic().chance(39) < tasks.ModularArithmetic().chance(3)


def test_one_length():
    assert (draw(tasks.ReverseString(7, shortest=7), 8).mask.sum(axis=1) == 14).all()


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: tasks.EvenPairs(shortest=1), "shortest must be >= 2, got 1"),
    (lambda: tasks.OddsFirst(4, shortest=5), "length must be >= 5, got 4"),
    (lambda: tasks.ModularArithmetic(4, shortest=4), "length must reach a possible one, 1 and every 2 more, got 4"),
)
