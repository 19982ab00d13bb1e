"""How many states does a linear RNN need, and does training find what they could do?

Paper     Li, Han, E & Li 2021, arXiv:2009.07799 (JMLR 23, 2022)
Figure    experiments/figures/recurrent_width.png
Question  Six memories, from a sum of exponentials to a sharp delay: what can no linear RNN of m states do better, how
          near does a fit by least squares come, and what do Adam's steps make of random weights, or of the fit's?
Expect    Floor and fit are a factor of 2 to 20 apart, so that what lies between is all that stays unknown. Smooth
          memories need few states (power law: 1e-4 with 2, 2e-9 with 4), delays as many as they are long. Adam from
          random weights comes within 4 times the fit where that is above 1e-5, and stops at 1e-6 to 1e-8 where more
          could be had. From the fit's own weights it stays, as long as that is above 1e-9 (with 16 sequences a step:
          1e-7), and loses what is better. With 12 states on the shift all seeds find what is exact.
Fair      Same 8 random starts and steps for every memory; Adam, peak 1e-2, half a cosine. All is float64. Random
          weights: orthogonal times .95, as linear RNNs that remember are begun; the fit's: `fits.varpro`.
Differs   from the paper: discrete time, 64 lags, and the loss at the last step on white noise, where the floor holds;
          the exact one, without data, and for "sampled" 16 fresh sequences at each step.
Cost      4 min on one CPU core
Run       python experiments/theory/recurrent_width.py
Next      python experiments/theory/recurrent_width.py --target "shift 8" --order 9 --steps 100000 --out results/mine
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import metrics, plot, runs, train
from seqjax.theory import bounds, fits, population, targets

Target = Literal["four exponentials", "power law", "shift 8", "two parts", "Airy", "bump"]
Start = Literal["random", "fitted"]

LENGTH = 64


@dataclass(frozen=True)
class Config:
    """RNNs of some order on one target. `batch_size` 0 is the exact loss."""

    target: Target = runs.traced("shift 8")  # noqa: RUF009
    order: int = 4
    start: Start = "random"
    batch_size: int = 0
    steps: int = 20_000
    learning_rate: float = runs.traced(1e-2)
    seeds: int = 8


def configs(scale: runs.Scale) -> list[Config]:
    """Every target at every order, from random weights and from the fit's, without data and with."""
    if scale == "smoke":
        return [Config(target=target, order=2, steps=50, seeds=2) for target in ("shift 8", "power law")]
    steps, orders = {"laptop": (20_000, (1, 2, 4, 6, 8, 12)), "gpu": (100_000, (1, 2, 3, 4, 6, 8, 12, 16, 32, 64))}[
        scale
    ]
    ways: tuple[tuple[Start, int], ...] = ("random", 0), ("random", 16), ("fitted", 0), ("fitted", 16)
    return [
        Config(target, order, start, batch_size, steps)
        for start, batch_size in ways
        for order in orders
        for target in get_args(Target)
    ]


def kernel(target: Target) -> np.ndarray:
    """The weights of all lags."""
    match target:
        case "four exponentials":
            return targets.exponentials((0.5, 0.7, 0.85, 0.95), LENGTH)
        case "power law":
            return targets.power_law(1.1, LENGTH)
        case "shift 8":
            return targets.shift(8, LENGTH)
        case "two parts":
            return targets.two_parts(LENGTH)
        case "Airy":
            return targets.airy(6.0, LENGTH)
        case "bump":
            return targets.bump(20.0, 2.0, LENGTH)
        case _:
            assert_never(target)


