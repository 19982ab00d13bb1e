"""Autonomous Lorenz96 against plain loops and DOP853."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from seqjax.tasks import OneLevelLorenz96
from tests.refusals import refuses


def rate(x, forcing):
    """The equations of one row, index by index."""
    K = len(x)
    return np.array([x[k - 1] * (x[(k + 1) % K] - x[k - 2]) - x[k] + forcing for k in range(K)])


@pytest.fixture
def start(key, x64):
    return jnp.asarray(jax.jit(OneLevelLorenz96(K=7, burn_in=5.0).settled, static_argnums=1)(key, 3), jnp.float64)


def test_tendency_is_that_of_loops(start):
    found = OneLevelLorenz96(K=7, F=3.0).tendency(start)
    np.testing.assert_allclose(found, [rate(row, 3.0) for row in np.asarray(start)], rtol=1e-12)


def test_samples_converge_to_dop853_with_order_five(start):
    exact = [
        solve_ivp(lambda _, x: rate(x, 8.0), (0, 0.1), row, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        for row in np.asarray(start)
    ]
    errors = []
    for substeps in (2, 4):
        advance = jax.jit(OneLevelLorenz96(K=7, sample_step=0.1, substeps=substeps).advance)
        errors.append(np.abs(np.asarray(advance(start)) - exact).max())
    assert errors[0] < 1e-4
    assert 16 < errors[0] / errors[1] < 100  # a step of Tsit5 has order 5


def test_rows_are_one_trajectory_each(key):
    task = OneLevelLorenz96(K=5, length=6, burn_in=1.0)
    batch = jax.jit(task.sample, static_argnums=1)(key, 4)
    assert batch.inputs.shape == batch.targets.shape == (4, 6, 5)
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    np.testing.assert_allclose(batch.targets[:, 2], task.advance(batch.inputs[:, 2]), rtol=1e-4, atol=1e-4)
    assert np.std(batch.inputs[:, 0], axis=0).min() > 0.1


test_bad_sizes = refuses(
    OneLevelLorenz96,
    ({"K": 3}, "K must be >= 4, got 3"),
    ({"sample_step": 0.0}, "sample_step must be > 0, got 0"),
    ({"F": float("nan")}, "F must hold"),
    ({"burn_in": -1.0}, "burn_in must be >= 0, got -1"),
)
