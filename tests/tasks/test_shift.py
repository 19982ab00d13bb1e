import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data import GaussianProcess, WhiteNoise
from seqjax.tasks import Shift
from seqjax.tasks.shift import shift
from seqjax.theory import bounds
from tests.refusals import refuses

# Few lengths, so that few shapes are compiled.
sequences = st.sampled_from([1, 5]).flatmap(
    lambda length: st.lists(st.integers(-1000, 1000), min_size=length, max_size=length)
)
properties = settings(max_examples=30)


def row(values) -> jax.Array:
    return jnp.array([values], jnp.float32)


@properties
@given(sequences, st.integers(0, 8))
def test_shift_moves_every_value_and_fills_with_zeros(values, delay):
    expected = [values[t - delay] if t >= delay else 0 for t in range(len(values))]
    np.testing.assert_array_equal(shift(row(values), delay), [expected])


@pytest.mark.parametrize("signal", [WhiteNoise(), GaussianProcess()], ids=repr)
def test_sample(signal, key):
    task = Shift(delay=3, length=8, signal=signal)
    batch = jax.jit(task.sample, static_argnums=1)(key, 4)
    assert batch.inputs.shape == batch.targets.shape == (4, 8, 1)
    np.testing.assert_array_equal(batch.targets[:, 3:], batch.inputs[:, :-3])
    np.testing.assert_array_equal(batch.targets[:, :3], 0)
    np.testing.assert_array_equal(batch.inputs, task.sample(key, 4).inputs)
    np.testing.assert_array_equal(batch.inputs[..., 0], signal.sample(key, 4, 8))


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: Shift(delay=-1), "delay must be >= 0, got -1"),
    (lambda: Shift(length=0), "length must be >= 1, got 0"),
    (lambda: shift(row([1, 2]), -1), "delay must be >= 0, got -1"),
    (lambda: Shift(8, 32, GaussianProcess()).floor(4), r"signal must be WhiteNoise\(\).*got GaussianProcess"),
    (lambda: Shift(8, 16).floor(4), r"length must be >= 2 delay \+ 1 = 17, got 16"),
)


@pytest.mark.parametrize(("delay", "expected"), [(0, 1.0), (8, 0.75), (31, 1 / 32), (32, 0.0), (99, 0.0)])
def test_zero_loss(delay, expected):
    assert Shift(delay=delay, length=32).zero_loss() == pytest.approx(expected, abs=1e-15)


def test_memoryless_floor():
    assert Shift(8, 32, GaussianProcess()).memoryless_floor() == pytest.approx(25 * 0.018136, rel=1e-4)
    assert Shift(32, 128, GaussianProcess()).memoryless_floor() == pytest.approx(0.74998, abs=5e-6)
    assert Shift(8, 32).memoryless_floor() == Shift(8, 32).zero_loss()
    assert Shift(0, 32).memoryless_floor() == 0


def test_memoryless_floor_is_reached_by_the_best_line(key):
    task = Shift(8, 32, GaussianProcess())
    x, y = (np.asarray(part, np.float64).ravel() for part in task.sample(key, 4_000)[:2])
    slope = x @ y / (x @ x)
    assert slope == pytest.approx(0.5446, rel=0.02)
    assert np.mean((y - slope * x) ** 2) == pytest.approx(task.memoryless_floor(), rel=0.02)


def test_window_floor_counts_the_steps_that_have_a_target():
    task = Shift(8, 32, GaussianProcess())
    per_step = bounds.window(GaussianProcess().covariance(32), 8, 3)
    assert task.window_floor(3) == pytest.approx(0.75 * per_step, rel=1e-12)
    assert task.window_floor(9) == 0
    assert Shift(8, 32).window_floor(8) == Shift(8, 32).zero_loss()


def test_floor():
    assert Shift(8, 32).floor(4) == pytest.approx(0.75 * (1 - 4 / 9), rel=1e-12)
