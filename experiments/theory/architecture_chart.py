"""Which architecture learns which memory: long or rich?

Paper     theory: Jiang, Li & Li 2021, arXiv:2107.09355; Orvieto et al. 2023, arXiv:2303.06349
Figure    experiments/figures/architecture_chart.png
Question  White noise through damped waves of p random pole pairs that begin after a delay of k steps: which memory
          does each architecture learn best, a long one or a rich one, and where is it better than the best linear RNN
          of eight states?
Expect    After 800 steps: linear networks of 4,400 parameters learn every one of these memories (errors below 4e-4); of
          the nonlinear ones only the TCN does, .001 to .004 whatever k and p. RNN, GRU and LSTM fail at delays: at 16
          steps they have learned next to nothing (errors > .9; GRU with one pair: .1), at 0 and 4 at most .16 is left.
          The LRU depends less on the delay (.02 at 16, .2 to .4 at 48) and hardly on p; the Transformer depends on p
          (.05 to .3 with one or two, .5 to .9 with more). TCN and LRU are better than eight linear states where those
          are worst.
Answer    After {steps model=tcn delay=0 poles=1} steps, with 8 pole pairs: without delay the TCN has an error of
          {error model=tcn delay=0 poles=8:.3f}, the LRU {error model=lru delay=0 poles=8:.3f}, the GRU
          {error model=gru delay=0 poles=8:.3f} and the Transformer {error model=transformer delay=0 poles=8:.2f}; at a
          delay of 48 steps they have {error model=tcn delay=48 poles=8:.3f}, {error model=lru delay=48 poles=8:.2f},
          {error model=gru delay=48 poles=8:.2f} and {error model=transformer delay=48 poles=8:.2f}.
Fair      Equal parameters (within 5 %), steps, batches and targets; learning rates as usual for each architecture. One
          seed: neighbouring cells are the repetition.
Differs   from the theory: all but two are nonlinear, so that the floor of eight linear states is a reference and no
          bound for them.
Cost      12 min on one CPU core
Run       python experiments/theory/architecture_chart.py
Next      python experiments/theory/architecture_chart.py --model lru tcn --steps 10000 --out results/mine
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, models, plot, runs
from seqjax.tasks.convolution import convolve
from seqjax.theory import bounds, targets
from seqjax.types import Batch

Model = Literal["linear_rnn", "linear_cnn", "rnn", "gru", "lstm", "lru", "tcn", "transformer"]

LABEL = {
    "linear_rnn": "linear RNN", "linear_cnn": "linear dilated CNN", "rnn": "RNN", "gru": "GRU", "lstm": "LSTM",
    "lru": "LRU", "tcn": "TCN", "transformer": "Transformer",
}  # fmt: skip

LEARNING_RATE = {
    "linear_rnn": 1e-3, "linear_cnn": 3e-3, "rnn": 3e-3, "gru": 1e-2, "lstm": 1e-2, "lru": 1e-2, "tcn": 1e-2,
    "transformer": 3e-3,
}  # fmt: skip

LENGTH, STATES = 128, 8
"""Steps of a sequence and lags of a kernel; states of the linear RNN whose floor errors are compared with."""

LINEAR_STATES = 65
"""States of the linear RNN that is trained."""

LEAST = 1e-4
"""Smaller floors are drawn as this: no error is far below it after so few steps."""

WEIGHT = 1 - np.arange(LENGTH) / LENGTH
"""The fraction of a sequence's steps that each lag of the kernel reaches."""


@dataclass(frozen=True)
class Config:
    """One architecture on one memory.

    Attributes:
        model: architecture.
        delay: steps before the target's memory begins.
        poles: pole pairs of the target.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "tcn"
    delay: int = runs.traced(8)
    poles: int = runs.traced(2)
    steps: int = 800
    batch_size: int = 16
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on a grid of memories."""
    if scale == "smoke":
        return [Config("linear_cnn", delay, steps=10) for delay in (1, 8)]
    steps, delays, poles, seeds = {
        "laptop": (800, (0, 4, 16, 48), (1, 2, 4, 8), 1),
        "gpu": (10_000, (0, 1, 2, 4, 8, 16, 32, 48), (1, 2, 3, 4, 6, 8, 12, 16), 3),
    }[scale]
    return [Config(model, k, p, steps, seeds=seeds) for model in get_args(Model) for p in poles for k in delays]


