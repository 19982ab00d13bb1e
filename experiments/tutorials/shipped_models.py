"""Six small trained models to open, three of each of the seed's evaluated tasks.

Paper     seed S4, whose checkpoints have these names; Bai, Kolter & Koltun 2018, arXiv:1803.01271; Lorenz 1996
Figure    experiments/figures/shipped_models.png
Question  How well do small networks of S4's three kinds do S4's two tasks, once they can see time?
Expect    Shift by 32 of 128 steps, on smooth input of variance 1: TCN <= 1e-4, Transformer <= 1e-3. Shift by 8 of 32:
          the LSTM lies 100 times below the floor without memory. Lorenz96 at K = 1: R2 >= .995 each, and each has more
          error than a linear filter of 32 taps, because the map is linear.
Fair      no comparison: tasks, steps and sizes differ, as in S4. The shipped weights are those of seed 0, whatever the
          others gave. One learning rate for all: 3e-2 was best in runs of 300 to 1,500 steps, beside 1e-2 and 3e-3, on
          other sequences than those of the test; but winners of short runs may come apart in long ones
          (lorenz96_response), and the next one is taken.
Differs   from seed S4: the RNN recurs over time and not over the batch and is smaller (one LSTM layer of 64; there two
          of 256), all outputs are linear, input and target have variance 1, every sequence of Shift is a fresh one,
          and Lorenz96 is that of lorenz96_response.
Cost      39 min on two CPU cores that others used too; about 18 alone, by the rate of short runs
Run       python experiments/tutorials/shipped_models.py
Next      python experiments/tutorials/shipped_models.py --model shift_rnn_8_32 --steps 8000
"""

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, tasks, train
from seqjax.data import Epochs
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.explore import trained
from seqjax.runs.folder import write_json
from seqjax.tasks import Lorenz96, Shift
from seqjax.theory import fits
from seqjax.types import Batch

Model = Literal[
    "shift_rnn_8_32",
    "shift_tcn_32_128",
    "shift_transformer_32_128",
    "lorenz_rnn_1_10_128",
    "lorenz_tcn_1_10_128",
    "lorenz_transformer_1_10_128",
]
"""Task, architecture, and the delay and length of Shift or the K, J and length of Lorenz96."""

STEPS: dict[Model, int] = {
    "shift_rnn_8_32": 8_000,
    "shift_tcn_32_128": 5_000,
    "shift_transformer_32_128": 4_000,
    "lorenz_rnn_1_10_128": 2_000,
    "lorenz_tcn_1_10_128": 2_000,
    "lorenz_transformer_1_10_128": 3_000,
}
"""What each is trained for, in a few minutes of two cores."""

ERROR = "mean squared error (variance 1)"

FOLDER = Path(__file__).parents[1] / "models"

DATA_SEED = 2
"""Of the test sequences, which no choice was made on. The keys of training follow from `TRAIN_SEED`."""

TRAIN_SEED = 0
TEST_ROWS = 1024

TARGET_SCALE = 0.511
"""Of Lorenz96: the standard deviation of y, `Lorenz96.calibrated` of 4,096 rows."""

TAPS = 32
"""Of the linear filter beside Lorenz96."""


@dataclass(frozen=True)
class Config:
    """One of the models. `rows` are Lorenz96's for training; sequences of Shift are always fresh ones."""

    model: Model = "shift_tcn_32_128"
    steps: int = 5_000
    batch_size: int = 32
    rows: int = 16_384
    learning_rate: float = runs.traced(0.01)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """All six; at the smallest scale the fastest of each task."""
    if scale == "smoke":
        names: tuple[Model, ...] = ("shift_rnn_8_32", "lorenz_rnn_1_10_128")
        return [Config(model=name, steps=40, rows=256, seeds=2) for name in names]
    return [Config(model=name, steps=STEPS[name]) for name in get_args(Model)]


