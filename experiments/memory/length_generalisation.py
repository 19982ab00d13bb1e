"""Which architectures generalise to words that are longer than those they were trained on?

Paper     Delétang et al. 2023, arXiv:2207.02098 (table 1: the tasks; accuracy on longer words)
Figure    experiments/figures/length_generalisation.png
Question  Tasks from three levels of the Chomsky hierarchy, trained on words of up to 40 symbols: how accurate are the
          answers to words of 41 to 500? Even pairs: do the first and the last bit differ? Cycle navigation: the place
          on a ring of five after steps forward, back or none. Reverse string: the word backwards. Missing duplicate:
          the bit that is missing from a word written twice.
Expect    What the paper's abstract says: recurrent networks solve regular tasks, .9 or more on longer words, here the
          GRU on even pairs and cycle navigation; recurrent networks and Transformers solve none above them, less than
          .9 on reverse string and missing duplicate. DeltaNet with beta in (0, 2) solves even pairs, .9 or more.
Answer    Accuracy on words of 41 to 500 symbols, GRU, Transformer and DeltaNet (beta in (0, 2)): even pairs
          {mean task=even_pairs model=gru:.2f}, {mean task=even_pairs model=transformer:.2f},
          {mean task=even_pairs model=signed_deltanet:.2f}; cycle navigation {mean task=cycle_navigation model=gru:.2f},
          {mean task=cycle_navigation model=transformer:.2f}, {mean task=cycle_navigation model=signed_deltanet:.2f};
          reverse string {mean task=reverse_string model=gru:.2f}, {mean task=reverse_string model=transformer:.2f},
          {mean task=reverse_string model=signed_deltanet:.2f}; missing duplicate
          {mean task=missing_duplicate model=gru:.2f}, {mean task=missing_duplicate model=transformer:.2f},
          {mean task=missing_duplicate model=signed_deltanet:.2f}. The steps do not suffice for cycle navigation, where
          the GRU has {inside task=cycle_navigation model=gru:.2f} at the training lengths; in the paper, RNNs of the
          best seed and setting solve it.
Fair      Width 64, not equal parameters (GRU 13,000, DeltaNet 93,000, Transformer 100,000); equal steps and batches,
          fresh words, one learning rate for each architecture, not searched. The mean is over all lengths with equal
          weight, and over random seeds; no seed, step or setting is chosen by the test, where the paper reports the
          best of its seeds and settings. An accuracy is a mean over a word's answers.
Differs   from the paper: steps, width and one position encoding, ALiBi, instead of five; attention is causal; GRU for
          the plain RNN; medians and bands instead of maxima. Networks with a stack or a tape, which solve the tasks
          above the regular ones there, are not in seqjax. The paper's numbers are not repeated here.
Cost      77 min of CPU time, on two cores that others used too
Run       python experiments/memory/length_generalisation.py
Next      python experiments/memory/length_generalisation.py --task odds_first --model lstm --steps 10000
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, models, plot, runs, tasks
from seqjax.tasks.chomsky import ChomskyTask
from seqjax.types import Labelled

Task = Literal[
    "even_pairs", "cycle_navigation", "modular_arithmetic", "reverse_string", "stack_manipulation", "missing_duplicate",
    "odds_first",
]  # fmt: skip

Model = Literal["rnn", "gru", "lstm", "signed_deltanet", "transformer"]

TASKS: dict[Task, tuple[type[ChomskyTask], str]] = {
    "even_pairs": (tasks.EvenPairs, "regular"),
    "cycle_navigation": (tasks.CycleNavigation, "regular"),
    "modular_arithmetic": (tasks.ModularArithmetic, "regular"),
    "reverse_string": (tasks.ReverseString, "context-free"),
    "stack_manipulation": (tasks.StackManipulation, "context-free"),
    "missing_duplicate": (tasks.MissingDuplicate, "context-sensitive"),
    "odds_first": (tasks.OddsFirst, "context-sensitive"),
}
"""Each with its level: the lowest of the hierarchy that it is in."""

LABEL: dict[Model, str] = {
    "rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "signed_deltanet": "DeltaNet, β in (0, 2)",
    "transformer": "Transformer",
}  # fmt: skip

LOOK: dict[Model, dict[str, Any]] = {"signed_deltanet": {"style": "gated_deltanet", "variant": 2}}
"""As in experiments/memory/state_tracking.py; the others are named as in `plot.STYLE`."""

LEARNING_RATE = {"rnn": 1e-3, "gru": 3e-3, "lstm": 3e-3, "signed_deltanet": 3e-3, "transformer": 1e-3}

LONGEST = 500
"""Symbols of the longest test words."""

BINS = 5
"""Of the test lengths, each with equally many of them and equally many words."""


@dataclass(frozen=True)
class Config:
    """One model on one task.

    Attributes:
        task: what is to be answered.
        model: architecture.
        features: width.
        length: symbols of the longest training words.
        test_words: for each of five ranges of longer words.
        steps: training updates.
        batch_size: sequences of a batch.
        learning_rate: peak of Adam's learning rate; 0: the architecture's own.
        seeds: random seeds, trained together.
    """

    task: Task = "cycle_navigation"
    model: Model = "gru"
    features: int = 64
    length: int = 40
    test_words: int = 128
    steps: int = 1_500
    batch_size: int = 64
    learning_rate: float = runs.traced(0.0)
    seeds: int = 3


def configs(scale: runs.Scale) -> list[Config]:
    """Three models on four tasks; at gpu scale all."""
    if scale == "smoke":
        return [Config(task="missing_duplicate", features=8, test_words=8, steps=20, batch_size=8, seeds=2)]
    if scale == "gpu":
        base = Config(features=256, test_words=1_024, steps=50_000, batch_size=128, seeds=10)
        chosen = get_args(Task), get_args(Model)
    else:
        base = Config()
        chosen = (
            ("even_pairs", "cycle_navigation", "reverse_string", "missing_duplicate"),
            ("gru", "signed_deltanet", "transformer"),
        )
    return [replace(base, task=task, model=model) for task in chosen[0] for model in chosen[1]]


def task_of(config: Config) -> ChomskyTask:
    """Its training words."""
    kind, _ = TASKS[config.task]
    return kind(length=config.length)


def build(config: Config) -> models.Module:
    """Logits of the answers at every step, from one-hot symbols."""
    return models.Regressor(backbone(config), task_of(config).classes)


def backbone(config: Config) -> models.Module:
    """One layer of RNN, GRU or LSTM, two of the others."""
    match config.model:
        case "rnn":
            return models.RNN(config.features)
        case "gru":
            return models.GRU(config.features)
        case "lstm":
            return models.LSTM(config.features)
        case "signed_deltanet":
            return models.GatedDeltaNet(config.features, gate=False, negative_eigenvalues=True)
        case "transformer":
            return models.Transformer(config.features, positions=models.ALiBi())
        case _:
            assert_never(config.model)


def measure(records: list[runs.Record]) -> None:
    """Seeds are one program; accuracy on fresh words of each range of lengths."""
    config: Config = records[0].config
    task, model = task_of(config), build(config)
    runs.warn_of_reach(model, task)
    train_key, test_key = jax.random.split(jax.random.key(0))

    def logits(params, batch):
        return model.apply(params, jax.nn.one_hot(batch.inputs, task.vocab), mask=batch.mask)

    def loss(params, batch, key):
        found = logits(params, batch)
        right = accuracy(found, batch)
        return losses.cross_entropy(found, batch.labels, batch.scored), {"accuracy": jnp.mean(right)}

    state = runs.train_group(
        records,
        lambda key: model.init(key, jnp.zeros((1, task.time, task.vocab))),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(train_key, config.seeds),
        rates=LEARNING_RATE,
    )

    def test(words: ChomskyTask, key: jax.Array) -> Float64[np.ndarray, "runs rows"]:
        batch = words.sample(key, config.test_words)
        # Attention over the longest words takes room for each row, head and pair of steps.
        found = evaluate.predict(lambda params, rows: accuracy(logits(params, rows), rows), state.params, batch,
                                 batch_size=8 if config.model == "transformer" else 64)  # fmt: skip
        return found.astype(np.float64)

    keys = jax.random.split(test_key, BINS + 1)
    inside = test(task, keys[0]).mean(axis=1)
    ranges = longer(task)
    beyond = np.stack([test(words, key).mean(axis=1) for words, key in zip(ranges, keys[1:], strict=True)], axis=1)
    chance = [words.chance((words.shortest + words.length) // 2) for words in ranges]
    for record, one, several in zip(
        records, runs.by_record(records, inside), runs.by_record(records, beyond), strict=True
    ):
        each = several.mean(axis=1)
        row = runs.scores(record, "accuracy", each) | {"mean": float(each.mean())}
        row |= {"inside": float(np.median(one)), "chance": float(np.mean(chance)), "level": TASKS[config.task][1]}
        record.finish(row, inside=one, beyond=several, chance=np.array(chance))


def accuracy(logits: jax.Array, batch: Labelled) -> jax.Array:
    """Of each row, the fraction of its scored answers that are right."""
    assert batch.scored is not None
    right = (logits.argmax(axis=-1) == batch.labels) & batch.scored
    return right.sum(axis=1) / batch.scored.sum(axis=1)


def longer(task: ChomskyTask) -> list[ChomskyTask]:
    """The same task on words longer than in training, up to 500 symbols, in ranges of equally many lengths."""
    ends = np.linspace(task.length, LONGEST, BINS + 1).round().astype(int).tolist()
    return [replace(task, shortest=low + 1, length=high) for low, high in itertools.pairwise(ends)]


def draw(records: list[runs.Record]) -> Figure:
    """A panel for each task, accuracy against length; then the table of all."""
    names = [name for name in get_args(Task) if any(record.config.task == name for record in records)]
    columns = min(4, len(names))
    rows = -(-len(names) // columns) + 1
    figure, axes = plot.figure(rows, columns, width=4.4 * max(columns, 2), height=3.7 * rows)
    for ax in axes.flat[len(names) :]:
        ax.remove()
    for ax, name in zip(axes.flat, names, strict=False):
        _draw_task(ax, [record for record in records if record.config.task == name])
    plot.legend(axes.flat[0], loc="lower left")
    table = figure.add_subplot(axes[0, 0].get_gridspec()[rows - 1, :])
    _draw_table(table, records, names)
    return figure


def _draw_task(ax: Axes, records: list[runs.Record]) -> None:
    """Accuracy on training words and on each range of longer ones."""
    config: Config = records[0].config
    ranges = longer(task_of(config))
    middles = [(words.shortest + words.length) / 2 for words in ranges]
    for record in records:
        found = np.concatenate([record.arrays["inside"][:, None], record.arrays["beyond"]], axis=1)
        look = LOOK.get(record.config.model, {"style": record.config.model})
        label = LABEL[record.config.model]
        plot.curve(ax, [config.length / 2, *middles], *np.quantile(found, (0.5, 0, 1), axis=0), label=label, **look)
    ax.plot(middles, records[0].arrays["chance"], color="black", linewidth=0.9, linestyle=":", label="chance")
    ax.axvspan(0, config.length, color="0.9", linewidth=0, zorder=0)
    seeds = plot.over_seeds(record.config.seeds for record in records)
    title = config.task.replace("_", " ")
    ax.set_title(f"{title} ({TASKS[config.task][1]})\nshaded: training lengths; {seeds}", fontsize=9)
    ax.set(xlabel="symbols of the word", ylabel="accuracy", ylim=(0, 1.04), xlim=(0, LONGEST))


def _draw_table(ax: Axes, records: list[runs.Record], names: list[Task]) -> None:
    """Mean over lengths and seeds, and in brackets the seeds' range."""
    ax.axis("off")
    found = {(record.config.task, record.config.model): record.result for record in records}
    chosen = [model for model in get_args(Model) if any(model == record.config.model for record in records)]

    def cell(task: Task, model: Model) -> str:
        if (task, model) not in found:
            return "–"
        row = found[task, model]
        return f"{100 * row['mean']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"

    chances = {record.config.task: record.result["chance"] for record in records}
    cells = [[TASKS[name][1], *(cell(name, model) for model in chosen), f"{100 * chances[name]:.1f}"] for name in names]
    heads = ["level", *(LABEL[model] for model in chosen), "chance"]
    titles = [name.replace("_", " ") for name in names]
    table = ax.table(cells, rowLabels=titles, colLabels=heads, loc="center", cellLoc="center", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.8)
    length = records[0].config.length
    ax.set_title(
        f"accuracy (%) on words of {length + 1} to {LONGEST} symbols: mean over lengths and seeds (smallest to largest "
        "seed)",
        fontsize=10,
    )


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    above = {"task": ("reverse_string", "missing_duplicate")}
    regular = runs.values(rows, "mean", task=("even_pairs", "cycle_navigation"), model="gru")
    delta = runs.values(rows, "mean", task="even_pairs", model="signed_deltanet")
    return [
        runs.check("regular tasks, GRU", regular, ">= .9"),
        runs.check("tasks above, GRU", runs.values(rows, "mean", **above, model="gru"), "< .9"),
        runs.check("tasks above, Transformer", runs.values(rows, "mean", **above, model="transformer"), "< .9"),
        runs.check("even pairs, DeltaNet with beta in (0, 2)", delta, ">= .9"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
