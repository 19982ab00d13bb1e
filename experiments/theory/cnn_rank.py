"""How many channels does a dilated linear network need, and does training find what they could do?

Paper     Jiang, Li & Li 2021, arXiv:2107.09355; Oseledets 2011 (tensor trains)
Figure    experiments/figures/cnn_rank.png
Question  A network of K layers of dilation 2^k is a tensor train, its channels are the ranks, and singular values say
          what M channels can do at best. How near do TT-SVD, alternating least squares and Adam from random weights
          come? All weights zero is a saddle of order K: how long does training from small ones wait there?
Expect    Least squares lie within a factor of 2 of the floor at 7 layers, and Adam's median within 2 % of them as long
          as they are above 1e-5. Where more could be had it ends at 1e-8 to 1e-6 (power law, M = 4: 1e-6, floor 2e-12).
          What lies beyond 2^K lags no channel brings back: of a power law 5 layers leave .16, 7 layers .033.
          Gradient flow waits for size^-(K - 2), whatever the delay: exponents 3.03, 4.97, 6.99 at K = 5, 7, 9.
          Adam does not: 9 to 42 steps, but for K = 9 and size .05 (338), with gradients far below its epsilon.
Fair      Same steps and 6 seeds everywhere; Adam, peak .1 (the best of 3e-3, 1e-2, 3e-2, .1 after 1,500 steps), half a
          cosine. All is float64 and the exact population loss on white noise, relative to the target's squared norm.
Differs   from the paper: no data, and a floor under each curve.
Cost      70 s on one CPU core
Run       python experiments/theory/cnn_rank.py
Next      python experiments/theory/cnn_rank.py --target noise --optimizer adam --steps 50000 --out results/mine
"""

from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
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
"""Of the target's squared norm, which is the loss at the saddle."""

LONGEST = 1e12
"""Of gradient flow, in its own time, which is learning rate times steps."""

LEARNED = 1e-3
"""Where gradient flow ends."""

SMALLEST_DRAWN = 1e-12


