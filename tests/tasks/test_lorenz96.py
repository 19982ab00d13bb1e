"""Lorenz96 against its identities, plain loops, DOP853 and, at K = 1, linear theory."""

import math
from dataclasses import replace

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from seqjax.data.gaussian_process import GaussianProcess
from seqjax.tasks.lorenz96 import Lorenz96, canonical_ring, per_slow_ring
from seqjax.tasks.runge_kutta import Unrolled
from tests.refusals import refuses


class RK4(diffrax.AbstractERK):
    """The classical Runge-Kutta method."""

    tableau = diffrax.ButcherTableau(
        c=np.array([0.5, 0.5, 1.0]),
        b_sol=np.array([1, 2, 2, 1]) / 6,
        b_error=np.zeros(4),
        a_lower=(np.array([0.5]), np.array([0, 0.5]), np.array([0, 0, 1.0])),
    )
    interpolation_cls = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

    def order(self, terms):
        return 4


def loops(task, y, z, forcing):
    """The equations of one row, index by index; z[k, j]."""
    slow, fast = z.shape

    def neighbour(k, j):
        if task.ring is per_slow_ring:
            return z[k, j % fast]
        return z.ravel()[(k * fast + j) % (slow * fast)]

    dy, dz = np.zeros_like(y), np.zeros_like(z)
    for k in range(slow):
        quadratic = -y[(k - 1) % slow] * (y[(k - 2) % slow] - y[(k + 1) % slow])
        dy[k] = quadratic - y[k] + forcing[k] + task.hx * sum(z[k]) / fast
        for j in range(fast):
            quadratic = -neighbour(k, j + 1) * (neighbour(k, j + 2) - neighbour(k, j - 1))
            dz[k, j] = (quadratic - z[k, j] + task.hy * y[k]) / task.eps
    return dy, dz


