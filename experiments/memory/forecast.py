"""How long does a network predict chaos when it is fed its own outputs?

Paper     Vlachas et al. 2020, arXiv:1910.05266 (valid prediction time); Lorenz 1996; Mackey & Glass 1977; tutorial
          `approximation` (autoregressive mode)
Figure    experiments/figures/forecast.png
Question  Trained to predict the next sample and then run on its own outputs: for how many Lyapunov times does each
          architecture follow a chaotic system, and does it keep the system's climate after that?
Expect    Linear autoregression decays to the mean: .4 Lyapunov times on Lorenz96, .1 on Mackey-Glass. Networks follow
          Lorenz96 for 2 to 3 (the TCN for 1) and Mackey-Glass for 2 to 3, and after that keep histogram and spectrum.
          Lorenz96 is a quadratic equation: a quadratic autoregression follows it for 4, longer than any network. On
          Mackey-Glass, which is none, it has less than 1, and with delay 17 all its runs escape to infinity.
Answer    On Lorenz96 linear autoregression predicts {max vpt system=lorenz96 model=linear:.2f} Lyapunov times ahead
          (median; of training with and without noise on the inputs, the better on these forecasts), a GRU
          {max vpt system=lorenz96 model=gru:.1f} and a quadratic autoregression
          {max vpt system=lorenz96 model=quadratic:.1f}; on Mackey-Glass with delay 17 they have
          {max vpt system=mackey_glass_17 model=linear:.2f}, {max vpt system=mackey_glass_17 model=gru:.1f} and
          {max vpt system=mackey_glass_17 model=quadratic:.1f}, with delay 30
          {max vpt system=mackey_glass_30 model=linear:.2f}, {max vpt system=mackey_glass_30 model=gru:.1f} and
          {max vpt system=mackey_glass_30 model=quadratic:.1f}.
Fair      Equal parameters for networks (within 5 %), series, steps and context. One learning rate per architecture, see
          LEARNING_RATE. Autoregressions have fewer parameters, but their order and penalty are chosen by the prediction
          time itself, on validation series; networks take theirs as they are after the last step. Each model is trained
          with and without noise on its inputs; the text quotes the better of the two, the figure shows both.
Differs   from the paper: a ring of 8 variables, whose largest exponent, 1.6, is nearly that of 40 (1.68), samples every
          .05 instead of .01 time units, the change to the next sample as the target, small networks. Mackey-Glass is
          sampled every 2 time units, so that the context of 48 samples is longer than three delays.
Cost      13 min of CPU time, 18 min on two cores that others used too
Run       python experiments/memory/forecast.py
Next      python experiments/memory/forecast.py --csv path/to/series.csv --column temperature
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _autoregression import Autoregression, candidates
from _climate import climate
from _forecast_figure import draw
from jaxtyping import Array, Float, Float64

from seqjax import decode, losses, metrics, models, runs, tasks
from seqjax.data import read_column
from seqjax.theory import bounds, lyapunov
from seqjax.types import Batch, InputError, Params

System = Literal["lorenz96", "mackey_glass_17", "mackey_glass_30", "csv"]
Model = Literal["linear", "quadratic", "gru", "lstm", "tcn", "transformer"]

LEARNING_RATE = {"gru": 1e-1, "lstm": 1e-1, "tcn": 1e-2, "transformer": 3e-2}
"""Those with the smallest `validation_mse` on Mackey-Glass with delay 17, noise and one random seed: of 1e-2, 3e-2,
1e-1 and 3e-1 after 1,000 steps for GRU and LSTM, of 3e-3, 1e-2 and 3e-2 after 1,500 steps for TCN and Transformer, for
which 1e-1 is worse. On Lorenz96 1e-1 is the best for the GRU, too, and second to 3e-1 for the LSTM."""

CONTEXT = 48
"""Samples of a training window, and those read before a forecast."""

WASHOUT = 16
"""First samples of a training window, on whose predictions there is no loss: of the longest delay all is known then."""

HORIZON = {"lorenz96": 384, "mackey_glass_17": 768, "mackey_glass_30": 768, "csv": 128}
"""Samples of a forecast; the second half of them shows the climate."""

SHOWN = {"lorenz96": 96, "mackey_glass_17": 384, "mackey_glass_30": 384, "csv": 128}
"""Samples of the forecast that the figure shows."""

SHORTEST_SERIES = 1_000
"""Numbers that a file must hold: its last fifth has one forecast with its context then."""

NOISE = 0.01
"""Standard deviation of the noise on inputs while training, in those of the system."""


@dataclass(frozen=True)
class Config:
    """One model of one system.

    Attributes:
        system: the task, or csv for a file of your own, which `csv` names.
        model: architecture, or kind of autoregression.
        noise: standard deviation of the noise on inputs while training, in those of the system.
        rows: training trajectories of 1,024 samples.
        starts: test trajectories, each with one forecast.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
        csv: file of comma-separated values with your own series, in place of the systems.
        column: of the file; may be left out if there is one only.
    """

    system: System = "lorenz96"
    model: Model = "gru"
    noise: float = runs.traced(0.0)
    rows: int = 64
    starts: int = 100
    steps: int = 1_000
    batch_size: int = 32
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3
    csv: str = ""
    column: str = ""

    def __post_init__(self) -> None:
        if self.csv:  # all systems become this one
            object.__setattr__(self, "system", "csv")
        elif self.column or self.system == "csv":
            raise InputError(f"csv must name a file for system csv and column, got {self.csv!r}")


def configs(scale: runs.Scale) -> list[Config]:
    """Every model of every system, with noise and without."""
    if scale == "smoke":
        small = Config(system="mackey_glass_17", rows=2, starts=4, steps=20, seeds=2)
        return [replace(small, model=model) for model in ("linear", "quadratic", "gru")]
    full = Config() if scale == "laptop" else Config(rows=512, steps=50_000, batch_size=128, seeds=5)
    every = [replace(full, system=system) for system in get_args(System) if system != "csv"]
    return [replace(one, model=m, noise=noise) for one in every for m in get_args(Model) for noise in (0.0, NOISE)]


def build(config: Config, variables: int) -> models.Module:
    """Networks have 10,300 parameters for the 8 variables of Lorenz96 and 9,700 for one, give or take 2 %."""
    wide = variables > 1
    match config.model:
        case "linear" | "quadratic":
            raise InputError(f"model must be a network to be built, got {config.model}, which is fitted")
        case "gru":
            backbone = models.GRU(53 if wide else 56)
        case "lstm":
            backbone = models.LSTM(45 if wide else 48)
        case "tcn":
            backbone = models.TCN(21, kernel_size=3, dilations=(1, 2, 4, 4))  # sees 45 samples
        case "transformer":
            backbone = models.Transformer(24, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case _:
            assert_never(config.model)
    return models.Regressor(backbone, targets=variables)


class Data(NamedTuple):
    """Standardised series of one system.

    Attributes:
        train: series for training.
        validation: of each forecast the context and what follows.
        test: the same, of other trajectories or later times.
        increment: standard deviation of the change from one sample to the next.
        exponent: the largest Lyapunov exponent per time unit, and its standard error; None for a file.
        sample_step: time units of a sample; 1 for a file.
    """

    train: Float[np.ndarray, "rows time variables"]
    validation: Float[np.ndarray, "starts time variables"]
    test: Float[np.ndarray, "starts time variables"]
    increment: float
    exponent: tuple[float, float] | None
    sample_step: float

    @property
    def per_sample(self) -> float:
        """Lyapunov times of a sample; 1 for a file, whose exponent is not known."""
        return self.exponent[0] * self.sample_step if self.exponent else 1.0


@functools.lru_cache(maxsize=1)
def data(system: System, rows: int, starts: int, csv: str, column: str) -> Data:
    """Made or read once for all models of a system."""
    length = CONTEXT + HORIZON[system]
    match system:
        case "csv":
            numbers = read_column(Path(csv), column, least=SHORTEST_SERIES)[:, None]
            fifth = len(numbers) // 5
            train, *held_out = numbers[: -2 * fifth], numbers[-2 * fifth : -fifth], numbers[-fifth:]
            places = np.linspace(0, fifth - length, min(starts, fifth - length + 1)).astype(int)
            parts = [np.stack([part[place : place + length] for place in places]) for part in held_out]
            return standardised(train[None], *parts, exponent=None, sample_step=1.0)
        case "lorenz96":
            task = tasks.OneLevelLorenz96(K=8)
        case "mackey_glass_17":
            task = tasks.MackeyGlass(delay=17.0, sample_step=2.0, substeps=8)
        case "mackey_glass_30":
            task = tasks.MackeyGlass(delay=30.0, sample_step=2.0, substeps=8)
        case _:
            assert_never(system)

    def series(key, rows: int, length: int) -> np.ndarray:
        inputs, targets, *_ = jax.jit(replace(task, length=length - 1).sample, static_argnums=1)(key, rows)
        return np.concatenate([inputs, targets[:, -1:]], axis=1, dtype=np.float64)

    train_key, validation_key, test_key, start_key, key = jax.random.split(jax.random.key(0), 5)
    return standardised(
        series(train_key, rows, 1024),
        series(validation_key, starts, length),
        series(test_key, starts, length),
        exponent=exponent(task, start_key, key, starts),
        sample_step=task.sample_step,
    )


def exponent(task: tasks.OneLevelLorenz96 | tasks.MackeyGlass, start_key, key, rows: int) -> tuple[float, float]:
    """The largest Lyapunov exponent and its standard error, by the derivative of the solver's steps."""
    settle, steps = (200, 2_000) if isinstance(task, tasks.OneLevelLorenz96) else (1_000, 5_000)
    found = jax.jit(
        lambda start: lyapunov.largest_exponents(
            task.advance, start, key, steps=steps, settle=settle, step_time=task.sample_step
        )
    )(jax.jit(task.settled, static_argnums=1)(start_key, rows))
    mean, error = bounds.mean_and_error(np.asarray(found, np.float64))
    return float(mean), float(error)


