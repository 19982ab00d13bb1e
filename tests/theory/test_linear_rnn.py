import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from seqjax.tasks import Lorenz96
from seqjax.theory import fits, targets
from tests.refusals import refuses


def loss(kernel, rnn) -> float:
    return float(((kernel - rnn.kernel(len(kernel))) ** 2).sum())


def test_kernel_is_what_powers_of_w_say():
    rng = np.random.default_rng(0)
    rnn = fits.LinearRNN(W=rng.normal(size=(3, 3)), U=rng.normal(size=3), c=rng.normal(size=3))
    expected = [rnn.c @ np.linalg.matrix_power(rnn.W, lag) @ rnn.U for lag in range(6)]
    np.testing.assert_allclose(rnn.kernel(6), expected)


@pytest.mark.parametrize(("delay", "order"), [(0, 1), (1, 1), (8, 1), (8, 2), (8, 3), (8, 9), (16, 5), (3, 7)])
def test_ring_reaches_its_formula(delay, order):
    """Over a past as long as it needs to fade; and over a window it costs less."""
    rounds = delay // order
    formula = 1 - rounds**rounds / (rounds + 1) ** (rounds + 1)
    rnn = fits.ring(delay, order)
    assert loss(targets.shift(delay, 4000), rnn) == pytest.approx(formula, abs=1e-12)
    assert loss(targets.shift(delay, 2 * delay + 1), rnn) <= formula + 1e-12


@pytest.mark.parametrize("delay", [1, 8])
def test_one_state_does_no_better_than_the_ring(delay):
    """Every state of modulus below 1 with its best readout, c = a^k (1 - a^2)."""
    a = np.linspace(-0.999, 0.999, 4001)
    best = np.min(1 - a ** (2 * delay) * (1 - a**2))
    assert best == pytest.approx(loss(targets.shift(delay, 4000), fits.ring(delay, 1)), rel=1e-5)


def test_eigenvalues_of_a_ring_lie_on_a_circle():
    poles = np.linalg.eigvals(fits.ring(11, 4).W)
    np.testing.assert_allclose(np.abs(poles), (2 / 3) ** (1 / 8), rtol=1e-12)
    np.testing.assert_allclose(np.sort(np.angle(poles) % (2 * np.pi)), np.pi / 2 * np.arange(4), atol=1e-12)


def waves():
    moduli, angles = np.array([0.95, 0.8]), np.array([0.4, 2.0])
    lags = np.arange(60)[:, None]
    return (moduli**lags * np.cos(angles * lags + [0.0, 1.0])) @ [1.0, 2.0]


@pytest.mark.parametrize("rows", [None, 5, 50])
def test_kung_is_exact_where_the_rank_allows(rows):
    exact = fits.kung(waves(), 4, rows)
    assert loss(waves(), exact) < 1e-24
    poles = np.sort_complex(np.linalg.eigvals(exact.W))
    expected = np.array([0.95 * np.exp(0.4j), 0.8 * np.exp(2j)])
    np.testing.assert_allclose(poles, np.sort_complex(np.concatenate([expected, expected.conj()])), atol=1e-10)
    assert loss(waves(), fits.kung(waves(), 3, rows)) > 1e-3


def test_kung_leaves_states_it_does_not_need_at_zero():
    rnn = fits.kung(waves(), 7, None)
    assert loss(waves(), rnn) < 1e-24
    for weights in (rnn.W[4:], rnn.W[:, 4:], rnn.U[4:], rnn.c[4:]):
        np.testing.assert_array_equal(weights, 0)


def test_weights_are_small_enough_for_float32():
    """Balanced: as a sum of exponentials, this fit has terms a million times the kernel."""
    kernel = targets.power_law(1.1, 100)
    rnn = fits.varpro(kernel, 6)
    assert max(np.abs(part).max() for part in rnn) < 2
    halved = fits.LinearRNN(*(part.astype(np.float32).astype(np.float64) for part in rnn))
    assert loss(kernel, halved) < 1e-10