def dop853(task, forcing, y, z):
    """y of one row at the end of every sample, by scipy, restarted at every jump of the forcing."""
    slow, state, path = task.K, np.concatenate([y, np.ravel(z)]), []
    for held in np.asarray(forcing):

        def rate(_, state, held=held):
            dy, dz = loops(task, state[:slow], state[slow:].reshape(slow, -1), held)
            return np.concatenate([dy, dz.ravel()])

        state = solve_ivp(rate, (0, task.sample_step), state, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        path.append(state[:slow])
    return np.array(path)


def start(task, batch, time):
    """Forcing and initial state in float64, for the tests that need them before the burn-in."""
    forcing_key, slow_key, fast_key = jax.random.split(jax.random.key(7), 3)
    forcing = GaussianProcess(10.0, jitter=0.0).sample(forcing_key, batch * task.K, time)
    forcing = task.mean + task.amplitude * forcing.reshape(batch, task.K, time).transpose(0, 2, 1)
    slow = jax.random.normal(slow_key, (batch, task.K))
    return forcing, slow, jax.random.normal(fast_key, (batch, task.K, task.J))


def linear(eps, time, step=0.1):
    """Of K = 1 with equal z: response of y to a unit forcing held for one sample, and the decay over `time` samples."""
    rates = np.array([[-1, -1], [1 / eps, -1 / eps]])
    decay = expm(rates * step)
    state, kernel = np.linalg.solve(rates, (decay - np.eye(2)) @ [1.0, 0.0]), []
    for _ in range(time):
        kernel.append(state[0])
        state = decay @ state
    return np.array(kernel), np.linalg.norm(expm(rates * step * time), 2)


def lagged(x, window):
    """x[t], x[t - 1], … as features, for every t with a full window."""
    views = np.lib.stride_tricks.sliding_window_view(x, window, axis=1)
    return views[..., ::-1]


@pytest.mark.parametrize("ring", [per_slow_ring, canonical_ring])
@pytest.mark.parametrize(("slow", "fast"), [(1, 3), (2, 3), (3, 4), (5, 7)])
def test_tendency_equals_plain_loops(x64, ring, slow, fast):
    task = Lorenz96(K=slow, J=fast, ring=ring, eps=0.3, hx=-0.7, hy=1.3)
    forcing, y, z = start(task, 4, 1)
    dy, dz = jax.jit(task.tendency)(y.T, z.transpose(2, 1, 0), forcing[:, 0].T)
    for row in range(4):
        expected = loops(task, np.asarray(y[row]), np.asarray(z[row]), np.asarray(forcing[row, 0]))
        np.testing.assert_allclose(dy[:, row], expected[0], atol=1e-13)
        np.testing.assert_allclose(dz[:, :, row].T, expected[1], atol=1e-13)


@pytest.mark.parametrize("ring", [per_slow_ring, canonical_ring])
def test_the_form_in_h_c_b_is_lorenzs(x64, ring):
    """Its equations in plain NumPy, in X = y and Y = z / b."""
    K, J, h, c, b = 4, 5, 0.8, 7.0, 9.0
    task = Lorenz96.from_hcb(h, c, b, K=K, J=J, ring=ring)
    forcing, y, z = (np.asarray(part) for part in start(task, 1, 1))
    X, Y, F = y[0], z[0] / b, forcing[0, 0]
    dX, dY = np.zeros_like(X), np.zeros_like(Y)

    def fast(k, j):
        if ring is per_slow_ring:
            return Y[k, j % J]
        return Y.ravel()[(k * J + j) % (K * J)]

    for k in range(K):
        dX[k] = X[k - 1] * (X[(k + 1) % K] - X[k - 2]) - X[k] + F[k] - h * c / b * Y[k].sum()
        for j in range(J):
            advection = c * b * fast(k, j + 1) * (fast(k, j - 1) - fast(k, j + 2))
            dY[k, j] = advection - c * Y[k, j] + h * c / b * X[k]
    dy, dz = task.tendency(*map(jnp.asarray, (y.T, z.transpose(2, 1, 0), F[:, None])))
    np.testing.assert_allclose(dy[:, 0], dX, atol=1e-12)
    np.testing.assert_allclose(dz[:, :, 0].T, b * dY, atol=1e-11)


def test_lorenzs_own_h_c_b():
    assert Lorenz96.from_hcb(1.0, 10.0, 10.0) == Lorenz96(eps=0.1, hx=-1.0, hy=1.0)


test_what_is_no_h_c_b_is_refused = refuses(
    Lorenz96.from_hcb,
    (1.0, 0.0, 10.0, "c must be > 0, got 0"),
    (1.0, 10.0, -1.0, "b must be > 0, got -1"),
    (math.nan, 10.0, 10.0, "h must hold one number or more, all finite"),
    ({"h": 1.0, "c": 10.0, "b": 10.0, "hx": 1.0}, "hx must be left out"),
)


def test_rings_differ_only_between_slow_variables(key):
    for slow, same in ((1, True), (4, False)):
        z = jax.random.normal(key, (10, slow, 3))
        assert [jnp.array_equal(*ends) for ends in zip(per_slow_ring(z), canonical_ring(z), strict=True)] == [same] * 2


@pytest.mark.parametrize("ring", [per_slow_ring, canonical_ring])
def test_energy(x64, ring):
    """The quadratic terms do no work; with hx = -hy neither does the coupling, only damping and forcing do."""
    task = Lorenz96(K=6, J=10, ring=ring)
    forcing, y, z = start(task, 32, 1)
    forcing, y, z = forcing[:, 0].T, y.T, z.transpose(2, 1, 0)
    dy, dz = jax.jit(task.tendency)(y, z, forcing)
    balance = (y * dy).sum(0) + task.eps / task.J * (z * dz).sum((0, 1))
    np.testing.assert_allclose(balance, (-(y**2) + forcing * y).sum(0) - (z**2).sum((0, 1)) / task.J, atol=1e-13)

    alone = replace(task, hx=0.0, hy=0.0)
    dy, dz = jax.jit(alone.tendency)(y, z, jnp.zeros_like(forcing))
    np.testing.assert_allclose((y * (dy + y)).sum(0), 0, atol=1e-13)
    np.testing.assert_allclose((z * (task.eps * dz + z)).sum((0, 1)), 0, atol=1e-13)


@pytest.mark.slow
def test_convergence_order(x64):
    """The order is exact; the size, noted for other random numbers, is right within a factor of three."""
    task = Lorenz96(K=3, J=10)
    forcing, y, z = start(task, 2, 30)
    exact = np.stack([dop853(task, forcing[row], y[row], z[row]) for row in range(2)])

    def errors(solver, substeps):
        tasks = [replace(task, solver=solver, substeps=count) for count in substeps]
        return np.array([np.abs(each.integrate(forcing, y, z).slow - exact).max() for each in tasks])

    for solver, order, expected in ((diffrax.Euler(), 1, [8.8e-3, 4.4e-3]), (Unrolled(RK4()), 4, [7.6e-9, 4.7e-10])):
        found = errors(solver, (10, 20))
        np.testing.assert_allclose(np.log2(found[:-1] / found[1:]), order, atol=0.1)
        assert np.all(np.abs(np.log(found / expected)) < np.log(3)), found

    first, second = errors(Lorenz96().solver, (2, 4))
    assert np.log2(first / second) > 4.8
    assert second < 7.6e-9  # the default is at least as exact as RK4 with steps of 0.01


@pytest.mark.parametrize("method", [diffrax.Tsit5(), diffrax.Heun(), RK4()])
def test_unrolled_stages_are_the_method(x64, method):
    """Against the method itself; the field depends on time, and the state is a tree."""

    def solve(solver):
        def field(t, y, rate):
            return {"a": rate * y["b"] * jnp.cos(3 * t), "b": y["a"] - t}

        start = {"a": jnp.ones(2), "b": jnp.arange(2.0)}
        return diffrax.diffeqsolve(diffrax.ODETerm(field), solver, 0.5, 2.0, 0.25, start, 1.5).ys

    found, expected = jax.jit(lambda: (solve(Unrolled(method)), solve(method)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), found, expected)


@pytest.mark.parametrize("ring", [per_slow_ring, canonical_ring])
def test_whole_path_equals_dop853(x64, key, ring):
    """Also the convention of time: from the state after sample 0, `forcing[1]` leads to `slow[1]`."""
    task = Lorenz96(K=4, J=10, amplitude=4.0, mean=1.0, ring=ring, length=40, burn_in=2.0, dtype="float64")
    path = jax.jit(task.solve, static_argnums=1)(key, 2)
    exact = dop853(task, path.forcing[1, 1:], path.slow[1, 0], path.fast[1, 0])
    np.testing.assert_allclose(path.slow[1, 1:], exact, atol=1e-5)  # chaos amplifies the solver's error


@pytest.mark.slow
def test_float32_is_close_to_float64(x64):
    """Round-off for 30 samples; later a few rows diverge, where y leaves the interval in which equal z_j are stable."""
    task = Lorenz96(K=4, J=10)
    arguments = start(task, 16, 128)
    double = task.integrate(*arguments)
    single = task.integrate(*(a.astype("float32") for a in arguments))
    assert single.slow.dtype == "float32"
    error = np.abs(single.slow - double.slow).max(2)
    assert error[:, :30].max() < 2e-6
    assert np.median(error.max(1)) < 2e-6


def test_linear_response(x64):
    """With one slow variable and equal z the system is linear, and its kernel is known."""
    kernel, _ = linear(0.5, 60)
    t = np.arange(1, 61) * 0.1
    frequency = np.sqrt(7) / 2
    nodes, weights = np.polynomial.legendre.leggauss(8)
    s = t[:, None] - 0.05 + 0.05 * nodes
    response = np.exp(-1.5 * s) * (np.cos(frequency * s) + 0.5 / frequency * np.sin(frequency * s))
    by_formula = (response * weights * 0.05).sum(1)
    np.testing.assert_allclose(kernel, by_formula, atol=1e-14)

    task = Lorenz96(substeps=40)
    impulse = jnp.zeros((1, 60, 1)).at[:, 0].set(1.0)
    forcing, _, _ = start(task, 8, 60)
    both, rest = jnp.concatenate([impulse, forcing]), jnp.zeros((9, 1, 10))
    slow = jax.jit(task.integrate)(both, rest[..., 0], rest).slow[..., 0]
    np.testing.assert_allclose(slow[0], kernel, atol=1e-10)
    superposed = np.stack([np.convolve(row, kernel)[:60] for row in np.asarray(forcing[..., 0])])
    np.testing.assert_allclose(slow[1:], superposed, atol=1e-10)


def test_stability_of_equal_fast_variables(x64):
    """Equal z_j stay equal for -.5 < y < .894 at J = 10, by the formula and by the Jacobian."""
    angle = 2 * np.pi * np.arange(10) / 10
    growth = np.cos(angle) - np.cos(2 * angle)
    low, high = 1 / growth.min(), 1 / growth.max()
    np.testing.assert_allclose([low, high], [-0.5, 0.894], atol=5e-4)

    def fastest(y):
        """Largest real part among the modes of z about z_j = y."""

        def rate(z):
            return Lorenz96().tendency(jnp.full((1, 1), y), z[:, None, None], jnp.zeros((1, 1)))[1].ravel()

        return np.linalg.eigvals(np.asarray(jax.jit(jax.jacfwd(rate))(jnp.full(10, y)))).real.max()

    assert fastest(low + 1e-3) < 0 < fastest(low - 1e-3)
    assert fastest(high - 1e-3) < 0 < fastest(high + 1e-3)


@pytest.mark.slow
def test_linear_filter_error(x64):
    """What the last 1, 2, 4, 8 and 16 inputs leave unexplained: closed form and simulation agree."""
    lags, windows = 400, (1, 2, 4, 8, 16)
    kernel, _ = linear(0.5, lags)
    covariance = GaussianProcess(10.0, jitter=0.0).covariance(lags)
    shared = covariance @ kernel
    variance = kernel @ shared
    explained = [shared[:w] @ np.linalg.lstsq(covariance[:w, :w], shared[:w], rcond=1e-15)[0] for w in windows]
    floor = 1 - np.array(explained) / variance
    np.testing.assert_allclose(floor[:4], [0.085, 0.0074, 0.0024, 2.8e-4], rtol=0.15)
    assert floor[4] < 1e-5

    task = Lorenz96()
    forcing, slow, _ = start(task, 512, 300)
    path = task.integrate(forcing, slow, jnp.zeros((512, 1, 10)))  # equal z_j: linear from the start
    x, y = np.asarray(path.forcing[:, 150:, 0]), np.asarray(path.slow[:, 150:, 0])
    np.testing.assert_allclose(y.var(), variance, rtol=0.1)
    for window, expected in zip(windows[:4], floor, strict=False):
        features, targets = lagged(x, window).reshape(-1, window), y[:, window - 1 :].ravel()
        half = targets.size // 2
        weights = np.linalg.lstsq(features[:half], targets[:half], rcond=None)[0]
        error = np.mean((features[half:] @ weights - targets[half:]) ** 2) / targets[half:].var()
        assert error == pytest.approx(expected, rel=0.15)


def test_one_slow_variable_is_linear_once_synchronised(x64, key):
    """At K = 1 a 64-tap filter, here the exact kernel, is the map, up to the state 64 samples ago."""
    path = jax.jit(lambda key: Lorenz96(burn_in=40.0, dtype="float64").solve(key, 256))(key)
    spread = path.fast.std(-1).max((1, 2))
    assert spread.max() < 1e-6
    kernel, forgotten = linear(0.5, 64)
    y = np.asarray(path.slow[:, 63:, 0])
    error = lagged(np.asarray(path.forcing[..., 0]), 64) @ kernel - y
    state = np.sqrt(path.slow[..., 0] ** 2 + path.fast[:, :, 0, 0] ** 2).max()
    assert np.abs(error).max() < forgotten * state + 1e-8
    assert np.mean(error**2) / y.var() < 2e-8  # 1 - R2


def test_batch(key):
    task = Lorenz96(K=3, amplitude=2.0, mean=1.5, length=20, washout=5, burn_in=3.0, target_scale=0.5)
    path, batch = jax.jit(lambda key: (task.solve(key, 6), task.sample(key, 6)))(key)
    np.testing.assert_allclose(batch.inputs, (path.forcing - 1.5) / 2, atol=1e-6)
    np.testing.assert_allclose(batch.targets, path.slow / 0.5, atol=1e-4)
    assert batch.targets.shape == (6, 20, 3)
    assert batch.targets.dtype == jnp.float32
    assert batch.mask is None
    np.testing.assert_array_equal(batch.weight, np.broadcast_to(np.arange(20) >= 5, (6, 20)))


def test_keys(key):
    task = Lorenz96(K=2, length=8, washout=0, burn_in=1.0)
    sample = jax.jit(lambda key: task.sample(key, 16))
    first, again, other = sample(key), sample(key), sample(jax.random.key(1))
    assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, first, again)))
    rows = np.concatenate([first.inputs, other.inputs]).reshape(32, -1)
    assert len(np.unique(rows, axis=0)) == 32


