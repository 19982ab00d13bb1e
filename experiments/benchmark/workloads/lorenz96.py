"""Lorenz96 trajectories: the same initial states under the same forcing, integrated by each side at the same error."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from workloads.work import Work

CHECKED = 4
"""Trajectories that are compared; `scipy` integrates only these."""

STEP = 0.1
"""Time units between samples, during which the forcing is constant."""

SUBSTEPS = 2
"""Steps of Tsit5 per sample: more accurate than four of RK4 (2e-7 against 8e-7), and as fast or faster."""

EPS = 0.5
"""Time scale of the fast variables; the couplings are -1 and 1."""


class Sizes(NamedTuple):
    """Slow variables, fast ones of each, trajectories, and samples of each."""

    K: int
    J: int
    rows: int
    length: int = 128


SIZES = {"k1_j10": Sizes(1, 10, 4_000), "k8_j32": Sizes(8, 32, 1_024)}


def sizes(name: str, smoke: bool) -> Sizes:
    """The sizes of a row; at smoke scale it only shows that it runs."""
    return SIZES[name]._replace(rows=8, length=4) if smoke else SIZES[name]


class Start(NamedTuple):
    """Forcing (rows, length, K), slow variables (rows, K) and fast ones (rows, K, J)."""

    forcing: np.ndarray
    slow: np.ndarray
    fast: np.ndarray


def start(size: Sizes) -> Start:
    """Smooth Gaussian forcing of unit variance and length scale one, and normal initial states."""
    random = np.random.default_rng(0)
    time = STEP * np.arange(size.length)
    values, vectors = np.linalg.eigh(np.exp(-((time[:, None] - time) ** 2) / 2))
    root = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    forcing = random.normal(size=(size.rows, size.K, size.length)) @ root
    slow, fast = random.normal(size=(size.rows, size.K)), random.normal(size=(size.rows, size.K, size.J))
    return Start(*(x.astype(np.float32) for x in (np.swapaxes(forcing, 1, 2), slow, fast)))


def mean_square(slow: np.ndarray) -> float:
    """Of the slow variables over the first trajectories, which must agree between the sides."""
    return float(np.square(slow[:CHECKED], dtype=np.float64).mean())


def seqjax(name: str, smoke: bool) -> Work:
    """The public API."""
    import jax
    import jax.numpy as jnp

    from seqjax import tasks

    size = sizes(name, smoke)
    given = [jnp.asarray(x) for x in start(size)]
    task = tasks.Lorenz96(K=size.K, J=size.J, length=size.length, washout=0, substeps=SUBSTEPS)
    integrate = jax.jit(lambda start: task.integrate(*start).slow)
    return Work(lambda: mean_square(np.asarray(integrate(given))), units=size.rows)


def hand_scan(name: str, smoke: bool) -> Work:
    """The fastest hand-written scan for this system, of the same method and so at the same error."""
    import diffrax
    import jax
    import jax.numpy as jnp

    size = sizes(name, smoke)
    forcing, slow, fast = (jnp.asarray(x) for x in start(size))
    tendency: Callable = _own_arrays if size.K == 1 else _slices
    h = STEP / SUBSTEPS

    def step(state, held):
        rates, at = [], state
        for row in diffrax.Tsit5.tableau.a_lower:  # the last row leads to the end of the step
            weights = (h * row).tolist()
            rates.append(tendency(*at, held))

            def along(y, *rates, weights=weights):
                return y + sum(weight * rate for weight, rate in zip(weights, rates, strict=True))

            at = jax.tree.map(along, state, *rates)
        return at

    def advance(state, held):
        state = jax.lax.fori_loop(0, SUBSTEPS, lambda _, state: step(state, held), state)
        return state, state[0]

    @jax.jit
    def integrate(forcing, slow, fast):
        if size.K == 1:
            state, held = (slow[:, 0], tuple(jnp.moveaxis(fast[:, 0], 1, 0))), forcing[..., 0].T
            return jax.lax.scan(advance, state, held)[1].T[..., None]
        state, held = (slow.T, jnp.transpose(fast, (2, 1, 0))), jnp.transpose(forcing, (1, 2, 0))
        return jnp.transpose(jax.lax.scan(advance, state, held)[1], (2, 0, 1))

    return Work(lambda: mean_square(np.asarray(integrate(forcing, slow, fast))), units=size.rows)


def _own_arrays(slow, fast, forcing):
    """At K = 1 every variable is an array of its own, (rows,), which XLA runs on both cores."""
    J = len(fast)
    fast_rate = [(fast[(j + 1) % J] * (fast[j - 1] - fast[(j + 2) % J]) - fast[j] + slow) / EPS for j in range(J)]
    return -slow + forcing - sum(fast) / J, tuple(fast_rate)


def _slices(slow, fast, forcing):
    """Many variables as (fast, slow, rows), from slices joined at the end: arrays of their own compile for minutes."""
    import jax.numpy as jnp

    K, mean = len(slow), fast.mean(axis=0)

    def fast_rate(before, z, after, second_after):
        return (after * (before - second_after) - z + slow[None]) / EPS

    first, second, third, last = fast[:1], fast[1:2], fast[-2:-1], fast[-1:]
    return jnp.stack(
        [slow[k - 1] * (slow[(k + 1) % K] - slow[k - 2]) - slow[k] + forcing[k] - mean[k] for k in range(K)]
    ), jnp.concatenate(
        [
            fast_rate(last, first, second, fast[2:3]),
            fast_rate(fast[:-3], fast[1:-2], fast[2:-1], fast[3:]),
            fast_rate(fast[-3:-2], third, last, first),
            fast_rate(third, last, first, second),
        ]
    )


def scipy(name: str, smoke: bool) -> Work:
    """`solve_ivp` (RK45, relative tolerance 1e-6), one trajectory at a time, restarted where the forcing jumps."""
    from scipy.integrate import solve_ivp

    size = sizes(name, smoke)
    K = size.K

    def rate(_, state, held):
        slow, fast = state[:K], state[K:].reshape(K, -1)
        slow_rate = np.roll(slow, 1) * (np.roll(slow, -1) - np.roll(slow, 2)) - slow + held - fast.mean(axis=1)
        advection = np.roll(fast, -1, axis=1) * (np.roll(fast, 1, axis=1) - np.roll(fast, -2, axis=1))
        return np.concatenate([slow_rate, ((advection - fast + slow[:, None]) / EPS).ravel()])

    given = start(size)

    def trajectory(row: int) -> np.ndarray:
        state, path = np.concatenate([given.slow[row], given.fast[row].ravel()], dtype=np.float64), []
        for held in given.forcing[row]:
            state = solve_ivp(rate, (0, STEP), state, "RK45", rtol=1e-6, args=(held,)).y[:, -1]
            path.append(state[:K])
        return np.array(path)

    return Work(lambda: mean_square(np.array([trajectory(row) for row in range(CHECKED)])), units=CHECKED)
