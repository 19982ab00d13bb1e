import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.tasks import Adding, CopyMemory, DelayedXor, MultiDelay, Parity

ROWS = 20_000


@functools.cache
def draw(task, rows: int = ROWS, seed: int = 0):
    return jax.tree.map(np.asarray, jax.jit(task.sample, static_argnums=1)(jax.random.key(seed), rows))


# Adding


def test_the_two_marked_numbers_are_added():
    batch = draw(Adding(7))
    values, marks = batch.inputs[..., 0], batch.inputs[..., 1]
    assert set(np.unique(marks)) == {0, 1}
    np.testing.assert_array_equal(marks.sum(axis=1), 2)
    np.testing.assert_allclose(batch.targets[:, -1, 0], (values * marks).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(batch.weight, np.broadcast_to(np.arange(7) == 6, (ROWS, 7)))
    assert values.min() >= 0
    assert values.max() < 1
    np.testing.assert_allclose(values.mean(axis=0), 1 / 2, atol=4 / (12 * ROWS) ** 0.5)


def test_each_pair_of_steps_is_marked_equally_often():
    marks = draw(Adding(7)).inputs[..., 1]
    together = marks.T @ marks
    counts = together[np.triu_indices(7, 1)]
    assert counts.sum() == ROWS
    statistic = np.sum((counts - ROWS / 21) ** 2 / (ROWS / 21))
    assert abs(statistic - 20) < 4 * 40**0.5


def test_constant_one_has_an_error_of_a_sixth():
    batch = draw(Adding(2))
    errors = (batch.targets[:, -1, 0] - 1) ** 2
    assert errors.mean() == pytest.approx(Adding(2).constant_loss(), abs=float(4 * errors.std() / ROWS**0.5))
    assert losses.squared_error(
        *map(jnp.asarray, (np.ones_like(batch.targets), batch.targets, batch.weight))
    ) == pytest.approx(errors.mean(), rel=1e-5)
    # No other constant does better: the integral over the unit square, by the midpoint rule.
    middles = (np.arange(1000) + 0.5) / 1000
    sums = middles[:, None] + middles[None, :]
    at = {constant: ((sums - constant) ** 2).mean() for constant in (0.9, 1.0, 1.1)}
    assert at[1.0] == pytest.approx(1 / 6, rel=1e-5)
    assert min(at, key=lambda constant: at[constant]) == 1


# Copy memory


def test_worked_example_of_copy_memory():
    task = CopyMemory(blanks=3, recalled=2)
    batch = draw(task)
    row = (batch.inputs[:, :2] == [5, 8]).all(axis=1).argmax()
    assert batch.inputs[row].tolist() == [5, 8, 0, 0, 9, 9, 9]
    assert batch.labels[row].tolist() == [0, 0, 0, 0, 0, 5, 8]
    assert batch.mask is None


def test_symbols_are_said_and_recalled_in_order():
    task = CopyMemory(blanks=20)
    batch = draw(task)
    assert batch.inputs.shape == batch.labels.shape == (ROWS, task.length) == (ROWS, 40)
    said = batch.inputs[:, :10]
    np.testing.assert_array_equal(batch.labels[:, 30:], said)
    np.testing.assert_array_equal(batch.labels[:, :30], 0)
    np.testing.assert_array_equal(batch.inputs[:, 10:29], 0)
    np.testing.assert_array_equal(batch.inputs[:, 29:], 9)
    counts = np.bincount(said.ravel(), minlength=10)
    assert counts[0] == counts[9] == 0
    assert np.sum((counts[1:9] - 10 * ROWS / 8) ** 2 / (10 * ROWS / 8)) < 7 + 4 * 14**0.5


@pytest.mark.parametrize("blanks", [1, 30])
def test_who_has_forgotten_pays_ten_times_ln_eight(blanks):
    """Sure of the zeros, and of nothing but that a symbol is one of eight."""
    task = CopyMemory(blanks)
    batch = draw(task, 16)
    logits = np.full((*batch.labels.shape, task.vocab), -np.inf, np.float32)
    logits[:, :-10, 0] = 0
    logits[:, -10:, 1:9] = 0
    assert losses.cross_entropy(jnp.array(logits), jnp.asarray(batch.labels)) == pytest.approx(
        task.memoryless_loss(), rel=1e-6
    )
    assert task.memoryless_loss() == pytest.approx(10 * math.log(8) / (blanks + 20))


@pytest.mark.parametrize(("blanks", "loss"), [(100, 0.1733), (200, 0.0945), (500, 0.0400), (1000, 0.0204)])
def test_baselines_of_the_literature(blanks, loss):
    assert CopyMemory(blanks).memoryless_loss() == pytest.approx(loss, abs=5e-5)


# Multi-delay


def test_worked_example_of_multi_delay():
    batch = draw(MultiDelay(delay=2, length=6), 4)
    x = batch.inputs[..., 0]
    for time in range(2, 6):
        np.testing.assert_array_equal(batch.targets[:, time], x[:, [time, time - 1, time - 2]])
    np.testing.assert_array_equal(batch.weight[0], [0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("features", [0, 1, 3, 5, 8])
def test_no_linear_readout_of_a_state_explains_more_than_it_has_numbers(features):
    """The bound is reached by whoever remembers the last inputs, and by no random state: least squares is exact."""
    task = MultiDelay(delay=4, length=5)
    batch = draw(task)
    targets = np.asarray(batch.targets[:, -1], np.float64)
    rng = np.random.default_rng(features)
    window = np.asarray(batch.inputs[..., 0], np.float64)

    def error(state):
        fit = np.linalg.lstsq(state, targets, rcond=None)[0] if state.shape[1] else np.zeros((0, 5))
        return ((targets - state @ fit) ** 2).mean()

    slack = 8 / ROWS**0.5
    last = window[:, ::-1][:, :features]
    assert error(last) == pytest.approx(task.floor(features), abs=slack)
    nonlinear = np.tanh(window @ rng.normal(size=(5, features)) + rng.normal(size=features))
    assert error(nonlinear) > task.floor(features) - slack
    assert error(np.zeros((ROWS, 0))) == pytest.approx(task.zero_loss(), abs=slack)


# Parity


def test_parity_is_the_product_so_far():
    batch = draw(Parity(6), 64)
    for bits, products in zip(batch.inputs[..., 0], batch.targets[..., 0], strict=True):
        assert products.tolist() == [(-1.0) ** int((bits[: end + 1] < 0).sum()) for end in range(6)]
    np.testing.assert_array_equal(batch.weight[0], [0, 1, 1, 1, 1, 1])


def every(length: int) -> np.ndarray:
    """All sequences of bits."""
    return np.array(list(itertools.product((-1, 1), repeat=length)))


def test_parity_is_orthogonal_to_all_products_of_fewer_bits():
    """By enumeration of all sequences of 6 bits: at every step that counts."""
    bits = every(6)
    for seen in range(2, 7):
        parity = bits[:, :seen].prod(axis=1)
        for subset in itertools.chain.from_iterable(itertools.combinations(range(6), k) for k in range(seen)):
            assert (parity * bits[:, list(subset)].prod(axis=1)).sum() == 0


def test_best_linear_error_of_parity_is_one():
    bits = every(6).astype(np.float64)
    design = np.concatenate([bits, np.ones((64, 1))], axis=1)
    parity = bits.prod(axis=1)
    residual = parity - design @ np.linalg.lstsq(design, parity, rcond=None)[0]
    assert (residual**2).mean() == pytest.approx(Parity(6).linear_loss())


def test_a_fair_coin_costs_ln_two():
    batch = draw(Parity(6), 64)
    ones = (1 + jnp.asarray(batch.targets)) / 2
    cost = losses.binary_cross_entropy(jnp.zeros_like(ones), ones, jnp.asarray(batch.weight) > 0)
    assert cost == pytest.approx(Parity(6).chance_loss(), rel=1e-6)


# Delayed exclusive or


def test_xor_is_the_product_of_the_two_delayed_bits():
    task = DelayedXor(first=1, second=3, length=8)
    batch = draw(task, 64)
    bits, products = batch.inputs[..., 0], batch.targets[..., 0]
    assert set(np.unique(bits)) == {-1, 1}
    for time in range(3, 8):
        np.testing.assert_array_equal(products[:, time], bits[:, time - 1] * bits[:, time - 3])
    np.testing.assert_array_equal(batch.weight[0], np.arange(8) >= 3)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 3), (4, 2)])
