"""Shifts in the tutorial: what smooth inputs hide, who learns a shift, and what a linear RNN needs for it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import committed, training
from _claims.finding import Finding, Settings, ratio

from seqjax import metrics, models, tasks
from seqjax.data.gaussian_process import GaussianProcess, WhiteNoise
from seqjax.theory import bounds, fits, targets

RECURRENT = ("rnn", "gru", "lstm")

SOLVED = 0.1
"""A shift is learned if the error is this fraction of the best error without memory, or less."""

NETWORKS = {
    "rnn": (models.RNN(51), 1e-2), "gru": (models.GRU(29), 3e-2), "lstm": (models.LSTM(25), 3e-2),
    "tcn": (models.TCN(10, kernel_size=3, dilations=(1, 2, 4, 8, 16)), 3e-2),
    "transformer": (models.Transformer(12, heads=2, layers=2, expansion=2, positions=models.Rotary()), 1e-2),
}  # fmt: skip
"""Each with its learning rate, that of experiments/memory/shift_memory.py: 2,750 parameters, give or take 5 %."""


class Extrapolated(NamedTuple):
    """The error of filters too short for a delay, with a standard error each way, and its floor."""

    floor: float
    error: metrics.Band


def extrapolated(signal, delay: int, window: int) -> Extrapolated:
    """The input some steps back, from the last `window` inputs alone."""
    length, rows = 64, 4096
    floor = bounds.window(signal.covariance(length), delay, window)
    task = tasks.Shift(delay, length, signal)
    seen, fresh = (task.sample(jax.random.key(seed), rows) for seed in (0, 1))
    counted = np.broadcast_to(np.arange(length) >= delay, (rows, length)).astype(float)
    filters = fits.fir(seen.inputs, seen.targets, window, counted)
    squared = np.square(filters.predict(fresh.inputs) - fresh.targets)[:, delay:].mean(axis=(1, 2))
    error, noise = squared.mean(), squared.std() / rows**0.5
    bounds.require_above(floor, error, noise)
    return Extrapolated(floor, metrics.band([error - noise, error, error + noise]))


def smooth_input(_: Settings) -> Finding:
    """D2: shift 8 from the last 4 inputs, which do not reach back to it, on the smooth process and on white noise."""
    smooth, white = (extrapolated(signal, 8, 4) for signal in (GaussianProcess(), WhiteNoise()))
    covariance = GaussianProcess().covariance(64)
    others = ((8, 1), (8, 2), (8, 3), (16, 4), (16, 8), (32, 16), (32, 24))
    needed = {
        delay: next(w for w in range(1, delay + 2) if bounds.window(covariance, delay, w) < 0.01)
        for delay in (8, 16, 32)
    }
    hidden = smooth.error.median < 0.01 * white.error.median and white.error.low > 0.95
    return Finding(
        quantity="error of shift 8 from the last 4 inputs",
        ours=smooth.error,
        verdict=f"no: without memory of 8 steps {1 - smooth.error.median:.1%} is explained; of white noise nothing"
        if hidden
        else "yes: memory is needed",
        corrected=white.error.median,
        floor=smooth.floor,
        also={f"shift {delay}, {window} inputs": bounds.window(covariance, delay, window) for delay, window in others}
        | {f"inputs needed for 1%, shift {delay}": window for delay, window in needed.items()}
        | {
            "shift 8, 4 inputs, jitter 1e-6": bounds.window(GaussianProcess(jitter=1e-6).covariance(64), 8, 4),
            "shift 8, 4 inputs, white noise": bounds.window(WhiteNoise().covariance(64), 8, 4),
            "directions above 1e-6 in 32 steps": int((np.linalg.eigvalsh(covariance[:32, :32]) > 1e-6).sum()),
        },
        parameters=5,
    )


def by_architecture(settings: Settings) -> Finding:
    """C1: every architecture at one size: on white noise (experiments/memory/shift_memory.py), and on both of the
    tutorial's tasks, which compares an RNN on shift 8/32 with a TCN on shift 32/128.

    The tutorial's RNN recurs over the batch; its error is taken to be the floor without memory.
    """
    white = {}
    for row in committed.rows("shift_memory"):
        if row["model"] in NETWORKS:
            white[row["model"], row["delay"]] = row["mse"] / row["zero_predictor"]
    smooth, errors, blind = {}, {}, {}
    for delay, length in ((8, 32), (32, 128)):
        task = tasks.Shift(delay, length, GaussianProcess())
        test, blind[delay] = task.sample(jax.random.key(1), 1024), task.memoryless_floor()

        def sample(key, _, task=task):
            return task.sample(key, training.BLOCK)

        for name, (backbone, rate) in NETWORKS.items():
            model = models.Regressor(backbone)
            params = training.networks(model, sample, settings.seeds, settings.steps, rate, vectorise=name != "tcn")
            errors[name, delay] = metrics.band(training.errors(model, params, test))
            smooth[name, delay] = errors[name, delay].median / blind[delay]
    as_compared = blind[8] / errors["tcn", 32].median
    equal = {delay: ratio(errors["lstm", delay], errors["tcn", delay]) for delay in blind}
    overstated = as_compared / max(band.median for band in equal.values())
    rows = {name: committed.row("shift_memory", model=name, delay=32) for name in (*RECURRENT, "tcn")}
    best = min(rows[name]["mse"] for name in RECURRENT)
    return Finding(
        quantity="error of an LSTM / of a TCN, shift 32/128",
        ours=equal[32],
        verdict=who_learns(white, smooth, overstated),
        claimed=settings.claimed,
        also={
            "as the tutorial compared": as_compared,
            "LSTM / TCN, shift 8/32": equal[8].median,
            "best recurrent / TCN, shift 32, white": best / rows["tcn"]["mse"],
        }
        | {f"white {delay}, {name}": left for (name, delay), left in white.items()}
        | {f"smooth {delay}, {name}": left for (name, delay), left in smooth.items()},
        parameters=rows["tcn"]["parameters"],
    )


def who_learns(white: dict[tuple[str, int], float], smooth: dict[tuple[str, int], float], overstated: float) -> str:
    """The verdict of C1 from the error over the best without memory, by architecture and delay.

    Args:
        overstated: the TCN's lead in the tutorial's comparison over its lead on one task at one size.
    """

    def learned(found, name) -> set[int]:
        return {delay for model, delay in found if model == name and found[model, delay] <= SOLVED}

    delays = {delay for _, delay in white}
    recurrent = set.intersection(*(learned(white, name) for name in RECURRENT))
    lost = delays - set.union(*(learned(white, name) for name in RECURRENT))
    fine = {delay: [name for name in RECURRENT if delay in learned(smooth, name)] for delay in (8, 32)}
    lead = f"; the tutorial overstates the TCN's lead {overstated:.0f} x" if overstated > 3 else ""
    if learned(white, "tcn") < delays:
        return f"false: the TCN itself learns {_listed(learned(white, 'tcn'))} only{lead}"
    if not recurrent:
        return f"true: the TCN learns {_listed(delays)}, and not every recurrent net any of them{lead}"
    if not lost:
        return f"false: some recurrent net learns each of {_listed(delays)} too{lead}"
    own = ", ".join(f"{delay} {'/'.join(names) or 'none'}" for delay, names in fine.items())
    others = " and Transformer" if lost <= learned(white, "transformer") else ""
    both = f"all recurrent nets learn {_listed(recurrent)}, only TCN{others} {_listed(lost)}"
    return f"partly true: on white noise {both}; on smooth input {own}{lead}"


def _listed(delays) -> str:
    return ", ".join(str(delay) for delay in sorted(delays)) or "nothing"


def is_a_convolution(_: Settings) -> Finding:
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
        return f"false: an error of {error:.1g} is left"
    return f"true: exact for every shift to {longest}, which needs {taps} taps; a linear RNN needs {longest + 1} states"


def hurts_linear_rnns(_: Settings) -> Finding:
    """C3: linear RNNs trained by experiments/theory/recurrent_width.py on shift 8, their floor, and gated networks."""
    delay = 8
    rows = committed.rows("recurrent_width", target=f"shift {delay}", start="random", batch_size=0)
    by_order = {row["order"]: row for row in rows}
    same, one = by_order[delay], by_order[1]
    singular = np.linalg.svd(targets.hankel(targets.shift(delay, 2 * delay + 1), delay + 1), compute_uv=False)
    line = float(np.abs(fits.delay_line(delay + 1).kernel(32) - targets.shift(delay, 32)).max())
    gated = committed.row("shift_memory", model="gru", delay=32)
    untrained = gated["mse"] / gated["zero_predictor"]
    return Finding(
        quantity=f"error of a linear RNN with {delay} states, shift {delay}",
        ours=metrics.Band(same["error"], same["low"], same["high"]),
        verdict=hurts([(row["order"], row["low"], row["floor"]) for row in rows], delay, line, untrained),
        floor=1 - delay / (delay + 1),
        also={f"trained, {order} states": row["error"] for order, row in by_order.items()}
        | {f"best of the seeds, {order} states": row["low"] for order, row in by_order.items()}
        | {f"floor, {order} states": row["floor"] for order, row in by_order.items()}
        | {
            "best of 1 state, formula": 1 - delay**delay / (delay + 1) ** (delay + 1),
            "best of 1 state, fitted": one["fit"],
            "delay line of 9 states": line,
            "least singular value": float(singular.min()),
            "largest singular value": float(singular.max()),
            "GRU of 47 states, shift 32, of zero's error": untrained,
        },
        parameters=same["parameters"],
    )


def hurts(found: list[tuple[int, float, float]], delay: int, line: float, gated: float) -> str:
    """The verdict of C3 from orders, least errors and floors of linear RNNs, a delay line's error and a gated net's."""
    above = all(error >= floor for _, error, floor in found)
    short = min(error for order, error, _ in found if order <= delay)
    enough = max(error for order, error, _ in found if order > delay)
    if not above or short < 0.01 or line > 0:
        return "false: fewer states than the delay are enough"
    rest = "more can be exact" if enough < 1e-6 else f"more still {enough:.2g}"
    why = ", which fail in training" if gated > 0.5 else ""
    return f"true of linear RNNs: {delay} states leave {short:.2g} or more, {rest}; no bound for gated nets{why}"
