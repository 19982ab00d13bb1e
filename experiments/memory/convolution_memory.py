"""Which memory is easy to learn: one that fades fast, slowly, or not at the start?

Paper     Li, Han, E & Li 2021, arXiv:2009.07799; Jiang, Li & Li 2021, arXiv:2107.09355; seed S4
Figure    experiments/figures/convolution_memory.png
Question  y(t) = sum_s rho(s) x(t - s) on white noise: how far does each architecture get with exponential memory,
          with a power law, and with seed S4's bump, next to linear filters of 1, 4 and 16 taps?
Expect    Every target is linear, so a filter as long as the memory is exact; short filters keep the error of the
          taps they lack. Power-law memory is not hard in itself: networks get below the 16-tap filter.
Fair      Equal parameters (within 5 %) and steps; targets are scaled to variance 1, so 1 is the zero predictor. One
          learning rate per architecture, the best of 1e-3, 3e-3, 1e-2, 3e-2 by validation error on the power law:
          experiments/learning_rates.py, whose table stands in figures/learning_rates.json.
Cost      6 min on two CPU cores
Run       python experiments/memory/convolution_memory.py
Next      python experiments/memory/convolution_memory.py --filter "0, 0, 0, 0.5, 0.3, -0.2" --steps 2000
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.data import WhiteNoise
from seqjax.tasks import convolution
from seqjax.tasks.convolution import convolve
from seqjax.theory import fits, targets
from seqjax.types import Batch

Model = Literal["fir_1", "fir_4", "fir_16", "rnn", "gru", "lstm", "tcn", "transformer"]

LEARNING_RATE = {"rnn": 0.003, "gru": 0.03, "lstm": 0.03, "tcn": 0.03, "transformer": 0.03}
"""Chosen by experiments/learning_rates.py."""

LENGTH = 100
TEST_SEQUENCES = 1024
FIT_SEQUENCES = 4096
"""What the linear filters are fitted on; their error is that of their missing taps, not of their fit."""


@dataclass(frozen=True)
class Config:
    """One architecture on one kernel, named or given as filter text. A learning rate of 0 stands for its own."""

    model: Model = "tcn"
    filter: str = runs.traced("exponential")
    steps: int = 1_000
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    @property
    def rate(self) -> float:
        """The learning rate in use; 0 for filters, which are fitted."""
        return self.learning_rate or LEARNING_RATE.get(self.model, 0.0)


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on every kernel; an architecture's kernels are trained together."""
    steps, seeds = {"smoke": (20, 2), "laptop": (1_000, 3), "gpu": (10_000, 5)}[scale]
    kernels = ("bump",) if scale == "smoke" else ("exponential", "power law", "bump")
    return [Config(model=m, filter=k, steps=steps, seeds=seeds) for m in get_args(Model) for k in kernels]


def taps(filter: str) -> tuple[float, ...]:
    """The weights of a named kernel, or those written out in the text."""
    match filter:
        case "exponential":
            return tuple(targets.exponentials((math.exp(-0.1),), LENGTH).tolist())
        case "power law":
            return tuple(targets.power_law(1.1, LENGTH).tolist())
        case "bump":
            return convolution.parse_filter(convolution.BUMP)
        case text:
            return convolution.parse_filter(text)