def standardised(train: np.ndarray, validation: np.ndarray, test: np.ndarray, **more) -> Data:
    """In units of the training series: the mean of all variables is 0 and their standard deviation 1."""
    mean, scale = train.mean(), train.std()
    train, validation, test = ((part - mean) / scale for part in (train, validation, test))
    return Data(train, validation, test, increment=float(np.diff(train, axis=1).std()), **more)


Forecast = Callable[
    [Float64[np.ndarray, "starts time variables"], int], Float[np.ndarray, "runs starts length variables"]
]
"""From contexts and a length to what the runs of a record make of them, sample after sample."""


def measure(records: list[runs.Record]) -> None:
    """Fit autoregressions in closed form; train noises and seeds of a network as one program; forecast."""
    config: Config = records[0].config
    made = data(config.system, config.rows, config.starts, config.csv, config.column)
    forecasts = (fit if config.model in ("linear", "quadratic") else train_networks)(records, made)
    context, truth = np.split(made.test, [CONTEXT], axis=1)
    for record, forecast in zip(records, forecasts, strict=True):
        predictions = np.asarray(forecast(context, truth.shape[1]), np.float64)
        times = made.per_sample * np.stack([good_steps(one, truth) for one in predictions])
        lower, upper = np.percentile(times, (25, 75))
        row = runs.scores(record, "vpt", np.median(times, axis=1)) | {
            "lower": float(lower),
            "upper": float(upper),
            "longest": made.per_sample * truth.shape[1],
            **dict(zip(("exponent", "exponent_error"), made.exponent or (None, None), strict=True)),
            "sample_step": made.sample_step,
            "validation_mse": one_step_error(forecast, made),
        }
        climate_row, arrays = climate(predictions, truth)
        shown = SHOWN[config.system]
        arrays |= {"truth": truth[0, :shown, 0], "prediction": predictions[0, 0, :shown, 0], "first_vpt": times[0, 0]}
        # In half the bytes: a forecast that escapes is drawn no further than this.
        record.finish(row | climate_row, **{name: np.clip(x, -99, 99).astype(np.float16) for name, x in arrays.items()})


