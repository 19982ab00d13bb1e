"""Which memory is easy to learn: exponential, a power law, or a delayed bump?

Paper     Li, Han, E & Li 2021, arXiv:2009.07799; Jiang, Li & Li 2021, arXiv:2107.09355;
          tutorial `approximation`
Figure    experiments/figures/convolution_memory.png
Question  y(t) = sum_s rho(s) x(t - s) on white noise: how far does each architecture get with exponential memory,
          with a power law, and with a bump (as in the tutorial), compared with linear filters of 1, 4 and 16 taps?
Expect    Every target is linear, so a filter as long as the memory is exact (bump: < 1e-9); the error of a shorter one
          is that of the taps it lacks. Power-law memory is not hard in itself: networks get below the 16-tap filter.
Answer    After {steps model=gru filter=bump:,} steps a GRU has an error of {mse model=gru filter=exponential:.0e} on
          memory that fades exponentially, {mse model=gru filter="power law":.0e} on a power law and
          {mse model=gru filter=bump:.0e} on a bump; a linear filter of 16 taps leaves
          {mse model=fir_16 filter="power law":.2f} of the power law.
Fair      Equal parameters (within 5 %) and steps; targets are scaled to variance 1, so 1 is the zero predictor. One
          learning rate per architecture, the best of 1e-3, 3e-3, …, 1 by validation error on the power law:
          experiments/learning_rates.py, table in figures/learning_rates.json.
Cost      6 min on two CPU cores
Run       python experiments/memory/convolution_memory.py
Next      python experiments/memory/convolution_memory.py --filter "0, 0, 0, 0.5, 0.3, -0.2" --steps 2000
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _networks import network
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, tasks
from seqjax.data import WhiteNoise
from seqjax.tasks import convolution
from seqjax.tasks.convolution import convolve
from seqjax.theory import fits, targets
from seqjax.types import Batch, InputError

Model = Literal["fir_1", "fir_4", "fir_16", "rnn", "gru", "lstm", "tcn", "transformer"]

LEARNING_RATE = {"rnn": 0.01, "gru": 0.1, "lstm": 0.1, "tcn": 0.03, "transformer": 0.1}
"""Chosen by experiments/learning_rates.py."""

LENGTH = 100
TEST_SEQUENCES = 1024
FIT_SEQUENCES = 4096
"""For fitting the linear filters: enough that their error is that of the missing taps, not of the fit."""


@dataclass(frozen=True)
class Config:
    """One architecture on one kernel.

    Attributes:
        model: architecture.
        filter: kernel: its name, or its weights with commas between them.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    model: Model = "tcn"
    filter: str = runs.traced("exponential")
    steps: int = 1_000
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on every kernel; an architecture's kernels are trained together."""
    steps, seeds = {"smoke": (20, 2), "laptop": (1_000, 3), "gpu": (10_000, 5)}[scale]
    kernels = ("bump",) if scale == "smoke" else ("exponential", "power law", "bump")
    return [Config(model=m, filter=k, steps=steps, seeds=seeds) for m in get_args(Model) for k in kernels]


def taps(filter: str) -> tuple[float, ...]:
    """The weights of a named kernel, or those listed in the text."""
    match filter:
        case "exponential":
            return tuple(targets.exponentials((math.exp(-0.1),), LENGTH).tolist())
        case "power law":
            return tuple(targets.power_law(1.1, LENGTH).tolist())
        case "bump":
            return convolution.parse_filter(convolution.BUMP)
        case text:
            return convolution.parse_filter(text)


def build(config: Config) -> models.Module:
    """All networks have 7,050 parameters, give or take 2 %."""
    match config.model:
        case "fir_1" | "fir_4" | "fir_16":
            raise InputError(
                f"model must be a network to be built, got {config.model}: a filter is fitted, not trained"
            )
        case name:
            return models.Regressor(network(name))


def measure(records: list[runs.Record]) -> None:
    """Fit the linear filters in closed form; train kernels, seeds and learning rates of a network as one program."""
    config: Config = records[0].config
    kernels = np.stack([unit_variance(record.config.filter) for record in records])
    train_key, validation_key, test_key = jax.random.split(jax.random.key(1), 3)
    errors = (fit_filters if config.model.startswith("fir") else train_networks)(records, kernels, train_key)
    for record, kernel, validation, test in zip(
        records, kernels, errors(validation_key), errors(test_key), strict=True
    ):
        row = runs.scores(record, "mse", test) | {"validation_mse": metrics.band(validation).median}
        record.finish(row, kernel=kernel, test_mse=test)


def unit_variance(filter: str) -> Float[np.ndarray, " lags"]:
    """A kernel scaled so that the target has variance 1, with zeros up to the length of a sequence."""
    task = tasks.Convolution(taps(filter), LENGTH)
    weights = np.array(task.taps[:LENGTH]) / task.zero_loss() ** 0.5
    return np.pad(weights, (0, LENGTH - len(weights))).astype(np.float32)