@pytest.mark.slow
def test_forcing_continues_out_of_the_burn_in(x64, key):
    """A burn-in is the beginning of a longer row, not another row."""
    whole = Lorenz96(length=50, burn_in=0.0, dtype="float64").solve(key, 2)
    late = Lorenz96(length=20, washout=0, burn_in=3.0, dtype="float64").solve(key, 2)
    for part, full in zip(late[:3], whole[:3], strict=True):
        np.testing.assert_allclose(part, full[:, 30:], atol=1e-12)


def test_shortest(key):
    path = jax.jit(Lorenz96(K=1, J=3, length=1, washout=0, burn_in=0.0).solve, static_argnums=1)(key, 1)
    assert (path.slow.shape, path.fast.shape) == ((1, 1, 1), (1, 1, 1, 3))
    assert path.ok.all()


def test_scale(key):
    task = Lorenz96(K=2, length=64, mean=1.0, target_scale=3.0).calibrated(key, rows=64)
    drawn = task.draw(jax.random.key(1), 64)
    assert float(drawn.batch.targets[:, 32:].std()) == pytest.approx(1, rel=0.1)
    assert drawn.redrawn == 0


# One Tsit5 step per sample is too long for strong forcings: about a third of these rows end in infinity.
FRAGILE = Lorenz96(K=2, amplitude=12.0, substeps=1, length=16, washout=4, burn_in=2.0)


