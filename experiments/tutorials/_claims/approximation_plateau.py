"""Plateaus of the loss in the tutorial: how long they last, and what its scheduler does to a run that is on one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _claims import committed, training
from _claims.finding import Finding, Settings

from seqjax import losses, metrics, models, sweep, train
from seqjax.data.gaussian_process import WhiteNoise
from seqjax.theory import censored, plateau
from seqjax.types import Batch, InputError

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


GATED = {"GRU": models.GRU(32), "LSTM": models.LSTM(32)}

DELAYS = (8, 12, 16, 20)
"""Of the shifts whose plateaus are timed, on white noise of 64 steps."""

OPTIMIZERS = {
    "gradient descent": optax.sgd(0.3),
    "Adam": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2)),
}
"""At constant rates, as a decaying one would end the plateau by itself; at 1.0 gradient descent diverges."""


def plateaus(settings: Settings) -> Finding:
    """C4: slopes of log escape time: of experiments/theory/plateau.py, and of gated networks on shifts.

    The exponent of the former rises with memory, so that it is given between neighbouring memories; the latter is one
    slope over all delays and seeds, where runs that never escape count as lower bounds.
    """
    slopes = {}
    for name, wanted in (
        ("flow", {"optimizer": "flow", "units": 2}),
        ("descent", {"optimizer": "descent", "start": "random"}),
        ("Adam", {"optimizer": "adam", "epsilon": 1e-8, "noise": 0.0}),
    ):
        left = [row for row in committed.rows("plateau", **wanted) if 2 * row["escaped"] > row["seeds"]]
        memory, escape = (np.array([row[key] for row in left]) for key in ("memory", "escape"))
        slopes[name] = metrics.band(np.diff(np.log(escape)) / np.diff(memory))
    waits = {
        f"{network} with {name}": escapes(backbone, optimizer, settings.seeds, settings.steps)
        for network, backbone in GATED.items()
        for name, optimizer in OPTIMIZERS.items()
    }
    gated = {name: growth(found, settings.steps) for name, found in waits.items()}
    return Finding(
        quantity="d log(escape) / d memory, gradient descent",
        ours=slopes["descent"],
        verdict=exponential({name: (band.median, band.high) for name, band in slopes.items()}, gated),
        also={f"{name}, median": band.median for name, band in slopes.items()}
        | {f"{name}, largest": band.high for name, band in slopes.items()}
        | {
            f"{name}, per step of delay{end}": found[place]
            for name, found in gated.items()
            if found
            for end, place in (("", 0), (", least", 1), (", most", 2))
            if np.isfinite(found[place])
        }
        | {
            f"{name}, steps until shift {delay}": float(np.median(wait))
            for name, found in waits.items()
            for delay, wait in zip(DELAYS, np.minimum(found, settings.steps), strict=True)
        }
        | {f"{name}, runs that never leave": float(np.isinf(found).sum()) for name, found in waits.items()},
        parameters=16,
    )


def growth(waits: np.ndarray, steps: int) -> censored.Slope | None:
    """The slope of log escape time [delay, seed] against delay, with its interval; None if too few runs escape.

    Args:
        waits: steps until the escape, inf for runs that had not escaped after `steps`.
    """
    delays = np.repeat(np.array(DELAYS, float), waits.shape[1])
    late = np.isinf(waits.ravel())
    try:
        return censored.slope(delays, np.log(np.minimum(waits.ravel(), steps)), late)
    except InputError:
        return None


def escapes(backbone, optimizer: optax.GradientTransformation, seeds: int, steps: int) -> np.ndarray:
    """Steps [delay, seed] until the error of a gated network is 5 % below the zero predictor's; inf if it never is."""
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
        lambda delay: optimizer,
        sample,
        keys=jnp.tile(jax.random.split(jax.random.key(0), seeds), len(DELAYS)),
        settings=jnp.repeat(jnp.array(DELAYS), seeds),
        steps=min(per_call, steps),
    )
    history = np.array([found["loss"] for _, found in train.run(advance, state, steps)]).T
    zero = np.repeat(1 - np.array(DELAYS) / length, seeds)
    times = per_call * np.arange(1, history.shape[1] + 1)
    return metrics.plateau_time(times, history / zero[:, None], 0.95).reshape(len(DELAYS), seeds)


def exponential(slopes: dict[str, tuple[float, float]], gated: dict[str, censored.Slope | None]) -> str:
    """The verdict of C4 from slopes, (median, largest) of each optimiser, and those of gated networks.

    Args:
        gated: by network and optimiser, of `GATED` and `OPTIMIZERS`; None, unknown, where too few runs escape.
    """
    _, descent = slopes["descent"]
    adam, _ = slopes["Adam"]
    nets = [
        f"{network} {' / '.join(_interval(gated[f'{network} with {name}']) for name in OPTIMIZERS)}"
        for network in GATED
    ]
    found = f"log escape time grows by up to {descent:.2g} per unit of memory, with Adam by {adam:.2g}; "
    found += f"per step of delay, descent / Adam: {'; '.join(nets)}"
    if descent < 0.3:
        return f"false: {found}"
    if adam < descent / 2:
        with_adam = [gated[f"{network} with Adam"] for network in GATED]
        also = any(slope is not None and slope.low > 0 for slope in with_adam)
        return f"true of gradient descent{', and with Adam of gated networks' if also else ' only'}: {found}"
    return f"true: {found}"


def _interval(slope: censored.Slope | None) -> str:
    if slope is None:
        return "unknown"
    if np.isinf(slope.high):
        return f"{slope.low:.2g} or more"
    return f"{slope.value:.2g} ({slope.low:.2g} to {slope.high:.2g})"
