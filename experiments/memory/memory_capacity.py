"""How many past inputs does a state of 16 numbers hold?

Paper     Jaeger 2001 (GMD report 152); Dambre, Verstraeten, Schrauwen & Massar 2012, doi:10.1038/srep00514
Figure    experiments/figures/memory_capacity.png
Question  A linear map reads all of the last 32 inputs, white noise, from a state of 16 numbers. R² summed over the
          delays is at most 16, whatever computes the state: which models come near that bound, and which delays do they
          remember?
Expect    The linear RNN and the LRU, trained, reach 16.0 and 15.9 of 16: as much as a delay line, which holds just the
          last 16 inputs, but spread over more: R² falls slowly with the delay. GRU 14.8, RNN 14.7, LSTM 14.5, TCN 14,
          Transformer 6 after so few steps. Random tanh RNNs 14.6, 7.7 and 3.7 with input scales .01, .3 and 1:
          nonlinearity costs memory.
Answer    Of {bound model=GRU}, the upper bound for 16 numbers, a trained linear RNN holds
          {capacity model="linear RNN":.1f}, an LRU {capacity model=LRU:.1f}, a GRU {capacity model=GRU:.1f}, a TCN
          {capacity model=TCN:.1f}, a Transformer {capacity model=Transformer:.1f}, and a random tanh RNN with input
          scale 1 {capacity model="random 1":.1f}.
Fair      Equal numbers of features, not of parameters, since the bound is about features. Equal steps and batches;
          learning rates not searched. Random RNNs (spectral radius .95) have a readout fitted by least squares; the
          delay line is `fits.delay_line`.
Differs   from the papers: networks are trained too, not only their readouts.
Cost      7 min on one CPU core
Run       python experiments/memory/memory_capacity.py
Next      python experiments/memory/memory_capacity.py --model GRU LSTM --steps 20000 --out results/mine
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key
from matplotlib.figure import Figure

from seqjax import evaluate, losses, models, plot, runs, tasks
from seqjax.theory import bounds, fits
from seqjax.types import Params

Model = Literal[
    "delay line", "random .01", "random .3", "random 1", "linear RNN", "RNN", "GRU", "LSTM", "LRU", "TCN", "Transformer"
]

LEARNING_RATE = {
    "linear RNN": 3e-3, "RNN": 3e-3, "GRU": 1e-2, "LSTM": 1e-2, "LRU": 1e-2, "TCN": 1e-2, "Transformer": 3e-3,
}  # fmt: skip
"""Of the models that are trained; the others have a fitted readout only."""

LOOK: dict[str, tuple[str, int]] = {
    "delay line": ("linear", 2), "random .01": ("rnn", 2), "random .3": ("rnn", 2), "random 1": ("rnn", 2),
    "linear RNN": ("linear", 0),
}  # fmt: skip
"""Hollow where the readout alone is fitted; the others are named as in `plot.STYLE`."""

GROUPS = ("linear RNN", "RNN", "GRU", "LSTM"), ("LRU", "TCN", "Transformer")
"""The trained models of each panel of delays: the bands of all would hide each other."""

FEATURES, DELAY, LENGTH = 16, 31, 96


@dataclass(frozen=True)
class Config:
    """One model.

    Attributes:
        model: architecture; "random 1" is a tanh RNN of random weights whose input is multiplied by 1.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "GRU"
    steps: int = 1_500
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 5


def configs(scale: runs.Scale) -> list[Config]:
    """Every model."""
    if scale == "smoke":
        return [Config(model=model, steps=10, seeds=2) for model in ("random .3", "GRU")]
    steps = {"laptop": 1_500, "gpu": 50_000}[scale]
    return [Config(model, steps) for model in get_args(Model)]


def build(config: Config) -> models.Module:
    """A readout of all delays on 16 features."""
    return models.Regressor(backbone(config), DELAY + 1)


