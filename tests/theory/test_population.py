"""Closed forms against Lyapunov's equation, sums and samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov, toeplitz

from seqjax.theory import fits, population, targets

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 4))
W *= 0.9 / np.abs(np.linalg.eigvals(W)).max()
U, C = RNG.normal(size=4), RNG.normal(size=4)
BASES, WEIGHTS = np.array([0.5, 0.7, 0.85, -0.95]), np.array([1.0, 2.0, -1.0, 0.5])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def kernel(length):
    return (WEIGHTS[:, None] * BASES[:, None] ** np.arange(length)).sum(axis=0)


def test_response_is_the_kernel_of_a_linear_rnn():
    expected = fits.LinearRNN(W, U, C).kernel(20)
    np.testing.assert_allclose(population.response(*map(jnp.asarray, (W, U, C)), 20), expected, rtol=1e-12)


def test_state_covariance_solves_lyapunovs_equation():
    """I7."""
    expected = solve_discrete_lyapunov(W, np.outer(U, U))
    np.testing.assert_allclose(population.covariance(jnp.asarray(W), jnp.asarray(U)), expected, rtol=1e-11)


def test_infinite_past_is_the_sum_over_all_lags():
    """Term by term too: <a^s, khat> = c' (I - a W)^-1 U."""
    arrays = [jnp.asarray(part) for part in (W, U, C, BASES, WEIGHTS)]
    summed = ((kernel(2000) - fits.LinearRNN(W, U, C).kernel(2000)) ** 2).sum()
    assert population.infinite(*arrays) == pytest.approx(summed, rel=1e-12)
    arrays[2] = jnp.zeros(4)
    assert population.infinite(*arrays) == pytest.approx((kernel(2000) ** 2).sum(), rel=1e-12)


def test_infinite_past_has_the_gradient_of_the_sum():
    arrays = [jnp.asarray(part) for part in (W, U, C)]
    rho = jnp.asarray(kernel(1000))
    closed = jax.grad(lambda rnn: population.infinite(*rnn, jnp.asarray(BASES), jnp.asarray(WEIGHTS)))(arrays)
    summed = jax.grad(lambda rnn: population.last_step(rho - population.response(*rnn, 1000)))(arrays)
    for one, other in zip(closed, summed, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def sampled(error, inputs):
    """Squared error of each row: at each step, from a zero state."""
    return np.stack([np.convolve(row, error)[: len(row)] ** 2 for row in inputs])


ERROR = kernel(24) - fits.LinearRNN(W, U, C).kernel(24)


def assert_within_four_standard_errors(errors, expected):
    assert abs(errors.mean() - float(expected)) < 4 * errors.std() / len(errors) ** 0.5
    assert 4 * errors.std() / len(errors) ** 0.5 < 0.1 * float(expected)


def test_losses_against_monte_carlo():
    """I7: last step, average, coloured and uncentred inputs, each within 4 standard errors."""
    rng, error = np.random.default_rng(1), jnp.asarray(ERROR)
    white = sampled(ERROR, rng.normal(size=(8000, 24)))
    assert_within_four_standard_errors(white[:, -1], population.last_step(error))
    assert_within_four_standard_errors(white.mean(axis=1), population.averaged(error))
    assert population.averaged(error) < 0.9 * population.last_step(error)

    covariance = toeplitz(0.8 ** np.arange(24))
    coloured = sampled(ERROR, rng.normal(size=(8000, 24)) @ np.linalg.cholesky(covariance).T)
    assert_within_four_standard_errors(coloured[:, -1], population.coloured(error, jnp.asarray(covariance)))

    uniform = sampled(ERROR, rng.uniform(size=(8000, 24)))
    assert_within_four_standard_errors(uniform[:, -1], population.uncentred(error, 0.5, 1 / 12))


def test_losses_are_one_where_they_should_be():
    error = jnp.asarray(ERROR)
    assert population.coloured(error, jnp.eye(24)) == pytest.approx(population.last_step(error), rel=1e-12)
    assert population.uncentred(error, 0.0, 1.0) == pytest.approx(population.last_step(error), rel=1e-12)
    shift = jnp.asarray(targets.shift(8, 32))
    assert population.averaged(shift) == pytest.approx(0.75)


@pytest.mark.parametrize("loss", [population.last_step, population.averaged])
def test_gradients_by_finite_differences(loss):
    error, direction = jnp.asarray(ERROR), np.random.default_rng(2).normal(size=24)
    slope = (loss(error + 1e-5 * direction) - loss(error - 1e-5 * direction)) / 2e-5
    assert jax.grad(loss)(error) @ direction == pytest.approx(float(slope), rel=1e-8)


def test_gradient_descent_on_it_goes_to_the_floor():
    """One state on four exponentials: as near as the search by variable projection."""
    rho = jnp.asarray(targets.exponentials((0.5, 0.7, 0.85, 0.95), 64))
    best = rho - fits.varpro(np.asarray(rho), 1).kernel(64)

    def loss(rnn):
        return population.last_step(rho - population.response(*rnn, 64))

    def step(rnn, _):
        return jax.tree.map(lambda part, slope: part - 1e-3 * slope, rnn, jax.grad(loss)(rnn)), None

    start = (jnp.array([[0.5]]), jnp.ones(1), jnp.ones(1))
    trained = jax.jit(lambda rnn: jax.lax.scan(step, rnn, length=4000)[0])(start)
    assert best @ best * (1 - 1e-9) <= loss(trained) < 1.001 * best @ best
