"""How many states does a linear RNN need, and does training reach what they can do?

Paper     Li, Han, E & Li 2021, arXiv:2009.07799 (JMLR 23, 2022)
Figure    experiments/figures/recurrent_width.png
Question  Six memories, from a sum of exponentials to a sharp delay: below which error can no linear RNN of m states
          get, how near does a least-squares fit come, and what does Adam reach from random weights, or from the fit's?
Expect    Floor and fit differ by a factor of 2 to 20: the optimum is between them. Smooth memories need few states
          (power law: 1e-4 with 2, 2e-9 with 4), delays as many as they are long. Adam from random weights comes within
          4 times the fit where that is above 1e-5, and ends at 1e-6 to 1e-8 where less is possible. From the fit's own
          weights it stays there (within 1 %), as long as the fit's error is above 1e-9 (with 16 sequences a step:
          1e-7), and gets worse where it is smaller. With 12 states on the shift all seeds find the exact solution (<
          1e-9).
Answer    A delay of 8: with 8 states the lower bound is {floor target="shift 8" order=8 start=random batch_size=0:.2f},
          the best fit has {fit target="shift 8" order=8 start=random batch_size=0:.2f} and training ends at
          {error target="shift 8" order=8 start=random batch_size=0:.2f}; with 12 states training ends at
          {error target="shift 8" order=12 start=random batch_size=0:.0e}. On a power law 4 states are enough for an
          error of {fit target="power law" order=4 start=random batch_size=0:.0e}; training ends at
          {error target="power law" order=4 start=random batch_size=0:.0e} (medians).
Fair      Same 8 random initialisations and steps for every memory; Adam, peak 1e-2, half a cosine. All is float64.
          Random weights: orthogonal times .95, as linear RNNs with long memory are initialised; the fit's:
          `fits.varpro`.
Differs   from the paper: discrete time, 64 lags, and the loss at the last step on white noise, where the floor holds;
          the exact one, without data, and for "sampled" 16 fresh sequences at each step.
Cost      4 min on one CPU core
Run       python experiments/theory/recurrent_width.py
Next      python experiments/theory/recurrent_width.py --target "shift 8" --order 9 --steps 100000 --out results/mine
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import _kernels
import jax
import jax.numpy as jnp
import numpy as np
from _columns import band, columns, scores
from _descent import log_steps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs, train
from seqjax.theory import bounds, fits, population, targets

Target = Literal["four exponentials", "power law", "shift 8", "two parts", "Airy", "bump"]
Start = Literal["random", "fitted"]

LENGTH = 64

LOWEST = 1e-14
"""Smaller errors are drawn as this."""


@dataclass(frozen=True)
class Config:
    """RNNs of one order on one target.

    Attributes:
        target: memory to be learned.
        order: hidden units.
        start: initial weights: random, or those of a fit.
        batch_size: sequences of a batch; 0: the exact loss.
        steps: training updates.
        learning_rate: peak of Adam's learning rate.
        seeds: random seeds, trained together.
    """

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
    """The target's weight at each lag."""
    return targets.shift(8, LENGTH) if target == "shift 8" else _kernels.kernel(target, LENGTH)


def measure(records: list[runs.Record]) -> None:
    """Errors are relative to the target's squared norm."""
    config: Config = records[0].config
    kernels = [kernel(record.config.target) for record in records]
    fitted = [fits.varpro(target, config.order) for target in kernels]
    times = log_steps(config.steps, 200)
    trained = _train([record.config for record in records], kernels, fitted, times)
    for record, target, fit, losses in zip(records, kernels, fitted, trained, strict=True):
        energy, floor = target @ target, bounds.hankel(target, config.order)
        bounds.require_above(floor, losses)
        row = {"parameters": config.order**2 + 2 * config.order} | scores("error", losses[:, -1] / energy)
        row |= {"floor": floor / energy, "fit": ((target - fit.kernel(LENGTH)) ** 2).sum() / energy}
        record.finish(row, times=times, losses=losses / energy)


