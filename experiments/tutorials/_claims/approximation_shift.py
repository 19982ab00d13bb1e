"""Shifts in the tutorial: what smooth inputs hide, who learns a shift, and what a linear RNN needs for it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import committed
from _claims.finding import Finding, Settings, ratio

from seqjax import metrics, models, tasks
from seqjax.data.gaussian_process import GaussianProcess, WhiteNoise
from seqjax.theory import bounds, fits, targets

RECURRENT = ("rnn", "gru", "lstm")

NETWORKS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "tcn": "TCN", "transformer": "Transformer"}

SOLVED = 0.1
"""A shift is learned if the error is this fraction of the best error without memory, or less."""


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
    """C1: where every architecture fails, at one size, on white noise and on smooth input: of
    experiments/memory/delay_limit.py.

    The tutorial compares an RNN on shift 8/32 with a TCN on shift 32/128. Its RNN recurs over the batch; its error is
    taken to be the floor without memory.
    """
    left, limits = {}, {}
    for name in NETWORKS:
        for signal in ("white", "smooth"):
            rows = sorted(committed.rows("delay_limit", model=name, signal=signal), key=lambda row: row["delay"])
            ratios = {row["delay"]: row["mse"] / row["memoryless"] for row in rows}
            left |= {(name, signal, delay): value for delay, value in ratios.items()}
            limits[name, signal] = metrics.failure([*ratios], [*ratios.values()], SOLVED)
    long = {name: committed.row("delay_limit", model=name, signal="smooth", delay=32) for name in ("lstm", "tcn")}
    errors = {name: metrics.Band(row["mse"], row["low"], row["high"]) for name, row in long.items()}
    equal = ratio(errors["lstm"], errors["tcn"])
    as_compared = tasks.Shift(8, 32, GaussianProcess()).memoryless_floor() / errors["tcn"].median
    return Finding(
        quantity="error of an LSTM / of a TCN, shift 32, smooth",
        ours=equal,
        verdict=who_learns(limits, as_compared / equal.median),
        claimed=settings.claimed,
        also={"as the tutorial compared": as_compared}
        | {f"{signal} {delay}, {name}": value for (name, signal, delay), value in left.items()}
        | {f"{signal}, learned to, {name}": limit.works for (name, signal), limit in limits.items()}
        | {
            f"{signal}, fails at, {name}": limit.fails
            for (name, signal), limit in limits.items()
            if limit.fails < math.inf
        },
        parameters=long["tcn"]["parameters"],
    )


def who_learns(limits: dict[tuple[str, str], metrics.Bracket], overstated: float) -> str:
    """The verdict of C1 from the delays between which every architecture fails, by architecture and input.

    Args:
        overstated: the TCN's lead in the tutorial's comparison over its lead on one task at one size.
    """
    tcn, recurrent = limits["tcn", "white"], [limits[name, "white"] for name in RECURRENT]
    if tcn.fails < math.inf:
        word = "false" if max(limit.fails for limit in recurrent) >= tcn.fails else "partly true"
    elif all(limit.works == 0 for limit in recurrent):
        word = "true"
    else:
        word = "partly true" if any(limit.fails < math.inf for limit in recurrent) else "false"
    told = "; ".join(f"{signal} {_listed(limits, signal)}" for signal in ("white", "smooth"))
    lead = f"; the tutorial overstates the TCN's lead {overstated:.0f} x" if overstated > 3 else ""
    return f"{word}: last delay learned and first that is not: {told}{lead}"


def _listed(limits: dict[tuple[str, str], metrics.Bracket], signal: str) -> str:
    found = ((label, limits[name, signal]) for name, label in NETWORKS.items())
    return ", ".join(f"{label} {x.works:g}/" + (f"{x.fails:g}" if x.fails < math.inf else "-") for label, x in found)


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
