"""The figure of state_tracking.py: a row for each group, with the chance and the ceiling at every length."""

import math
from typing import Any, Literal, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs, tasks
from seqjax.theory import groups

GroupName = Literal["Z2", "S3", "A5"]
Model = Literal[
    "constructed",
    "gru",
    "mingru",
    "selective_ssm",
    "signed_selective_ssm",
    "deltanet",
    "signed_deltanet",
    "transformer",
    "counts",
]

TOKENS: dict[GroupName, tuple[int, ...]] = {"Z2": (0, 1), "S3": groups.adjacent_transpositions(3), "A5": (15, 1)}
"""Elements that occur; those of A5 are the cycles 0 -> 1 -> 2 -> 0 and 2 -> 3 -> 4 -> 2, which generate it."""

TITLE: dict[GroupName, str] = {
    "Z2": "Z2, parity", "S3": "S3, two transpositions", "A5": "A5, two cycles of three letters",
}  # fmt: skip

LABEL: dict[Model, str] = {
    "constructed": "constructed weights", "gru": "GRU", "mingru": "MinGRU",
    "selective_ssm": "selective SSM, a in (0, 1)", "signed_selective_ssm": "selective SSM, a in (-1, 1)",
    "deltanet": "DeltaNet, β in (0, 1)", "signed_deltanet": "DeltaNet, β in (0, 2)",
    "transformer": "Transformer", "counts": "attention without positions, 1 layer",
}  # fmt: skip

LOOK: dict[Model, tuple[str, int]] = {
    "signed_selective_ssm": ("selective_ssm", 2), "deltanet": ("gated_deltanet", 0),
    "signed_deltanet": ("gated_deltanet", 2), "counts": ("bag", 0),
}  # fmt: skip
"""Hollow where eigenvalues may be negative; the others are named as in `plot.STYLE`."""

RATIOS = (0.5, 1, 2, 4, 8)
"""Test lengths, in units of the training length."""

LAST = 4
"""Answers that count at each length, an even number: constant answers are right on even lengths, or on odd ones."""

PROVED = 5_000
"""Length to which constructed weights are run."""


def task_of(config: Any, length: int) -> tasks.WordProblem:
    """Words of a length."""
    return tasks.WordProblem(groups.named(config.group), TOKENS[config.group], length)


def at(accuracy: Any, length: int) -> float:
    """Mean of an accuracy over the last answers at a length."""
    return float(np.mean([accuracy(tokens) for tokens in range(length - LAST + 1, length + 1)]))


def ceiling(task: tasks.WordProblem, length: int) -> float:
    """That of attention without positions there: the counts of all tokens before the last one, which is the query.

    The last token permutes the products, and so knowing it besides the counts before it is worth one token.
    """
    return at(lambda tokens: task.commutative_ceiling(tokens - 1), length)


def look_of(model: Model) -> dict[str, Any]:
    """Style and variant."""
    style, variant = LOOK.get(model, (model, 0))
    return {"style": style, "variant": variant}