def test_varpro_finds_hidden_poles_and_is_never_worse_than_kung():
    rng = np.random.default_rng(1)
    noisy = waves() + 0.05 * rng.normal(size=60)
    for order in (1, 2, 3, 4):
        found = loss(noisy, fits.varpro(noisy, order, restarts=2))
        assert found <= min(loss(noisy, fits.kung(noisy, order, rows)) for rows in (15, 30, 45)) * (1 + 1e-9)
    assert found < 1.05 * 0.05**2 * 60  # order 4 leaves the noise
    assert loss(noisy, fits.kung(noisy, 4)) > 1.001 * found


def test_varpro_at_its_optimum_has_no_slope():
    """Finite differences over all weights of the RNN it returns."""
    kernel = targets.two_parts(24)
    rnn = fits.varpro(kernel, 2)
    least = loss(kernel, rnn)
    rng = np.random.default_rng(0)
    for _ in range(30):
        moved = fits.LinearRNN(*(part + 1e-4 * rng.normal(size=part.shape) for part in rnn))
        assert loss(kernel, moved) > least


@pytest.mark.parametrize("order", [1, 3, 16, 40])
def test_any_order_of_any_kernel(order):
    kernel = targets.noise(jax.random.key(0), 17)
    assert loss(kernel, fits.varpro(kernel, order, restarts=1)) < kernel @ kernel
    assert fits.varpro(kernel, order, restarts=0).W.shape == (order, order)


def response(t, eps):
    """(exp(A t))_00 in the words of the textbook."""
    if eps == 1:
        return np.exp(-t) * np.cos(t)
    w = 7**0.5 / 2
    return np.exp(-1.5 * t) * (np.cos(w * t) + 0.5 / w * np.sin(w * t))


@pytest.mark.parametrize("eps", [0.5, 1.0])
def test_two_level_is_the_integrated_response(eps):
    kernel = fits.two_level(eps, -1.0, 1.0, 0.1).kernel(30)
    expected = [quad(response, 0.1 * lag, 0.1 * (lag + 1), args=(eps,), epsabs=1e-13)[0] for lag in range(30)]
    np.testing.assert_allclose(kernel, expected, atol=1e-12)


def test_two_level_is_lorenz96_where_the_fast_variables_agree():
    """At rest before the start, the nonlinear solver and the two states give one trajectory."""
    with jax.enable_x64(True):
        task = Lorenz96(K=1, J=4, length=40, washout=0, substeps=8, dtype=jnp.float64)
        forcing = np.random.default_rng(0).normal(size=(2, 40, 1))
        slow, fast = jnp.zeros((2, 1)), jnp.zeros((2, 1, 4))
        path = jax.jit(task.integrate)(jnp.asarray(forcing), slow, fast)
        kernel = fits.two_level(task.eps, task.hx, task.hy, task.sample_step).kernel(40)
        expected = [np.convolve(row[:, 0], kernel)[:40] for row in forcing]
        np.testing.assert_allclose(path.slow[..., 0], expected, atol=1e-8)


test_wrong_arguments_are_refused = refuses(
    lambda call: call(np.ones(8)),
    (lambda x: fits.ring(-1, 2), "delay must be >= 0, got -1"),
    (lambda x: fits.ring(1, 0), "order must be >= 1, got 0"),
    (lambda x: fits.kung(x, 0), "order must be >= 1, got 0"),
    (lambda x: fits.kung(x[:2], 1), "kernel must have >= 3 lags, got 2"),
    (lambda x: fits.kung(x, 1, 1), r"rows must lie in \[2, 8\), got 1"),
    (lambda x: fits.kung(x, 1, 8), r"rows must lie in \[2, 8\), got 8"),
    (lambda x: fits.varpro(x, 1, -1), "restarts must be >= 0, got -1"),
    (lambda x: fits.two_level(0.0, -1.0, 1.0, 0.1), "eps must be > 0, got 0.0"),
    (lambda x: fits.two_level(0.5, 1.0, 1.0, 0.1), "hx hy must differ from 1, got 1.0 and 1.0"),
)