def _train(configs: list[Config], kernels: list[np.ndarray], fitted: Sequence, times: np.ndarray) -> np.ndarray:
    """Losses of each configuration and seed at these times; targets and seeds are one program."""
    config = configs[0]

    def train_one(start, key, target, rate):
        def error(weights):
            W, U, c = weights
            return target - population.response(W, U, c, LENGTH)

        def exact(weights):
            return population.last_step(error(weights))

        def sampled(weights, key):
            x = jax.random.normal(key, (config.batch_size, LENGTH))
            return jnp.mean((x @ error(weights)) ** 2)

        loss = sampled if config.batch_size else lambda weights, key: exact(weights)
        return train.descend(loss, train.adam(rate, config.steps), start, key, times, watch=exact)[1]

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), config.seeds)
        if config.start == "random":
            starts = [jax.vmap(lambda key: initialise(key, config.order))(keys)] * len(configs)
        else:
            starts = [tuple(np.repeat(part[None], config.seeds, axis=0) for part in fit) for fit in fitted]
        starts = jax.tree.map(lambda *parts: jnp.stack(parts), *starts)
        over_seeds = jax.vmap(train_one, (0, 0, None, None))
        rates = jnp.array([c.learning_rate for c in configs])
        return np.asarray(jax.jit(jax.vmap(over_seeds, (0, None, 0, 0)))(starts, keys, jnp.array(kernels), rates))


def initialise(key, order: int):
    """W with eigenvalues on the circle of radius .95, and normal U and c."""
    keys = jax.random.split(key, 3)
    W = 0.95 * jax.random.orthogonal(keys[0], order)
    return W, jax.random.normal(keys[1], (order,)), jax.random.normal(keys[2], (order,)) / order


def draw(records: list[runs.Record]) -> Figure:
    """Error against the number of states, a panel for each target."""
    targets = [target for target in get_args(Target) if any(r.config.target == target for r in records)]
    across = min(3, len(targets))
    figure, axes = plot.figure(-(-len(targets) // across), across, width=4.7 * across, height=7.6)
    for ax, target in zip(axes.flat, targets, strict=False):
        panel(ax, [record for record in records if record.config.target == target])
        ax.set_title(target)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"linear RNNs, {plot.over_seeds(record.config.seeds for record in records)}", fontsize=10)
    return figure


def panel(ax: Axes, records: list[runs.Record]) -> None:
    """One target's floor, fit and trained errors."""
    lines: dict[tuple[Start, int], list[runs.Record]] = {}
    for record in sorted(records, key=lambda record: record.config.order):
        lines.setdefault((record.config.start, record.config.batch_size), []).append(record)
    for style, ((start, batch_size), line) in enumerate(lines.items()):
        orders = [record.config.order for record in line]
        label = f"Adam from {start} weights" + (f", {batch_size} sequences a step" if batch_size else "")
        plot.curve(ax, orders, *band(line, lowest=LOWEST), label=label, style=style)
    line = next(iter(lines.values()))
    orders = [record.config.order for record in line]
    fit, floor = columns(line, "fit", lowest=LOWEST)[0], columns(line, "floor")[0]
    ax.plot(orders, fit, color="black", linestyle=":", linewidth=1.2, label="least-squares fit")
    ax.set(xscale="log", yscale="log", ylim=(LOWEST, 2), xlabel="states")
    ax.set_ylabel(f"squared error / |target|²\n(less is drawn at {LOWEST:g})")
    ax.set_xticks(orders, [str(order) for order in orders])
    ax.minorticks_off()
    plot.floor(ax, orders, floor, label="out of reach for linear RNNs", style="any")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    random, fitted = runs.select(rows, start="random"), runs.select(rows, start="fitted")
    bounds = [row for row in runs.select(random, batch_size=0) if row["floor"] > 0]
    power = runs.select(random, target="power law", batch_size=0)
    reached = [row["error"] / row["fit"] for row in random if row["fit"] > 1e-5]
    less_possible = [row["error"] for row in random if row["fit"] < 1e-5]
    kept = [row for row in fitted if row["fit"] > (1e-7 if row["batch_size"] else 1e-9)]
    small = [row for row in fitted if 0 < row["fit"] < (1e-7 if row["batch_size"] else 1e-9)]
    shift = runs.select(random, target="shift 8", order=12, batch_size=0)
    return [
        runs.check("fit / floor", [row["fit"] / row["floor"] for row in bounds], "2 to 20"),
        runs.check("power law, 2 states", runs.value(power, "fit", order=2), "1e-4"),
        runs.check("power law, 4 states", runs.value(power, "fit", order=4), "2e-9"),
        runs.check("Adam / fit, where that is above 1e-5", reached, "<= 4"),
        runs.check("Adam, where less is possible", less_possible, "1e-8 to 1e-6"),
        runs.check("from the fit, above it", [row["error"] / row["fit"] - 1 for row in kept], "<= 1 %"),
        runs.every("from a smaller fit, training gets worse", [row["error"] > row["fit"] for row in small]),
        runs.check("shift, 12 states, all seeds", runs.values(shift, "high"), "< 1e-9"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
