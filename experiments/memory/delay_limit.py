"""At which delay does each architecture stop learning a shift?

Paper     Bai, Kolter & Koltun 2018, arXiv:1803.01271; Li, Han, E & Li 2021, arXiv:2009.07799; tutorial
          `approximation`
Figure    experiments/figures/delay_limit.png
Question  y(t) = x(t - k): up to which delay k does each architecture learn the shift in equally many steps, on white
          noise, where it takes memory, and on the tutorial's smooth input, whose past can be extrapolated?
Expect    On white noise every recurrent network fails from a delay between 12 and 32 on, the plain RNN not before the
          gated ones; TCN and Transformer learn all delays. On smooth input all do better, as the last few inputs tell
          most of what is k steps back (seqjax.theory.bounds.window).
Answer    The longest delay of 2 to {max delay} that is learned on white noise (smooth input):
          plain RNN {max delay model=rnn signal=white learned=True} ({max delay model=rnn signal=smooth learned=True}),
          GRU {max delay model=gru signal=white learned=True} ({max delay model=gru signal=smooth learned=True}),
          LSTM {max delay model=lstm signal=white learned=True} ({max delay model=lstm signal=smooth learned=True}),
          TCN {max delay model=tcn signal=white learned=True} ({max delay model=tcn signal=smooth learned=True}),
          Transformer {max delay model=transformer signal=white learned=True}
          ({max delay model=transformer signal=smooth learned=True}).
Fair      Equal parameters (within 2 %), steps and data. A delay is learned if the error is at most a tenth of the least
          error without memory. One learning rate per architecture, that of experiments/memory/shift_memory.py, found on
          white noise and a delay of 8; more steps move every limit. The TCN sees 125 steps: the delays of the gpu scale
          from 128 on are out of its reach.
Differs   from the tutorial: one grid for all architectures instead of an RNN on 8/32 and others on 32/128; recurrence
          over time instead of the batch.
Cost      27 min of CPU time, 53 min on two cores that others used too
Run       python experiments/memory/delay_limit.py
Next      python experiments/memory/delay_limit.py --model gru --signal white --steps 5000 --out results/longer
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _networks import Network, network
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, tasks
from seqjax.data.gaussian_process import GaussianProcess, WhiteNoise
from seqjax.types import Batch, InputError

Signal = Literal["white", "smooth"]

SIGNALS = {"white": WhiteNoise(), "smooth": GaussianProcess()}

LABEL = {"rnn": "plain RNN", "gru": "GRU", "lstm": "LSTM", "tcn": "TCN", "transformer": "Transformer"}

LEARNING_RATE = {"rnn": 0.01, "gru": 0.1, "lstm": 0.1, "tcn": 0.3, "transformer": 0.01}
"""Those of experiments/memory/shift_memory.py."""

LEARNED = 0.1
"""A delay is learned if the error is at most this fraction of the least error without memory."""

TEST_SEQUENCES = 512

SMALLEST_DRAWN = 1e-6


@dataclass(frozen=True)
class Config:
    """One architecture on one delay.

    Attributes:
        model: architecture.
        signal: input: white noise, or the tutorial's Gaussian process with a length scale of 10 steps.
        delay: steps between an input and its target.
        length: steps of a sequence, at least twice the delay.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Network = "gru"
    signal: Signal = "white"
    delay: int = runs.traced(16)
    length: int = 64
    steps: int = 1_000
    batch_size: int = 16
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    def __post_init__(self) -> None:
        if self.length < 2 * self.delay:
            raise InputError(f"--length must be at least twice the delay, {2 * self.delay}, got {self.length}")


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on every delay, with either input."""
    delays, steps, seeds = {
        "smoke": ((2, 4), 20, 2),
        "laptop": ((2, 4, 8, 12, 16, 24, 32, 48, 64), 1_000, 3),
        "gpu": ((2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256), 10_000, 5),
    }[scale]
    return [
        Config(model, signal, delay, length_for(delay), steps, seeds=seeds)
        for model in get_args(Network)
        for signal in get_args(Signal)
        for delay in delays
    ]


def length_for(delay: int) -> int:
    """64 steps, or as many powers of two more as leave half of the targets: few lengths, each of which is compiled."""
    return max(64, 2 ** int(np.ceil(np.log2(2 * delay))))


def build(config: Config) -> models.Module:
    """All have 7,050 parameters, give or take 2 %."""
    return models.Regressor(network(config.model))


def measure(records: list[runs.Record]) -> None:
    """Delays, seeds and learning rates of an architecture are one program; every batch is a fresh one."""
    config: Config = records[0].config
    model, signal = build(config), SIGNALS[config.signal]
    longest = max(record.config.delay for record in records)
    runs.warn_of_reach(model, tasks.Shift(longest, config.length))

    def sample(key, delay):
        """As `tasks.Shift`, with a delay that is traced."""
        x = signal.sample(key, config.batch_size, config.length)
        y = jnp.where(jnp.arange(config.length)[None] >= delay, jnp.roll(x, delay, axis=1), 0)
        return Batch(x[..., None], y[..., None])

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    train_key, test_key = jax.random.split(jax.random.key(0))
    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, config.length, 1))),
        loss,
        sample,
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
        settings=jnp.array([record.config.delay for record in records]),
    )
    for record, params in zip(records, runs.by_record(records, state.params), strict=True):
        task = tasks.Shift(record.config.delay, config.length, signal)
        test = task.sample(test_key, TEST_SEQUENCES)
        predictions = evaluate.predict(model.apply, params, test.inputs)
        errors = np.square(predictions - test.targets[None]).mean(axis=(1, 2, 3))
        row = runs.scores(record, "mse", errors)
        row |= {"memoryless": task.memoryless_floor(), "zero_predictor": task.zero_loss()}
        record.finish(row | {"learned": row["mse"] <= LEARNED * row["memoryless"]}, test_mse=errors)


def failures(line: Sequence[dict[str, Any]]) -> tuple[metrics.Bracket, metrics.Bracket, metrics.Bracket]:
    """Where the rows of one architecture on one input, by delay, stop being learned: by median, worst and best seed."""
    delays = [row["delay"] for row in line]
    median, low, high = (
        metrics.failure(delays, [row[name] / row["memoryless"] for row in line], LEARNED)
        for name in ("mse", "low", "high")
    )
    return median, high, low


def sentence(line: Sequence[dict[str, Any]]) -> str:
    """Where these rows stop being learned, in words; what is learned beyond the first failure is named.

    In brackets the last delay that the worst and the best seed learn, where they differ.
    """
    median, worst, best = failures(line)
    text = f"fails between {median.works:g} and {median.fails:g}" if median.works else f"fails from {median.fails:g} on"
    if np.isinf(median.fails):
        text = f"learned to {median.works:g}, the longest"
    if again := [f"{row['delay']}" for row in line if row["learned"] and row["delay"] > median.fails]:
        text += f", but learns {', '.join(again)}"
    return text if worst == best else f"{text} (seeds: {worst.works:g} to {best.works:g})"


def draw(records: list[runs.Record]) -> Figure:
    """A panel for each architecture: error against delay with either input; then all limits beside each other."""
    rows = sorted(({**vars(r.config), **r.result} for r in records), key=lambda row: row["delay"])
    names = [name for name in get_args(Network) if any(row["model"] == name for row in rows)]
    figure, axes = plot.figure(2, 3, width=14.0, height=8.2)
    lines = {
        (name, signal): [row for row in rows if (row["model"], row["signal"]) == (name, signal)]
        for name in names
        for signal in get_args(Signal)
    }
    lines = {key: line for key, line in lines.items() if line}
    for ax in axes.flat[len(names) : -1]:
        ax.axis("off")
    for ax, name in zip(axes.flat, names, strict=False):
        _panel(ax, name, {signal: line for (model, signal), line in lines.items() if model == name})
    _limits(axes.flat[-1], names, lines)
    named: dict[str, Any] = {}
    for ax in axes.flat:
        handles, labels = ax.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _panel(ax: Axes, name: str, lines: dict[str, list[dict[str, Any]]]) -> None:
    """Error over the least without memory, and a shade from the last delay learned to the first that is not."""
    ax.set(xscale="log", yscale="log", ylim=(SMALLEST_DRAWN / 2, 40))
    told, delays = [], sorted({row["delay"] for line in lines.values() for row in line})
    for style, (signal, line) in enumerate(lines.items()):
        columns = [
            [max(row[column] / row["memoryless"], SMALLEST_DRAWN) for row in line] for column in ("mse", "low", "high")
        ]
        x = [row["delay"] for row in line]
        seeds = plot.over_seeds(row["seeds"] for row in line)
        plot.curve(ax, x, *columns, label=f"{signal} input, {seeds}", style=style)
        median, _, _ = failures(line)
        if np.isfinite(median.fails):
            color = plot.look(style)["color"]
            shade = {"facecolor": "none", "edgecolor": color, "hatch": "///" if style % 2 else "\\\\\\", "alpha": 0.35}
            shade["label"] = f"{signal}: from the last delay learned to the first that is not"
            ax.axvspan(median.works or delays[0] / 1.4, median.fails, linewidth=0, hatch_linewidth=0.5, **shade)
        told.append(f"{signal}: {sentence(line)}")
        if signal == "smooth":
            plot.baseline(
                ax, x, [row["zero_predictor"] / row["memoryless"] for row in line], label="zero predictor (smooth)"
            )
    ax.axhline(1, color="black", linewidth=0.9, label="least error without memory (white: the zero predictor)")
    ax.axhline(LEARNED, color="0.4", linewidth=0.9, linestyle=":", label=f"learned: {LEARNED:g} of that or less")
    parameters = next(iter(lines.values()))[0]["parameters"]
    ax.set_title(f"{LABEL[name]}, {parameters:,} parameters\n" + "\n".join(told), fontsize=9)
    ax.set(xlabel="delay k (time steps)", ylabel="error / least error without memory")
    ax.set_xticks(delays, [str(delay) for delay in delays])
    ax.minorticks_off()


def _limits(ax: Axes, names: Sequence[str], lines: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """For each architecture a bar from the last delay learned to the first that is not; an arrow if there is none."""
    delays = sorted({row["delay"] for line in lines.values() for row in line})
    for (name, signal), line in lines.items():
        style = get_args(Signal).index(signal)
        look = plot.look(style)
        y = names.index(name) + 0.17 * (2 * style - 1)
        median, worst, best = failures(line)
        ends = [min(max(x, delays[0] / 1.4), delays[-1] * 1.4) for x in (*median, worst.works, best.fails)]
        works, fails, least, most = ends
        ax.plot([least, most], [y, y], color=look["color"], linewidth=1.0)
        ax.plot([works, fails], [y, y], color=look["color"], linewidth=5, solid_capstyle="butt", alpha=0.55)
        ax.plot(works, y, color=look["color"], marker=look["marker"], markersize=6)
        if np.isinf(median.fails):
            ax.annotate("", (fails * 1.12, y), (works, y), arrowprops={"arrowstyle": "->", "color": look["color"]})
    ax.set(xscale="log", xlim=(delays[0] / 1.5, delays[-1] * 1.8), ylim=(len(names) - 0.5, -0.5))
    ax.set_yticks(range(len(names)), [LABEL[name] for name in names])
    ax.set_xticks([delays[0] / 1.4, *delays], ["none", *map(str, delays)])
    ax.minorticks_off()
    ax.set_xlabel("delay k (time steps)")
    ax.set_title(
        "mark: last delay learned; thick: to the first that is not\nthin: from the worst seed to the best", fontsize=9
    )


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def first(model: str) -> float:
        """The shortest delay that is not learned on white noise."""
        return min(runs.values(rows, "delay", model=model, signal="white", learned=False), default=math.nan)

    def longest(model: str, signal: str) -> float:
        return max(runs.values(rows, "delay", model=model, signal=signal, learned=True), default=math.nan)

    recurrent = ("rnn", "gru", "lstm")
    others = runs.select(rows, model=("tcn", "transformer"), signal="white")
    return [
        runs.check(
            "white noise, recurrent networks, first delay that fails", [first(m) for m in recurrent], "12 to 32"
        ),
        runs.less(
            "white noise: a gated network fails before the plain RNN", min(first("gru"), first("lstm")), first("rnn")
        ),
        runs.every("white noise: TCN and Transformer learn every delay", [row["learned"] for row in others]),
        runs.less(
            "the longest delay learned by RNN, GRU and LSTM is longer on smooth input",
            [longest(m, "white") for m in recurrent],
            [longest(m, "smooth") for m in recurrent],
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
