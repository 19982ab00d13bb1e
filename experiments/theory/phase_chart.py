"""RNN or CNN: which is nearer to delayed resonances at equal size?

Paper     Jiang, Li & Li 2021, arXiv:2107.09355; Li, Han, E & Li 2021, arXiv:2009.07799
Figure    experiments/figures/phase_chart.png
Question  Damped waves of p random pole pairs that begin after a delay of k steps: which of a linear RNN and a linear
          dilated network of as many parameters is nearer to them, if both are optimal?
Expect    The CNN wins at long delays: with 2 channels at every number of poles from delay 32 on (RNN of 6 states), with
          4 channels from 16 on (12 states). Up to delay 4 the RNN wins for few poles and for many, but its lead
          shrinks, and from 12 pairs on the bounds may not decide; at long delays more poles do not help it. By degrees
          of freedom an RNN of 12 states is compared with 2 channels: it leads up to delay 12, at all numbers of poles.
          Trained, the RNN does not reach its fit at delay 32 with 4 pairs and at 16 pairs: there the CNN is nearer.
Answer    Bounds on the least error, with {parameters delay=2 poles=4 channels=2 states=6} parameters each and 4 pole
          pairs: at delay 2 the RNN has {rnn_low delay=2 poles=4 channels=2 states=6:.3f} to
          {rnn_high delay=2 poles=4 channels=2 states=6:.3f} and the CNN
          {cnn_low delay=2 poles=4 channels=2 states=6:.2f} to {cnn_high delay=2 poles=4 channels=2 states=6:.2f}; at
          delay 32 the RNN has {rnn_low delay=32 poles=4 channels=2 states=6:.2f} to
          {rnn_high delay=32 poles=4 channels=2 states=6:.2f} and the CNN
          {cnn_low delay=32 poles=4 channels=2 states=6:.2f} to {cnn_high delay=32 poles=4 channels=2 states=6:.2f}.
Fair      Parameters as they are stored (within 5 %), and degrees of freedom, those that remain after a change of basis
          of the states or channels: 2 m of an RNN with m states. 5 draws of poles, the same for all delays. Trained:
          Adam, peak 1e-2 (RNN, not tuned) and .1, exact loss, the best of 6 seeds, since bounds are of the best.
Differs   from the papers: lower and upper bounds decide, or do not, and both networks have one size.
Cost      3 min on one CPU core
Run       python experiments/theory/phase_chart.py
Next      python experiments/theory/phase_chart.py --channels 6 --states 19 --steps 0 --out results/mine
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import lines, patches
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import metrics, plot, runs, train
from seqjax.theory import bounds, dilated, fits, population, targets

LAYERS = 7
LAGS = 2**LAYERS

EXACT = 1e-20
"""Relative errors below it are round-off."""

SMALLEST_DRAWN = 1e-6

RNN, CNN = (plot.STYLE[name]["color"] for name in ("linear", "cnn"))

SIDES = ("rnn_low", "rnn_high", "cnn_low", "cnn_high")
"""Lower and upper bounds of the least error of an RNN, and of a CNN."""

RING: dict[str, Any] = {"marker": "o", "markersize": 15, "markerfacecolor": "none"}

DRAWS = 5
"""Random draws of the poles."""


@dataclass(frozen=True)
class Config:
    """One target for a linear RNN and a linear CNN.

    Attributes:
        delay: steps before the target's memory begins.
        poles: pole pairs of the target.
        channels: width of the CNN.
        states: width of the RNN.
        steps: training updates; 0: only bounds are computed.
        seeds: random seeds, trained together.
    """

    delay: int = runs.traced(8)
    poles: int = runs.traced(4)
    channels: int = 2
    states: int = 6
    steps: int = 0
    seeds: int = 4


def configs(scale: runs.Scale) -> list[Config]:
    """Delays by poles, at two sizes and by two counts of parameters; some of them trained."""
    if scale == "smoke":
        return [Config(2, poles, steps=20, seeds=2) for poles in (1, 2)]
    delays = {"laptop": (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64), "gpu": (*range(1, 17), *range(18, 65, 2))}[scale]
    poles = {"laptop": (1, 2, 3, 4, 6, 8, 12, 16), "gpu": tuple(range(1, 17))}[scale]
    steps, seeds = {"laptop": (3_000, 6), "gpu": (30_000, 16)}[scale]
    sizes = ((2, 6), (4, 12), (2, 12))
    dots = [(delay, number) for delay in (2, 8, 32) for number in (1, 4, 16)]
    return [
        Config(delay, number, channels, states, *((steps, seeds) if states == 6 and (delay, number) in dots else ()))
        for channels, states in sizes
        for number in poles
        for delay in delays
    ]


def parameters(config: Config) -> tuple[int, int]:
    """Parameters of the RNN, and of the CNN."""
    m, M = config.states, config.channels
    return m**2 + 2 * m, 4 * M + 2 * (LAYERS - 2) * M**2


def freedoms(config: Config) -> tuple[int, int]:
    """Degrees of freedom: parameters, less those of a change of basis of the state, or of the channels."""
    stored = parameters(config)
    return stored[0] - config.states**2, stored[1] - (LAYERS - 1) * config.channels**2


def kernels(config: Config) -> np.ndarray:
    """The weight at each lag for each draw of the poles, of norm 1."""
    keys = jax.random.split(jax.random.key(0), DRAWS)
    waves = np.array([targets.random_cosines(key, config.poles, LAGS - config.delay) for key in keys])
    norms = np.array([np.linalg.norm(wave) for wave in waves])
    return np.pad(waves, ((0, 0), (config.delay, 0))) / norms[:, None]


def measure(records: list[runs.Record]) -> None:
    """Bounds for each draw of the poles; delays, poles and seeds are trained as one program, on the first draw."""
    config: Config = records[0].config
    kernels_of = [kernels(record.config) for record in records]
    trained = _train(config, np.array([draws[0] for draws in kernels_of])) if config.steps else {}
    for index, (record, draws) in enumerate(zip(records, kernels_of, strict=True)):
        arrays: dict[str, np.ndarray] = dict(
            zip(SIDES, np.array([_bounds(target, config) for target in draws]).T, strict=True)
        )
        row = _row(config, arrays)
        for name, losses in trained.items():
            bounds.require_above(arrays[f"{name}_low"][0], losses[index])
            row[f"{name}_trained"] = metrics.band(losses[index]).low
            arrays[f"{name}_trained"] = losses[index]
        record.finish(row, **arrays)


def _row(config: Config, arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Medians over the draws, and in how many of them each network is nearer."""
    row: dict[str, float] = {"parameters": parameters(config)[0], "cnn_parameters": parameters(config)[1]}
    row |= {name: float(np.median(values)) for name, values in arrays.items()}
    rnn_low, rnn_high, cnn_low, cnn_high = (np.maximum(arrays[name], EXACT) for name in SIDES)
    row["exact"] = int((np.maximum(rnn_high, cnn_high) <= EXACT).sum())
    row["rnn_wins"], row["cnn_wins"] = int((rnn_high < cnn_low).sum()), int((cnn_high < rnn_low).sum())
    # The ratio of the CNN's error to the RNN's.
    return row | {"low": float(np.median(cnn_low / rnn_high)), "high": float(np.median(cnn_high / rnn_low))}


