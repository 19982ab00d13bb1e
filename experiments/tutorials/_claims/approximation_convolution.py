"""Convolutions in the tutorial: the receptive field, the rank of a memory, and which memories a TCN learns best."""

import jax
import jax.numpy as jnp
import numpy as np
from _claims import committed, training
from _claims.finding import Finding, Settings, exact

from seqjax import metrics, models
from seqjax.tasks.convolution import convolve
from seqjax.theory import bounds, targets
from seqjax.types import Batch

LENGTH = 64

HARD = ("delay", "rough")
"""Memories that are long or not smooth; the others decay."""

SIZES = {
    "rnn": (lambda width: models.RNN(width), (32, 64), 3e-3),
    "lru": (lambda width: models.LRU(width, layers=2, ring=(0.9, 0.999)), (9, 18), 1e-2),
    "tcn": (lambda width: models.TCN(width, kernel_size=3, dilations=(1, 2, 4, 8, 16)), (6, 12), 1e-2),
    "transformer": (
        lambda width: models.Transformer(width, heads=2, layers=2, expansion=2, positions=models.Rotary()),
        (8, 16),
        3e-3,
    ),
}
"""For each architecture: a constructor, widths of about 1,100 and 4,300 parameters, and the learning rate."""


def receptive_field(settings: Settings) -> Finding:
    """C8: weights, and inputs that affect an output, of networks of one channel and 1 to 8 layers."""
    felt = {}
    for layers in range(1, 9):
        model = models.LinearDilatedCNN(1, layers)
        x = jnp.ones((1, 2 * 2**layers, 1))
        params = jax.tree.map(jnp.ones_like, model.init(jax.random.key(0), x))
        gradient = jax.grad(lambda x, model=model, params=params: jnp.asarray(model.apply(params, x))[0, -1, 0])(x)
        felt[sum(leaf.size for leaf in jax.tree.leaves(params))] = int((gradient != 0).sum())
    kernel = targets.noise(jax.random.key(0), 16)
    left = bounds.tensor_train(kernel, 1)[0] / float(kernel @ kernel)
    blocks = models.TCN(1, kernel_size=2, dilations=(1, 2, 4, 8)).receptive_field
    return Finding(
        quantity="steps that reach an output, 4 layers of 2 taps",
        ours=exact(felt.get(8, 0)),
        verdict=reach(felt, left),
        claimed=settings.claimed,
        also={f"steps, {weights} weights": steps for weights, steps in felt.items()}
        | {"the tutorial's blocks of two convolutions": blocks, "left of a random filter": left},
        parameters=8,
    )