@dataclass(frozen=True)
class Config:
    """Networks of one width on one target of `lags` steps. `size` times Flax's own is the size of their weights."""

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
    """Every target at every width; a power law at three depths; the saddle at zero by depth and size of the weights."""
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
    """The weights of all lags, of norm 1."""
    lags = config.lags
    match config.target:
        case "shift":
            found = targets.shift(lags // 3, lags)
        case "exponential":
            found = targets.exponentials((0.9,), lags)
        case "four exponentials":
            found = targets.exponentials((0.5, 0.7, 0.85, 0.95), lags)
        case "power law":
            found = targets.power_law(1.1, lags)
        case "three shifts":
            found = np.sum([targets.shift(delay, lags) for delay in (8, 17, 99)], axis=0)
        case "two parts":
            found = targets.two_parts(lags)
        case "Airy":
            found = targets.airy(6.0, lags)
        case "bump":
            found = targets.bump(20.0, 2.0, lags)
        case "16 random cosines":
            found = targets.random_cosines(jax.random.key(0), 16, lags)
        case "noise":
            found = targets.noise(jax.random.key(0), lags)
        case _:
            assert_never(config.target)
    return found / (found @ found) ** 0.5


def measure(records: list[runs.Record]) -> None:
    """Targets, widths, sizes and seeds are one program; losses are logged on a geometric grid."""
    group = [record.config for record in records]
    config, reach = group[0], 2 ** group[0].layers
    kernels = [kernel(c) for c in group]
    near = np.array([target[:reach] for target in kernels])
    beyond = np.array([(target[reach:] ** 2).sum() for target in kernels])
    with jax.enable_x64(True):
        times, losses = (_flow if config.optimizer == "flow" else _adam)(group, near)
        losses = np.asarray(losses) + beyond[:, None, None]
    for c, record, target, found in zip(group, records, kernels, losses, strict=True):
        floor, svd = bounds.tensor_train(target, c.channels, layers=c.layers)
        start = fits.tensor_train(target, c.channels, layers=c.layers)
        least_squares = fits.alternating(start, target, sweeps=100).kernel()
        bounds.require_above(floor, found)
        error = metrics.band(found[:, -1])
        escapes = metrics.plateau_time(times, found, ESCAPED)
        escape = metrics.band(np.minimum(escapes, times[-1]))
        row = {
            "parameters": 4 * c.channels + 2 * (c.layers - 2) * c.channels**2,
            "floor": floor,
            "tt_svd": svd,
            "least_squares": float(((target[:reach] - least_squares) ** 2).sum() + (target[reach:] ** 2).sum()),
            "error": error.median,
            "low": error.low,
            "high": error.high,
            "escape": escape.median,
            "escape_low": escape.low,
            "escape_high": escape.high,
            "escaped": int(np.isfinite(escapes).sum()),
        }
        record.finish(row, times=times, losses=found)


def _starts(config: Config, widest: int, setting: dict):
    """The weights of all seeds, and a key for each."""
    keys = jax.random.split(jax.random.key(0), config.seeds)
    taps = jax.vmap(lambda key: dilated.random(key, setting["channels"], widest, config.layers))(keys)
    return keys, jax.tree.map(lambda part: setting["size"] * part, taps)


def _settings(group: list[Config], near):
    """What differs between the runs of a program."""
    names = ("channels", "size", "learning_rate")
    return {"target": jnp.array(near)} | {name: jnp.array([getattr(c, name) for c in group]) for name in names}


def _adam(group: list[Config], near):
    """Steps of Adam: their numbers, and for each setting and seed the losses after them."""
    config, widest = group[0], max(c.channels for c in group)
    times = np.unique(np.geomspace(1, config.steps, 120).round().astype(int))

    def train_all(setting):
        def loss(taps, key):
            return population.last_step(setting["target"] - dilated.response(taps))

        optimizer = train.adam(setting["learning_rate"], config.steps)
        keys, starts = _starts(config, widest, setting)
        return jax.vmap(lambda key, start: train.descend(loss, optimizer, start, key, times)[1])(keys, starts)

    return times, jax.jit(jax.vmap(train_all))(_settings(group, near))


def _flow(group: list[Config], near):
    """d(taps)/d(time) = -(gradient), the same by times, until the loss is `LEARNED`, which then it remains."""
    import diffrax

    config, widest = group[0], max(c.channels for c in group)
    times = np.geomspace(1e-2, LONGEST, 600)

    def solve(start, target):
        def loss(taps):
            return population.last_step(target - dilated.response(taps))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda time, taps, args: jax.tree.map(jnp.negative, jax.grad(loss)(taps))),
            diffrax.Tsit5(),
            t0=0.0,
            t1=LONGEST,
            dt0=1e-3,
            y0=start,
            saveat=diffrax.SaveAt(ts=jnp.asarray(times), fn=lambda time, taps, args: loss(taps)),
            stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-7),
            event=diffrax.Event(lambda time, taps, args, **more: loss(taps) < LEARNED),
            max_steps=4096,
        )
        losses: Any = solution.ys
        return jnp.nan_to_num(losses, posinf=LEARNED)  # after the event there is nothing

    def solve_all(setting):
        _, starts = _starts(config, widest, setting)
        return jax.vmap(solve, (0, None))(starts, setting["target"])

    return times, jax.jit(jax.vmap(solve_all))(_settings(group, near))


def draw(records: list[runs.Record]) -> Figure:
    """Error against channels, a panel for each target; a power law by depth; the saddle at zero."""
    figure, axes = plot.figure(3, 4, width=17.0, height=11.0)
    saddle = [record for record in records if _is_saddle(record.config)]
    wide = [record for record in records if record.config.optimizer == "adam" and record.config.size == 1]
    panels = list(axes.flat)
    for target in get_args(Target):
        line = [r for r in wide if r.config.target == target and r.config.lags == 2**r.config.layers <= 128]
        line = [record for record in line if record.config.layers == max(r.config.layers for r in line)]
        if line and target != "exponential":  # as the other sums of exponentials
            _draw_target(panels.pop(0), sorted(line, key=lambda record: record.config.channels))
    deep = [record for record in wide if record.config.lags == 512 and record.config.target == "power law"]
    flow = [record for record in saddle if record.config.optimizer == "flow"]
    for draw_panel, chosen, ax in (
        (_draw_depths, deep, axes[2, 1]),
        (_draw_losses, [record for record in flow if record.config.layers == 7] or flow, axes[2, 2]),
        (_draw_escapes, saddle, axes[2, 3]),
    ):
        if chosen:
            draw_panel(ax, chosen)
    plot.legend(axes[0, 0], loc="center right")
    return figure


def _is_saddle(config: Config) -> bool:
    return config.target == "shift" and config.lags == 2**config.layers and config.channels == 4


def _columns(line: list[runs.Record], *names: str) -> list[np.ndarray]:
    """Results by width; what is below the axis is drawn at its end."""
    return [np.maximum([record.result[name] for record in line], SMALLEST_DRAWN) for name in names]