def test_blown_up_rows_count_nothing_and_harm_nobody(key):
    path, batch = jax.jit(lambda key: (FRAGILE.solve(key, 64), FRAGILE.sample(key, 64)))(key)
    ok = np.asarray(path.ok)
    assert 0 < ok.sum() < 64
    assert np.array_equal(ok, np.isfinite(path.slow).all((1, 2)) & np.isfinite(path.fast).all((1, 2, 3)))
    for values in (batch.inputs, batch.targets):
        assert not values[~ok].any()
        assert np.isfinite(values).all()
    np.testing.assert_array_equal(batch.weight, ok[:, None] & (np.arange(16) >= 4))


@pytest.mark.slow
def test_blown_up_rows_are_drawn_again(key):
    drawn = FRAGILE.draw(key, 40, attempts=20, chunk=16)
    assert drawn.redrawn > 0
    assert drawn.batch.inputs.shape == (40, 16, 2)
    np.testing.assert_array_equal(drawn.batch.weight, np.broadcast_to(np.arange(16) >= 4, (40, 16)))
    assert len(np.unique(drawn.batch.inputs.reshape(40, -1), axis=0)) == 40

    sample = jax.jit(lambda key: FRAGILE.sample(key, 16))
    pieces = [sample(jax.random.fold_in(jax.random.fold_in(key, 0), i)) for i in range(3)]
    first = jax.tree.map(lambda *parts: jnp.concatenate(parts)[:40], *pieces)
    kept = np.any(first.weight, axis=1)
    assert drawn.redrawn >= 40 - kept.sum()
    np.testing.assert_allclose(drawn.batch.inputs[kept], first.inputs[kept], atol=1e-6)


