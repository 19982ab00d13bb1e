"""What does it cost to re-order a sequence: memory, or sight of the future?

Paper     Jiang & Li 2024, arXiv:2305.18475 (NeurIPS), tables 2 and 3
Figure    experiments/figures/reordering.png
Question  y_t = sum_s e^-s x_{t-s} of inputs as they are, with the first ten and the last ten exchanged, or mixed by a
          random filter; and kernels of 32 random numbers. The paper finds that a linear RNN is ruined by the exchange
          and by random kernels, and a Transformer is not. Is it the RNN, or that one of them sees what is to come?
Expect    The exchange costs the linear RNN .0525, its floor: every causal model loses .0301, one that is the same at
          all times .0526. The paper's .0357 lies below that, so that its exchange must be another (AU6 of seed_audit).
          Both ways .0229 is left, as weights are still the same at all times; the Transformer, which sees the future
          and the place, has .001. Random kernels do not ruin the RNN: 7e-7, centred 3e-11; the paper's 5.58 is one of
          optimisation. What the Transformer leaves everywhere (2e-4 to .07) is more than the paper's (2e-5 to 5e-4).
Fair      Same steps, batches and test sequences; a learning rate for each kind, as usual. The Transformer has one head
          and is told every step's place. The linear RNN both ways has as many states, half of them in each direction.
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
from flax import linen as nn
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, train
from seqjax.theory import bounds
from seqjax.types import Batch

Task = Literal["plain", "exchanged", "mixed", "random"]
Model = Literal["rnn", "both_ways", "one_head"]
Inputs = Literal["raw", "centred"]

LABEL = {
    "plain": "as they are",
    "exchanged": "first ten and\nlast ten exchanged",
    "mixed": "mixed by a\nrandom filter",
    "random": "random\nkernels",
    "rnn": "linear RNN",
    "both_ways": "linear RNN, both ways",
    "one_head": "Transformer, one head",
    "raw": "inputs in [0, 1]",
    "centred": "inputs in [-½, ½]",
}

LEARNING_RATE = {"rnn": 1e-3, "both_ways": 1e-3, "one_head": 2e-3}

PAPER = {
    ("plain", "rnn"): 1.02e-7, ("exchanged", "rnn"): 3.57e-2, ("mixed", "rnn"): 1.58e-7, ("random", "rnn"): 5.58,
    ("plain", "one_head"): 2.18e-5, ("exchanged", "one_head"): 2.51e-5, ("mixed", "one_head"): 2.39e-4,
    ("random", "one_head"): 5.4e-4,
}  # fmt: skip
"""Of tables 2 and 3, on raw inputs."""

LENGTH, VARIANCE = 32, 1 / 12


@dataclass(frozen=True)
class Config:
    """One model on one task; each seed has its own filter or kernel, where they are random."""

    task: Task = "exchanged"
    model: Model = "rnn"
    inputs: Inputs = "raw"
    steps: int = 2_000
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 5

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE[self.model]


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


def build(config: Config) -> nn.Module:
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


class Known(NamedTuple):
    """What is known of a task without training, averaged over the steps of a sequence.

    Attributes:
        causal: floor of every model that sees no future.
        linear: floor of every linear one that is also the same at all times, whatever the inputs' mean.
        constant: error of the best constant at each step.
    """

    causal: float
    linear: float
    constant: float


def known(task: Task, seed: int) -> Known:
    """For one seed's filter or kernel."""
    exact = response(task, seed)
    constant = VARIANCE * (exact**2).sum() / LENGTH
    return Known(bounds.causal(exact, VARIANCE), bounds.homogeneous(exact, VARIANCE), constant)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; every batch is fresh."""
    group = [record.config for record in records]
    config = group[0]
    model = build(config)
    responses = np.stack([response(config.task, seed) for seed in range(config.seeds)])
    circle = 2 * np.pi * np.arange(1, 5)[None] * np.arange(LENGTH)[:, None] / LENGTH
    places = jnp.concatenate([jnp.sin(circle), jnp.cos(circle)], axis=1)

    def draw(key, exact, rows) -> Batch:
        x = jax.random.uniform(key, (rows, LENGTH)) - (0.5 if config.inputs == "centred" else 0.0)
        y = jnp.matmul(x, exact.T, precision=jax.lax.Precision.HIGHEST)[..., None]
        x = x[..., None]
        if config.model == "one_head":
            x = jnp.concatenate([x, jnp.broadcast_to(places[None], (rows, *places.shape))], axis=2)
        return Batch(x, y)

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets), {}

    train_key, test_key = jax.random.split(jax.random.key(0))
    exacts = jnp.tile(jnp.asarray(responses, jnp.float32), (len(group), 1, 1))
    rates = jnp.repeat(jnp.array([c.rate for c in group]), config.seeds)
    state, advance = sweep.sweep(
        lambda key: model.init(key, draw(key, exacts[0], 1).inputs),
        loss,
        lambda setting: train.adam(setting[1], config.steps),
        lambda key, setting: draw(key, setting[0], config.batch_size),
        keys=jnp.tile(jax.random.split(train_key, config.seeds), len(group)),
        settings=(exacts, rates),
        steps=max(1, config.steps // 20),
    )
    state = runs.fit(records, state, advance, config.steps)

    rows = 100 if config.steps < 100 else 4_000  # a smoke test
    tests = [draw(test_key, jnp.asarray(exact, jnp.float32), rows) for exact in responses]
    predictions = evaluate.predict(model.apply, state.params, tests[0].inputs)
    floors = [known(config.task, seed) for seed in range(config.seeds)]
    for index, record in enumerate(records):
        found = predictions[index * config.seeds : (index + 1) * config.seeds]
        errors = [((y - np.asarray(test.targets)) ** 2).mean(axis=(1, 2)) for y, test in zip(found, tests, strict=True)]
        if config.model == "rnn":
            for each, floor in zip(errors, floors, strict=True):
                bounds.require_above(floor.linear, each.mean(), each.std() / rows**0.5)
        error = metrics.band([each.mean() for each in errors])
        row = {
            "learning_rate": group[index].rate,
            "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(state.params)),
            "mse": error.median,
            "low": error.low,
            "high": error.high,
            **{f"{name}_floor": np.median([getattr(f, name) for f in floors]) for name in ("causal", "linear")},
            "constant": np.median([floor.constant for floor in floors]),
        }
        record.finish(row)


def draw(records: list[runs.Record]) -> Figure:
    """Errors on raw and on centred inputs, with what is out of reach for whom."""
    tasks = [task for task in get_args(Task) if any(record.config.task == task for record in records)]
    figure, axes = plot.figure(1, 2, width=13, height=6)
    for ax, inputs in zip(axes[0], get_args(Inputs), strict=True):
        chosen = [record for record in records if record.config.inputs == inputs]
        ax.set(yscale="log", ylim=(1e-14, 30), xlim=(-0.5, len(tasks) - 0.5), title=LABEL[inputs])
        for style, model in enumerate(get_args(Model)):
            line = [record for record in chosen if record.config.model == model]
            shift = 0.22 * (style - 1)
            places = [tasks.index(record.config.task) + shift for record in line]
            columns = [[record.result[name] for record in line] for name in ("mse", "low", "high")]
            if line:
                label = f"{LABEL[model]} ({line[0].result['parameters']:,})"
                plot.points(ax, places, *columns, label=label, style=style)
            quoted = [
                (p, PAPER[r.config.task, model])
                for p, r in zip(places, line, strict=True)
                if inputs == "raw" and model != "both_ways"
            ]
            if quoted:
                look = plot.STYLES[style]
                ax.plot(
                    *zip(*quoted, strict=True),
                    linestyle="",
                    marker=look["marker"],
                    color=look["color"],
                    markerfacecolor="white",
                    markersize=7,
                    label=f"{LABEL[model]}, the paper's",
                )
        each = {record.config.task: record.result for record in chosen}
        plot.levels(
            ax,
            [tasks.index(t) for t in each],
            [row["constant"] for row in each.values()],
            label="a constant",
            linestyle="--",
        )
        for number, (task, row) in enumerate(each.items()):
            ends = [tasks.index(task) - 0.42, tasks.index(task) + 0.42]
            first = number == 0
            plot.floor(
                ax, ends, [row["linear_floor"]] * 2, label="no causal linear RNN can" if first else None, style=0
            )
            plot.floor(ax, ends, [row["causal_floor"]] * 2, label="no causal model can" if first else None, style=5)
        ax.set_xticks(range(len(tasks)), [LABEL[task] for task in tasks], fontsize=8)
        ax.set_ylabel("mean squared error")
    names = axes[0, 0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
