import jax
import numpy as np
import pytest

from seqjax.data import GaussianProcess, Signal, WhiteNoise
from tests.refusals import refuses

SIGNALS = [WhiteNoise(), GaussianProcess(), GaussianProcess(length_scale=20.0, jitter=0.0)]


@pytest.mark.parametrize("signal", SIGNALS, ids=repr)
def test_samples_have_the_stated_covariance(signal, key):
    rows, length = 20_000, 24
    x = np.asarray(signal.sample(key, rows, length), np.float64)
    covariance = signal.covariance(length)
    deviation = np.sqrt((np.outer(*[np.diag(covariance)] * 2) + covariance**2) / rows)
    assert np.all(np.abs(x.T @ x / rows - covariance) < 4 * deviation)
    assert np.all(np.abs(x.mean(axis=0)) < 4 / np.sqrt(rows))


def test_covariance_is_the_stated_kernel():
    covariance = GaussianProcess(length_scale=10.0, jitter=0.01).covariance(32)
    assert covariance[3, 11] == pytest.approx(np.exp(-0.32), abs=1e-15)
    assert covariance[5, 5] == pytest.approx(1.01, abs=1e-15)
    np.testing.assert_array_equal(WhiteNoise().covariance(3), np.eye(3))


def test_jitter_survives_float32(key):
    """The direction of least variance holds the jitter, 1e-10, and neither round-off nor nothing."""
    rows, process = 4_000, GaussianProcess()
    x = np.asarray(process.sample(key, rows, 32), np.float64)
    least = np.linalg.eigh(process.covariance(32))[1][:, 0]
    assert np.mean((x @ least) ** 2) == pytest.approx(1e-10, rel=4 * np.sqrt(2 / rows))


@pytest.mark.parametrize("signal", SIGNALS, ids=repr)
def test_a_key_decides_every_bit_and_no_two_keys_share_a_row(signal, key):
    train, validation, test = (np.asarray(signal.sample(part_key, 64, 16)) for part_key in jax.random.split(key, 3))
    assert len(np.unique(np.concatenate([train, validation, test]), axis=0)) == 3 * 64
    again = jax.jit(lambda key: signal.sample(key, 64, 16))(jax.random.split(key, 3)[0])
    np.testing.assert_array_equal(train, again)


@pytest.mark.parametrize("signal", SIGNALS, ids=repr)
def test_signals_are_static(signal):
    assert isinstance(signal, Signal)
    assert {signal: 1}[type(signal)(**vars(signal))] == 1


test_wrong_fields_are_refused = refuses(
    GaussianProcess,
    ({"length_scale": 0.0}, r"length_scale must be > 0, got 0\.0"),
    ({"length_scale": float("nan")}, "length_scale must be > 0, got nan"),
    ({"jitter": -1e-3}, r"jitter must be >= 0, got -0\.001"),
)


def test_twins_share_their_window_and_nothing_else_that_it_leaves_open(key):
    """Both have the process's covariance; far from the window their pasts are independent, beside it almost equal."""
    process, past, length, rows = GaussianProcess(5.0), 30, 20, 20_000
    first, second = process.twins(key, rows, past, length)
    np.testing.assert_array_equal(first[:, past:], second[:, past:])
    expected = process.covariance(past + length)
    standard_error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / rows)
    for whole in (first, second):
        assert np.abs((whole.T @ whole / rows - expected) / standard_error).max() < 5
    apart = ((first - second) ** 2).mean(axis=0)
    assert apart[0] == pytest.approx(2, rel=0.1)
    assert apart[past - 1] < 1e-3