Errors = Callable[[Key[Array, ""]], Sequence[Float[np.ndarray, " seeds"]]]
"""From the key of fresh sequences to the mean squared errors of each record's seeds."""


def train_networks(
    records: list[runs.Record], kernels: Float[np.ndarray, "records lags"], key: Key[Array, ""]
) -> Errors:
    """Train one network on each kernel and seed."""
    config: Config = records[0].config
    model = build(config)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    def sample(key, kernel):
        x = WhiteNoise().sample(key, config.batch_size, LENGTH)
        return Batch(x[..., None], convolve(x, kernel)[..., None])

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        sample,
        keys=jax.random.split(key, config.seeds),
        rates=LEARNING_RATE,
        settings=jnp.array(kernels),
    )

    def errors(key):
        inputs = WhiteNoise().sample(key, TEST_SEQUENCES, LENGTH)
        predictions = evaluate.predict(model.apply, state.params, inputs[..., None])
        wanted = jax.vmap(convolve, in_axes=(None, 0))(inputs, jnp.repeat(jnp.array(kernels), config.seeds, axis=0))
        return runs.by_record(records, np.asarray(((predictions[..., 0] - wanted) ** 2).mean(axis=(1, 2))))

    return errors


def fit_filters(records: list[runs.Record], kernels: Float[np.ndarray, "records lags"], key: Key[Array, ""]) -> Errors:
    """Fit a linear filter to each kernel by least squares."""
    window = int(records[0].config.model.removeprefix("fir_"))

    def pairs(key, rows, kernel):
        x = WhiteNoise().sample(key, rows, LENGTH)
        return np.asarray(x)[..., None], np.asarray(convolve(x, kernel))[..., None]

    filters = [fits.fir(*pairs(key, FIT_SEQUENCES, kernel), window) for kernel in kernels]
    for record in records:
        record.parameters = window + 1

    def error(key, filter, kernel):
        inputs, wanted = pairs(key, TEST_SEQUENCES, kernel)
        return np.array([metrics.mse(filter.predict(inputs), wanted)])

    return lambda key: [error(key, filter, kernel) for filter, kernel in zip(filters, kernels, strict=True)]


def draw(records: list[runs.Record]) -> Figure:
    """Left: the kernels. Right: error by kernel and architecture, the range over seeds as a bar."""
    figure, axes = plot.figure(1, 2, width=10.0)
    kernels = list(dict.fromkeys(record.config.filter for record in records))
    names = list(dict.fromkeys(record.config.model for record in records))
    left, right = axes[0]
    for style, name in enumerate(kernels):
        kernel = next(record for record in records if record.config.filter == name).arrays["kernel"]
        plot.curve(left, range(len(kernel)), kernel, label=name, style=style, markers=False)
    left.set(xlabel="lag s (time steps)", ylabel="kernel rho(s), target variance 1", xlim=(-1, 60))
    left.legend(frameon=False)
    rows = [[r for r in records if r.config.model == name] for name in names]
    networks = [row for row in rows if not row[0].config.model.startswith("fir")]
    for number, row in enumerate(networks):
        offset = (number - (len(networks) - 1) / 2) * 0.13
        places = [kernels.index(record.config.filter) + offset for record in row]
        values = {key: [record.result[key] for record in row] for key in ("mse", "low", "high")}
        style = row[0].config.model
        label = f"{plot.STYLE[style]['label']} ({row[0].result['parameters']:,} parameters)"
        plot.points(right, places, values["mse"], values["low"], values["high"], label=label, style=style)
    for row, dashes in zip((row for row in rows if row not in networks), ("-", "--", ":"), strict=False):
        taps = row[0].config.model.removeprefix("fir_")
        label = f"linear filter, {taps} tap" + "s" * (taps != "1")
        errors = [record.result["mse"] for record in row]
        plot.levels(right, [kernels.index(r.config.filter) for r in row], errors, label=label, linestyle=dashes)
    right.set(
        yscale="log", ylim=(1e-5, 2), ylabel="mean squared error (target variance 1)", xlabel="memory of the target"
    )
    right.set_xticks(range(len(kernels)), kernels)
    right.set_title(plot.over_seeds(row[0].config.seeds for row in networks), fontsize=10)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    filters = ("exponential", "power law", "bump")
    taps = {
        name: [runs.value(rows, "mse", model=name, filter=f) for f in filters] for name in ("fir_1", "fir_4", "fir_16")
    }
    networks = runs.values(rows, "mse", filter="power law", model=("rnn", "gru", "lstm", "tcn", "transformer"))
    return [
        runs.check("bump, 16 taps", taps["fir_16"][2], "< 1e-9"),
        runs.less("every filter: 4 taps better than 1", taps["fir_4"], taps["fir_1"]),
        runs.less("every filter: 16 taps better than 4", taps["fir_16"], taps["fir_4"]),
        runs.less("power law: every network below the 16-tap filter", networks, taps["fir_16"][1]),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
