"""How much of the past does a state hold?

Paper     Jaeger 2001 (GMD report 152); Dambre, Verstraeten, Schrauwen & Massar 2012, doi:10.1038/srep00514
Figure    experiments/figures/memory_capacity.png
Question  All of the last 32 inputs, white noise, are to be read off 16 numbers by a linear map. The explained shares
          R²_k of the delays k add up to 16 at most, whatever made the numbers: who comes near, and which delays does it
          choose to remember?
Expect    The linear RNN and the LRU, trained, hold 16.0 and 15.9 of 16: as much as a delay line, but not its last 16
          inputs; what is farther back fades slowly. GRU 14.8, RNN 14.7, LSTM 14.5, TCN 14, Transformer 6 after so few
          steps. Random tanh RNNs 14.6, 7.7 and 3.7 with input scales .01, .3 and 1: what is not linear costs memory.
Fair      Not parameters but the numbers that are read are equal, since they are what the bound speaks of. Steps and
          batches are equal, learning rates as usual for each kind. Of random RNNs (radius .95) only the readout is
          learned, by least squares; the delay line is `fits.delay_line`.
Differs   from the papers: there only the readout is trained.
Cost      7 min on one CPU core
Run       python experiments/memory/memory_capacity.py
Next      python experiments/memory/memory_capacity.py --model GRU LSTM --steps 20000 --out results/mine
"""

from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.theory import bounds, fits

Model = Literal[
    "delay line", "random .01", "random .3", "random 1", "linear RNN", "RNN", "GRU", "LSTM", "LRU", "TCN", "Transformer"
]

LEARNING_RATE = {
    "linear RNN": 3e-3,
    "RNN": 3e-3,
    "GRU": 1e-2,
    "LSTM": 1e-2,
    "LRU": 1e-2,
    "TCN": 1e-2,
    "Transformer": 3e-3,
}
"""Of those that are trained."""

FEATURES, DELAY, LENGTH = 16, 31, 96


@dataclass(frozen=True)
class Config:
    """One model; "random 1" is a tanh RNN of random weights whose input is multiplied by 1."""

    model: Model = "GRU"
    steps: int = 1_500
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 5

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE.get(self.model, 0.0)


def configs(scale: runs.Scale) -> list[Config]:
    """Every model."""
    if scale == "smoke":
        return [Config(model=model, steps=10, seeds=2) for model in ("random .3", "GRU")]
    steps = {"laptop": 1_500, "gpu": 50_000}[scale]
    return [Config(model, steps) for model in get_args(Model)]


def build(config: Config) -> nn.Module:
    """Whatever it is, it ends in 16 numbers a step."""
    match config.model:
        case "delay line" | "linear RNN":
            return models.RNN(FEATURES, activation=lambda x: x)
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
    group = [record.config for record in records]
    config = group[0]
    task = tasks.MultiDelay(DELAY, LENGTH)
    train_key, test_key = jax.random.split(jax.random.key(0))
    test = task.sample(test_key, 100 if config.steps < 100 else 1_000)
    if config.rate:
        apply, params = _trained(group, records, task, train_key)
    else:
        apply, params = _given(config, task, train_key)
    predictions = evaluate.predict(apply, params, test.inputs)
    counted = np.asarray(test.weight)[0] > 0  # the same steps of every sequence
    targets = np.asarray(test.targets, np.float64)[:, counted]
    # What is left of all delays in each sequence, as a share of the variance: the standard error is over sequences.
    missed = np.stack([((found[:, counted] - targets) ** 2).mean(axis=1) for found in predictions])
    missed = missed.reshape(len(group), config.seeds, *missed.shape[1:]) / targets.var(axis=(0, 1))
    for index, record in enumerate(records):
        explained = 1 - missed[index].mean(axis=1)
        of_sequences = missed[index].sum(axis=2)
        bounds.require_above(bounds.bessel(DELAY + 1, FEATURES), *bounds.mean_and_error(of_sequences))
        total = metrics.band(explained.sum(axis=1))
        row = {
            "learning_rate": group[index].rate,
            "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(params)),
            "capacity": total.median,
            "low": total.low,
            "high": total.high,
            "bound": FEATURES,
        }
        record.finish(row, explained=explained)