def test_xor_is_orthogonal_to_every_linear_functional(first, second):
    """By enumeration of all that the last 6 bits can be, in the task's own arithmetic."""
    bits = every(6).astype(np.float64)
    product = bits[:, 5 - first] * bits[:, 5 - second]
    design = np.concatenate([bits, np.ones((64, 1))], axis=1)
    np.testing.assert_array_equal(design.T @ product, 0)
    residual = product - design @ np.linalg.lstsq(design, product, rcond=None)[0]
    assert (residual**2).mean() == pytest.approx(DelayedXor(first, second, 6).linear_loss())


# All


@pytest.mark.parametrize("task", [Adding(8), CopyMemory(8), MultiDelay(3, 8), Parity(8), DelayedXor(1, 2, 8)])
def test_same_key_same_bits(task):
    jax.tree.map(np.testing.assert_array_equal, draw(task, 8), draw.__wrapped__(task, 8))
    assert (draw(task, 8).inputs != draw(task, 8, seed=1).inputs).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adding(1), "length must be >= 2, got 1"),
        (lambda: CopyMemory(blanks=0), "blanks must be >= 1, got 0"),
        (lambda: CopyMemory(recalled=0), "recalled must be >= 1, got 0"),
        (lambda: MultiDelay(delay=-1), "delay must be >= 0, got -1"),
        (lambda: MultiDelay(delay=4, length=4), "length must be > delay = 4, got 4"),
        (lambda: Parity(1), "length must be >= 2, got 1"),
        (lambda: DelayedXor(2, 2), "delays must be >= 0 and differ, got 2 and 2"),
        (lambda: DelayedXor(-1, 2), "delays must be >= 0 and differ, got -1 and 2"),
        (lambda: DelayedXor(2, 8, 8), "length must be > 8, got 8"),
    ],
)
def test_wrong_fields_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
