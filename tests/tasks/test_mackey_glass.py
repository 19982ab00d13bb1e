"""The Mackey-Glass equation against its closed form in the first delay, and scipy from one delay to the next."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from seqjax.tasks import MackeyGlass
from tests.refusals import refuses

START = 0.5
"""The constant history of these tests."""


def solved(substeps: int, samples: int) -> np.ndarray:
    """x at the last sample, from the constant history, in float64."""
    task = MackeyGlass(delay=17.0, sample_step=1.0, substeps=substeps)
    history = jnp.full((1, 2 * task.steps + 1), START, jnp.float64)
    advance = jax.jit(lambda history: jax.lax.fori_loop(0, samples, lambda _, now: task.advance(now), history))
    return np.asarray(advance(history))


def exact(delays: int) -> float:
    """x after these delays, by scipy's dense solution of each for the next."""
    delayed, x = (lambda t: START), START
    for number in range(delays):
        found = solve_ivp(
            lambda t, x: 0.2 * delayed(t - 17) / (1 + delayed(t - 17) ** 10) - 0.1 * x,  # noqa: B023
            (17 * number, 17 * (number + 1)),
            [x],
            "DOP853",
            dense_output=True,
            rtol=1e-12,
            atol=1e-13,
        )
        delayed, x = (lambda t, solution=found.sol: solution(t)[0]), found.y[0, -1]
    return x


def test_the_first_delay_is_its_closed_form(x64):
    """There the delayed value is constant, and x relaxes to ten times its production."""
    rest = 10 * 0.2 * START / (1 + START**10)
    history = solved(8, 17)[0]
    time = np.linspace(0, 17, history.size)
    np.testing.assert_allclose(history, rest + (START - rest) * np.exp(-0.1 * time), rtol=1e-7)


def test_convergence_has_order_four(x64):
    """Over four delays, through the kink of the history at the start."""
    truth = exact(4)
    errors = np.array([abs(solved(substeps, 4 * 17)[0, -1] - truth) for substeps in (2, 4, 8)])
    assert errors[-1] < 1e-6
    orders = np.log2(errors[:-1] / errors[1:])
    np.testing.assert_allclose(orders, 4, atol=0.4)


def test_rows_are_one_trajectory_each(key):
    task = MackeyGlass(delay=4.0, sample_step=2.0, length=5, burn_in=20.0, substeps=4)
    batch = jax.jit(task.sample, static_argnums=1)(key, 3)
    assert batch.inputs.shape == batch.targets.shape == (3, 5, 1)
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
    # The history after the burn-in ends in the first input; its last values are a sample apart.
    history = task.settled(key, 3)
    np.testing.assert_allclose(history[:, -1], batch.inputs[:, 0, 0], rtol=1e-6)
    later = task.advance(task.advance(history))
    np.testing.assert_allclose(later[:, -1], batch.targets[:, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(later[:, -1 - 2 * task.substeps], batch.targets[:, 0, 0], rtol=1e-5)


test_bad_sizes = refuses(
    MackeyGlass,
    (
        {"delay": 17.0, "sample_step": 2.0, "substeps": 3},
        "sample_step / substeps must divide delay = 17.0, got 2.0 / 3",
    ),
    ({"delay": 0.0}, "delay must be > 0, got 0"),
    ({"delay": 0.1}, "sample_step / substeps must divide delay = 0.1, got 1.0 / 4"),
    ({"substeps": 0}, "substeps must be >= 1, got 0"),
)