def draw(records: list[runs.Record]) -> Figure:
    """A row for each group: accuracy against length, accuracy during training, and words of one token."""
    names = [name for name in get_args(GroupName) if any(record.config.group == name for record in records)]
    figure, axes = plot.figure(len(names), 3, width=17.0, height=4.4 * len(names) + 0.8)
    for row, name in zip(axes, names, strict=True):
        mine = [record for record in records if record.config.group == name]
        _draw_lengths(row[0], mine)
        _draw_training(row[1], [record for record in mine if record.config.model != "constructed"])
        _draw_words(row[2], mine)
    named: dict[str, Any] = {}
    for ax in axes.flat:
        handles, labels = ax.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True)) | named
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _draw_lengths(ax: Axes, records: list[runs.Record]) -> None:
    """Accuracy at each length, with chance and the ceiling of models that count."""
    config: Any = records[0].config
    lengths = [round(ratio * config.length) for ratio in RATIOS]
    ax.set(xscale="log", ylim=(0.01, 1.3) if config.group == "A5" else (0, 1.04))
    if config.group == "A5":
        ax.set_yscale("log")
    for record in records:
        median, low, high = np.quantile(record.arrays["by_length"], (0.5, 0, 1), axis=0)
        if record.config.model == "constructed":
            ax.plot(RATIOS, median, "k_", markersize=16, label=f"{LABEL['constructed']} (exact to {PROVED:,} tokens)")
            continue
        lines = [median] if len(records) > plot.MOST_BANDS else [median, low, high]
        plot.curve(ax, RATIOS, *lines, label=LABEL[record.config.model], **look_of(record.config.model))
    places = np.geomspace(RATIOS[0], RATIOS[-1], 13)
    task = task_of(config, lengths[-1])
    each = np.unique(np.round(places * config.length).astype(int))
    ceilings = [ceiling(task, int(length)) for length in each]
    chances = [at(task.chance, int(length)) for length in each]
    plot.baseline(ax, each / config.length, ceilings, label="ceiling: counts of the tokens, and the last")
    ax.plot(
        each / config.length, chances, color="black", linewidth=0.9, linestyle=":", label="chance: the length alone"
    )
    if (order := groups.named(config.group).order) * chances[-1] > 1.01:
        label = f"one answer at all lengths: 1/{order}"
        ax.axhline(1 / order, color="0.5", linewidth=0.9, linestyle=(0, (1, 4)), label=label)
    ax.set_xticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
    ax.minorticks_off()
    seeds = plot.over_seeds((r.config.seeds for r in records), len(records))
    ax.set_title(f"{TITLE[config.group]}: trained on T <= {config.length}; {seeds}", fontsize=10)
    ax.set(xlabel=f"length / {config.length}", ylabel=f"accuracy of the last {LAST} answers")


def _draw_training(ax: Axes, records: list[runs.Record]) -> None:
    """Accuracy at the training length during training, with the plateau of models that know the counts alone."""
    if not records:
        return
    config: Any = records[0].config
    for record in records:
        steps, found = record.curve("accuracy")
        lines = plot.bands(found, len(records))
        plot.curve(ax, steps, *lines, label=LABEL[record.config.model], **look_of(record.config.model))
    commutators = len(groups.named(config.group).commutator_subgroup)
    if commutators > 1:
        ax.axhline(
            1 / commutators,
            color="black",
            linewidth=1.1,
            linestyle=(0, (6, 2, 1, 2)),
            label="most that counts of tokens tell of a long word",
        )
        ax.text(steps[-1], 1 / commutators, f"1/{commutators}", fontsize=9, va="bottom", ha="right")
    if config.group == "A5":
        ax.set(yscale="log", ylim=(0.01, 1.3))
    else:
        ax.set_ylim(0, 1.04)
    ax.set_title(f"{TITLE[config.group]}: during training", fontsize=10)
    ax.set(xlabel="training steps", ylabel=f"accuracy at length {config.length}, last {LAST} answers")


def _draw_words(ax: Axes, records: list[runs.Record]) -> None:
    """For each seed the length from which on the answer to a word of one token is always the same."""
    line = [record for record in records if record.result["words"] is not None]
    config: Any = records[0].config
    longest = config.longest_word
    ax.set(xscale="log", xlim=(0.8, 30 * longest), ylim=(len(line) - 0.4, -0.6), xlabel="length of a word of one token")
    for place, record in enumerate(line):
        look = plot.look(**look_of(record.config.model))
        times = record.arrays["times"]
        for seed, time in enumerate(times):
            y = place + 0.18 * (seed - (len(times) - 1) / 2)
            if time:
                ax.plot([time, longest], [y, y], color=look["color"], linewidth=1.4)
                ax.plot(time, y, **look | {"linestyle": "", "markersize": 5.5})
            else:
                ax.plot([1, longest], [y, y], color=look["color"], linewidth=0.9, linestyle=(0, (1, 3)))
        ax.text(1.5 * longest, place, f"{record.result['words']:.3g}", fontsize=9, va="center")
    ax.set_yticks(range(len(line)), [LABEL[record.config.model].replace(", ", "\n", 1) for record in line], fontsize=8)
    ax.set_xticks([10**power for power in range(round(math.log10(longest)) + 1)])
    ax.minorticks_off()
    ax.grid(False, axis="y")
    ax.set_title(
        f"{TITLE[config.group]}: a line a seed; mark: T0, one answer from there on;\n"
        f"dots: none; accuracy on words of {longest // 2:,} to {longest:,} tokens",
        fontsize=8.5,
    )