def one_step_error(forecast: Forecast, made: Data) -> float:
    """Squared error of the next sample on validation series, in squared increments; the median over seeds."""
    series = made.validation
    whole = series.shape[1] // (CONTEXT + 1) * (CONTEXT + 1)
    windows = series[:, :whole].reshape(-1, CONTEXT + 1, series.shape[2])
    wrong = np.asarray(forecast(windows[:, :-1], 1), np.float64)[:, :, 0] - windows[:, -1]
    return float(np.median(np.mean(wrong**2, axis=(1, 2))) / made.increment**2)


def good_steps(predictions: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Steps of each forecast until its error exceeds half a standard deviation."""
    return metrics.valid_prediction_steps(predictions, truth, scale=1.0)


def fit(records: list[runs.Record], made: Data) -> list[Forecast]:
    """Autoregressions, of which validation forecasts choose order and penalty by the mean valid prediction time."""
    generator = np.random.default_rng(0)
    rows, time, _ = made.train.shape
    row, start = generator.integers(rows, size=20_000), generator.integers(time - CONTEXT, size=20_000)
    windows = np.stack([made.train[r, s : s + CONTEXT] for r, s in zip(row, start, strict=True)])
    noise, after = generator.normal(size=windows.shape), made.train[row, start + CONTEXT]
    context, truth = made.validation[:, :CONTEXT], made.validation[:, CONTEXT:]

    def quality(model: Autoregression) -> float:
        return good_steps(model.run(context, truth.shape[1]), truth).mean()

    forecasts = []
    for record in records:
        fitted = candidates(windows + record.config.noise * noise, after, record.config.model)
        best = max(fitted, key=quality)
        record.parameters = best.weights.size
        record.learning_rate = 0.0
        forecasts.append(lambda context, length, best=best: best.run(context, length)[None])
    return forecasts


def train_networks(records: list[runs.Record], made: Data) -> list[Forecast]:
    """Train a network one step ahead for each noise and seed: the change to the next sample, noise on inputs undone."""
    config: Config = records[0].config
    rows, time, variables = made.train.shape
    model, series = build(config, variables), jnp.asarray(made.train, jnp.float32)

    def sample(key, noise):
        row_key, place_key, noise_key = jax.random.split(key, 3)
        row = jax.random.randint(row_key, (config.batch_size,), 0, rows)
        place = jax.random.randint(place_key, (config.batch_size,), 0, time - CONTEXT)
        window = jax.vmap(lambda r, p: jax.lax.dynamic_slice(series[r], (p, 0), (CONTEXT + 1, variables)))(row, place)
        inputs = window[:, :-1] + noise * jax.random.normal(noise_key, window[:, :-1].shape)
        return Batch(inputs, (window[:, 1:] - inputs) / made.increment)

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs)[:, WASHOUT:], batch.targets[:, WASHOUT:])

    state = runs.train_group(
        records,
        lambda key: model.init(key, series[:1, :CONTEXT]),
        loss,
        sample,
        keys=jax.random.split(jax.random.key(0), config.seeds),
        rates=LEARNING_RATE,
        settings=jnp.array([record.config.noise for record in records]),
    )

    @functools.partial(jax.jit, static_argnums=2)
    def run(params, context, length):
        return jax.lax.map(lambda one: free_run(model, one, context, made.increment, length), params)

    return [
        lambda context, length, params=params: np.asarray(run(params, jnp.asarray(context, jnp.float32), length))
        for params in runs.by_record(records, state.params)
    ]


def free_run(
    model: models.Module, params: Params, context: Float[Array, "starts time variables"], increment: float, length: int
) -> Float[Array, "starts length variables"]:
    """Read the context, then continue with the network's own outputs."""
    starts, steps, variables = context.shape

    def read(window, x):
        window = jnp.concatenate([window[:, 1:], x], axis=1)
        return window, model.apply(params, window)[:, -1:]

    def stream(carry, x):
        return model.apply(params, carry, x, method="extend")

    if isinstance(model.backbone, models.Transformer):
        # Positions beyond those of training mean nothing to it: it reads the last samples anew at each step.
        extend, carry = read, jnp.roll(context, 1, axis=1)
    else:
        extend, carry = stream, model.apply(params, starts, variables, steps + length, method="start")
        carry, _ = stream(carry, context[:, :-1])

    def step(carry, x):
        carry, change = extend(carry, x[:, None])
        return carry, x + increment * change[:, 0]

    return decode.rollout(step, carry, context[:, -1], length=length)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    systems = ("lorenz96", "mackey_glass_17", "mackey_glass_30")
    gated = ("gru", "lstm", "transformer")

    def vpt(model: str, *systems: str) -> list[float]:
        """The better one of trained with noise and without, for each system."""
        found = [runs.values(rows, "vpt", model=model, system=system) for system in systems]
        return [max(values, default=math.nan) for values in found]

    def histogram(system: str, *models: str) -> list[float]:
        return runs.values(rows, "histogram_error", system=system, model=models)

    lorenz = [n for model in gated for n in vpt(model, "lorenz96")]
    escaped = runs.values(rows, "escaped", system="mackey_glass_17", model="quadratic")
    return [
        runs.check("Lorenz96, linear, Lyapunov times", vpt("linear", "lorenz96"), ".4"),
        runs.check("Mackey-Glass, linear", vpt("linear", *systems[1:]), ".1"),
        runs.check("Lorenz96, GRU, LSTM and Transformer", lorenz, "2 to 3"),
        runs.check("Lorenz96, TCN", vpt("tcn", "lorenz96"), "1"),
        runs.check("Mackey-Glass, networks", [n for m in (*gated, "tcn") for n in vpt(m, *systems[1:])], "2 to 3"),
        runs.less(
            "every network's histogram is nearer than linear autoregression's",
            [max(histogram(system, *gated, "tcn"), default=math.nan) for system in systems],
            [min(histogram(system, "linear"), default=math.nan) for system in systems],
        ),
        runs.check("Lorenz96, quadratic", vpt("quadratic", "lorenz96"), "4"),
        runs.less(
            "Lorenz96: quadratic longer than any network",
            [*lorenz, *vpt("tcn", "lorenz96")],
            vpt("quadratic", "lorenz96"),
        ),
        runs.check("Mackey-Glass, quadratic", vpt("quadratic", *systems[1:]), "< 1"),
        runs.every("Mackey-Glass with delay 17: all quadratic runs escape", [share == 1 for share in escaped]),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
