"""Rows on Lorenz96: how linear it is at K = 1, and what a network that cannot see time makes of the seed's data."""

import dataclasses
import functools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from _claims.finding import Finding, exact
from _claims.shift import across

from seqjax import evaluate, metrics, models, tasks
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.theory import fits
from seqjax.types import Batch


def is_linear() -> Finding:
    """AU3: what linear filters leave of the variance at K = 1, and the linear RNN of two states that is its limit."""
    task = tasks.Lorenz96(K=1)
    windows = unexplained(task, (1, 2, 4, 8, 16))
    kernel = fits.two_level(task.eps, task.hx, task.hy, task.sample_step).kernel(task.length)
    two_states = _left(fits.FIR(kernel[:, None, None], np.zeros(1)), task.draw(jax.random.key(1), 512).batch)
    linear = windows[16] < 1e-3
    return Finding(
        quantity="unexplained by 16 linear taps, K = 1",
        ours=exact(windows[16]),
        verdict=f"linear to {windows[16]:.0e}" if linear else "nonlinear",
        also={f"{window} taps": windows[window] for window in (1, 2, 4, 8)} | {"linear RNN of two states": two_states},
        parameters=17,
    )


def unexplained(task: tasks.Lorenz96, windows: tuple[int, ...]) -> dict[int, float]:
    """What the best linear filters over so many inputs leave of the outputs' variance."""
    seen, fresh = (task.draw(jax.random.key(seed), 512).batch for seed in (0, 1))
    return {w: _left(fits.fir(seen.inputs, seen.targets, w, seen.weight), fresh) for w in windows}


def _left(filters: fits.FIR, fresh: Batch) -> float:
    return 1 - metrics.r2(filters.predict(fresh.inputs), fresh.targets, fresh.weight)


def needs_a_harder_case() -> Finding:
    """D3: S4's benchmark to a linear filter, and the case that seqjax takes instead: K = 4, amplitude 4."""
    taps = 16
    easy, hard = (unexplained(task, (taps,))[taps] for task in (tasks.Lorenz96(K=1), tasks.Lorenz96(K=4, amplitude=4)))
    others = {"K = 1, amplitude 3": tasks.Lorenz96(K=1, amplitude=3), "K = 4, amplitude 1": tasks.Lorenz96(K=4)}
    trivial = easy < 1e-3 < 0.1 < hard
    return Finding(
        quantity=f"unexplained by {taps} linear taps, K = 1",
        ours=exact(easy),
        verdict=f"{taps + 1} weights solve it to {easy:.0e}; at K = 4, amplitude 4 they leave {hard:.0%}"
        if trivial
        else "a linear filter does not tell the two apart",
        corrected=hard,
        also={name: unexplained(task, (taps,))[taps] for name, task in others.items()},
        parameters=taps + 1,
    )