def build(config: Config) -> models.Module:
    """About 4,400 parameters each; whatever is convolved sees 127 steps or more."""
    match config.model:
        case "linear_rnn":
            backbone = models.RNN(LINEAR_STATES, activation=lambda x: x)
        case "linear_cnn":
            backbone = models.LinearDilatedCNN(21, layers=7)
        case "rnn":
            backbone = models.RNN(65)
        case "gru":
            backbone = models.GRU(37)
        case "lstm":
            backbone = models.LSTM(32)
        case "lru":
            backbone = models.LRU(18, layers=2, ring=(0.9, 0.999))
        case "tcn":
            backbone = models.TCN(11, kernel_size=3, dilations=(1, 2, 4, 8, 16, 32))
        case "transformer":
            backbone = models.Transformer(16, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case _:
            assert_never(config.model)
    return models.Regressor(backbone)


def kernel(config: Config) -> np.ndarray:
    """The weight at each lag, scaled so that the zero predictor has error 1."""
    waves = targets.random_cosines(jax.random.key(0), config.poles, LENGTH - config.delay)
    delayed = np.concatenate([np.zeros(config.delay), waves])
    return delayed / np.sqrt(WEIGHT @ delayed**2)


def sample(key, target, rows: int) -> Batch:
    """White noise, and the same through a kernel."""
    x = jax.random.normal(key, (rows, LENGTH))
    return Batch(x[..., None], convolve(x, target)[..., None])


def measure(records: list[runs.Record]) -> None:
    """All memories of an architecture are one program."""
    config: Config = records[0].config
    model = build(config)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    train_key, test_key = jax.random.split(jax.random.key(1))
    kernels = np.array([kernel(record.config) for record in records])
    settings = jnp.asarray(kernels, jnp.float32)
    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda key, target: sample(key, target, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
        settings=settings,
    )

    tests = [sample(test_key, target, 500) for target in settings]
    predictions = runs.by_record(records, evaluate.predict(model.apply, state.params, tests[0].inputs))
    for record, test, of_record, target in zip(records, tests, predictions, kernels, strict=True):
        errors = ((of_record - np.asarray(test.targets)) ** 2).mean(axis=(2, 3))  # seeds, rows
        if config.model == "linear_rnn":
            own = bounds.hankel(target, LINEAR_STATES, WEIGHT)
            bounds.require_above(own, errors.mean(axis=1), errors.std(axis=1) / errors.shape[1] ** 0.5)
        row = runs.scores(record, "error", errors.mean(axis=1))
        record.finish(row | {"floor": bounds.hankel(target, STATES, WEIGHT)})


def draw(records: list[runs.Record]) -> Figure:
    """A panel for each architecture, and one for the floor; darker is farther above the floor."""
    models = [model for model in get_args(Model) if any(record.config.model == model for record in records)]
    columns = min(3, len(models) + 1)
    rows = -(-(len(models) + 1) // columns)
    figure, axes = plot.figure(rows, columns, width=4.4 * columns, height=3.9 * rows)
    panels = axes.ravel()
    first = [record for record in records if record.config.model == models[0]]
    panel(panels[0], first, "floor", f"floor of {STATES} linear states")
    for ax, model in zip(panels[1:], models, strict=False):
        mine = [record for record in records if record.config.model == model]
        panel(ax, mine, "error", f"{LABEL[model]} ({mine[0].result['parameters']:,} parameters)")
    for ax in panels[len(models) + 1 :]:
        ax.axis("off")
    scale = "log10(error / floor), white at 1/100, black at 10,000 times; *: below the floor"
    seeds = plot.over_seeds((record.config.seeds for record in records), plot.MOST_BANDS + 1)
    figure.suptitle(f"squared error / variance, {seeds}; shade: {scale}", fontsize=10)
    return figure


def panel(ax: Axes, records: list[runs.Record], name: str, title: str) -> None:
    """Numbers and shades over delay and poles; a star where an error is below the floor of eight linear states."""
    delays, poles = (sorted({getattr(r.config, field) for r in records}) for field in ("delay", "poles"))
    shades = np.zeros((len(poles), len(delays)))
    for record in records:
        place = poles.index(record.config.poles), delays.index(record.config.delay)
        error, floor = record.result[name], max(record.result["floor"], LEAST)
        shades[place] = np.clip((np.log10(max(error, 1e-12) / floor) + 2) / 6, 0, 1)
        text = f"{error:.2g}" if error >= 1e-12 else "0"
        text += "*" if name == "error" and error < record.result["floor"] else ""
        color = "white" if shades[place] > 0.55 else "black"
        ax.text(place[1], place[0], text, ha="center", va="center", fontsize=8, color=color)
    shades = shades if name == "error" else np.zeros_like(shades)
    plot.heat_map(ax, shades, [str(number) for number in poles], [str(delay) for delay in delays])
    ax.tick_params(axis="x", rotation=0)
    ax.set(xlabel="delay k (steps)", ylabel="pole pairs p")
    ax.set_title(title, fontsize=10)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    rows = runs.select(rows, steps=800)

    def errors(*models: str, delay: object = (0, 4, 16, 48), poles: object = (1, 2, 4, 8)) -> list[float]:
        return runs.values(rows, "error", model=models, delay=delay, poles=poles)

    recurrent = ("rnn", "gru", "lstm")
    late = runs.select(rows, delay=16, model=recurrent)
    lost = [row["error"] for row in late if (row["model"], row["poles"]) != ("gru", 1)]
    worst = max((row for row in rows if row["model"] == "tcn"), key=lambda row: row["floor"], default={})
    there = [
        runs.value(rows, "error", model=m, delay=worst.get("delay"), poles=worst.get("poles")) for m in ("tcn", "lru")
    ]
    return [
        runs.check("linear networks", errors("linear_rnn", "linear_cnn"), "< 4e-4"),
        runs.check("TCN", errors("tcn"), ".001 to .004"),
        runs.check("delay 16: RNN, GRU and LSTM, but for the GRU with one pair", lost, "> .9"),
        runs.check("delay 16: GRU with one pair", errors("gru", delay=16, poles=1), ".1"),
        runs.check("delays 0 and 4: RNN, GRU and LSTM", errors(*recurrent, delay=(0, 4)), "<= .16"),
        runs.check("delay 16: LRU", errors("lru", delay=16), ".02"),
        runs.check("delay 48: LRU", errors("lru", delay=48), ".2 to .4"),
        runs.check("Transformer, one or two pairs", errors("transformer", poles=(1, 2)), ".05 to .3"),
        runs.check("Transformer, more pairs", errors("transformer", poles=(4, 8)), ".5 to .9"),
        runs.less(
            "TCN and LRU are better than eight linear states where those are worst", there, worst.get("floor", math.nan)
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
