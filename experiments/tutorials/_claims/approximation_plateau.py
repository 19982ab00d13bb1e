"""Plateaus of the loss in the tutorial: how long they last, and what its scheduler does to a run that is on one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _claims import committed, training
from _claims.finding import Finding, Settings

from seqjax import losses, metrics, models, sweep, train
from seqjax.data.gaussian_process import WhiteNoise
from seqjax.theory import plateau
from seqjax.types import Batch

EPOCH = 312
"""Steps of an epoch of the tutorial's public code: 40,000 sequences in batches of 128."""


def scheduler(settings: Settings) -> Finding:
    """D12: Adam at 1e-3 on a plateau: at a constant rate, with the tutorial's scheduler, and under a stated schedule.

    The stated schedule is a warm-up followed by half a cosine.
    """
    runs, steps = max(settings.seeds, 8), settings.steps
    times = np.arange(1, steps + 1) / EPOCH
    descents = {
        "constant": descend(optax.adam(1e-3), 16.0, runs, steps, scheduled=False),
        "scheduled": descend(optax.adam(1e-3), 16.0, runs, steps, scheduled=True),
        "stated": descend(train.adam(1e-3, steps), 16.0, runs, steps, scheduled=False),
    }
    escapes = {name: metrics.plateau_time(times, loss, 0.95 * plateau.HEIGHT) for name, (loss, _) in descents.items()}
    epochs = {name: metrics.band(np.minimum(found, times[-1])) for name, found in escapes.items()}
    left = {name: int(np.isfinite(found).sum()) for name, found in escapes.items()}
    scale = descents["scheduled"][1]
    first, last = (scale < 1).argmax(axis=1), (scale > scale[:, -1:]).sum(axis=1) - 1
    return Finding(
        quantity="epochs on a plateau, with the scheduler",
        ours=epochs["scheduled"],
        verdict=freezes(epochs, left, runs, times[-1]),
        corrected=epochs["stated"].median,
        also={
            "at a constant rate": epochs["constant"].median,
            "first drop, epoch": float(np.median(times[first])),
            "last drop, epoch": float(np.median(times[last])),
            "rate at epoch 20": 1e-3 * float(np.median(scale[:, min(20 * EPOCH, steps) - 1])),
            "rate at epoch 80": 1e-3 * float(np.median(scale[:, min(80 * EPOCH, steps) - 1])),
            "last rate": 1e-3 * float(np.median(scale[:, -1])),
        },
        parameters=16,
    )


def freezes(epochs: dict[str, metrics.Band], left: dict[str, int], runs: int, last: float) -> str:
    """The verdict of D12 from epochs until the loss falls, how many runs leave the plateau, and the epochs trained."""
    frozen, fastest = epochs["scheduled"].median, max(epochs["constant"].median, epochs["stated"].median)
    if left["scheduled"] >= left["constant"] or frozen <= 2 * fastest:
        return "the scheduler does no harm on this plateau"
    others = f"at a constant rate {left['constant']}, after {epochs['constant'].median:.0f}"
    stated = f"with warm-up and cosine {left['stated']}, after {epochs['stated'].median:.0f}"
    return f"frozen by the scheduler: {left['scheduled']} of {runs} leave within {last:.0f} epochs; {others}; {stated}"