def measure(records: list[runs.Record]) -> None:
    """Targets and seeds are one program; errors are relative to the target's squared norm."""
    group = [record.config for record in records]
    config = group[0]
    kernels = [kernel(c.target) for c in group]
    energies = np.array([target @ target for target in kernels])
    fitted = [fits.varpro(target, config.order) for target in kernels]
    errors = [((target - fit.kernel(LENGTH)) ** 2).sum() for target, fit in zip(kernels, fitted, strict=True)]
    floors = np.array([bounds.hankel(target, config.order) for target in kernels])
    times = np.unique(np.geomspace(1, config.steps, 200).round().astype(int))

    def train_one(start, key, target, rate):
        def missed(weights):
            W, U, c = weights
            return target - population.response(W, U, c, LENGTH)

        def exact(weights):
            return population.last_step(missed(weights))

        def sampled(weights, key):
            x = jax.random.normal(key, (config.batch_size, LENGTH))
            return jnp.mean((x @ missed(weights)) ** 2)

        loss = sampled if config.batch_size else lambda weights, key: exact(weights)
        return train.descend(loss, train.adam(rate, config.steps), start, key, times, watch=exact)

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), config.seeds)
        if config.start == "random":
            starts = [jax.vmap(lambda key: random(key, config.order))(keys)] * len(group)
        else:
            starts = [[np.repeat(part[None], config.seeds, axis=0) for part in fit] for fit in fitted]
        starts = jax.tree.map(lambda *parts: jnp.stack(parts), *map(tuple, starts))
        over_seeds = jax.vmap(train_one, (0, 0, None, None))
        rates = jnp.array([c.learning_rate for c in group])
        _, losses = jax.jit(jax.vmap(over_seeds, (0, None, 0, 0)))(starts, keys, jnp.array(kernels), rates)
        losses = np.asarray(losses)
    bounds.require_above(floors[:, None, None], losses)
    for index, record in enumerate(records):
        error = metrics.band(losses[index, :, -1] / energies[index])
        row = {
            "parameters": config.order**2 + 2 * config.order,
            "error": error.median,
            "low": error.low,
            "high": error.high,
            "floor": floors[index] / energies[index],
            "fit": errors[index] / energies[index],
        }
        record.finish(row, times=times, losses=losses[index] / energies[index])


def random(key, order: int):
    """W of eigenvalues on the circle of radius .95, and normal U and c."""
    keys = jax.random.split(key, 3)
    W = 0.95 * jax.random.orthogonal(keys[0], order)
    return W, jax.random.normal(keys[1], (order,)), jax.random.normal(keys[2], (order,)) / order


def draw(records: list[runs.Record]) -> Figure:
    """Error against the number of states, a panel for each target."""
    targets = [target for target in get_args(Target) if any(r.config.target == target for r in records)]
    columns = min(3, len(targets))
    figure, axes = plot.figure(-(-len(targets) // columns), columns, width=4.7 * columns, height=7.6)
    for ax, target in zip(axes.flat, targets, strict=False):
        panel(ax, [record for record in records if record.config.target == target])
        ax.set_title(target)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def panel(ax: Axes, records: list[runs.Record]) -> None:
    """One target's floor, fit and trained errors."""
    lines: dict[tuple[Start, int], list[runs.Record]] = {}
    for record in sorted(records, key=lambda record: record.config.order):
        lines.setdefault((record.config.start, record.config.batch_size), []).append(record)
    for style, ((start, batch_size), line) in enumerate(lines.items()):
        columns = [[max(record.result[name], LOWEST) for record in line] for name in ("error", "low", "high")]
        label = f"Adam from {start} weights" + (f", {batch_size} sequences a step" if batch_size else "")
        plot.curve(ax, [record.config.order for record in line], *columns, label=label, style=style)
    line = next(iter(lines.values()))
    orders = [record.config.order for record in line]
    fit = [max(record.result["fit"], LOWEST) for record in line]
    ax.plot(orders, fit, color="black", linestyle=":", linewidth=1.2, label="least-squares fit")
    ax.set(xscale="log", yscale="log", ylim=(LOWEST, 2), xlabel="states", ylabel="error / energy of the target")
    ax.set_xticks(orders, [str(order) for order in orders])
    ax.minorticks_off()
    plot.floor(ax, orders, [record.result["floor"] for record in line], label="no linear RNN can", style=6)


LOWEST = 1e-14
"""What is less is drawn as this."""


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