def _bounds(target: np.ndarray, config: Config) -> tuple[float, float, float, float]:
    """The errors of `SIDES`."""

    def error(fit: np.ndarray) -> float:
        return float(((target - fit) ** 2).sum())

    rnn_low, rnn_high = bounds.hankel(target, config.states), error(fits.kung(target, config.states).kernel(LAGS))
    cnn_low, cnn_high = bounds.tensor_train(target, config.channels)
    # If these do not decide, fit harder the only one that may still prove to be nearer.
    if rnn_low < cnn_low < rnn_high:
        rnn_high = error(fits.varpro(target, config.states, restarts=0).kernel(LAGS))
    elif cnn_low < rnn_low < cnn_high:
        cnn_high = error(fits.alternating(fits.tensor_train(target, config.channels), target).kernel())
    return rnn_low, rnn_high, cnn_low, cnn_high


def _train(config: Config, targets: np.ndarray) -> dict[str, np.ndarray]:
    """The last losses of all targets and seeds, from random weights: the RNN's W is orthogonal times .95."""
    rng, m, seeds = np.random.default_rng(0), config.states, config.seeds
    rotations = np.linalg.qr(rng.normal(size=(seeds, m, m)))[0]
    states = 0.95 * rotations, rng.normal(size=(seeds, m)), rng.normal(size=(seeds, m)) / m

    def respond(weights):
        W, U, c = weights
        return population.response(W, U, c, LAGS)

    def last_losses(response, rate, starts):
        def train_one(start, target):
            def loss(weights, key):
                return population.last_step(target - response(weights))

            key, times = jax.random.key(0), np.array([config.steps])
            return train.descend(loss, train.adam(rate, config.steps), start, key, times)[1][-1]

        over_seeds = jax.vmap(train_one, (0, None))
        return np.asarray(jax.jit(jax.vmap(over_seeds, (None, 0)))(starts, jnp.asarray(targets)))

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), seeds)
        taps = jax.vmap(lambda key: dilated.random(key, config.channels, config.channels, LAYERS))(keys)
        return {
            "rnn": last_losses(respond, 1e-2, states),
            "cnn": last_losses(dilated.response, 1e-1, taps),
        }