def task_of(model: Model) -> Shift | Lorenz96:
    """What a model was trained on, with all numbers that decide what it sees."""
    match model:
        case "shift_rnn_8_32":
            return tasks.Shift(8, 32, GaussianProcess())
        case "shift_tcn_32_128" | "shift_transformer_32_128":
            return tasks.Shift(32, 128, GaussianProcess())
        case "lorenz_rnn_1_10_128" | "lorenz_tcn_1_10_128" | "lorenz_transformer_1_10_128":
            return tasks.Lorenz96(K=1, J=10, length=128, target_scale=TARGET_SCALE)
        case _:
            assert_never(model)


def build(config: Config) -> nn.Module:
    """S4's three kinds, each small: what stands behind a name does not depend on the task."""
    match config.model:
        case "shift_rnn_8_32" | "lorenz_rnn_1_10_128":
            backbone = models.Recurrent(64, models.LSTM)
        case "shift_tcn_32_128" | "lorenz_tcn_1_10_128":
            backbone = models.TCN(24, kernel_size=3, dilations=(1, 2, 4, 8, 16))  # sees 125 steps
        case "shift_transformer_32_128" | "lorenz_transformer_1_10_128":
            backbone = models.Transformer(32, heads=4, layers=2)
        case _:
            assert_never(config.model)
    return models.Regressor(backbone)


@functools.lru_cache
def test_batch(task: Shift | Lorenz96, data_seed: int) -> Batch:
    """What the stored errors were measured on."""
    key = jax.random.key(data_seed)
    return task.draw(key, TEST_ROWS).batch if isinstance(task, tasks.Lorenz96) else task.sample(key, TEST_ROWS)


class Score(NamedTuple):
    """Error on the test sequences, the standard error of that average over sequences, and the variance explained."""

    mse: float
    standard_error: float
    r2: float


