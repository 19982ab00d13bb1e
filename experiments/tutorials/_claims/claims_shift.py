"""Claims on the shift: who learns it, what memory costs a linear RNN, how long training waits, what looks like zero."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _claims import claims_committed, shift, training
from _claims.finding import Finding

from seqjax import evaluate, losses, metrics, models, sweep, tasks, train
from seqjax.data.gaussian_process import GaussianProcess, WhiteNoise
from seqjax.theory import fits, targets
from seqjax.types import Batch

RECURRENT = ("rnn", "gru", "lstm")

SOLVED = 0.1
"""A shift is learned where this share of the error of what remembers nothing is left, or less."""

NETWORKS = {
    "rnn": (models.RNN(51), 1e-2),
    "gru": (models.GRU(29), 3e-2),
    "lstm": (models.LSTM(25), 3e-2),
    "tcn": (models.TCN(10, kernel_size=3, dilations=(1, 2, 4, 8, 16)), 3e-2),
    "transformer": (models.Transformer(12, heads=2, layers=2, expansion=2, positions=models.Rotary()), 1e-2),
}
"""Each with its learning rate, that of experiments/memory/shift_memory.py: 2,750 parameters, give or take 5 %."""


def by_architecture(seeds: int, steps: int) -> Finding:
    """C1: every architecture on white noise, as experiments/memory/shift_memory.py has it, and on the seed's two tasks."""
    white = {}
    for row in claims_committed.rows("shift_memory"):
        if row["model"] in NETWORKS:
            white[row["model"], row["delay"]] = row["mse"] / row["zero_predictor"]
    smooth = {}
    for delay, length in ((8, 32), (32, 128)):
        task = tasks.Shift(delay, length, GaussianProcess())
        test = task.sample(jax.random.key(1), 1024)
        for name, (backbone, rate) in NETWORKS.items():
            model = models.Regressor(backbone)
            params = training.networks(
                model,
                lambda key, _, task=task: task.sample(key, training.BLOCK),
                jnp.zeros(1),
                seeds,
                steps,
                rate,
                vectorise=name != "tcn",
            )
            found = evaluate.predict(model.apply, params, test.inputs)
            left = np.square(found - test.targets[None]).mean(axis=(1, 2, 3)) / task.memoryless_floor()
            smooth[name, delay] = float(np.median(left))
    rows = {name: claims_committed.row("shift_memory", model=name, delay=32) for name in (*RECURRENT, "tcn")}
    best = min((rows[name] for name in RECURRENT), key=lambda row: row["mse"])
    tcn = rows["tcn"]
    return Finding(
        quantity="best recurrent error / TCN's, shift 32, white",
        ours=metrics.Band(best["mse"] / tcn["mse"], best["low"] / tcn["high"], best["high"] / tcn["low"]),
        verdict=who_learns(white, smooth),
        also={f"white {delay}, {name}": left for (name, delay), left in white.items()}
        | {f"smooth {delay}, {name}": left for (name, delay), left in smooth.items()},
        parameters=tcn["parameters"],
    )


def who_learns(white: dict[tuple[str, int], float], smooth: dict[tuple[str, int], float]) -> str:
    """The verdict of C1 from what is left of the error, by architecture and delay."""

    def learned(found, name) -> set[int]:
        return {delay for model, delay in found if model == name and found[model, delay] <= SOLVED}

    delays = {delay for _, delay in white}
    recurrent = set.intersection(*(learned(white, name) for name in RECURRENT))
    lost = delays - set.union(*(learned(white, name) for name in RECURRENT))
    fine = {delay: [name for name in RECURRENT if delay in learned(smooth, name)] for delay in (8, 32)}
    if learned(white, "tcn") < delays:
        return f"no: the TCN itself learns {_listed(learned(white, 'tcn'))} only"
    if not recurrent:
        return f"stands: the TCN learns {_listed(delays)}, not every recurrent net any of them"
    if not lost:
        return f"no: some recurrent net learns each of {_listed(delays)} too"
    own = ", ".join(f"shift {delay} {'/'.join(names) or 'none'}" for delay, names in fine.items())
    others = " and Transformer" if lost <= learned(white, "transformer") else ""
    both = f"recurrent nets learn {_listed(recurrent)}, {_listed(lost)} only TCN{others}"
    return f"half: on white noise {both}; on S4's smooth input, {own}"


def _listed(delays) -> str:
    return ", ".join(str(delay) for delay in sorted(delays)) or "nothing"