def draw(records: list[runs.Record]) -> Figure:
    """Above: which is nearer, by delay and poles. Below: the bounds along three lines through the first map."""
    sizes = list(dict.fromkeys((record.config.channels, record.config.states) for record in records))
    figure, axes = plot.figure(2, max(3, len(sizes)), width=5.4 * max(3, len(sizes)), height=9.4)
    for ax, size in zip(axes[0], sizes, strict=False):
        _draw_map(ax, [r for r in records if (r.config.channels, r.config.states) == size])
    first = [r for r in records if (r.config.channels, r.config.states) == sizes[0]]
    _draw_line(axes[1, 0], [r for r in first if r.config.poles == 4], "delay")
    _draw_line(axes[1, 1], [r for r in first if r.config.delay == 2], "poles")
    _draw_line(axes[1, 2], [r for r in first if r.config.delay == 32], "poles")
    for ax in axes.flat:
        ax.set_visible(bool(ax.has_data() or ax.patches))
    handles = [
        patches.Patch(facecolor=RNN, label="R: an RNN is nearer than any CNN (darker: in more of the draws)"),
        patches.Patch(facecolor=CNN, label="C: a CNN is nearer than any RNN"),
        patches.Patch(facecolor="0.8", label="=: both exact"),
        patches.Patch(facecolor="white", edgecolor="0.6", hatch="////", label="undecided, or draws disagree"),
        lines.Line2D([], [], linestyle="", label="ring: which is nearer if trained (first draw)", **RING, color="0.4"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_map(ax: Axes, records: list[runs.Record]) -> None:
    """A cell for each target: which is nearer in most draws, by letter and colour; hatched if undecided."""
    config = records[0].config
    delays = sorted({record.config.delay for record in records})
    poles = sorted({record.config.poles for record in records})
    for record in records:
        row, place = record.result, (delays.index(record.config.delay), poles.index(record.config.poles))
        fractions = {"R": row["rnn_wins"], "C": row["cnn_wins"], "=": row["exact"]}
        letter = max(fractions, key=lambda name: fractions[name])
        fraction = fractions[letter] / DRAWS
        color = {"R": RNN, "C": CNN, "=": "0.8"}[letter]
        corner = place[0] - 0.5, place[1] - 0.5
        if fraction > 0.5:
            ax.add_patch(patches.Rectangle(corner, 1, 1, facecolor=color, alpha=fraction**2, edgecolor="white"))
            ink = "white" if letter == "R" and fraction > 0.8 else "black"
            ax.text(*place, letter, ha="center", va="center", fontsize=8, color=ink)
        else:
            ax.add_patch(patches.Rectangle(corner, 1, 1, facecolor="white", edgecolor="0.6", hatch="////", linewidth=0))
        if "rnn_trained" in row:
            better = RNN if row["rnn_trained"] < row["cnn_trained"] else CNN
            for color, width in (("white", 6.0), ("black", 4.6), (better, 3.0)):
                ax.plot(*place, **RING, markeredgecolor=color, markeredgewidth=width)
    at = float(np.interp(config.states, delays, np.arange(len(delays))))
    ax.plot(at, -0.5, marker="v", markersize=9, color="black", clip_on=False, zorder=5)
    ax.grid(False)
    ax.set(xlim=(-0.5, len(delays) - 0.5), ylim=(-0.5, len(poles) - 0.5))
    ax.set_xticks(range(len(delays)), [str(delay) for delay in delays])
    ax.set_yticks(range(len(poles)), [str(number) for number in poles])
    ax.set(xlabel="delay k (triangle: the RNN's states)", ylabel="random pole pairs p")
    rnn, cnn = parameters(config)
    counts = f"{rnn} and {cnn} parameters"
    if abs(rnn - cnn) > 0.05 * cnn:
        counts = "{} and {} degrees of freedom".format(*freedoms(config))
    ax.set_title(f"RNN of {config.states} states (R), CNN of {config.channels} channels (C):\n{counts}")


def _draw_line(ax: Axes, line: list[runs.Record], along: str) -> None:
    """Bounds of the first draw of the poles, and trained errors."""
    if not line:
        return
    line = sorted(line, key=lambda record: getattr(record.config, along))
    places = [getattr(record.config, along) for record in line]
    config = line[0].config
    fixed = f"{config.poles} pole pairs" if along == "delay" else f"delay {config.delay}"
    names = {"rnn": f"RNN of {config.states} states", "cnn": f"CNN of {config.channels} channels"}
    for name, label in names.items():
        style = "linear" if name == "rnn" else name
        low, high = ([max(r.arrays[f"{name}_{end}"][0], SMALLEST_DRAWN) for r in line] for end in ("low", "high"))
        plot.curve(ax, places, high, low, high, label=f"{label}: fitted, down to the floor", style=style)
        trained = [record for record in line if f"{name}_trained" in record.result]
        if trained:
            where = [getattr(record.config, along) for record in trained]
            bands = [np.sort(record.arrays[f"{name}_trained"])[[0, 0, -1]] for record in trained]
            plot.points(ax, where, *zip(*bands, strict=True), label=f"{label}: trained, best and range", style=style)
    ax.set(xscale="log", yscale="log", ylim=(SMALLEST_DRAWN, 2), title=f"{fixed} (first draw)")
    ax.set(xlabel="delay k" if along == "delay" else "random pole pairs p", ylabel="squared error / |target|²")
    ax.set_xticks(places, [str(place) for place in places])
    ax.minorticks_off()
    plot.legend(ax, loc="lower right")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    equal = [*runs.select(rows, channels=2, states=6), *runs.select(rows, channels=4, states=12)]
    free = runs.select(rows, channels=2, states=12)
    long = [row for row in equal if row["delay"] >= (32 if row["channels"] == 2 else 16)]
    short = [row for row in equal if row["delay"] <= 4 and not row["exact"]]
    lead = [row for row in free if row["delay"] <= 12]
    trained = [row for row in rows if row.get("rnn_trained") is not None]
    nearer = [row for row in trained if row["poles"] == 16 or (row["delay"], row["poles"]) == (32, 4)]
    return [
        runs.every(
            "delay 32 on, with 4 channels 16 on: the CNN wins", [row["cnn_wins"] > row["rnn_wins"] for row in long]
        ),
        runs.every("up to delay 4: the RNN wins", [row["rnn_wins"] > row["cnn_wins"] for row in short]),
        runs.every(
            "RNN of 12 states, 2 channels, up to delay 12: it leads", [r["rnn_wins"] > r["cnn_wins"] for r in lead]
        ),
        runs.less(
            "trained, 32 steps with 4 pairs and 16 pairs: the CNN is nearer",
            runs.values(nearer, "cnn_trained"),
            runs.values(nearer, "rnn_trained"),
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
