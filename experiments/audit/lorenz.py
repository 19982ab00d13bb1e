"""Rows on Lorenz96: how linear it is at K = 1, and what a network that cannot see time makes of the seed's data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from audit import training
from audit.finding import Finding, exact
from audit.shift import across

from seqjax import evaluate, metrics, models, tasks
from seqjax.data.signals import GaussianProcess
from seqjax.theory import fits
from seqjax.types import Batch


def is_linear() -> Finding:
    """AU3: what linear filters leave of the variance at K = 1, and the linear RNN of two states that is its limit."""
    task = tasks.Lorenz96(K=1)
    seen, fresh = (task.draw(jax.random.key(seed), 512).batch for seed in (0, 1))

    def left(predict) -> float:
        return 1 - metrics.r2(predict(fresh.inputs), fresh.targets, fresh.weight)

    windows = {w: left(fits.fir(seen.inputs, seen.targets, w, seen.weight).predict) for w in (1, 2, 4, 8, 16)}
    kernel = fits.two_level(task.eps, task.hx, task.hy, task.sample_step).kernel(task.length)
    two_states = left(fits.FIR(kernel[:, None, None], np.zeros(1)).predict)
    linear = windows[16] < 1e-3
    return Finding(
        quantity="unexplained by 16 linear taps, K = 1",
        ours=exact(windows[16]),
        verdict=f"linear to {windows[16]:.0e}" if linear else "nonlinear",
        also={f"{window} taps": windows[window] for window in (1, 2, 4, 8)} | {"linear RNN of two states": two_states},
        parameters=17,
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


def cannot_see_time(claimed: float) -> Finding:
    """AU5: the error of the best function of the present input on the seed's data, in the recorded run's units."""
    data = seed_data(16_384)
    x, y = (np.asarray(part[..., 0], np.float64) for part in data[:2])
    # One polynomial for all steps: what recurs over the batch does not know which step it is at.
    polynomial = np.polynomial.Polynomial.fit(x.ravel(), y.ravel(), 5)
    error = float(np.mean((polynomial(x) - y) ** 2))
    line = np.polynomial.Polynomial.fit(x.ravel(), y.ravel(), 1)
    # Targets are divided by the largest |forcing| of 32 fresh sequences of 128 steps, which is another one every time.
    drawn = np.asarray(GaussianProcess().sample(jax.random.key(1), 32 * 500, 128), np.float64).reshape(500, -1)
    scales = np.abs(drawn).max(axis=1)
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
            "floor / variance of the outputs": error / float(y.var()),
            "same for a line": float(np.mean((line(x) - y) ** 2)) / float(y.var()),
            "scale needed": needed,
            "scale, median": float(np.median(scales)),
            "scales as far off": share,
        },
    )


def unequal(claimed: float, seeds: int, steps: int) -> Finding:
    """AU4: an LSTM over either axis and a TCN of as many parameters, on the seed's data with equal steps."""
    data, held_out = seed_data(16_384), 4_096
    train, test = (Batch(data.inputs[part], data.targets[part]) for part in (slice(-held_out), slice(-held_out, None)))
    scale = float(test.targets.std())

    def sample(key, wrong):
        rows = jax.random.randint(key, (training.BLOCK,), 0, len(train.inputs))
        batch = Batch(train.inputs[rows], train.targets[rows] / scale)
        return jax.tree.map(lambda right, turned: jnp.where(wrong, turned, right), batch, across(batch))

    def errors(model, params, batch) -> np.ndarray:
        predictions = evaluate.predict(model.apply, params, batch.inputs)
        return training.block_errors((predictions - batch.targets[None] / scale) ** 2).mean(axis=1)

    lstm = models.Regressor(models.Recurrent(32, models.LSTM))
    tcn = models.Regressor(models.TCN(16, kernel_size=3, dilations=(1, 2, 4)))
    # Learning rates are those of experiments/lorenz96_response.py.
    recurrent = training.networks(lstm, sample, jnp.array([False, True]), seeds, steps, rate=3e-2)
    convolved = training.networks(tcn, sample, jnp.array([False]), seeds, steps, rate=1e-2, vectorise=False)
    over_time = errors(lstm, jax.tree.map(lambda leaf: leaf[:seeds], recurrent), test)
    over_batch = errors(lstm, jax.tree.map(lambda leaf: leaf[seeds:], recurrent), across(test))
    of_tcn = errors(tcn, convolved, test)
    filters = fits.fir(train.inputs, train.targets, 16)
    linear = np.mean((filters.predict(test.inputs) - np.asarray(test.targets)) ** 2) / scale**2
    wrong, right = (metrics.band(found / np.median(of_tcn)) for found in (over_batch, over_time))
    big = models.Regressor(models.Recurrent(256, models.LSTM, layers=2))
    of_seed = jax.eval_shape(big.init, jax.random.key(0), jnp.zeros((1, 32, 1)))
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
            # PyTorch's cells have a second bias vector: four gates of 256 in two layers.
            "the seed's LSTM": sum(leaf.size for leaf in jax.tree.leaves(of_seed)) + 2 * 4 * 256,
        },
        parameters=training.count(recurrent),
    )