def is_a_convolution() -> Finding:
    """C2: one channel of dilated taps, placed by the digits of the delay, against the shift itself."""
    longest, exact, taps = 255, True, {}
    for delay in range(1, longest + 1):
        layers = math.ceil(math.log2(delay + 1))
        network = fits.digits(delay, layers)
        exact &= bool((network.kernel() == targets.shift(delay, 2**layers)).all())
        taps[delay] = sum(part.size for part in network.taps)
    errors = []
    for delay in (8, 32, longest):
        layers = math.ceil(math.log2(delay + 1))
        batch = tasks.Shift(delay, 2 * delay).sample(jax.random.key(delay), 8)
        model = models.LinearDilatedCNN(1, layers)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), fits.digits(delay, layers).params())
        errors.append(float(jnp.abs(jnp.asarray(model.apply(params, batch.inputs)) - batch.targets).max()))
    return Finding(
        quantity=f"largest error in float32, shifts 8, 32, {longest}",
        ours=metrics.Band(float(np.median(errors)), min(errors), max(errors)),
        verdict=certificate(exact, max(errors), longest, taps[longest]),
        floor=0.0,
        also={f"taps, shift {delay}": float(taps[delay]) for delay in (8, 32, longest)}
        | {f"states of a linear RNN, shift {delay}": delay + 1.0 for delay in (8, 32, longest)},
        parameters=taps[8],
    )


def certificate(exact: bool, error: float, longest: int, taps: int) -> str:
    """The verdict of C2."""
    if not exact or error >= 1e-6:
        return f"no: an error of {error:.1g} is left"
    return f"stands: exact for every shift to {longest}, which takes {taps} taps; a linear RNN, {longest + 1} states"


def hurts_linear_rnns() -> Finding:
    """C3: linear RNNs trained in experiments/theory/recurrent_width.py on shift 8, their floor, and gated ones."""
    delay = 8
    rows = claims_committed.rows("recurrent_width", target=f"shift {delay}", start="random", batch_size=0)
    singular = np.linalg.svd(targets.hankel(targets.shift(delay, 2 * delay + 1), delay + 1), compute_uv=False)
    by_order = {row["order"]: row for row in rows}
    few, one = by_order[4], by_order[1]
    line = float(np.abs(fits.delay_line(delay + 1).kernel(32) - targets.shift(delay, 32)).max())
    gated = claims_committed.row("shift_memory", model="gru", delay=32)
    untrained = gated["mse"] / gated["zero_predictor"]
    return Finding(
        quantity="error of a linear RNN with 4 states, shift 8",
        ours=metrics.Band(few["error"], few["low"], few["high"]),
        verdict=hurts([(row["order"], row["error"], row["floor"]) for row in rows], delay, line, untrained),
        floor=1 - 4 / (delay + 1),
        also={f"trained, {order} states": row["error"] for order, row in by_order.items()}
        | {f"floor, {order} states": row["floor"] for order, row in by_order.items()}
        | {
            "best of 1 state, formula": 1 - delay**delay / (delay + 1) ** (delay + 1),
            "best of 1 state, fitted": one["fit"],
            "delay line of 9 states": line,
            "least singular value": float(singular.min()),
            "largest singular value": float(singular.max()),
            "GRU of 47 states, shift 32, of zero's error": untrained,
        },
        parameters=few["parameters"],
    )


def hurts(found: list[tuple[int, float, float]], delay: int, line: float, gated: float) -> str:
    """The verdict of C3 from orders, errors and floors of linear RNNs, a delay line's error and a gated net's."""
    above = all(error >= floor for _, error, floor in found)
    short = min(error for order, error, _ in found if order <= delay)
    enough = max(error for order, error, _ in found if order > delay)
    if not above or short < 0.01 or line > 0:
        return "no: fewer states than the delay are enough"
    rest = "more nothing" if enough < 1e-6 else f"more up to {enough:.2g}"
    why = ", which fail by training" if gated > 0.5 else ""
    return f"stands for linear RNNs: {delay} states leave {short:.2g} or more, {rest}; no bound for gated nets{why}"