def score(predictions: Any, batch: Batch) -> Score:
    """In float64, over the steps that count."""
    targets = np.asarray(batch.targets, np.float64)
    weight = np.ones(targets.shape[:2]) if batch.weight is None else np.asarray(batch.weight, np.float64)
    errors = (np.square(predictions - targets).mean(axis=2) * weight).sum(axis=1) / weight.sum(axis=1)
    spread = float(errors.std(ddof=1) / len(errors) ** 0.5)
    return Score(metrics.mse(predictions, targets, weight), spread, metrics.r2(predictions, targets, weight))


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates of a model are one program."""
    group = [record.config for record in records]
    config = group[0]
    model, task = build(config), task_of(config.model)
    data_key, seeds_key = jax.random.split(jax.random.key(TRAIN_SEED))
    drawn = task.draw(data_key, config.rows).batch if isinstance(task, tasks.Lorenz96) else None
    if drawn is not None:
        sample = Epochs(drawn, config.batch_size)
    else:
        sample = lambda key, rate: task.sample(key, config.batch_size)  # noqa: E731

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets, batch.weight), {}

    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, task.length, 1))),
        loss,
        lambda rate: train.adam(rate, config.steps),
        sample,
        keys=jnp.tile(jax.random.split(seeds_key, config.seeds), len(group)),
        settings=jnp.repeat(jnp.array([c.learning_rate for c in group]), config.seeds),
        steps=config.steps // 40,
    )
    state = runs.fit(records, state, advance, config.steps)
    batch = test_batch(task, DATA_SEED)
    found = evaluate.predict(model.apply, state.params, batch.inputs)
    beside = references(task, batch, drawn)
    for index, record in enumerate(records):
        own = found[index * config.seeds : (index + 1) * config.seeds]
        scores = [score(predictions, batch) for predictions in own]
        shipped, errors = scores[0], metrics.band([one.mse for one in scores])
        row = {
            "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(state.params)),
            **shipped._asdict(),
            "low": errors.low,
            "high": errors.high,
            **beside,
        }
        record.finish(row, test_mse=np.array([one.mse for one in scores]))


def references(task: Shift | Lorenz96, batch: Batch, drawn: Batch | None) -> dict[str, float]:
    """Errors of what needs no training: no prediction, the best without memory, and of Lorenz96 a linear filter."""
    if isinstance(task, tasks.Shift):
        return {"zero_predictor": task.zero_loss(), "memoryless": task.memoryless_floor()}
    train: Any = jax.tree.map(lambda array: array[:2048], drawn)

    def error(window: int) -> float:
        fitted = fits.fir(train.inputs, train.targets, window, train.weight)
        return metrics.mse(fitted.predict(batch.inputs), batch.targets, batch.weight)

    zero = metrics.mse(np.zeros_like(batch.targets), batch.targets, batch.weight)
    return {"zero_predictor": zero, "memoryless": error(1), "linear_filter": error(TAPS)}


def draw(records: list[runs.Record]) -> Figure:
    """Left: error of each model as shipped, the seeds' range as a bar. Right: how the error fell in training."""
    if is_whole(records):
        ship(records)
    figure, axes = plot.figure(1, 3, width=15.5, height=4.4)
    left, *right = axes[0]
    left.get_gridspec().set_width_ratios([1.5, 1, 1])
    names = [record.config.model for record in records]
    rows = [record.result for record in records]
    places = range(len(rows))
    for style, (name, row) in enumerate(zip(names, rows, strict=True)):
        label = f"{name} ({row['parameters']:,} parameters)"
        plot.points(left, [style], [row["mse"]], [row["low"]], [row["high"]], label=label, style=style)
    for column, label, dashes in (
        ("zero_predictor", "zero predictor", "--"),
        ("memoryless", "best without memory", "-"),
        ("linear_filter", f"linear filter, {TAPS} taps", ":"),
    ):
        having = [(place, row[column]) for place, row in zip(places, rows, strict=True) if column in row]
        if having:
            plot.levels(left, *zip(*having, strict=True), label=label, linestyle=dashes)
    left.set(yscale="log", ylabel=ERROR, xlabel="task and architecture")
    kinds = [name.split("_", maxsplit=2) for name in names]
    left.set_xticks(places, [f"{task}\n{kind}\n{sizes.replace('_', '/')}" for task, kind, sizes in kinds], fontsize=7.5)
    for ax, task in zip(right, ("shift", "lorenz"), strict=True):
        learning_curves(ax, [record for record in records if record.config.model.startswith(task)], names)
        ax.set_title({"shift": "training on Shift", "lorenz": "training on Lorenz96"}[task], fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    return figure


def learning_curves(ax: Axes, records: list[runs.Record], names: list[Model]) -> None:
    """The training error, each point an average over the steps since the one before; bands are the seeds' range."""
    for record in records:
        history = runs.load(record.folder).history
        steps = sorted({row["step"] for row in history})
        errors = [[row["loss"] for row in history if row["step"] == step] for step in steps]
        bands = np.array([metrics.band(error) for error in errors]).T
        plot.curve(ax, steps, *bands, label="", style=names.index(record.config.model), markers=False)
    ax.set(yscale="log", xlabel="training step", ylabel=ERROR)


def is_whole(records: list[runs.Record]) -> bool:
    """Whether these are all the models, each as it is to be shipped: the weights change when the figure does."""
    return [r.config for r in records] == configs("laptop") and records[0].folder.parents[1] == Path("results")


def ship(records: list[runs.Record]) -> None:
    """Write each model's weights, those of seed 0, and beside them what they are and how well they do."""
    FOLDER.mkdir(exist_ok=True)
    for record in records:
        params = runs.load(record.folder).params(seed=0)
        result = {name: value for name, value in record.result.items() if name not in ("low", "high")}
        trained.save(FOLDER / f"{record.config.model}.safetensors", params)
        told = {"config": dataclasses.asdict(record.config), "seed": 0, "data_seed": DATA_SEED, "result": result}
        write_json(FOLDER / f"{record.config.model}.json", told)


class Shipped(NamedTuple):
    """What `explore.ShiftEvaluation` and `explore.LorenzEvaluation` are given."""

    model: nn.Module
    params: Any
    task: Shift | Lorenz96


def load(name: Model) -> Shipped:
    """One of the models in experiments/models, with its weights and its task."""
    config = Config(**json.loads((FOLDER / f"{name}.json").read_text())["config"])
    return Shipped(build(config), trained.load(FOLDER / f"{name}.safetensors"), task_of(config.model))


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