@functools.lru_cache(maxsize=1)
def seed_data(sequences: int) -> Batch:
    """Lorenz96 at K = 1, J = 10 as the public code behind S4 makes it, before any scaling.

    Euler's steps of .01, ten a sample, the forcing held; the forcing starts anew in every sequence while the state goes
    on from the one before; the first input of a sequence is y itself, and so is its first target.
    """
    length, chains, eps = training.BLOCK, 512, 0.5
    rounds = -(-sequences // chains)
    rng = np.random.default_rng(0)
    forcing = np.asarray(GaussianProcess().sample(jax.random.key(0), (rounds + 1) * chains, 99))
    y, z = rng.normal(size=chains), rng.normal(size=(10, chains))
    inputs, targets = np.zeros((2, rounds, chains, length))

    def respond(y, z, held):
        for _ in range(10):
            advection = np.roll(z, -1, axis=0) * (np.roll(z, 1, axis=0) - np.roll(z, -2, axis=0))
            y, z = y + 0.01 * (held - y - z.mean(axis=0)), z + 0.01 / eps * (advection - z + y)
        return y, z

    for held in forcing[:chains].T:  # the burn-in
        y, z = respond(y, z, held)
    for number in range(rounds):
        inputs[number, :, 0] = targets[number, :, 0] = y
        for step in range(1, length):
            inputs[number, :, step] = forcing[(number + 1) * chains :][:chains, step]
            y, z = respond(y, z, inputs[number, :, step])
            targets[number, :, step] = y
    return Batch(*(jnp.asarray(part.reshape(-1, length, 1)[:sequences], jnp.float32) for part in (inputs, targets)))


def split() -> tuple[Batch, Batch]:
    """The seed's data for training and for testing, targets in units of their standard deviation."""
    data, held_out = seed_data(16_384), 4_096
    scale = data.targets[-held_out:].std()
    parts = slice(-held_out), slice(-held_out, None)
    train, test = (Batch(data.inputs[part], data.targets[part] / scale) for part in parts)
    return train, test


def without_time(data: Batch, degree: int) -> float:
    """The error of the best polynomial of the present input; of degree 5 there is no better function to be seen."""
    x, y = (np.asarray(part, np.float64).ravel() for part in data[:2])
    # One polynomial for all steps: what recurs over the batch does not know which step it is at.
    polynomial = np.polynomial.Polynomial.fit(x, y, degree)
    return float(np.mean((polynomial(x) - y) ** 2))


def random_scales() -> np.ndarray:
    """What the seed divides its targets by: the largest |forcing| of 32 fresh sequences of 128 steps, every time."""
    drawn = np.asarray(GaussianProcess().sample(jax.random.key(1), 32 * 500, 128), np.float64).reshape(500, -1)
    return np.abs(drawn).max(axis=1)


def cannot_see_time(claimed: float) -> Finding:
    """AU5: the error of the best function of the present input on the seed's data, in the recorded run's units."""
    data = seed_data(16_384)
    error, variance = without_time(data, 5), float(np.var(data.targets, dtype=np.float64))
    scales = random_scales()
    ours = metrics.Band(*(float(error / np.quantile(scales, level) ** 2) for level in (0.5, 0.95, 0.05)))
    needed = (error / claimed) ** 0.5
    share = float(min((scales <= needed).mean(), (scales >= needed).mean()))
    if share > 0.05:
        verdict = "consistent with a net that cannot see time; no proof, as the scale is random"
    else:
        verdict = (
            f"open: a net that cannot see time needs a random scale of {needed:.2f}, and {share:.1%} are as far off"
        )
    return Finding(
        quantity="floor without time, in the recorded units",
        ours=ours,
        verdict=verdict,
        claimed=claimed,
        also={
            "floor / variance of the outputs": error / variance,
            "same for a line": without_time(data, 1) / variance,
            "scale needed": needed,
            "scale, median": float(np.median(scales)),
            "scales as far off": share,
        },
    )


def unequal(claimed: float, seeds: int, steps: int) -> Finding:
    """AU4: an LSTM over either axis and a TCN of as many parameters, on the seed's data with equal steps."""
    train, test = split()

    def sample(key, wrong):
        rows = jax.random.randint(key, (training.BLOCK,), 0, len(train.inputs))
        batch = Batch(train.inputs[rows], train.targets[rows])
        return jax.tree.map(lambda right, turned: jnp.where(wrong, turned, right), batch, across(batch))

    def errors(model, params, batch) -> np.ndarray:
        predictions = evaluate.predict(model.apply, params, batch.inputs)
        return training.block_errors((predictions - batch.targets[None]) ** 2).mean(axis=1)

    lstm = models.Regressor(models.LSTM(32))
    tcn = models.Regressor(models.TCN(16, kernel_size=3, dilations=(1, 2, 4)))
    # Learning rates are those of experiments/memory/lorenz96_response.py.
    recurrent = training.networks(lstm, sample, jnp.array([False, True]), seeds, steps, rate=3e-2)
    convolved = training.networks(tcn, sample, jnp.array([False]), seeds, steps, rate=1e-2, vectorise=False)
    over_time = errors(lstm, jax.tree.map(lambda leaf: leaf[:seeds], recurrent), test)
    over_batch = errors(lstm, jax.tree.map(lambda leaf: leaf[seeds:], recurrent), across(test))
    of_tcn = errors(tcn, convolved, test)
    filters = fits.fir(train.inputs, train.targets, 16)
    linear = np.mean((filters.predict(test.inputs) - np.asarray(test.targets)) ** 2)
    wrong, right = (metrics.band(found / np.median(of_tcn)) for found in (over_batch, over_time))
    confirmed = wrong.median > 10 * right.median
    return Finding(
        quantity="error of an LSTM / error of a TCN, batch axis",
        ours=wrong,
        verdict=f"the axis: over the batch {wrong.median:.0f} x the TCN's error, over time {right.median:.2g} x"
        if confirmed
        else f"not the axis: over the batch {wrong.median:.2g} x the TCN's error, over time {right.median:.2g} x",
        claimed=claimed,
        also={
            "over time": right.median,
            "TCN": float(np.median(of_tcn)),
            "LSTM over time": float(np.median(over_time)),
            "LSTM over the batch": float(np.median(over_batch)),
            "16 linear taps": float(linear),
            "TCN's parameters": training.count(convolved),
            "the seed's LSTM": training.torch_count(256),
        },
        parameters=training.count(recurrent),
    )


def is_repaired() -> Finding:
    """D11: what the seed's generator of Lorenz96 costs: Euler's steps, scales that are drawn, a start not told."""
    data = seed_data(16_384)
    x, y = (np.asarray(part[..., 0], np.float64) for part in data[:2])

    def least(first: int) -> np.ndarray:
        """Errors of steps 1 to 31 from all inputs up to each, number `first` the first: number 0 is y(0) itself."""
        errors = []
        for step in range(1, x.shape[1]):
            known = np.column_stack([x[:, first : step + 1], np.ones(len(x))])
            errors.append(np.mean((known @ np.linalg.lstsq(known, y[:, step], rcond=None)[0] - y[:, step]) ** 2))
        return np.array(errors)

    told, untold = least(0), least(1)
    scales = random_scales()
    unit, variance = float(np.median(scales)) ** 2, float(y.var())
    steps = {"Euler": (diffrax.Euler(), 10), "ours": (tasks.Lorenz96().solver, tasks.Lorenz96().substeps)}
    off = {name: _solver_error(*choice) for name, choice in steps.items()}
    washed = tasks.Lorenz96(K=1).calibrated(jax.random.key(0)).irreducible(jax.random.key(1), 512).error
    low, high = np.quantile(scales, (0.05, 0.95))
    start = untold.mean() / variance
    return Finding(
        quantity="least error / variance, y(0) not told",
        ours=exact(float(start)),
        verdict=f"an untold start costs {start:.1%}, Euler {off['Euler']:.0e}, the scale varies {high / low:.1f} x; "
        f"ours {washed:.0e}, {off['ours']:.0e}, 1"
        if washed < start / 100 and off["ours"] < off["Euler"] / 100
        else "not repaired",
        corrected=washed,
        also={
            "y(0) told": told.mean() / variance,
            "not told, in the recorded units": untold.mean() / unit,
            "same at step 1": untold[0] / unit,
            "same at step 8": untold[7] / unit,
            "told, in the recorded units": told.mean() / unit,
            "Euler's largest error": off["Euler"],
            "our solver's": off["ours"],
            "scale, 95 % / 5 %": high / low,
            "mean of the inputs, as mapped": (0 - 0.6) / 0.6,
            "deviation of the inputs, as mapped": 1 / 0.6,
            "sequences that go on from another": float(np.mean(y[512:, 0] == y[:-512, -1])),
        },
    )


def _solver_error(solver, substeps: int) -> float:
    """The largest error of y over 30 samples, K = 3, J = 10, against a solver with 16 times our steps; in float64."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        task = tasks.Lorenz96(K=3, dtype=jnp.float64)
        forcing = GaussianProcess().sample(keys[0], 8 * 3, 30).astype(jnp.float64).reshape(8, 3, 30).swapaxes(1, 2)
        start = [jax.random.normal(key, shape) for key, shape in zip(keys[1:], ((8, 3), (8, 3, 10)), strict=True)]
        fine = dataclasses.replace(task, substeps=16 * task.substeps).integrate(forcing, *start).slow
        coarse = dataclasses.replace(task, solver=solver, substeps=substeps).integrate(forcing, *start).slow
        return float(jnp.abs(coarse - fine).max())