def plateaus(seeds: int, steps: int) -> Finding:
    """C4: slopes of log escape time, from experiments/theory/plateau.py, and of gated networks that learn shifts with Adam."""
    slopes = {}
    for name, wanted in (
        ("flow", {"optimizer": "flow", "units": 2}),
        ("descent", {"optimizer": "descent", "start": "random"}),
        ("Adam", {"optimizer": "adam", "epsilon": 1e-8, "noise": 0.0}),
    ):
        left = [row for row in claims_committed.rows("plateau", **wanted) if 2 * row["escaped"] > row["seeds"]]
        memory, escape = (np.array([row[key] for row in left]) for key in ("memory", "escape"))
        slopes[name] = metrics.band(np.diff(np.log(escape)) / np.diff(memory))
    delays = (8, 12, 16, 20)
    gated_nets = {"GRU": models.GRU(32), "LSTM": models.LSTM(32)}
    waits = {name: escapes(backbone, delays, seeds, steps) for name, backbone in gated_nets.items()}
    medians = {name: np.median(found, axis=1) for name, found in waits.items()}
    gated = {name: float(np.log(found[-1] / found[0])) / (delays[-1] - delays[0]) for name, found in medians.items()}
    censored = any(found[-1] >= steps for found in medians.values())
    return Finding(
        quantity="d log(escape) / d memory, gradient descent",
        ours=slopes["descent"],
        verdict=exponential({name: (band.median, band.high) for name, band in slopes.items()}, gated, censored),
        also={f"{name}, median": band.median for name, band in slopes.items()}
        | {f"{name}, largest": band.high for name, band in slopes.items()}
        | {f"{name} with Adam, a step of delay": slope for name, slope in gated.items()}
        | {
            f"{name}, steps until shift {delay}": float(wait)
            for name, found in medians.items()
            for delay, wait in zip(delays, found, strict=True)
        }
        | {f"{name}, runs that never leave": float((found >= steps).sum()) for name, found in waits.items()},
        parameters=16,
    )


def escapes(backbone, delays: tuple[int, ...], seeds: int, steps: int) -> np.ndarray:
    """Steps [delay, seed] until a gated network has lost 5 % of the zero predictor's error; `steps` where it never has.

    Adam at a rate that stays, as one that falls would end the wait by itself.
    """
    length, per_call = 64, 10
    model = models.Regressor(backbone)

    def sample(key, step, delay):
        x = WhiteNoise().sample(jax.random.fold_in(key, step), training.BLOCK, length)
        return Batch(
            x[..., None], jnp.where(jnp.arange(length)[None] >= delay, jnp.roll(x, delay, axis=1), 0)[..., None]
        )

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets), {}

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
        censored: whether a gated network never leaves, so that its slope is a bound.
    """
    _, descent = slopes["descent"]
    adam, _ = slopes["Adam"]
    nets = f"gated nets {max(gated.values()):.2g} a step" + (" or more" if censored else "")
    found = f"descent up to {descent:.2g} a unit of memory, Adam {adam:.2g}; {nets}"
    if descent < 0.3:
        return f"no: {found}"
    if adam < descent / 2:
        return f"half: true of gradient descent; {found}"
    return f"stands: {found}"


def is_the_conditional_mean(seeds: int, steps: int) -> Finding:
    """C5: what the squared error asks for where the past is not seen, in closed form and trained."""
    errors, slopes, parameters = shift.axes(seeds, steps)
    short, long = shift.SEED, tasks.Shift(32, 128, GaussianProcess())
    best = {name: task.memoryless_floor() / task.zero_loss() for name, task in (("8/32", short), ("32/128", long))}
    blind = metrics.band(errors[1].mean(axis=1) / short.zero_loss())
    slope = float(np.median(slopes))
    return Finding(
        quantity="error without memory / zero predictor's, 8/32",
        ours=blind,
        verdict=near_zero(best, blind.median, slope),
        floor=best["8/32"],
        also={
            "slope over the present input": slope,
            "best without memory, 32/128": best["32/128"],
            "with memory, 8/32": float(np.median(errors[0].mean(axis=1))) / short.zero_loss(),
        },
        parameters=parameters,
    )


def near_zero(best: dict[str, float], blind: float, slope: float) -> str:
    """The verdict of C5 from shares of the zero predictor's error: the best without memory, and a trained net's."""
    if abs(blind / best["8/32"] - 1) > 0.02:
        return f"open: the net's {blind:.2g} of zero's error is not the best without memory, {best['8/32']:.2g}"
    gain = 1 - best["32/128"]
    if best["8/32"] > 0.99:
        return f"stands: zero is within {gain:.0e} of the best"
    told = f"the mean given x_t alone is {slope:.2g} x_t at 8/32, error {blind:.2g} of zero's"
    return f"half: {told}; at 32/128 zero is the best to {gain:.0e}" if gain < 1e-3 else f"no: {told}"