def backbone(config: Config) -> models.Module:
    """16 features a step, in every architecture."""
    match config.model:
        case "delay line" | "linear RNN":
            return models.RNN(FEATURES, activation=jax.nn.identity)
        case "RNN" | "random .01" | "random .3" | "random 1":
            return models.RNN(FEATURES)
        case "GRU":
            return models.GRU(FEATURES)
        case "LSTM":
            return models.LSTM(FEATURES)
        case "LRU":
            return models.LRU(FEATURES, layers=2, ring=(0.9, 0.999))
        case "TCN":
            return models.TCN(FEATURES, kernel_size=3, dilations=(1, 2, 4, 8))
        case "Transformer":
            return models.Transformer(FEATURES, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case _:
            assert_never(config.model)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; R² of every delay on fresh sequences, and their sum against the bound."""
    config: Config = records[0].config
    task = tasks.MultiDelay(DELAY, LENGTH)
    train_key, test_key = jax.random.split(jax.random.key(0))
    apply, params = (train if config.model in LEARNING_RATE else fit_readout)(records, task, train_key)
    test = task.sample(test_key, 100 if config.steps < 100 else 1_000)
    predictions = evaluate.predict(apply, params, test.inputs)
    counted = np.asarray(test.weight)[0] > 0  # the same steps of every sequence
    targets = np.asarray(test.targets, np.float64)[:, counted]
    # 1 - R² of every delay in each sequence, so that the standard error is over sequences.
    unexplained = np.stack([((run[:, counted] - targets) ** 2).mean(axis=1) for run in predictions])
    unexplained /= targets.var(axis=(0, 1))
    for record, of_record in zip(records, runs.by_record(records, unexplained), strict=True):
        explained, of_sequences = 1 - of_record.mean(axis=1), of_record.sum(axis=2)
        bounds.require_above(bounds.bessel(DELAY + 1, FEATURES), *bounds.mean_and_error(of_sequences))
        row = runs.scores(record, "capacity", explained.sum(axis=1)) | {"bound": FEATURES}
        record.finish(row, explained=explained)


Trained = tuple[Callable[..., Any], Params]
"""`(params, inputs) -> predictions`, and the parameters of all runs."""


def train(records: list[runs.Record], task: tasks.MultiDelay, key: Key[Array, ""]) -> Trained:
    """Train the whole network with Adam."""
    config: Config = records[0].config
    model = build(config)
    runs.warn_of_reach(model, task)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets, batch.weight)

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(key, config.seeds),
        rates=LEARNING_RATE,
    )
    return model.apply, state.params


def fit_readout(records: list[runs.Record], task: tasks.MultiDelay, key: Key[Array, ""]) -> Trained:
    """Fit a linear readout by least squares to a delay line, or to a random RNN of spectral radius .95."""
    config: Config = records[0].config
    model = backbone(config)

    def weights(seed: int):
        if config.model == "delay line":
            return fits.delay_line(FEATURES).params()["params"]["backbone"]["layer_0"]
        rng = np.random.default_rng(seed)
        kernel = rng.normal(size=(FEATURES, FEATURES))
        kernel *= 0.95 / np.abs(np.linalg.eigvals(kernel)).max()
        input_scale = float(config.model.removeprefix("random "))
        input_kernel = input_scale * rng.choice([-1.0, 1.0], size=(1, FEATURES))
        return {"recurrent_kernel": kernel, "input_kernel": input_kernel, "bias": np.zeros(FEATURES)}

    features = jax.jit(lambda layer, x: model.apply({"params": {"layer_0": layer}}, x))
    params = []
    batch = task.sample(key, 500)
    counted = np.asarray(batch.weight) > 0
    targets = np.asarray(batch.targets, np.float64)[counted]
    for seed in range(config.seeds):
        layer = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), weights(seed))
        readout = np.linalg.lstsq(np.asarray(features(layer, batch.inputs), np.float64)[counted], targets, rcond=None)[
            0
        ]
        params.append({"layer": layer, "readout": jnp.asarray(readout, jnp.float32)})
    for record in records:
        record.parameters = runs.parameter_count(params[0])
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    return lambda params, x: features(params["layer"], x) @ params["readout"], stacked


def draw(records: list[runs.Record]) -> Figure:
    """Left: the sum against the bound. Right: which delays are remembered, in two panels."""
    figure, axes = plot.figure(1, 3, width=18.0, height=4.8)
    left, *right = axes[0]
    looks = {r.config.model: LOOK.get(r.config.model, (r.config.model.lower(), 0)) for r in records}
    for place, record in enumerate(records):
        columns = [[record.result[name]] for name in ("capacity", "low", "high")]
        style, variant = looks[record.config.model]
        plot.points(left, [place], *columns, label="", style=style, variant=variant)
    ends = [-0.5, len(records) - 0.5]
    left.plot(ends, [FEATURES] * 2, color="black", linewidth=1.0)
    left.fill_between(ends, FEATURES, FEATURES + 3, facecolor="none", edgecolor="0.4", hatch="///", linewidth=0)
    left.text(
        ends[0] + 0.1,
        FEATURES + 1.2,
        "out of reach for a linear readout of 16 features",
        fontsize=9,
        va="center",
        backgroundcolor="white",
    )
    names = [record.config.model.replace(" ", "\n") for record in records]
    left.set_xticks(range(len(records)), names, fontsize=8)
    left.set(xlim=ends, ylim=(0, FEATURES + 3), ylabel="memory capacity, sum of R² over delays 0 to 31")
    seeds = plot.over_seeds(record.config.seeds for record in records)
    left.set_title(f"filled: trained; hollow: only the readout fitted; {seeds}", fontsize=10)
    for ax, group in zip(right, GROUPS, strict=True):
        ax.set_visible(bool(looks.keys() & set(group)))
        for record in records:
            model = record.config.model
            if model == "delay line":
                plot.baseline(ax, range(DELAY + 1), record.arrays["explained"][0], label=model)
            elif model in group:
                low, median, high = np.quantile(record.arrays["explained"], (0, 0.5, 1), axis=0)
                look = {"style": looks[model][0], "markers": False}
                plot.curve(ax, range(DELAY + 1), median, low, high, label=model, **look)
        ax.set(xlabel="delay k (steps)", ylabel="R² of x(t - k)", ylim=(-0.05, 1.05))
        ax.set_title(seeds, fontsize=10)
        plot.legend(ax, loc="upper right")
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def capacity(*models: str) -> list[float]:
        return [runs.value(rows, "capacity", model=model) for model in models]

    return [
        runs.check("linear RNN, LRU", capacity("linear RNN", "LRU"), "16.0, 15.9"),
        runs.check("GRU, RNN, LSTM", capacity("GRU", "RNN", "LSTM"), "14.8, 14.7, 14.5"),
        runs.check("TCN, Transformer", capacity("TCN", "Transformer"), "14, 6"),
        runs.check("random tanh RNNs", capacity("random .01", "random .3", "random 1"), "14.6, 7.7, 3.7"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
