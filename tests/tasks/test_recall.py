import operator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.tasks import CopyString, Memorise, Recall, SelectiveCopy
from seqjax.theory import recall
from tests.draws import ROWS, draw
from tests.refusals import refuses


def chi_square(counts, expected) -> float:
    """Distance from the expected counts, in standard deviations of chi square."""
    freedom = len(counts) - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


def test_worked_example_of_recall():
    pairs = jnp.array([[2, 0]]), jnp.array([[1, 0]]), jnp.array([[1, 0]])
    task = Recall(items=2, keys=4, symbols=3)
    batch: Any = jax.jit(task.written)(*pairs)
    assert batch.inputs.tolist() == [[2, 5, 0, 4, 0, 2]]
    assert batch.labels[batch.scored].tolist() == [0, 1]
    assert batch.scored.tolist() == [[False] * 4 + [True] * 2]
    assert batch.mask is None
    forced: Any = jax.jit(replace(task, forced=True).written)(*pairs)
    assert forced.inputs.tolist() == [[2, 5, 0, 4, 0, 4, 2, 5]]
    assert forced.labels[forced.scored].tolist() == [0, 1]
    assert forced.scored.tolist() == [[False] * 4 + [True, False] * 2]
    spread: Any = jax.jit(replace(task, length=12).written)(*pairs[:2], jnp.array([[3, 0]]))
    assert spread.inputs.tolist() == [[2, 5, 0, 4, 0, 7, 7, 7, 7, 7, 2, 7]]
    assert np.flatnonzero(spread.scored[0]).tolist() == [4, 10]


def by_reading(task: Recall, row):
    """Labels of a row, by a dictionary of its pairs."""
    pairs = row[: task.cut].reshape(-1, 2)
    known = {int(key): int(value) - task.keys for key, value in pairs}
    assert len(known) == task.items
    return known


@pytest.mark.parametrize("task", [Recall(4, 6, 5), Recall(4, 6, 5, forced=True), Recall(4, 6, 5, length=20)])
def test_every_key_is_asked_for_once_in_random_order(task):
    batch = draw(task)
    assert batch.inputs.shape == batch.labels.shape == (ROWS, task.time)
    assert (batch.inputs[:, : task.cut : 2] < task.keys).all()
    for row, labels, scored in list(zip(batch.inputs, batch.labels, batch.scored, strict=True))[:50]:
        known = by_reading(task, row)
        places = np.flatnonzero(scored)
        assert sorted(row[places].tolist()) == sorted(known)
        assert [known[int(key)] for key in row[places]] == labels[places].tolist()
        if task.forced:
            np.testing.assert_array_equal(row[places + 1] - task.keys, labels[places])
    first = batch.inputs[np.arange(ROWS), batch.scored.argmax(axis=1)]
    asked = (first[:, None] == batch.inputs[:, : task.cut : 2]).argmax(axis=1)
    if task.length is None:
        assert abs(chi_square(np.bincount(asked, minlength=4), ROWS / 4)) < 4
    assert abs(chi_square(np.bincount(batch.inputs[:, 0], minlength=6), ROWS / 6)) < 4
    assert abs(chi_square(np.bincount(batch.inputs[:, 1] - 6, minlength=5), ROWS / 5)) < 4