def test_hopeless_rows_are_an_error(key):
    with pytest.raises(ValueError, match=r"8 of 8 trajectories blew up in each of 2 attempts \(8 redrawn\)"):
        replace(FRAGILE, amplitude=1e6).draw(key, 8, attempts=2)


test_rules = refuses(
    lambda name, value: Lorenz96(**{name: value}),
    ("K", 0, "K must be >= 1, got 0"),
    ("J", 2, "J must be >= 3, got 2"),
    ("length", 0, "length must be >= 1, got 0"),
    ("washout", 128, r"washout must lie in \[0, length = 128\), got 128"),
    ("washout", -1, "got -1"),
    ("burn_in", -1.0, "burn_in must be >= 0, got -1.0"),
    ("substeps", 0, "substeps must be >= 1, got 0"),
    ("eps", 0.0, "eps must be > 0, got 0.0"),
    ("amplitude", float("nan"), "amplitude must be > 0, got nan"),
    ("length_scale", 0.0, "length_scale must be > 0"),
    ("sample_step", -0.1, "sample_step must be > 0"),
    ("target_scale", 0.0, "target_scale must be > 0"),
    ("dtype", "float16", "dtype must be float32 or float64, got float16"),
)
test_draws_that_cannot_be_are_refused = refuses(
    lambda task, attempts: task.draw(jax.random.key(0), 8, attempts=attempts),
    (FRAGILE, 0, "attempts must be >= 1, got 0"),
    (Lorenz96(dtype="float64"), 1, "jax_enable_x64 must be on"),
)