def _trained(group: list[Config], records: list[runs.Record], task, key):
    """The whole network, by Adam."""
    config = group[0]
    model = models.Regressor(build(config), DELAY + 1)

    def loss(params, batch, key):
        outputs = jnp.asarray(model.apply(params, batch.inputs))
        return losses.squared_error(outputs, batch.targets, batch.weight), {}

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda rate: train.adam(rate, config.steps),
        lambda key, rate: task.sample(key, config.batch_size),
        keys=jnp.tile(jax.random.split(key, config.seeds), len(group)),
        settings=jnp.repeat(jnp.array([c.rate for c in group]), config.seeds),
        steps=max(1, config.steps // 20),
    )
    return model.apply, runs.fit(records, state, advance, config.steps).params


def _given(config: Config, task, key):
    """A delay line, or random weights of spectral radius .95, and the best linear readout of either."""
    model = build(config)

    def start(seed: int):
        if config.model == "delay line":
            return fits.delay_line(FEATURES).params()["params"]["backbone"]["layer_0"]
        rng = np.random.default_rng(seed)
        kernel = rng.normal(size=(FEATURES, FEATURES))
        kernel *= 0.95 / np.abs(np.linalg.eigvals(kernel)).max()
        scale = float(config.model.removeprefix("random "))
        read = scale * rng.choice([-1.0, 1.0], size=(1, FEATURES))
        return {"recurrent_kernel": kernel, "input_kernel": read, "bias": np.zeros(FEATURES)}

    apply = jax.jit(lambda layer, x: model.apply({"params": {"layer_0": layer}}, x))
    params = []
    batch = task.sample(key, 500)
    wanted = np.asarray(batch.targets, np.float64)[np.asarray(batch.weight) > 0]
    for seed in range(config.seeds):
        layer = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), start(seed))
        seen = np.asarray(apply(layer, batch.inputs), np.float64)[np.asarray(batch.weight) > 0]
        readout = np.linalg.lstsq(seen, wanted, rcond=None)[0]
        params.append({"layer": layer, "readout": jnp.asarray(readout, jnp.float32)})
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    return lambda params, x: apply(params["layer"], x) @ params["readout"], stacked


def draw(records: list[runs.Record]) -> Figure:
    """Left: the sum against the bound. Right: which delays are remembered."""
    figure, axes = plot.figure(1, 2, width=13.5, height=4.8)
    left, right = axes[0]
    for place, record in enumerate(records):
        columns = [[record.result[name]] for name in ("capacity", "low", "high")]
        plot.points(left, [place], *columns, label="", style=0 if record.config.rate else 3)
    ends = [-0.5, len(records) - 0.5]
    left.plot(ends, [FEATURES] * 2, color="black", linewidth=1.0)
    left.fill_between(ends, FEATURES, FEATURES + 3, facecolor="none", edgecolor="0.4", hatch="///", linewidth=0)
    left.text(
        ends[0] + 0.1,
        FEATURES + 1.2,
        "no model that reads out 16 numbers",
        fontsize=9,
        va="center",
        backgroundcolor="white",
    )
    names = [record.config.model.replace(" ", "\n") for record in records]
    left.set_xticks(range(len(records)), names, fontsize=8)
    left.set(xlim=ends, ylim=(0, FEATURES + 3), ylabel="memory capacity, sum of R² over delays 0 to 31")
    left.set_title("trained (circles), or readout alone (diamonds)", fontsize=10)
    for record in records:
        if record.config.model == "delay line":
            plot.baseline(right, range(DELAY + 1), record.arrays["explained"][0], label="delay line")
    for style, record in enumerate(record for record in records if record.config.rate):
        low, median, high = np.quantile(record.arrays["explained"], (0, 0.5, 1), axis=0)
        plot.curve(right, range(DELAY + 1), median, low, high, label=record.config.model, style=style, markers=False)
    right.set(xlabel="delay k (steps)", ylabel="R² of x(t - k)", ylim=(-0.05, 1.05))
    plot.legend(right, loc="upper right")
    return figure


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
