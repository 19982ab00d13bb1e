"""How many channels does a dilated linear network need, and does training reach what they can do?

Paper     Jiang, Li & Li 2021, arXiv:2107.09355; Oseledets 2011 (tensor trains)
Figure    experiments/figures/cnn_rank.png
Question  A network of K layers of dilation 2^k is a tensor train, its channels are the ranks, and singular values give
          the least error with M channels. How near do TT-SVD, alternating least squares and Adam from random weights
          come? All weights zero is a saddle of order K: how long is training from small weights stuck there?
Expect    Least squares is within a factor of 2 of the floor at 7 layers, and Adam's median within 2 % of it as long as
          it is above 1e-5. Where less is possible Adam ends at 1e-8 to 1e-6 (power law, M = 4: 1e-6, floor 2e-12). Lags
          beyond 2^K are out of reach for any number of channels: of a power law 5 layers leave .16, 7 layers .033.
          Gradient flow escapes after size^-(K - 2), whatever the delay: exponents 3.03, 4.97, 6.99 at K = 5, 7, 9.
          Adam takes 9 to 42 steps, but for K = 9 and size .05 (338), with gradients far below its epsilon.
Answer    A power law, 7 layers: with 2 channels the lower bound is {floor target="power law" channels=2 lags=128:.1e},
          alternating least squares reach {least_squares target="power law" channels=2 lags=128:.1e} and Adam
          {error target="power law" channels=2 lags=128:.1e}; with 4 channels
          {floor target="power law" channels=4 lags=128:.0e}, {least_squares target="power law" channels=4 lags=128:.0e}
          and {error target="power law" channels=4 lags=128:.0e}.
Fair      Same steps and 6 seeds everywhere; Adam, peak .1 (the best of 3e-3, 1e-2, 3e-2, .1 after 1,500 steps), half a
          cosine. All is float64 and the exact population loss on white noise, relative to the target's squared norm.
Differs   from the paper: no data, and a floor under each curve.
Cost      70 s on one CPU core
Run       python experiments/theory/cnn_rank.py
Next      python experiments/theory/cnn_rank.py --target noise --optimizer adam --steps 50000 --out results/mine
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import _kernels
import jax
import jax.numpy as jnp
import numpy as np
from _columns import band, columns, scores
from _descent import LONGEST, gradient_flow, log_steps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import metrics, plot, runs, train
from seqjax.theory import bounds, dilated, fits, population, targets

Target = Literal[
    "shift", "exponential", "four exponentials", "power law", "three shifts", "two parts", "Airy", "bump",
    "16 random cosines", "noise",
]  # fmt: skip
Optimizer = Literal["adam", "flow"]

ESCAPED = 0.95
"""A run has escaped from the saddle when its loss is below this part of the saddle's, the target's squared norm."""

LEARNED = 1e-3
"""The loss at which gradient flow ends."""

SMALLEST_DRAWN = 1e-12


@dataclass(frozen=True)
class Config:
    """Networks of one width on one target.

    Attributes:
        target: memory to be learned.
        channels: width of the network.
        layers: convolutions, each with a doubled dilation.
        lags: steps of the target.
        optimizer: Adam or gradient flow.
        size: initial weights in units of Flax's own.
        learning_rate: peak of Adam's learning rate.
        steps: training updates.
        seeds: random seeds, trained together.
    """

    target: Target = runs.traced("shift")  # noqa: RUF009
    channels: int = runs.traced(4)
    layers: int = 7
    lags: int = runs.traced(128)
    optimizer: Optimizer = "adam"
    size: float = runs.traced(1.0)
    learning_rate: float = runs.traced(0.1)
    steps: int = 3_000
    seeds: int = 6


def configs(scale: runs.Scale) -> list[Config]:
    """Every target at every width; a power law at three depths; the saddle at zero by depth and initial size."""
    if scale == "smoke":
        plain = [Config(target, 2, 3, 8, steps=20, seeds=2) for target in ("power law", "noise")]
        return [*plain, Config("shift", 2, 3, 8, "flow", 0.3, seeds=2)]
    steps, seeds = {"laptop": (3_000, 6), "gpu": (50_000, 32)}[scale]
    widths, sizes = (1, 2, 3, 4, 6, 8), (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
    return [
        *[Config(target, width, steps=steps, seeds=seeds) for target in get_args(Target) for width in widths],
        *[Config("power law", width, depth, 512, steps=steps, seeds=seeds) for depth in (5, 7, 9) for width in widths],
        *[
            Config("shift", 4, depth, 2**depth, optimizer, size, steps=steps, seeds=seeds)
            for optimizer in get_args(Optimizer)
            for depth in (5, 7, 9)
            for size in sizes
        ],
    ]


def kernel(config: Config) -> np.ndarray:
    """The target's weight at each lag, of norm 1."""
    lags = config.lags
    match config.target:
        case "shift":
            target = targets.shift(lags // 3, lags)
        case "exponential":
            target = targets.exponentials((0.9,), lags)
        case "three shifts":
            target = np.sum([targets.shift(delay, lags) for delay in (8, 17, 99)], axis=0)
        case "16 random cosines":
            target = targets.random_cosines(jax.random.key(0), 16, lags)
        case "noise":
            target = targets.noise(jax.random.key(0), lags)
        case _:
            target = _kernels.kernel(config.target, lags)
    return target / (target @ target) ** 0.5


def measure(records: list[runs.Record]) -> None:
    """Targets, widths, sizes and seeds are one program; losses are recorded on a geometric grid."""
    group: list[Config] = [record.config for record in records]
    kernels, reach = [kernel(config) for config in group], 2 ** group[0].layers
    descend = _flow if group[0].optimizer == "flow" else _adam
    with jax.enable_x64(True):
        times, within = descend(group, np.array([target[:reach] for target in kernels]))
        within = np.asarray(within)
    for record, target, of_record in zip(records, kernels, within, strict=True):
        losses = of_record + (target[reach:] ** 2).sum()
        record.finish(_row(record.config, target, times, losses), times=times, losses=losses)


def _row(config: Config, target: np.ndarray, times: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """The result of one width: bounds, fits, the final error and the time of escape from the saddle."""
    floor, svd = bounds.tensor_train(target, config.channels, layers=config.layers)
    bounds.require_above(floor, losses)
    start = fits.tensor_train(target, config.channels, layers=config.layers)
    least_squares = fits.alternating(start, target, sweeps=100).kernel()
    reach = len(least_squares)
    escapes = metrics.plateau_time(times, losses, ESCAPED)
    escape = metrics.band(np.minimum(escapes, times[-1]))
    return {
        "parameters": 4 * config.channels + 2 * (config.layers - 2) * config.channels**2,
        "floor": floor,
        "tt_svd": svd,
        "least_squares": float(((target[:reach] - least_squares) ** 2).sum() + (target[reach:] ** 2).sum()),
        **scores("error", losses[:, -1]),
        "escape": escape.median,
        "escape_low": escape.low,
        "escape_high": escape.high,
        "escaped": int(np.isfinite(escapes).sum()),
    }


def _initialise(config: Config, widest: int, setting: dict):
    """The weights of all seeds, and a key for each."""
    keys = jax.random.split(jax.random.key(0), config.seeds)
    taps = jax.vmap(lambda key: dilated.random(key, setting["channels"], widest, config.layers))(keys)
    return keys, jax.tree.map(lambda part: setting["size"] * part, taps)


def _settings(group: list[Config], kernels: np.ndarray):
    """What differs between the runs of a program."""
    names = ("channels", "size", "learning_rate")
    return {"target": jnp.array(kernels)} | {name: jnp.array([getattr(c, name) for c in group]) for name in names}


def _adam(group: list[Config], kernels: np.ndarray):
    """Steps of Adam: their numbers, and for each setting and seed the losses after them."""
    config, widest = group[0], max(c.channels for c in group)
    times = log_steps(config.steps, 120)

    def train_all(setting):
        def loss(taps, key):
            return population.last_step(setting["target"] - dilated.response(taps))

        optimizer = train.adam(setting["learning_rate"], config.steps)
        keys, starts = _initialise(config, widest, setting)
        return jax.vmap(lambda key, start: train.descend(loss, optimizer, start, key, times)[1])(keys, starts)

    return times, jax.jit(jax.vmap(train_all))(_settings(group, kernels))


def _flow(group: list[Config], kernels: np.ndarray):
    """Gradient flow until the loss is `LEARNED`, which it then keeps: the same by time instead of steps."""
    import diffrax

    config, widest = group[0], max(c.channels for c in group)
    times = np.geomspace(1e-2, LONGEST, 600)

    def solve(start, target):
        def loss(taps):
            return population.last_step(target - dilated.response(taps))

        losses = gradient_flow(
            loss,
            start,
            times,
            solver=diffrax.Tsit5(),
            atol=1e-7,
            observe=loss,
            until=lambda taps: loss(taps) < LEARNED,
        )
        return jnp.nan_to_num(losses, posinf=LEARNED)

    def solve_all(setting):
        _, starts = _initialise(config, widest, setting)
        return jax.vmap(solve, (0, None))(starts, setting["target"])

    return times, jax.jit(jax.vmap(solve_all))(_settings(group, kernels))


def draw(records: list[runs.Record]) -> Figure:
    """Error against channels, a panel for each target; a power law by depth; the saddle at zero."""
    figure, axes = plot.figure(3, 5, width=21.0, height=11.0)
    saddle = [record for record in records if _is_saddle(record.config)]
    wide = [record for record in records if record.config.optimizer == "adam" and record.config.size == 1]
    panels = list(axes[:, :3].flat)
    for target in get_args(Target):
        line = [r for r in wide if r.config.target == target and r.config.lags == 2**r.config.layers <= 128]
        line = [record for record in line if record.config.layers == max(r.config.layers for r in line)]
        if line and target != "exponential":  # looks like the other sum of exponentials
            _draw_target(panels.pop(0), sorted(line, key=lambda record: record.config.channels))
    deep = [record for record in wide if record.config.lags == 512 and record.config.target == "power law"]
    flow, adam = ([record for record in saddle if record.config.optimizer == name] for name in ("flow", "adam"))
    for draw_panel, chosen, ax in (
        (_draw_depths, deep, axes[1, 3]),
        (_draw_losses, [record for record in flow if record.config.layers == 7] or flow, axes[1, 4]),
        (_draw_escapes, flow, axes[2, 3]),
        (_draw_escapes, adam, axes[2, 4]),
    ):
        if chosen:
            draw_panel(ax, chosen)
    for ax, of, title in (
        (axes[0, 3], axes[0, 0], "the nine panels on the left"), (axes[0, 4], axes[1, 3], "power law by depth"),
    ):  # fmt: skip
        ax.axis("off")
        legend = ax.legend(*of.get_legend_handles_labels(), loc="center left", frameon=False, fontsize=9, title=title)
        legend.set_in_layout(False)
    return figure


def _is_saddle(config: Config) -> bool:
    return config.target == "shift" and config.lags == 2**config.layers and config.channels == 4


def _draw_target(ax: Axes, line: list[runs.Record]) -> None:
    config, widths = line[0].config, [record.config.channels for record in line]
    ax.set(yscale="log", ylim=(SMALLEST_DRAWN, 3), title=config.target, xlabel="channels M")
    ax.set_ylabel(f"squared error / |target|²\n(smaller ones are drawn at {SMALLEST_DRAWN:g})")
    ax.set_xticks(widths)
    label = f"Adam, random start: {plot.over_seeds(record.config.seeds for record in line)}"
    plot.curve(ax, widths, *band(line, lowest=SMALLEST_DRAWN), label=label, style="cnn")
    floor, svd, least_squares = columns(line, "floor", "tt_svd", "least_squares", lowest=SMALLEST_DRAWN)
    fits = {"color": "black", "linestyle": ":", "linewidth": 1.2, "markerfacecolor": "none"}
    ax.plot(widths, svd, label="TT-SVD", marker="o", markersize=7, **fits)
    ax.plot(widths, least_squares, label="least squares (ALS)", marker="x", markersize=4.5, **fits)
    plot.floor(ax, widths, floor, label="out of reach for linear CNNs", style="cnn")


def _draw_depths(ax: Axes, records: list[runs.Record]) -> None:
    ax.set(yscale="log", ylim=(SMALLEST_DRAWN, 3), title="power law of 512 lags, by depth", xlabel="channels M")
    ax.set_ylabel("squared error / |target|²")
    depths = sorted({record.config.layers for record in records})
    for style, depth in enumerate(depths):
        line = [record for record in records if record.config.layers == depth]
        widths, label = [record.config.channels for record in line], f"Adam, {depth} layers: {2**depth} lags"
        plot.curve(ax, widths, *band(line, lowest=SMALLEST_DRAWN), label=label, style=style)
        # What is out of reach for most layers is so for fewer, too: theirs is a line.
        hatch = "\\\\\\" if depth == depths[-1] else ""
        (floor,) = columns(line, "floor", lowest=SMALLEST_DRAWN)
        plot.floor(ax, widths, floor, label=f"out of reach for {depth} layers", style=style, hatch=hatch)
        ax.set_xticks(widths)


def _draw_losses(ax: Axes, line: list[runs.Record]) -> None:
    """The loss of every seed, by the initial size of its weights."""
    for style, record in enumerate(line):
        look: dict[str, Any] = plot.look(style) | {"marker": ""}
        for seed, losses in enumerate(record.arrays["losses"]):
            label = f"size {record.config.size:g}" if seed == 0 else None
            ax.plot(record.arrays["times"], losses, linewidth=0.9, label=label, **look)
    ax.axhline(1.0, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label="saddle")
    latest = max(record.result["escape_high"] for record in line)
    ax.set(xscale="log", xlim=(1e-2, 1e4 * latest), ylim=(0, 1.6))
    ax.set(xlabel="time of gradient flow", ylabel="loss (each line a seed)")
    ax.set_title(f"shift, {line[0].config.layers} layers: the saddle at zero")
    plot.legend(ax, loc="center right")


def _draw_escapes(ax: Axes, records: list[runs.Record]) -> None:
    """When the loss is 5 % below that of the saddle, against the initial size of the weights, with one optimiser."""
    optimizer = records[0].config.optimizer
    depths = sorted({record.config.layers for record in records})
    for style, depth in enumerate(depths):
        line = [record for record in records if record.config.layers == depth]
        line = sorted(line, key=lambda record: record.config.size)
        sizes = np.array([record.config.size for record in line])
        escape = columns(line, "escape", "escape_low", "escape_high")
        plot.curve(ax, sizes, *escape, label=f"{depth} layers", style=style)
        if optimizer == "flow":
            law = escape[0][0] * (sizes / sizes[0]) ** (2 - depth)
            plot.baseline(ax, sizes, law, label="size^-(layers - 2)" if depth == depths[0] else None)
    ax.set(xscale="log", yscale="log", xlabel="initial size of the weights (1: Flax's own)")
    name, unit = ("gradient flow", "time") if optimizer == "flow" else ("Adam", "steps")
    ax.set_ylabel(f"{unit} until 5 % below the saddle")
    ax.set_title(f"{name}: {plot.over_seeds(record.config.seeds for record in records)}", fontsize=10)
    sizes = sorted({record.config.size for record in records})
    ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
    ax.minorticks_off()
    plot.legend(ax)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    seven = runs.select(rows, layers=7, optimizer="adam", size=1)
    fits = [row for row in seven if row["floor"] > 0]
    above = [row for row in fits if row["least_squares"] > 1e-5]
    less_possible = [row for row in seven if row["least_squares"] < 1e-5]
    power = runs.select(rows, target="power law")
    layers = (5, 7, 9)

    def left(layers: int) -> float:
        return runs.value(power, "error", lags=512, channels=8, layers=layers)

    def exponent(layers: int) -> float:
        """From the two smallest sizes."""
        small, large = (runs.value(rows, "escape", optimizer="flow", layers=layers, size=size) for size in (0.05, 0.1))
        return math.log2(runs.ratio(small, large))

    started = runs.select(rows, optimizer="adam", target="shift", channels=4)
    longest = runs.value(started, "escape", layers=9, size=0.05)
    waits = [row["escape"] for row in started if (row["layers"], row["size"]) != (9, 0.05)]
    four = runs.select(power, channels=4, lags=128)
    return [
        runs.check("7 layers, least squares / floor", [row["least_squares"] / row["floor"] for row in fits], "<= 2"),
        runs.check("7 layers, Adam above it", [row["error"] / row["least_squares"] - 1 for row in above], "<= 2 %"),
        runs.check("Adam where less is possible", runs.values(less_possible, "error"), "1e-8 to 1e-6"),
        runs.check("power law, M = 4, Adam", runs.value(four, "error"), "1e-6"),
        runs.check("power law, M = 4, floor", runs.value(four, "floor"), "2e-12"),
        runs.check("power law, lags beyond 2^K: 5 layers leave", left(5), ".16"),
        runs.check("power law, lags beyond 2^K: 7 layers leave", left(7), ".033"),
        runs.check(
            "gradient flow, exponents at K = 5, 7, 9", [exponent(number) for number in layers], "3.03, 4.97, 6.99"
        ),
        runs.check("Adam, steps", waits, "9 to 42"),
        runs.check("Adam, steps, K = 9 and size .05", longest, "338"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