def test_gaps_are_those_of_zoology():
    """The first pair's slot has the published weights; two slots are drawn as NumPy draws without replacement."""
    task = Recall(2, 4, 3, length=16)
    batch = draw(task)
    weights = np.arange(1, 7) ** -0.99
    weights /= weights.sum()
    keys, asked = batch.inputs[:, :4:2], batch.inputs[:, 4::2]
    slots = (asked[:, None] == keys[:, :, None]).argmax(axis=2)
    np.testing.assert_array_equal(np.sort(slots, axis=1), np.argwhere(batch.scored)[:, 1].reshape(-1, 2) // 2 - 2)
    assert abs(chi_square(np.bincount(slots[:, 0], minlength=6), ROWS * weights)) < 4
    both = weights[:, None] * weights[None] / (1 - weights[:, None])
    off = ~np.eye(6, dtype=bool)
    assert abs(chi_square(np.bincount(slots @ [6, 1], minlength=36).reshape(6, 6)[off], ROWS * both[off])) < 4
    assert (batch.inputs[:, 5::2] == task.vocab - 1).all()


def test_ceilings_are_those_of_a_state_of_so_many_bits():
    for task in (Recall(), CopyString(8), SelectiveCopy(8, cut=20), Memorise(8)):
        assert task.ceiling(28) == recall.accuracy(28, 8, 16)
        assert task.floor(28) == recall.nats(28, 8, 16)
        assert task.chance() == 1 / 16 == pytest.approx(task.ceiling(0))
    assert Recall().bag() == recall.bag(8, 16)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("window", [1, 5, 9, 40])
def test_a_window_answers_what_it_sees(window, forced):
    """The exact frequency with which the value is among the last inputs, by drawing."""
    task = Recall(4, 6, 5, forced=forced)
    batch = draw(task)
    places = np.argwhere(batch.scored)[:, 1].reshape(ROWS, 4)
    keys = np.take_along_axis(batch.inputs, places, axis=1)
    values = 2 * (keys[:, :, None] == batch.inputs[:, None, : task.cut : 2]).argmax(axis=2) + 1
    seen = (places - values < window).mean(axis=1)
    ceiling = (task.window_ceiling(window) - 0.2) / 0.8
    assert abs(seen.mean() - ceiling) <= 4 * seen.std() / ROWS**0.5 + 1e-12


def test_worked_examples_of_copying():
    batch = draw(CopyString(3, 9), 512)
    row = batch.inputs[0].tolist()
    assert row == [*row[:3], 9, *row[:2]]
    assert batch.labels[0, 3:].tolist() == row[:3]
    assert batch.mask is None
    assert draw(CopyString(3, 9, forced=False), 8).inputs[0].tolist()[3:] == [9, 10, 10]
    selective = draw(SelectiveCopy(2, 9, cut=5), 512)
    for row, labels, scored in zip(selective.inputs, selective.labels, selective.scored, strict=True):
        said = [symbol for symbol in row[:5].tolist() if symbol != 10]
        assert len(said) == 2
        assert row[5:].tolist() == [9, 10]
        assert labels[scored].tolist() == said
        assert np.flatnonzero(scored).tolist() == [5, 6]
    places = np.flatnonzero(selective.inputs[:, :5] != 10) % 5
    assert abs(chi_square(np.bincount(places), 512 * 2 / 5)) < 4
    forced = draw(SelectiveCopy(2, 9, cut=5, forced=True), 8)
    np.testing.assert_array_equal(forced.inputs[:, 6], forced.labels[:, 5])


def test_strings_of_several_lengths_are_padded():
    batch = draw(CopyString(4, 9, shortest=2))
    lengths = batch.mask.sum(axis=1) // 2
    assert abs(chi_square(np.bincount(lengths)[2:], ROWS / 3)) < 4
    for row, labels, scored, size in list(zip(batch.inputs, batch.labels, batch.scored, lengths, strict=True))[:50]:
        string = row[:size].tolist()
        assert row.tolist() == [*string, 9, *string[:-1], *[0] * (8 - 2 * size)]
        assert labels.tolist() == [0] * size + string + [0] * (8 - 2 * size)
        assert np.flatnonzero(scored).tolist() == list(range(size, 2 * size))


def test_one_fixed_map_is_memorised():
    task = Memorise(50, 7, length=9)
    first, second = (jax.jit(task.sample, static_argnums=1)(jax.random.key(seed), 64) for seed in (0, 1))
    for batch in (first, second):
        np.testing.assert_array_equal(batch.labels, task.values[batch.inputs])
        assert set(np.unique(batch.inputs)) == set(range(50))
    assert (task.values != replace(task, seed=1).values).any()
    assert set(task.values) == set(range(7))


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: Recall(items=0), "items must be >= 1, got 0"),
    (lambda: Recall(symbols=1), "symbols must be >= 2, got 1"),
    (lambda: Recall(items=8, keys=7), "keys must be >= items = 8, as they differ, got 7"),
    (lambda: Recall(length=31), "length must be even and >= 4 items = 32, got 31"),
    (lambda: Recall(length=64).window_ceiling(3), "length must be None"),
    (lambda: Recall().window_ceiling(0), "window must be >= 1, got 0"),
    (lambda: Recall().ceiling(-1), "bits must be >= 0, got -1"),
    (lambda: CopyString(4, shortest=5), "shortest must be <= items = 4, got 5"),
    (lambda: CopyString(4, shortest=2).ceiling(8), "shortest must be None"),
    (lambda: SelectiveCopy(cut=15), "cut must be >= items = 16, got 15"),
    (lambda: Memorise(length=0), "length must be >= 1, got 0"),
)