def reach(felt: dict[int, int], left: float) -> str:
    """The verdict of C8 from receptive fields by number of weights, and what 8 weights leave of a random filter."""
    if any(steps != 2 ** (weights // 2) for weights, steps in felt.items()) or 8 not in felt:
        return f"false: 8 weights reach {felt.get(8, 0)} steps"
    return f"true: 2n weights reach 2^n steps; but of a random filter of 16 taps 8 weights leave {left:.0%}"


def low_rank(_: Settings) -> Finding:
    """C9: the linear CNNs of experiments/theory/cnn_rank.py and the TCN of experiments/theory/architecture_chart.py."""
    rows = committed.rows("cnn_rank", optimizer="adam", size=1.0, layers=7, lags=128)
    rows = [row for row in rows if row["floor"] > 1e-5]
    floors, errors = (np.array([row[name] for row in rows]) for name in ("floor", "error"))
    tcn = committed.rows("architecture_chart", model="tcn")
    by_poles = {
        poles: float(np.median([row["error"] for row in tcn if row["poles"] == poles]))
        for poles in sorted({row["poles"] for row in tcn})
    }
    ratios = metrics.band(errors / floors)
    return Finding(
        quantity="trained error / floor by tensor-train rank",
        ours=ratios,
        verdict=by_rank(floors, errors, list(by_poles.values())),
        floor=1.0,
        also={"rank correlation of error and floor": agreement(floors, errors), "targets and widths": len(rows)}
        | {f"nonlinear TCN, {poles} pole pairs": error for poles, error in by_poles.items()},
        parameters=max(row["parameters"] for row in rows),
    )


def by_rank(floors: np.ndarray, errors: np.ndarray, tcn: list[float]) -> str:
    """The verdict of C9 from floors and errors of linear networks, and errors of a TCN by increasing rank."""
    correlation, worst = agreement(floors, errors), float((errors / floors).max())
    if (errors < floors * (1 - 1e-6)).any():
        return "false: training got below the floor"
    if correlation < 0.9:
        return f"false: rank correlation of error and floor {correlation:.2g}"
    found = f"true of linear CNNs: error 1 to {worst:.2g} x the rank's floor, correlation {correlation:.2f}"
    return f"{found}; " + ("and of a nonlinear TCN" if tcn[-1] > 2 * tcn[0] else "not of a nonlinear TCN")


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation, for numbers without ties."""
    return float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1])


def kernels() -> dict[str, np.ndarray]:
    """Memories of `LENGTH` lags, scaled so that the zero predictor has an error of 1."""
    rough = np.zeros(LENGTH)
    rough[:32] = targets.noise(jax.random.key(0), 32)
    found = {
        "exponential": targets.exponentials((float(np.exp(-0.2)),), LENGTH),
        "power law": targets.power_law(1.1, LENGTH),
        "delay": targets.shift(24, LENGTH),
        "rough": rough,
    }
    weight = 1 - np.arange(LENGTH) / LENGTH
    return {name: kernel / np.sqrt(weight @ kernel**2) for name, kernel in found.items()}


def smooth_or_long(settings: Settings) -> Finding:
    """C10: errors by architecture and width on memories that decay smoothly, come late, or are rough."""
    memories, seeds = kernels(), settings.seeds

    def draw(key, kernel, rows=16):
        x = jax.random.normal(key, (rows, LENGTH))
        return Batch(x[..., None], convolve(x, kernel)[..., None])

    chosen = jnp.asarray(np.array(list(memories.values())), jnp.float32)
    errors, sizes = {}, {}
    for name, (build, widths, rate) in SIZES.items():
        for place, width in enumerate(widths):
            model = models.Regressor(build(width))
            params = training.networks(model, draw, seeds, settings.steps, rate, settings=chosen)
            sizes[name, place] = training.count(params)
            for number, memory in enumerate(memories):
                test = draw(jax.random.key(1), chosen[number], 512)
                of_memory = training.of_setting(params, number, seeds)
                errors[memory, name, place] = training.errors(model, of_memory, test)
    medians = {key: float(np.median(found)) for key, found in errors.items()}
    ratio = errors["delay", "rnn", 1] / errors["delay", "tcn", 1]
    return Finding(
        quantity="error of an RNN / of a TCN, delay 24",
        ours=metrics.band(ratio),
        verdict=whose(medians),
        also={f"{memory}, {name}, {sizes[name, place]}": left for (memory, name, place), left in medians.items()},
        parameters=sizes["tcn", 1],
    )


def whose(errors: dict[tuple[str, str, int], float]) -> str:
    """The verdict of C10 from errors by memory, architecture and width: the best other error over the TCN's."""
    widest = max(place for _, _, place in errors)
    lead = {}
    for memory in dict.fromkeys(memory for memory, _, _ in errors):
        others = [errors[key] for key in errors if key[0] == memory and key[1] != "tcn" and key[2] == widest]
        lead[memory] = min(others) / errors[memory, "tcn", widest]
    found = "best other error / TCN's: " + ", ".join(f"{memory} {ratio:.2g}" for memory, ratio in lead.items())
    hard, smooth = (
        [ratio for memory, ratio in lead.items() if (memory in HARD) == is_hard] for is_hard in (True, False)
    )
    if min(hard) > 1 and max(smooth) <= min(hard):
        return f"true: {found}"
    return f"partly true: {found}" if max(hard) > 1 else f"false: {found}"
