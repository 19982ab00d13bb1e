"""Which architectures solve the classic long-memory tasks?

Paper     Bai, Kolter & Koltun 2018, arXiv:1803.01271, table 1, whose synthetic rows this redraws
Figure    experiments/figures/classic_tasks.png
Question  The adding problem over 200 steps, copy memory over 500 blanks, multi-delay (all of the last 64 inputs),
          parity, and delayed XOR (a product of two past bits): which models beat the trivial predictor, whose error is
          known exactly?
Expect    Adding, T = 200 (trivial: MSE 1/6): GRU 1e-4, LSTM and TCN 9e-4. Copy memory, T = 500: TCN 1e-5 nats (trivial:
          10 ln 8/(T+20) = 0.0400, which recurrent networks do not beat). Multi-delay: never below 1 - features/64,
          whatever the model; the RNN, with the most features, is best. Parity: ln 2 = .693 for every model without a
          recurrent state; recurrent networks learn it (less than .5 of the trivial error). Delayed XOR: TCN and LRU
          learn it, the others do not.
Answer    Adding over {length task=adding model=gru} steps, squared error: GRU {loss task=adding model=gru:.0e}, TCN
          {loss task=adding model=tcn:.0e} (a constant: {trivial task=adding model=gru:.2f}). Copy memory over
          {length task=copy model=tcn} blanks, nats: TCN {loss task=copy model=tcn:.0e}, GRU
          {loss task=copy model=gru:.3f}, LSTM {loss task=copy model=lstm:.3f} (guessing:
          {trivial task=copy model=tcn:.3f}). Parity, nats: GRU {loss task=parity model=gru:.0e}, TCN
          {loss task=parity model=tcn:.2f} (guessing: {trivial task=parity model=tcn:.2f}).
Fair      Equal parameters (within 5 %), steps and batches. Learning rates are in the script; only those of the TCN on
          adding and copy memory come from short probes, the others are not searched. The two long tasks have one seed,
          and at laptop scale three models.
Differs   from the paper: Adam with warm-up and half a cosine for all, gradients clipped at norm 1, fewer steps, fresh
          sequences instead of a fixed set, symbols as one-hot vectors instead of a number, shorter T on a laptop.
Cost      25 min on one CPU core
Run       python experiments/memory/classic_tasks.py
Next      python experiments/memory/classic_tasks.py --task parity --model gru --length 100
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, assert_never, get_args

import jax
import numpy as np
from jax import Array
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import losses, models, plot, runs, tasks
from seqjax.theory import bounds

Task = Literal["adding", "copy", "multi_delay", "parity", "xor"]

Model = Literal["rnn", "gru", "lstm", "tcn", "transformer", "lru"]

Size = Literal["small", "paper"]

LABEL = {
    "adding": "adding", "copy": "copy memory", "multi_delay": "multi-delay", "parity": "parity", "xor": "delayed XOR",
    "rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "tcn": "TCN", "transformer": "Transformer", "lru": "LRU",
}  # fmt: skip

TASKS = get_args(Task)

UNIT = {"adding": "MSE", "copy": "nats", "multi_delay": "MSE", "parity": "nats", "xor": "MSE"}

TARGETS = {"adding": 1, "copy": 10, "multi_delay": 64, "parity": 1, "xor": 1}

LENGTH = {"adding": 200, "copy": 500, "multi_delay": 160, "parity": 32, "xor": 64}

DELAY, XOR_DELAYS = TARGETS["multi_delay"] - 1, (10, 20)

FEATURES = {
    ("adding", "small"): {"rnn": 164, "gru": 94, "lstm": 82, "tcn": 22, "transformer": 40, "lru": 47},
    ("copy", "small"): {"rnn": 183, "gru": 105, "lstm": 90, "tcn": 20, "transformer": 48, "lru": 54},
    ("multi_delay", "small"): {"rnn": 63, "gru": 42, "lstm": 37, "tcn": 16, "transformer": 20, "lru": 23},
    ("parity", "small"): {"rnn": 83, "gru": 48, "lstm": 41, "tcn": 16, "transformer": 20, "lru": 24},
    ("xor", "small"): {"rnn": 83, "gru": 48, "lstm": 41, "tcn": 16, "transformer": 20, "lru": 24},
    ("adding", "paper"): {"rnn": 263, "gru": 151, "lstm": 131, "tcn": 24, "transformer": 64, "lru": 76},
    ("copy", "paper"): {"rnn": 104, "gru": 59, "lstm": 51, "tcn": 10, "transformer": 28, "lru": 31},
}
"""Widths that give equal numbers of parameters."""

KERNEL_AND_BLOCKS = {
    ("adding", "small"): (8, 4), ("copy", "small"): (8, 6), ("adding", "paper"): (8, 8), ("copy", "paper"): (8, 8),
}  # fmt: skip
"""Of the TCN: kernel size, and number of blocks, whose dilations double; 3 and 5 on the other tasks."""

LEARNING_RATE = {
    "adding": {"rnn": 1e-3, "gru": 4e-3, "lstm": 4e-3, "tcn": 4e-3, "transformer": 2e-3, "lru": 4e-3},
    "copy": {"rnn": 1e-3, "gru": 4e-3, "lstm": 4e-3, "tcn": 4e-3, "transformer": 2e-3, "lru": 4e-3},
    "multi_delay": {"rnn": 3e-3, "gru": 1e-2, "lstm": 1e-2, "tcn": 1e-2, "transformer": 3e-3, "lru": 1e-2},
    "parity": {"rnn": 3e-3, "gru": 1e-2, "lstm": 1e-2, "tcn": 1e-2, "transformer": 3e-3, "lru": 1e-2},
    "xor": {"rnn": 3e-3, "gru": 1e-2, "lstm": 1e-2, "tcn": 1e-2, "transformer": 3e-3, "lru": 1e-2},
}

TEST_BATCHES, TEST_BATCH_SIZE = 16, 64


@dataclass(frozen=True)
class Config:
    """One model on one task.

    Attributes:
        task: what is to be remembered.
        model: architecture.
        length: steps of the task, of copy memory its blanks; 0: the task's own.
        size: widths: about equal parameters on a laptop, or the paper's.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    task: Task = "adding"
    model: Model = "tcn"
    length: int = 0
    size: Size = "small"
    steps: int = 2_000
    batch_size: int = 16
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3

    @property
    def time(self) -> int:
        """The task's length in use: T of adding, blanks of copy memory, steps of the others."""
        return self.length or LENGTH[self.task]