@pytest.mark.slow
def test_irreducible_error_is_the_variance_given_the_window(x64, key):
    """K = 1 with equal z is linear, so that Gaussian conditioning on the window's forcing gives the floor exactly."""

    class Linear(Lorenz96):
        def tendency(self, slow, fast, forcing):
            return -slow + forcing + self.hx * fast.mean(axis=0), (self.hy * slow[None] - fast) / self.eps

    length, washout = 12, 3
    task = Linear(length=length, washout=washout, dtype=jnp.float64, substeps=2)
    lags = 200 + length
    kernel, _ = linear(0.5, lags)
    covariance = GaussianProcess(10.0, jitter=0.0).covariance(lags)
    past, window = covariance[:200, :200], covariance[200:, 200:]
    cross = covariance[:200, 200:]
    given = past - cross @ np.linalg.pinv(window, rcond=1e-13, hermitian=True) @ cross.T
    weights = np.stack([kernel[t + 1 : t + 201][::-1] for t in range(washout, length)])
    expected = np.einsum("ts,sr,tr->t", weights, given, weights).mean()
    found = task.irreducible(key, 2048, chunk=1024)
    assert abs(found.error - expected) < 4 * found.standard_error
    assert found.standard_error < 0.1 * expected


@pytest.mark.slow
def test_hard_rung_has_a_ceiling(key):
    """K = 4 at amplitude 4 does not forget: some 7 % of the variance is out of reach, at amplitude 1 nothing is."""
    hard = Lorenz96(K=4, amplitude=4.0).calibrated(key).irreducible(key, 256)
    easy = Lorenz96(K=4).calibrated(key).irreducible(key, 256)
    assert 0.05 < hard.error < 0.1
    assert easy.error < 1e-5