def descend(optimizer, memory: float, seeds: int, steps: int, *, scheduled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Losses and remaining fractions of the rate [seed, step] of 8 units on the loss that has a plateau, in float64.

    If `scheduled`, the rate falls tenfold after 10 epochs without progress, as by PyTorch's ReduceLROnPlateau.
    """

    def run(start):
        def update(carry, step):
            model, state, watch = carry
            value, gradient = jax.value_and_grad(plateau.loss)(model, memory)
            change, state = optimizer.update(gradient, state)
            scale = watch.scale if scheduled else 1.0
            model = jax.tree.map(lambda part, by: part + scale * by, model, change)
            watch = watch.after(value, step, EPOCH)
            return (model, state, watch), (value, watch.scale)

        carry = start, optimizer.init(start), training.Watch.start()
        return jax.lax.scan(update, carry, jnp.arange(steps))[1]

    amplitude_key, rate_key = jax.random.split(jax.random.key(0))
    with jax.enable_x64(True):
        starts = plateau.Exponentials(
            jax.random.normal(amplitude_key, (seeds, 8)) / 8,
            jax.random.uniform(rate_key, (seeds, 8), minval=0.5, maxval=2.0),
        )
        found, scales = jax.jit(jax.vmap(run))(starts)
        return np.asarray(found), np.asarray(scales)


def plateaus(settings: Settings) -> Finding:
    """C4: slopes of log escape time: of experiments/theory/plateau.py, and of gated networks on shifts with Adam."""
    slopes = {}
    for name, wanted in (
        ("flow", {"optimizer": "flow", "units": 2}),
        ("descent", {"optimizer": "descent", "start": "random"}),
        ("Adam", {"optimizer": "adam", "epsilon": 1e-8, "noise": 0.0}),
    ):
        left = [row for row in committed.rows("plateau", **wanted) if 2 * row["escaped"] > row["seeds"]]
        memory, escape = (np.array([row[key] for row in left]) for key in ("memory", "escape"))
        slopes[name] = metrics.band(np.diff(np.log(escape)) / np.diff(memory))
    delays = (8, 12, 16, 20)
    steps, backbones = settings.steps, {"GRU": models.GRU(32), "LSTM": models.LSTM(32)}
    waits = {name: escapes(backbone, delays, settings.seeds, steps) for name, backbone in backbones.items()}
    medians = {name: np.median(found, axis=1) for name, found in waits.items()}
    gated = {name: float(np.log(found[-1] / found[0])) / (delays[-1] - delays[0]) for name, found in medians.items()}
    censored = any(found[-1] >= steps for found in medians.values())
    return Finding(
        quantity="d log(escape) / d memory, gradient descent",
        ours=slopes["descent"],
        verdict=exponential({name: (band.median, band.high) for name, band in slopes.items()}, gated, censored),
        also={f"{name}, median": band.median for name, band in slopes.items()}
        | {f"{name}, largest": band.high for name, band in slopes.items()}
        | {f"{name} with Adam, per step of delay": slope for name, slope in gated.items()}
        | {
            f"{name}, steps until shift {delay}": float(wait)
            for name, found in medians.items()
            for delay, wait in zip(delays, found, strict=True)
        }
        | {f"{name}, runs that never leave": float((found >= steps).sum()) for name, found in waits.items()},
        parameters=16,
    )


def escapes(backbone, delays: tuple[int, ...], seeds: int, steps: int) -> np.ndarray:
    """Steps [delay, seed] until the error of a gated network is 5 % below the zero predictor's; at most `steps`.

    The rate is constant, as a decaying one would end the plateau by itself.
    """
    length, per_call = 64, 10
    model = models.Regressor(backbone)

    def sample(key, delay):
        x = WhiteNoise().sample(key, training.BLOCK, length)[..., None]
        return Batch(x, jnp.where(jnp.arange(length)[None, :, None] >= delay, jnp.roll(x, delay, axis=1), 0))

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets)

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, length, 1))),
        loss,
        lambda delay: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
        sample,
        keys=jnp.tile(jax.random.split(jax.random.key(0), seeds), len(delays)),
        settings=jnp.repeat(jnp.array(delays), seeds),
        steps=min(per_call, steps),
    )
    history = np.array([found["loss"] for _, found in train.run(advance, state, steps)]).T
    zero = np.repeat(1 - np.array(delays) / length, seeds)
    times = per_call * np.arange(1, history.shape[1] + 1)
    waits = metrics.plateau_time(times, history / zero[:, None], 0.95)
    return np.minimum(waits, steps).reshape(len(delays), seeds)


def exponential(slopes: dict[str, tuple[float, float]], gated: dict[str, float], censored: bool) -> str:
    """The verdict of C4 from slopes, (median, largest) of each optimiser, and those of gated networks.

    Args:
        censored: whether a gated network never leaves its plateau, which makes its slope a lower bound.
    """
    _, descent = slopes["descent"]
    adam, _ = slopes["Adam"]
    nets = f"gated nets {max(gated.values()):.2g} per step" + (" or more" if censored else "")
    found = f"log escape time grows by up to {descent:.2g} per unit of memory, with Adam by {adam:.2g}; {nets}"
    if descent < 0.3:
        return f"false: {found}"
    if adam < descent / 2:
        return f"true of gradient descent only: {found}"
    return f"true: {found}"
