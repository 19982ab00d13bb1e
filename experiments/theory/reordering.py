"""What does reordering a sequence cost: memory, or access to the future?

Paper     Jiang & Li 2024, arXiv:2305.18475 (NeurIPS), tables 2 and 3
Figure    experiments/figures/reordering.png
Question  y_t = sum_s e^-s x_{t-s} of inputs as they are, with the first ten and the last ten exchanged, or mixed by a
          random filter; and kernels of 32 random numbers. The paper finds that a linear RNN fails on the exchange and
          on random kernels, and a Transformer does not. Is it the RNN, or that only one of them sees the future?
Expect    The exchange costs the linear RNN .0525, its floor: every causal model loses .0301, a linear time-invariant
          one .0526. The paper's .0357 is below that, so that its exchange must be another one. A bidirectional RNN is
          at .0229, as its weights are still the same at all times; the Transformer, which sees the future and the
          position, at .001. Random kernels are no problem for the RNN: 7e-7, centred 3e-11; the paper's 5.58 is one of
          optimisation. The Transformer's error on all tasks (2e-4 to .07) is larger than the paper's (2e-5 to 5e-4).
Answer    When inputs are exchanged, no causal model has an error below
          {causal_floor task=exchanged model=rnn inputs=raw:.3f} and no causal linear RNN below
          {linear_floor task=exchanged model=rnn inputs=raw:.3f}: the linear RNN ends at
          {mse task=exchanged model=rnn inputs=raw:.3f}, a bidirectional one at
          {mse task=exchanged model=both_ways inputs=raw:.3f} and a Transformer at
          {mse task=exchanged model=one_head inputs=raw:.3f}.
Fair      Same steps, batches and test sequences; a learning rate for each model, as usual. The Transformer has one head
          and position features. Parameters are not equal: 16,769 (RNN), 8,577 (bidirectional), 45,857 (Transformer).
          Floors are exact and errors are of 4,000 sequences, so that .0525 is the floor of .0526 within their noise.
          The bidirectional linear RNN has as many states, half of them in each direction.
Differs   from the paper: 2,000 steps; all sequences are fresh; 5 random filters and kernels, not many.
Cost      24 min on one CPU core
Run       python experiments/theory/reordering.py
Next      python experiments/theory/reordering.py --task exchanged --model rnn both_ways --steps 20000
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from _columns import band
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, models, plot, runs, sweep, train
from seqjax.theory import bounds
from seqjax.types import Batch

Task = Literal["plain", "exchanged", "mixed", "random"]
Model = Literal["rnn", "both_ways", "one_head"]
Inputs = Literal["raw", "centred"]

LABEL = {
    "plain": "as they are", "exchanged": "first ten and\nlast ten exchanged", "mixed": "mixed by a\nrandom filter",
    "random": "random\nkernels", "rnn": "linear RNN", "both_ways": "bidirectional linear RNN",
    "one_head": "Transformer, one head", "raw": "inputs in [0, 1]", "centred": "inputs in [-½, ½]",
}  # fmt: skip

LOOK: dict[str, tuple[str, int]] = {"rnn": ("linear", 0), "both_ways": ("linear", 1), "one_head": ("transformer", 0)}

LEARNING_RATE = {"rnn": 1e-3, "both_ways": 1e-3, "one_head": 2e-3}

PAPER = {
    ("plain", "rnn"): 1.02e-7, ("exchanged", "rnn"): 3.57e-2, ("mixed", "rnn"): 1.58e-7, ("random", "rnn"): 5.58,
    ("plain", "one_head"): 2.18e-5, ("exchanged", "one_head"): 2.51e-5, ("mixed", "one_head"): 2.39e-4,
    ("random", "one_head"): 5.4e-4,
}  # fmt: skip
"""Errors in tables 2 and 3, on raw inputs."""

LENGTH, VARIANCE = 32, 1 / 12


@dataclass(frozen=True)
class Config:
    """One model on one task; random filters and kernels differ by seed.

    Attributes:
        task: the target's kernels: as they are, ends exchanged, mixed by a random filter, or random.
        model: architecture.
        inputs: raw: in [0, 1]; centred: in [-1/2, 1/2].
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    task: Task = "exchanged"
    model: Model = "rnn"
    inputs: Inputs = "raw"
    steps: int = 2_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 5


