"""How far back can a network remember?

Paper     Bai, Kolter & Koltun 2018, arXiv:1803.01271; Li, Han, E & Li 2021, arXiv:2009.07799; tutorial
          `approximation`
Figure    experiments/figures/shift_memory.png
Question  y(t) = x(t - k) on white noise: which architectures recover the input k steps back, and does the error jump
          once k exceeds the memory of the model?
Expect    TCN: MSE < 1e-3 within its receptive field. LSTM: < 2e-3 at delay 8. Linear RNN of order m: never below
          (1 - k/T)(1 - m/(k+1)), which is 0 once m > k. The zero predictor has 1 - k/T.
Answer    At delay 32 the TCN has an error of {mse model=tcn delay=32:.0e}, the Transformer
          {mse model=transformer delay=32:.0e}, the GRU {mse model=gru delay=32:.2f} and the LSTM
          {mse model=lstm delay=32:.2f}, where {zero_predictor model=gru delay=32:.2f} is the error of predicting zero;
          at delay 8 the GRU has {mse model=gru delay=8:.0e} and the LSTM {mse model=lstm delay=8:.0e}.
Fair      Equal parameters (within 5 %) and steps. One learning rate per architecture, the best of 1e-3, 3e-3, …, 1
          by validation error: experiments/learning_rates.py, table in figures/learning_rates.json.
Differs   from the tutorial: every architecture on every delay, recurrence over time instead of the batch, white noise
          (smooth input lets a model extrapolate into the past), and a linear output.
Cost      4 min on two CPU cores
Run       python experiments/memory/shift_memory.py
Next      python experiments/memory/shift_memory.py --model gru --delay 16 --steps 2000
"""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from _networks import network
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, tasks
from seqjax.theory import bounds

Model = Literal["linear_4", "linear_16", "rnn", "gru", "lstm", "tcn", "transformer"]

LEARNING_RATE = {
    "linear_4": 0.03, "linear_16": 0.1, "rnn": 0.01, "gru": 0.1, "lstm": 0.1, "tcn": 0.3, "transformer": 0.01,
}  # fmt: skip
"""Chosen by experiments/learning_rates.py."""

TEST_SEQUENCES = 1024

SMALLEST_DRAWN = 1e-7
"""Smaller errors are round-off: exact linear RNNs reach 1e-14."""


@dataclass(frozen=True)
class Config:
    """One architecture on one delay.

    Attributes:
        model: architecture.
        delay: steps between an input and its target.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "tcn"
    delay: int = 8
    steps: int = 1_000
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    @property
    def length(self) -> int:
        """Steps of a sequence: long enough for the floor to be valid, and for most targets not to be zero."""
        return max(32, 4 * self.delay)


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on every delay."""
    delays, steps, seeds = {
        "smoke": ((2,), 20, 2),
        "laptop": ((2, 8, 32), 1_000, 3),
        "gpu": ((1, 2, 4, 8, 16, 32, 64), 10_000, 5),
    }[scale]
    return [Config(model=m, delay=k, steps=steps, seeds=seeds) for k in delays for m in get_args(Model)]


def build(config: Config) -> models.Module:
    """All but the linear ones have 7,050 parameters, give or take 2 %."""
    match config.model:
        case "linear_4" | "linear_16":
            backbone = models.RNN(int(config.model.removeprefix("linear_")), activation=jax.nn.identity)
        case name:
            backbone = network(name)
    return models.Regressor(backbone)


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program; training, validation and test sequences are fresh ones."""
    config: Config = records[0].config
    task, model = tasks.Shift(config.delay, config.length), build(config)
    runs.warn_of_reach(model, task)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    train_key, validation_key, test_key = jax.random.split(jax.random.key(config.delay), 3)
    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, config.length, 1))),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
    )

    def errors(key):
        """Of each record, seed and sequence."""
        batch = task.sample(key, TEST_SEQUENCES)
        predictions = evaluate.predict(model.apply, state.params, batch.inputs)
        return runs.by_record(records, ((predictions - batch.targets[None]) ** 2).mean(axis=(2, 3)))

    for record, validation, test in zip(records, errors(validation_key), errors(test_key), strict=True):
        row = runs.scores(record, "mse", test.mean(axis=1))
        row |= {"validation_mse": metrics.band(validation.mean(axis=1)).median, "zero_predictor": task.zero_loss()}
        if config.model.startswith("linear"):
            row["floor"] = task.floor(int(config.model.removeprefix("linear_")))
            bounds.require_above(row["floor"], *bounds.mean_and_error(test))
        record.finish(row, test_mse=test.mean(axis=1))


def draw(records: list[runs.Record]) -> Figure:
    """Error against delay, with the range over seeds; the hatched region is out of reach for linear RNNs."""
    figure, axes = plot.figure(width=8.5)
    ax = axes[0, 0]
    rows = [{"model": record.config.model, "delay": record.config.delay} | record.result for record in records]
    delays = sorted({row["delay"] for row in rows})
    ax.set(xscale="log", yscale="log", ylim=(SMALLEST_DRAWN / 2, 2), xlabel="delay k (time steps)")
    ax.set_ylabel(f"mean squared error (input variance 1)\nsmaller values drawn at {SMALLEST_DRAWN:g}")
    ax.set_xticks(delays, [str(delay) for delay in delays])
    ax.minorticks_off()
    every = range(delays[0], delays[-1] + 1)
    for number, model in enumerate(get_args(Model)):
        line = sorted((row for row in rows if row["model"] == model), key=lambda row: row["delay"])
        if not line:
            continue
        linear = "floor" in line[0]
        columns = [[max(row[column], SMALLEST_DRAWN) for row in line] for column in ("delay", "mse", "low", "high")]
        # Side by side: bands would hide each other, and errors near zero too.
        columns[0] = [delay * 1.05 ** (number - (0.5 if linear else 4)) for delay in columns[0]]
        look = {"style": "linear" if linear else model, "variant": int(model == "linear_16")}
        name = model.replace("linear_", "linear RNN of order ") if linear else plot.STYLE[model]["label"]
        plot.points(ax, *columns, label=f"{name} ({line[0]['parameters']:,} parameters)", **look)
        if linear:
            order = int(model.removeprefix("linear_"))
            bound = [tasks.Shift(delay, Config(delay=delay).length).floor(order) for delay in every]
            hatch = "///" if look["variant"] else "\\\\\\"
            plot.floor(ax, every, bound, label=f"out of reach for {name}", hatch=hatch, **look)
        else:  # between two delays the error of linear RNNs follows the floor, not a straight line
            plot.curve(ax, *columns[:2], label=f"_{name}", markers=False, **look)
    zero = [tasks.Shift(delay, Config(delay=delay).length).zero_loss() for delay in every]
    plot.baseline(ax, every, zero, label="zero predictor")
    seeds = plot.over_seeds(record.config.seeds for record in records)
    ax.set_title(f"{seeds}; marks of one delay side by side", fontsize=10)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    linear = runs.select(rows, model=("linear_4", "linear_16"))
    return [
        runs.check("TCN, every delay", runs.values(rows, "mse", model="tcn"), "< 1e-3"),
        runs.check("LSTM, delay 8", runs.value(rows, "mse", model="lstm", delay=8), "< 2e-3"),
        runs.every("no linear RNN below its floor", [row["mse"] >= row["floor"] for row in linear]),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
