"""Largest Lyapunov exponents: of maps whose exponents are known, and published ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.tasks import MackeyGlass, OneLevelLorenz96
from seqjax.theory.lyapunov import largest_exponents
from tests.refusals import refuses


def test_of_a_linear_map_it_is_the_logarithm_of_the_spectral_radius(key):
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    matrix = matrix + matrix.T  # real eigenvalues
    found = largest_exponents(
        lambda x: x @ jnp.asarray(matrix, x.dtype), jnp.zeros((2, 5)), key, steps=50, settle=200, step_time=0.5
    )
    np.testing.assert_allclose(found, np.log(np.abs(np.linalg.eigvalsh(matrix)).max()) / 0.5, rtol=1e-4)


def test_of_the_logistic_map_it_is_log_two(key, x64):
    start = jax.random.uniform(key, (64, 1), jnp.float64)
    found = jax.jit(lambda x: largest_exponents(lambda x: 4 * x * (1 - x), x, key, steps=500, settle=10))(start)
    assert found.shape == (64,)
    np.testing.assert_allclose(found.mean(), np.log(2), rtol=0.01)


@pytest.mark.parametrize(
    ("task", "rows", "steps", "published"),
    [
        # Lorenz 1996 found a doubling time of errors of 2.1 days of 0.2 units, 1.65; later work 1.67 to 1.69.
        (OneLevelLorenz96(K=40, burn_in=10.0), 24, 400, (1.65, 1.69)),
        # Farmer 1982 (Physica D 4, 366) found 0.00956 by Euler's method; here it is 0.00935 with a standard error of
        # 0.00006 (128 trajectories of 10,000 time units).
        (MackeyGlass(delay=23.0, substeps=2), 48, 2_500, (0.0093, 0.0096)),
    ],
    ids=["Lorenz96", "Mackey-Glass"],
)
def test_published_exponents(key, task, rows, steps, published):
    settle = 60 if isinstance(task, OneLevelLorenz96) else 500
    found = jax.jit(
        lambda key: largest_exponents(
            task.advance, task.settled(key, rows), key, steps=steps, settle=settle, step_time=task.sample_step
        )
    )(key)
    mean, error = np.mean(found), np.std(found, ddof=1) / rows**0.5
    assert error < 0.04 * published[0]
    assert published[0] - 3 * error < mean < published[1] + 3 * error


test_sizes = refuses(
    lambda **sizes: largest_exponents(lambda x: x, jnp.ones((1, 1)), jax.random.key(0), **sizes),
    ({"steps": 0, "settle": 0}, "steps must be >= 1, got 0"),
    ({"steps": 1, "settle": -1}, "settle must be >= 0, got -1"),
)