def configs(scale: runs.Scale) -> list[Config]:
    """Every model on every task, on inputs as the paper has them and centred."""
    if scale == "smoke":
        return [Config(model=model, steps=10, batch_size=8, seeds=1) for model in ("rnn", "one_head")]
    steps, seeds = {"laptop": (2_000, 5), "gpu": (50_000, 10)}[scale]
    return [
        Config(task, model, inputs, steps, seeds=seeds)
        for model in get_args(Model)
        for task in get_args(Task)
        for inputs in get_args(Inputs)
    ]


def build(config: Config) -> models.Module:
    """128 states, or a head of 32 between networks of three layers."""
    linear = models.RNNCell(lambda x: x)
    match config.model:
        case "rnn":
            return models.Regressor(models.Recurrent(128, linear))
        case "both_ways":
            return models.Regressor(models.Bidirectional(128, linear))
        case "one_head":
            return models.SingleHeadTransformer(1, head_dim=32)
        case _:
            assert_never(config.model)


def response(task: Task, seed: int) -> np.ndarray:
    """y = response x, [time, time]."""
    rng = np.random.default_rng(seed)

    def filtering(kernel: np.ndarray) -> np.ndarray:
        lag = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
        return np.where((lag >= 0) & (lag < len(kernel)), kernel[np.clip(lag, 0, len(kernel) - 1)], 0.0)

    decay = filtering(np.exp(-np.arange(LENGTH)))
    match task:
        case "plain":
            return decay
        case "exchanged":
            return decay[:, np.r_[22:32, 10:22, 0:10]]
        case "mixed":
            return decay @ filtering(rng.uniform(size=5))
        case "random":
            return filtering(rng.uniform(size=LENGTH))
        case _:
            assert_never(task)


class Bounds(NamedTuple):
    """Mean squared errors that follow from the task alone.

    Attributes:
        causal: floor of causal models.
        linear: floor of causal, linear and time-invariant models, whatever the inputs' mean.
        constant: error of the best constant at each step.
    """

    causal: float
    linear: float
    constant: float


def bound(exact: np.ndarray) -> Bounds:
    """The bounds for one response."""
    constant = VARIANCE * (exact**2).sum() / LENGTH
    return Bounds(bounds.causal(exact, VARIANCE), bounds.homogeneous(exact, VARIANCE), constant)


