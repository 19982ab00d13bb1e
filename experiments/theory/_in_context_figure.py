"""The figure of in_context.py: chains above, linear maps below, each beside its exact curves."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs
from seqjax.theory import in_context

Model = Literal[
    "transformer", "gru", "deltanet", "linear_attention", "divided", "linear_attention_by_hand", "delta_rule_by_hand"
]

SHORT = 600
"""Steps of the schedule that stays near the unigram phase."""

LABEL: dict[Model, str] = {
    "transformer": "Transformer, 2 layers", "gru": "GRU", "deltanet": "DeltaNet, one layer",
    "linear_attention": "linear attention, trained for this n", "divided": "linear attention / (n + c), trained",
    "linear_attention_by_hand": "linear attention, weights by hand",
    "delta_rule_by_hand": "delta rule, weights by hand",
}  # fmt: skip

STYLE: dict[Model, tuple[str, int]] = {
    "transformer": ("transformer", 0), "gru": ("gru", 0), "deltanet": ("gated_deltanet", 0),
    "linear_attention": ("linear", 0), "divided": ("linear", 1), "linear_attention_by_hand": ("linear", 2),
    "delta_rule_by_hand": ("gated_deltanet", 2),
}  # fmt: skip

SHIFT: dict[Model, float] = {"linear_attention_by_hand": -0.3, "divided": -0.15, "delta_rule_by_hand": -0.2, "gru": 0.1}
"""To the left or right of the number of examples, so that marks do not hide each other."""

LINEAR = "linear_attention", "divided", "linear_attention_by_hand"
"""What is one layer of linear attention for every n: none is below its curve."""

INPUTS = 8
"""d, width of x."""

COUNTED = 4, 8, 16
"""Numbers of examples whose errors are columns."""

UNIGRAM = {"unigram": 0.04, "bayes": 0.12}
"""The unigram phase: nats from unigram counts, less than, and from Bayes, more than."""


def curve_of(model: Model, counts: Sequence[int] | np.ndarray) -> Float64[np.ndarray, " counts"]:
    """The exact error of what a model is compared with: the best linear attention, or the delta rule."""
    formula = in_context.linear_attention if model in LINEAR else in_context.delta_rule
    return np.array([formula(int(n), INPUTS) for n in counts])


def draw(records: list[runs.Record]) -> Figure:
    """Chains: nats by position and while training. Regression: error against examples, and against the exact curves."""
    figure, axes = plot.figure(2, 3, width=17.0, height=9.4)
    chains = [record for record in records if record.config.task == "chain"]
    maps = [record for record in records if record.config.task == "regression"]
    _draw_positions(axes[0, 0], chains)
    main = [r for r in chains if r.config.model == "transformer" and r.config.layers == 2]
    _draw_loss(axes[0, 1], chains)
    _draw_distances(axes[0, 2], main)
    _draw_errors(axes[1, 0], [r for r in maps if STYLE[r.config.model][0] != "linear"], ("ridge", "delta_rule"))
    _draw_errors(axes[1, 1], [r for r in maps if STYLE[r.config.model][0] == "linear"], ("ridge", "linear_attention"))
    _draw_ratios(axes[1, 2], [r for r in maps if r.config.model != "gru"])  # which is on no curve
    return figure


def chain_name(config: Any) -> str:
    """In the figure."""
    if config.model == "gru":
        return f"GRU, {config.steps:,} steps"
    return f"Transformer, {config.layers} layer{'s' * (config.layers > 1)}, {config.steps:,} steps"


def chain_look(config: Any) -> dict[str, Any]:
    """Style and variant: lighter with a short schedule, still lighter with one layer."""
    return {"style": config.model, "variant": 2 if config.layers == 1 else int(config.steps == SHORT)}


def _draw_positions(ax: Axes, records: list[runs.Record]) -> None:
    """Nats at each position, between unigram counts and Bayes."""
    for record in records[:1]:
        bayes, unigram = record.arrays["lines"]
        places = np.arange(1, len(bayes) + 1)
        ax.plot(places, unigram, color="black", linewidth=0.9, linestyle="--", label="unigram counts")
        ax.plot(places, bayes, color="black", linewidth=1.2, label="Bayes")
    for record in records:
        found = np.quantile(record.arrays["nats"], (0.5, 0, 1), axis=0)
        places = np.unique(np.geomspace(1, found.shape[1], 24).astype(int))
        look = chain_look(record.config)
        plot.curve(ax, places, *found[:, places - 1], label=chain_name(record.config), **look)
    seeds = plot.over_seeds(record.config.seeds for record in records)
    ax.set(xscale="log", xlabel="position (tokens seen)", ylabel="nats a token, exact given the past")
    ax.set_title(f"chains of 3 symbols; {seeds}", fontsize=10)
    plot.legend(ax, loc="lower left")


def _draw_loss(ax: Axes, records: list[runs.Record]) -> None:
    """Nats at late positions while training, a line a seed."""
    for record in records[:1]:
        bayes, unigram = record.arrays["late"]
        ends = [0, max(r.config.steps for r in records)]
        ax.plot(ends, [unigram] * 2, color="black", linewidth=0.9, linestyle="--", label="unigram counts")
        ax.plot(ends, [bayes] * 2, color="black", linewidth=1.2, label="Bayes")
        ax.set_ylim(bayes - 0.02, math.log(3) + 0.03)
    for record in records:
        for seed, line in enumerate(record.arrays["looks"][0] + record.arrays["late"][0]):
            label = chain_name(record.config) if seed == 0 else "_"
            plot.curve(
                ax, record.arrays["steps"], line, label=label, markers=False, **chain_look(record.config)
            )  # fmt: skip
    ax.set(xlabel="step", ylabel="nats a token at the last 32 positions")
    ax.set_title("every seed, a look every 10 steps", fontsize=10)
    plot.legend(ax, loc="upper right")


def _draw_distances(ax: Axes, records: list[runs.Record]) -> None:
    """Distance to both predictors while training: the unigram phase is where one is small and the other is not."""
    for record in records:
        look = plot.look(**chain_look(record.config))
        for seed, lines in enumerate(np.moveaxis(record.arrays["looks"], 1, 0)):
            for line, dash, name in zip(lines, ("-", ":"), ("Bayes", "unigram counts"), strict=True):
                label = f"from {name}, {record.config.steps:,} steps" if seed == 0 else "_"
                ax.plot(record.arrays["steps"], line, color=look["color"], linestyle=dash, linewidth=1.2, label=label)
    for level in UNIGRAM.values():
        ax.axhline(level, color="0.5", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="step", ylabel="distance (nats a token)")
    ax.set_title("Transformers of 2 layers; unigram phase: dotted below .04, solid above .12 (grey lines)", fontsize=10)
    plot.legend(ax, loc="lower left")


CURVES: dict[str, tuple[Callable[[int, int], float], str, str]] = {
    "ridge": (in_context.ridge, "Bayes, 1 - n/d: no model is below", "any"),
    "delta_rule": (in_context.delta_rule, "delta rule, (1 - 1/d)^n", "gated_deltanet"),
    "linear_attention": (in_context.linear_attention, "linear attention, (d-1)/(n+d-1)", "linear"),
}


def _draw_errors(ax: Axes, records: list[runs.Record], curves: tuple[str, str]) -> None:
    """Errors against the number of examples, with the exact curves."""
    most = max((record.config.examples for record in records), default=COUNTED[-1])
    every = np.arange(most + 1)
    ax.set(ylim=(0, 1.05), xlabel="n, examples in context", ylabel="squared error of y")
    for name in curves:
        formula, label, style = CURVES[name]
        line = [formula(int(n), INPUTS) for n in every]
        if name == "delta_rule":
            ax.plot(every, line, color=plot.look(style)["color"], linewidth=1.0, linestyle="--", label=label)
        else:
            hatch = {"ridge": "///", "linear_attention": "\\\\\\"}[name]
            plot.floor(ax, every, line, label=label, style=style, hatch=hatch)
    for record in records:
        model: Model = record.config.model
        counts = record.arrays["counts"]
        median, low, high = np.quantile(record.arrays["errors"], (0.5, 0, 1), axis=0)
        style, variant = STYLE[model]
        look = {"style": style, "variant": variant}
        if model == "linear_attention":
            own = counts == record.config.examples
            labels = (LABEL[model], "the same at other n") if record.config.examples == COUNTED[0] else ("_", "_")
            plot.points(ax, counts[own], median[own], low[own], high[own], label=labels[0], **look)
            ax.plot(counts, median, color=plot.look(**look)["color"], linewidth=0.9, linestyle=":", label=labels[1])
        else:
            plot.points(ax, counts + SHIFT.get(model, 0), median, low, high, label=LABEL[model], **look)
    seeds = plot.over_seeds(record.config.seeds for record in records if "hand" not in record.config.model)
    ax.set_title(f"linear maps, d = {INPUTS}; {seeds}", fontsize=10)
    plot.legend(ax, loc="upper right", frameon=True, framealpha=0.9, edgecolor="none")


def _draw_ratios(ax: Axes, records: list[runs.Record]) -> None:
    """Error over that of the exact curve of its kind."""
    for record in records:
        counts = record.arrays["counts"]
        kept = (counts == record.config.examples) if record.config.model == "linear_attention" else counts > 0
        curve = curve_of(record.config.model, counts[kept])
        median, low, high = np.quantile(record.arrays["errors"], (0.5, 0, 1), axis=0)[:, kept] / curve
        shift = SHIFT.get(record.config.model, 0)
        style, variant = STYLE[record.config.model]
        own = record.config.model == "linear_attention" and record.config.examples != COUNTED[0]
        label = "_" if own else LABEL[record.config.model]
        if "c" in record.result:
            label += f", c = {record.result['c']:.2f}"
        plot.points(ax, counts[kept] + shift, median, low, high, label=label, style=style, variant=variant)
    ax.axhline(1, color="black", linewidth=0.9)
    ax.set(ylim=(0.85, 1.25), xlabel="n, examples in context", ylabel="error / exact curve of its kind")
    ax.set_title("linear attention: over (d-1)/(n+d-1); the others: over (1-1/d)^n", fontsize=10)
    plot.legend(ax, loc="upper left")