def build(config: Config) -> nn.Module:
    """All networks have 7,050 parameters, give or take 2 %."""
    match config.model:
        case "fir_1" | "fir_4" | "fir_16":
            raise ValueError(
                f"model must be a network to be built, got {config.model}: a filter is fitted, not trained"
            )
        case "rnn":
            backbone = models.RNN(82)
        case "gru":
            backbone = models.GRU(47)
        case "lstm":
            backbone = models.LSTM(41)
        case "tcn":
            backbone = models.TCN(16, kernel_size=3, dilations=(1, 2, 4, 8, 16))  # sees 125 steps
        case "transformer":
            backbone = models.Transformer(20, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case _:
            assert_never(config.model)
    return models.Regressor(backbone)


def measure(records: list[runs.Record]) -> None:
    """Fit the linear filters in closed form; train kernels, seeds and learning rates of a network as one program."""
    group = [record.config for record in records]
    chosen = [tasks.Convolution(taps(config.filter), LENGTH) for config in group]
    kernels = np.zeros((len(group), LENGTH), np.float32)
    for kernel, task in zip(kernels, chosen, strict=True):
        weights = np.array(task.taps[:LENGTH]) / task.zero_loss() ** 0.5
        kernel[: len(weights)] = weights
    train_key, validation_key, test_key = jax.random.split(jax.random.key(1), 3)
    predict, parameters = (_fit if group[0].model.startswith("fir") else _train)(group, records, kernels, train_key)
    validation, test = predict(validation_key), predict(test_key)
    for index, record in enumerate(records):
        error = metrics.band(test[index])
        row = {
            "learning_rate": group[index].rate,
            "parameters": parameters,
            "validation_mse": metrics.band(validation[index]).median,
            "mse": error.median,
            "low": error.low,
            "high": error.high,
        }
        record.finish(row, kernel=kernels[index], test_mse=test[index])


def _train(group, records, kernels, train_key):
    config, model = group[0], build(group[0])
    settings = {
        "kernel": jnp.repeat(jnp.array(kernels), config.seeds, axis=0),
        "rate": jnp.repeat(jnp.array([c.rate for c in group]), config.seeds),
    }

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets), {}

    def batch_of(key, rows, kernel):
        x = WhiteNoise().sample(key, rows, LENGTH)
        return Batch(x[..., None], convolve(x, kernel)[..., None])

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda setting: train.adam(setting["rate"], config.steps),
        lambda key, setting: batch_of(key, config.batch_size, setting["kernel"]),
        keys=jnp.tile(jax.random.split(train_key, config.seeds), len(group)),
        settings=settings,
        steps=config.steps // 20,
    )
    state = runs.fit(records, state, advance, config.steps)

    def errors(key):
        inputs = WhiteNoise().sample(key, TEST_SEQUENCES, LENGTH)
        predictions = evaluate.predict(model.apply, state.params, inputs[..., None])
        targets = jax.vmap(convolve, in_axes=(None, 0))(inputs, settings["kernel"])
        return ((predictions[..., 0] - targets) ** 2).mean(axis=(1, 2)).reshape(len(group), config.seeds)

    return errors, sum(leaf[0].size for leaf in jax.tree.leaves(state.params))


def _fit(group, records, kernels, train_key):
    window = int(group[0].model.removeprefix("fir_"))

    def pairs(key, rows, kernel):
        x = WhiteNoise().sample(key, rows, LENGTH)
        return np.asarray(x)[..., None], np.asarray(convolve(x, kernel))[..., None]

    filters = [fits.fir(*pairs(train_key, FIT_SEQUENCES, kernel), window) for kernel in kernels]

    def errors(key):
        found = []
        for kernel, fitted in zip(kernels, filters, strict=True):
            inputs, targets = pairs(key, TEST_SEQUENCES, kernel)
            found.append([metrics.mse(fitted.predict(inputs), targets)])
        return np.array(found)

    return errors, window + 1


def draw(records: list[runs.Record]) -> Figure:
    """Left: the kernels. Right: error by kernel and architecture, the range over seeds as a bar."""
    figure, axes = plot.figure(1, 2, width=10.0)
    kernels = list(dict.fromkeys(record.config.filter for record in records))
    names = list(dict.fromkeys(record.config.model for record in records))
    left, right = axes[0]
    for style, name in enumerate(kernels):
        kernel = next(record for record in records if record.config.filter == name).arrays["kernel"]
        plot.curve(left, range(len(kernel)), kernel, kernel, kernel, label=name, style=style, markers=False)
    left.set(xlabel="lag s (time steps)", ylabel="kernel rho(s), target variance 1", xlim=(-1, 60))
    left.legend(frameon=False)
    rows = [[r for r in records if r.config.model == name] for name in names]
    networks = [row for row in rows if not row[0].config.model.startswith("fir")]
    for style, row in enumerate(networks):
        offset = (style - (len(networks) - 1) / 2) * 0.13
        places = [kernels.index(record.config.filter) + offset for record in row]
        values = {key: [record.result[key] for record in row] for key in ("mse", "low", "high")}
        label = f"{row[0].config.model} ({row[0].result['parameters']:,} parameters)"
        plot.points(right, places, values["mse"], values["low"], values["high"], label=label, style=style + 2)
    for row, dashes in zip((row for row in rows if row not in networks), ("-", "--", ":"), strict=False):
        label = f"linear filter, {row[0].config.model.removeprefix('fir_')} taps"
        errors = [record.result["mse"] for record in row]
        plot.levels(right, [kernels.index(r.config.filter) for r in row], errors, label=label, linestyle=dashes)
    right.set(
        yscale="log", ylim=(1e-6, 2), ylabel="mean squared error (target variance 1)", xlabel="memory of the target"
    )
    right.set_xticks(range(len(kernels)), kernels)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