def sample(config: Config, key, exact, rows: int) -> Batch:
    """Inputs, for the Transformer with four sines and cosines of the position, and their responses."""
    x = jax.random.uniform(key, (rows, LENGTH)) - (0.5 if config.inputs == "centred" else 0.0)
    y = jnp.matmul(x, exact.T, precision=jax.lax.Precision.HIGHEST)[..., None]
    x = x[..., None]
    if config.model == "one_head":
        angles = 2 * np.pi * np.arange(1, 5)[None] * np.arange(LENGTH)[:, None] / LENGTH
        positions = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)
        x = jnp.concatenate([x, jnp.broadcast_to(positions[None], (rows, *positions.shape))], axis=2)
    return Batch(x, y)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; every batch is fresh."""
    config: Config = records[0].config
    model = build(config)
    responses = np.stack([response(config.task, seed) for seed in range(config.seeds)])
    train_key, test_key = jax.random.split(jax.random.key(0))
    params = _train(records, model, responses, jax.random.split(train_key, config.seeds))

    rows = 100 if config.steps < 100 else 4_000  # a smoke test
    tests = [sample(config, test_key, jnp.asarray(exact, jnp.float32), rows) for exact in responses]
    targets = np.stack([test.targets for test in tests])
    predictions = evaluate.predict(model.apply, params, tests[0].inputs)
    floors = [bound(exact) for exact in responses]
    for record, of_record in zip(records, runs.by_record(records, predictions), strict=True):
        errors = ((of_record - targets) ** 2).mean(axis=(2, 3))  # seeds, rows
        if config.model == "rnn":
            for floor, of_seed in zip(floors, errors, strict=True):
                bounds.require_above(floor.linear, of_seed.mean(), of_seed.std() / rows**0.5)
        row = runs.scores(record, "mse", errors.mean(axis=1))
        row |= {f"{name}_floor": np.median([getattr(floor, name) for floor in floors]) for name in ("causal", "linear")}
        record.finish(row | {"constant": np.median([floor.constant for floor in floors])})


def _train(records: list[runs.Record], model: models.Module, responses: np.ndarray, keys):
    """Parameters of all runs; not by `runs.train_group`, as seeds differ in their responses."""
    config: Config = records[0].config

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    for record in records:
        record.learning_rate = record.config.learning_rate or LEARNING_RATE[config.model]
    exacts = jnp.tile(jnp.asarray(responses, jnp.float32), (len(records), 1, 1))
    rates = jnp.repeat(jnp.array([record.learning_rate for record in records]), config.seeds)
    state, advance = sweep.sweep(
        lambda key: model.init(key, sample(config, key, exacts[0], 1).inputs),
        loss,
        lambda setting: train.adam(setting[1], config.steps),
        lambda key, setting: sample(config, key, setting[0], config.batch_size),
        keys=jnp.tile(keys, len(records)),
        settings=(exacts, rates),
        steps=max(1, config.steps // 20),
    )
    for record in records:
        record.parameters = runs.parameter_count(jax.tree.map(lambda leaf: leaf[0], state.params))
    return runs.fit(records, state, advance, config.steps).params


def draw(records: list[runs.Record]) -> Figure:
    """Errors on raw and on centred inputs, with the floors of causal and of linear models."""
    tasks = [task for task in get_args(Task) if any(record.config.task == task for record in records)]
    figure, axes = plot.figure(1, 2, width=13, height=6)
    seeds = plot.over_seeds(record.config.seeds for record in records)
    for ax, inputs in zip(axes[0], get_args(Inputs), strict=True):
        chosen = [record for record in records if record.config.inputs == inputs]
        ax.set(yscale="log", ylim=(1e-14, 30), xlim=(-0.5, len(tasks) - 0.5), title=f"{LABEL[inputs]}; {seeds}")
        for number, model in enumerate(get_args(Model)):
            line = [record for record in chosen if record.config.model == model]
            if line:
                _draw_model(ax, line, [tasks.index(r.config.task) + 0.22 * (number - 1) for r in line])
        _draw_bounds(ax, {tasks.index(record.config.task): record.result for record in chosen})
        ax.set_xticks(range(len(tasks)), [LABEL[task] for task in tasks], fontsize=8)
        ax.set_ylabel("mean squared error")
    names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        *names, loc="outside lower center", ncols=4, frameon=False, fontsize=9, title="parameters in brackets"
    )
    return figure


def _draw_model(ax: Axes, line: list[runs.Record], places: list[float]) -> None:
    """One model's errors, and the paper's."""
    config = line[0].config
    label = f"{LABEL[config.model]} ({line[0].result['parameters']:,})"
    style, variant = LOOK[config.model]
    plot.points(ax, places, *band(line, "mse"), label=label, style=style, variant=variant)
    if config.inputs == "raw" and config.model != "both_ways":
        quoted, name = [PAPER[r.config.task, config.model] for r in line], f"{LABEL[config.model]}, the paper's"
        marker = {**plot.look(style), "linestyle": "", "markerfacecolor": "white", "markersize": 7}
        ax.plot(places, quoted, label=name, **marker)


def _draw_bounds(ax: Axes, rows: dict[int, dict[str, float]]) -> None:
    """The floors and the best constant at the place of each task."""
    plot.levels(ax, list(rows), [row["constant"] for row in rows.values()], label="best constant", linestyle="--")
    for number, (place, row) in enumerate(rows.items()):
        ends = [place - 0.42, place + 0.42]
        for name, style, hatch, which in (
            ("linear", "linear", "\\\\\\", "causal linear RNNs"), ("causal", "any", "///", "causal models"),
        ):  # fmt: skip
            label = f"out of reach for {which}" if number == 0 else None
            plot.floor(ax, ends, [row[f"{name}_floor"]] * 2, label=label, style=style, hatch=hatch)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def mse(model: str, task: str = "exchanged", inputs: str = "raw") -> float:
        return runs.value(rows, "mse", task=task, model=model, inputs=inputs)

    exchanged = runs.select(rows, task="exchanged")
    return [
        runs.check("exchanged, linear RNN", mse("rnn"), ".0525"),
        runs.check("exchanged, least of every causal model", runs.values(exchanged, "causal_floor"), ".0301"),
        runs.check("exchanged, least of a linear time-invariant one", runs.values(exchanged, "linear_floor"), ".0526"),
        runs.check("exchanged, bidirectional RNN", mse("both_ways"), ".0229"),
        runs.check("exchanged, Transformer", mse("one_head"), ".001"),
        runs.check("random kernels, linear RNN", mse("rnn", "random"), "7e-7"),
        runs.check("random kernels, centred", mse("rnn", "random", "centred"), "3e-11"),
        runs.check("Transformer, all tasks", runs.values(rows, "mse", model="one_head"), "2e-4 to .07"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