def _draw_target(ax: Axes, line: list[runs.Record]) -> None:
    config, widths = line[0].config, [record.config.channels for record in line]
    ax.set(yscale="log", ylim=(SMALLEST_DRAWN, 3), title=config.target, xlabel="channels M")
    ax.set_ylabel(f"squared error / |target|²\n(less is drawn at {SMALLEST_DRAWN:g})")
    ax.set_xticks(widths)
    plot.curve(ax, widths, *_columns(line, "error", "low", "high"), label="Adam, random start", style=1)
    floor, svd, least_squares = _columns(line, "floor", "tt_svd", "least_squares")
    fits = {"color": "black", "linestyle": ":", "linewidth": 1.2, "markerfacecolor": "none"}
    ax.plot(widths, svd, label="TT-SVD", marker="o", markersize=7, **fits)
    ax.plot(widths, least_squares, label="least squares (ALS)", marker="x", markersize=4.5, **fits)
    plot.floor(ax, widths, floor, label="out of reach", style=0)


def _draw_depths(ax: Axes, records: list[runs.Record]) -> None:
    ax.set(yscale="log", ylim=(SMALLEST_DRAWN, 3), title="power law of 512 lags, by depth", xlabel="channels M")
    ax.set_ylabel("squared error / |target|²")
    depths = sorted({record.config.layers for record in records})
    for style, depth in enumerate(depths):
        line = [record for record in records if record.config.layers == depth]
        widths, label = [record.config.channels for record in line], f"Adam, {depth} layers: {2**depth} lags"
        plot.curve(ax, widths, *_columns(line, "error", "low", "high"), label=label, style=style + 2)
        (floor,) = _columns(line, "floor")
        if depth < depths[-1]:
            ax.plot(widths, floor, color=plot.STYLES[style + 2]["color"], linewidth=0.8)
        else:  # out of reach for those with fewer layers, too
            plot.floor(ax, widths, floor, label=f"out of reach for {depth} layers", style=0)
        ax.set_xticks(widths)
    plot.legend(ax, loc="upper right", bbox_to_anchor=(1, 0.83))


def _draw_losses(ax: Axes, line: list[runs.Record]) -> None:
    """The loss of every seed by the size of its start."""
    for style, record in enumerate(line):
        look = {name: plot.STYLES[style % len(plot.STYLES)][name] for name in ("color", "linestyle")}
        for seed, losses in enumerate(record.arrays["losses"]):
            label = f"size {record.config.size:g}" if seed == 0 else None
            ax.plot(record.arrays["times"], losses, linewidth=0.9, label=label, **look)
    ax.axhline(1.0, color="black", linewidth=0.9, linestyle=(0, (4, 3)))
    latest = max(record.result["escape_high"] for record in line)
    ax.set(xscale="log", xlim=(1e-2, 1e4 * latest), ylim=(0, 1.6))
    ax.set(xlabel="time of gradient flow", ylabel="loss (each line a seed)")
    ax.set_title(f"shift, {line[0].config.layers} layers: the saddle at zero")
    plot.legend(ax, loc="center right")


def _draw_escapes(ax: Axes, records: list[runs.Record]) -> None:
    """When the loss is 5 % below that of the saddle, against the size of the weights."""
    kinds = sorted({(record.config.optimizer, record.config.layers) for record in records}, reverse=True)
    for style, (optimizer, depth) in enumerate(kinds):
        line = [r for r in records if (r.config.optimizer, r.config.layers) == (optimizer, depth)]
        line = sorted(line, key=lambda record: record.config.size)
        sizes = np.array([record.config.size for record in line])
        columns = [[r.result[name] for r in line] for name in ("escape", "escape_low", "escape_high")]
        label = f"{'gradient flow (time)' if optimizer == 'flow' else 'Adam (steps)'}, {depth} layers"
        plot.curve(ax, sizes, *columns, label=label, style=style)
        if optimizer == "flow":
            law = columns[0][0] * (sizes / sizes[0]) ** (2 - depth)
            plot.baseline(ax, sizes, law, label="size^-(layers - 2)" if depth == kinds[0][1] else None)
    ax.set(xscale="log", yscale="log", xlabel="size of the weights at the start (1: Flax's own)")
    ax.set(ylabel="until 5 % below the saddle", title="escape: median and range over seeds")
    sizes = sorted({record.config.size for record in records})
    ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
    ax.minorticks_off()
    plot.legend(ax)


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