def configs(scale: runs.Scale) -> list[Config]:
    """Every model on every task, the long sequences last; at gpu scale the paper's sizes and lengths."""
    if scale == "smoke":
        return [Config(task="copy", model="tcn", length=20, steps=20, seeds=2)]
    if scale == "gpu":
        paper = Config(size="paper", steps=20_000, batch_size=32, seeds=5)
        long = [replace(paper, task="adding", length=600), replace(paper, task="copy", length=1000)]
        on_long = get_args(Model)
    else:
        long = [
            Config(task="adding", length=200, steps=3_000, batch_size=32, seeds=1),
            Config(task="copy", length=500, steps=1_500, batch_size=8, seeds=1),
        ]
        on_long: tuple[Model, ...] = ("tcn", "lstm", "gru")  # the others take longer
    short = [Config(task=task, steps=1_000) for task in ("xor", "parity", "multi_delay")]
    return [
        *(replace(config, model=model) for config in short for model in get_args(Model)),
        *(replace(config, model=model) for config in long for model in on_long),
    ]


def build(config: Config) -> models.Module:
    """A readout at every step of a backbone, whose width is in the table."""
    features = FEATURES[config.task, config.size][config.model]
    match config.model:
        case "rnn":
            backbone = models.RNN(features)
        case "gru":
            backbone = models.GRU(features)
        case "lstm":
            backbone = models.LSTM(features)
        case "tcn":
            kernel_size, blocks = KERNEL_AND_BLOCKS.get((config.task, config.size), (3, 5))
            backbone = models.TCN(features, kernel_size, dilations=tuple(2**block for block in range(blocks)))
        case "transformer":
            backbone = models.Transformer(features, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case "lru":
            backbone = models.LRU(features, layers=2, ring=(0.9, 0.999))
        case _:
            assert_never(config.model)
    return models.Regressor(backbone, TARGETS[config.task])


class Problem(NamedTuple):
    """A task with its loss.

    Attributes:
        task: makes the batches.
        inputs: what a model reads of a batch.
        loss: from the model's outputs and a batch; trained and reported.
        trivial: the loss of the best predictor that needs no memory.
    """

    task: Any
    inputs: Callable[[Any], Array]
    loss: Callable[[Array, Any], Array]
    trivial: float


def make_problem(config: Config) -> Problem:
    """The task with its loss: squared error, or cross-entropy in nats."""

    def inputs(batch):
        return batch.inputs

    def squared(outputs, batch):
        return losses.squared_error(outputs, batch.targets, batch.weight)

    match config.task:
        case "adding":
            task = tasks.AddingProblem(config.time)
            return Problem(task, inputs, squared, task.constant_loss())
        case "copy":
            task = tasks.CopyMemory(config.time)
            return Problem(
                task,
                lambda batch: jax.nn.one_hot(batch.inputs, task.vocab),
                lambda outputs, batch: losses.cross_entropy(outputs, batch.labels),
                task.memoryless_loss(),
            )
        case "multi_delay":
            task = tasks.MultiDelay(DELAY, config.time)
            return Problem(task, inputs, squared, task.zero_loss())
        case "parity":
            task = tasks.Parity(config.time)
            return Problem(
                task,
                inputs,
                lambda outputs, batch: losses.binary_cross_entropy(outputs, (1 + batch.targets) / 2, batch.weight > 0),
                task.chance_loss(),
            )
        case "xor":
            task = tasks.DelayedXor(*XOR_DELAYS, config.time)
            return Problem(task, inputs, squared, task.linear_loss())
        case _:
            assert_never(config.task)


def measure(records: list[runs.Record]) -> None:
    """Seeds and learning rates are one program; training and test sequences are fresh ones."""
    config: Config = records[0].config
    problem, model = make_problem(config), build(config)
    runs.warn_of_reach(model, problem.task)

    def loss(params, batch, key):
        return problem.loss(model.apply(params, problem.inputs(batch)), batch)

    train_key, test_key = jax.random.split(jax.random.key(0))
    state = runs.train_group(
        records,
        lambda key: model.init(key, problem.inputs(problem.task.sample(key, 1))),
        loss,
        lambda key: problem.task.sample(key, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE[config.task],
    )

    @jax.jit
    def test(params):
        """The loss of one run on each test batch."""
        keys = jax.random.split(test_key, TEST_BATCHES)
        return jax.lax.map(lambda key: loss(params, problem.task.sample(key, TEST_BATCH_SIZE), key), keys)

    seeds = [jax.tree.map(lambda leaf, run=run: leaf[run], state.params) for run in range(len(state.step))]
    for record, costs in zip(records, runs.by_record(records, np.stack([test(run) for run in seeds])), strict=True):
        row = runs.scores(record, "loss", costs.mean(axis=-1)) | {"trivial": problem.trivial}
        if config.task == "multi_delay":
            row["floor"] = problem.task.floor(FEATURES[config.task, config.size][config.model])
            bounds.require_above(row["floor"], *bounds.mean_and_error(costs))
        record.finish(row, costs=costs)


def draw(records: list[runs.Record]) -> Figure:
    """Training curves of the two long tasks, and the test loss of every model on every task."""
    figure, axes = plot.figure(2, 2, width=13, height=9)
    for ax, task in zip(axes[0], ("adding", "copy"), strict=True):
        mine = [record for record in records if record.config.task == task]
        for model in get_args(Model):
            for record in (record for record in mine if record.config.model == model):
                steps, bands = record.curve("loss")
                plot.curve(ax, steps, *plot.bands(bands, len(mine)), label=LABEL[model], style=model)
                ends, trivial = [steps[0], steps[-1]], record.result["trivial"]
                seeds = plot.over_seeds((other.config.seeds for other in mine), len(mine))
                title = f"{LABEL[task]}, T = {record.config.time}, {seeds}"
                ax.set(yscale="log", title=title, xlabel="training steps", ylabel=f"training loss ({UNIT[task]})")
        if ax.lines:
            plot.baseline(ax, ends, [trivial] * 2, label=f"trivial: {trivial:.4g}")
            plot.legend(ax)

    ax: Axes = axes[1, 0]
    ax.set(yscale="log", ylabel="test loss, in units of the trivial predictor's")
    for number, model in enumerate(get_args(Model)):
        line = [(TASKS.index(r.config.task) + (number - 2.5) / 8, r) for r in records if r.config.model == model]
        if line:
            columns = [
                [record.result[name] / record.result["trivial"] for _, record in line]
                for name in ("loss", "low", "high")
            ]
            plot.points(ax, [place for place, _ in line], *columns, label=LABEL[model], style=model)
            for place, record in line:
                if "floor" in record.result:
                    ends = [place - 0.06, place + 0.06]
                    ax.plot(ends, [record.result["floor"]] * 2, color="black", linewidth=1.2)
    ax.plot([], [], color="black", linewidth=1.2, label="least error with as many features")
    plot.baseline(ax, [-0.5, len(TASKS) - 0.5], [1, 1], label="trivial")
    by_seeds: dict[int, list[str]] = {}
    for task, number in {record.config.task: record.config.seeds for record in records}.items():
        by_seeds.setdefault(number, []).append(LABEL[task])
    told = [f"{', '.join(names)}: {plot.over_seeds([number])}" for number, names in by_seeds.items()]
    ax.set_title("\n".join(told), fontsize=9)
    ax.set_xticks(range(len(TASKS)), [LABEL[task] for task in TASKS])
    plot.legend(ax, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.08))

    ax = axes[1, 1]
    ax.axis("off")
    ax.set_title("test loss (median); in brackets that of the trivial predictor\n–: not run at this scale", fontsize=9)
    results = {(record.config.task, record.config.model): record.result for record in records}
    cells = [[f"{results[t, m]['loss']:.2g}" if (t, m) in results else "–" for t in TASKS] for m in get_args(Model)]
    trivial = {record.config.task: record.result["trivial"] for record in records}
    heads = [f"{LABEL[t]}\n{UNIT[t]} ({trivial[t]:.4f})" if t in trivial else LABEL[t] for t in TASKS]
    names = [LABEL[model] for model in get_args(Model)]
    table = ax.table(cells, rowLabels=names, colLabels=heads, loc="center", cellLoc="center", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 2.4)
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def losses(task: str, *models: str) -> list[float]:
        return runs.values(rows, "loss", task=task, model=models)

    def of_trivial(task: str, *models: str) -> list[float]:
        return [row["loss"] / row["trivial"] for row in runs.select(rows, task=task, model=models)]

    states, windows = ("rnn", "gru", "lstm", "lru"), ("tcn", "transformer")
    delays = runs.select(rows, task="multi_delay")
    return [
        runs.check("adding, GRU", losses("adding", "gru"), "1e-4"),
        runs.check("adding, LSTM and TCN", losses("adding", "lstm", "tcn"), "9e-4"),
        runs.check("copy memory, TCN", losses("copy", "tcn"), "1e-5"),
        runs.check("copy memory, GRU and LSTM", losses("copy", "gru", "lstm"), ">= 0.0400"),
        runs.every("multi-delay: no model below 1 - features/64", [row["loss"] >= row["floor"] for row in delays]),
        runs.less(
            "multi-delay: the RNN is best",
            runs.value(delays, "loss", model="rnn"),
            runs.values(delays, "loss", model=(*states[1:], *windows)),
        ),
        runs.check("parity without a recurrent state, TCN and Transformer", losses("parity", *windows), ".693"),
        runs.check("parity of recurrent networks, of the trivial error", of_trivial("parity", *states), "< .5"),
        runs.check("delayed XOR, TCN and LRU, of the trivial error", of_trivial("xor", "tcn", "lru"), "< .5"),
        runs.check(
            "delayed XOR, the others, of the trivial error",
            of_trivial("xor", "rnn", "gru", "lstm", "transformer"),
            "> .5",
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
