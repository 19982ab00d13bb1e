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
pytestmark = pytest.mark.usefixtures("x64")


def response(weights, length):
    W, U, c = map(jnp.asarray, weights)
    return population.response(W, U, c, length)


def infinite(weights):
    W, U, c = map(jnp.asarray, weights)
    return population.infinite(W, U, c, jnp.asarray(BASES), jnp.asarray(WEIGHTS))


def kernel(length):
    return (WEIGHTS[:, None] * BASES[:, None] ** np.arange(length)).sum(axis=0)


def test_response_is_the_kernel_of_a_linear_rnn():
    expected = fits.LinearRNN(W, U, C).kernel(20)
    np.testing.assert_allclose(response((W, U, C), 20), expected, rtol=1e-12)


def test_decaying_is_the_response_of_a_diagonal_matrix():
    factors, amplitudes = np.array([0.9, -0.5, 1.1]), np.array([1.0, -2.0, 0.3])
    expected = (amplitudes * factors ** np.arange(13)[:, None]).sum(axis=1)
    found = population.decaying(jnp.asarray(factors), jnp.asarray(amplitudes), 13)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_state_covariance_solves_lyapunovs_equation():
    expected = solve_discrete_lyapunov(W, np.outer(U, U))
    np.testing.assert_allclose(population.covariance(jnp.asarray(W), jnp.asarray(U)), expected, rtol=1e-11)


def test_infinite_past_is_the_sum_over_all_lags():
    """Term by term too: <a^s, khat> = c' (I - a W)^-1 U."""
    summed = ((kernel(2000) - fits.LinearRNN(W, U, C).kernel(2000)) ** 2).sum()
    assert float(infinite((W, U, C))) == pytest.approx(summed, rel=1e-12)
    assert float(infinite((W, U, 0 * C))) == pytest.approx((kernel(2000) ** 2).sum(), rel=1e-12)


def test_infinite_past_has_the_gradient_of_the_sum():
    weights, rho = [jnp.asarray(part) for part in (W, U, C)], jnp.asarray(kernel(1000))
    closed = jax.jit(jax.grad(infinite))(weights)
    summed = jax.jit(jax.grad(lambda weights: population.last_step(rho - response(weights, 1000))))(weights)
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
    """Last step, average over steps, and coloured inputs, each within 4 standard errors."""
    rng, error = np.random.default_rng(1), jnp.asarray(ERROR)
    white = sampled(ERROR, rng.normal(size=(8000, 24)))
    assert_within_four_standard_errors(white[:, -1], population.last_step(error))
    assert_within_four_standard_errors(white.mean(axis=1), population.averaged(error))
    assert population.averaged(error) < 0.9 * population.last_step(error)

    covariance = toeplitz(0.8 ** np.arange(24))
    coloured = sampled(ERROR, rng.normal(size=(8000, 24)) @ np.linalg.cholesky(covariance).T)
    assert_within_four_standard_errors(coloured[:, -1], population.coloured(error, jnp.asarray(covariance)))


def test_losses_are_one_where_they_should_be():
    error = jnp.asarray(ERROR)
    np.testing.assert_allclose(population.coloured(error, jnp.eye(24)), ERROR @ ERROR, rtol=1e-12)
    np.testing.assert_allclose(population.averaged(jnp.asarray(targets.shift(8, 32))), 0.75)


@pytest.mark.parametrize("loss", [population.last_step, population.averaged])
def test_gradients_by_finite_differences(loss):
    error, direction = jnp.asarray(ERROR), np.random.default_rng(2).normal(size=24)
    slope = (loss(error + 1e-5 * direction) - loss(error - 1e-5 * direction)) / 2e-5
    assert jax.grad(loss)(error) @ direction == pytest.approx(float(slope), rel=1e-8)


def test_the_best_fit_found_is_where_the_gradient_ends():
    """Of one state, on four exponentials."""
    rho = targets.exponentials((0.5, 0.7, 0.85, 0.95), 64)
    rnn = fits.varpro(rho, 1)
    slope = jax.jit(jax.grad(lambda weights: population.last_step(jnp.asarray(rho) - response(weights, 64))))
    best = tuple(jnp.asarray(part) for part in rnn)
    off = tuple(1.01 * part for part in best)
    slopes = [max(float(jnp.abs(part).max()) for part in slope(weights)) for weights in (best, off)]
    assert slopes[0] < 1e-4 * slopes[1]
