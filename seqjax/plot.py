"""Arrays in, axes out: curves with bands, lower bounds and baselines, distinguishable without colour."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

Numbers = Sequence[float | int] | np.ndarray

STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    {"color": "#d55e00", "marker": "s", "linestyle": "--"},
    {"color": "#009e73", "marker": "^", "linestyle": "-."},
    {"color": "#cc79a7", "marker": "D", "linestyle": ":"},
    {"color": "#56380d", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    {"color": "#e69f00", "marker": "P", "linestyle": (0, (1, 1))},
    {"color": "#56b4e9", "marker": "X", "linestyle": (0, (8, 2))},
)
"""Colour (Okabe & Ito's, safe for the colour-blind), marker and dash: each of the three distinguishes the curves."""


def figure(rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 4.2) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` axes, without a window; sizes in inches.

    Returns:
        The figure, and its axes as an array of that shape.
    """
    made = Figure(figsize=(width, height), layout="constrained")
    return made, subplots(made, rows, columns)


def subplots(figure: Figure | SubFigure, rows: int = 1, columns: int = 1) -> np.ndarray:
    """`rows` x `columns` axes of a part of a figure, as those of `figure`."""
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, which="major", linewidth=0.4, color="0.85")
        ax.set_axisbelow(True)
    return axes


def curve(
    ax: Axes, x: Numbers, median: Numbers, low: Numbers, high: Numbers, *, label: str, style: int, markers: bool = True
) -> None:
    """A line through the medians, with a band over the random seeds."""
    properties: dict[str, Any] = STYLES[style % len(STYLES)] | ({} if markers else {"marker": ""})
    ax.plot(x, median, label=label, markersize=4.5, linewidth=1.4, **properties)
    ax.fill_between(x, low, high, color=properties["color"], alpha=0.2, linewidth=0)


def points(ax: Axes, x: Numbers, median: Numbers, low: Numbers, high: Numbers, *, label: str, style: int) -> None:
    """Unconnected medians, each with a bar over the range of the random seeds."""
    properties = STYLES[style % len(STYLES)]
    below, above = np.subtract(median, low), np.subtract(high, median)
    marks = {"color": properties["color"], "marker": properties["marker"], "markersize": 5.5}
    ax.errorbar(x, median, [below, above], label=label, linestyle="", elinewidth=1.2, capsize=2.5, **marks)


def legend(ax: Axes, **options: Any) -> None:
    """A small legend without a frame, if anything is labelled. Options are Matplotlib's."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**{"frameon": False, "fontsize": 8} | options)


def levels(ax: Axes, x: Numbers, y: Numbers, *, label: str, linestyle: str) -> None:
    """A short black line at each place of a categorical axis, for a baseline without training."""
    for index, (place, height) in enumerate(zip(x, y, strict=True)):
        name = label if index == 0 else None
        ax.plot(
            [place - 0.42, place + 0.42], [height] * 2, color="black", linewidth=0.9, linestyle=linestyle, label=name
        )


def floor(ax: Axes, x: Numbers, bound: Numbers, *, label: str | None, style: int) -> None:
    """A hatched region below a lower bound. Call it after the limits of y are set."""
    properties = STYLES[style % len(STYLES)]
    bottom = ax.get_ylim()[0]
    reached = np.maximum(np.asarray(bound, float), bottom)
    with mpl.rc_context({"hatch.linewidth": 0.5}):
        ax.fill_between(
            x, bottom, reached, facecolor="none", edgecolor=properties["color"], hatch="///" if style % 2 else "\\\\\\",
            linewidth=0, alpha=0.55, label=label,
        )  # fmt: skip
    ax.plot(x, reached, color=properties["color"], linewidth=1.0)


def baseline(ax: Axes, x: Numbers, y: Numbers, *, label: str | None) -> None:
    """A thin black line for a baseline without training."""
    ax.plot(x, y, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label=label)


def heat_map(
    ax: Axes, values: np.ndarray, rows: Sequence[str] | np.ndarray, columns: Sequence[str] | np.ndarray
) -> None:
    """Numbers in [0, 1] as shades of grey, each row and column with its name: an attention map, a confusion matrix."""
    ax.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    ax.set_yticks(range(len(rows)), [str(name) for name in rows], fontsize=8)
    ax.set_xticks(range(len(columns)), [str(name) for name in columns], fontsize=8, rotation=45, ha="right")


def attention_overlay(ax: Axes, picture: np.ndarray, weights: np.ndarray, words: Sequence[str]) -> None:
    """A picture, followed by a copy for each word in which brightness shows the attention weights.

    Each copy is scaled to its largest weight. Pixels beyond the last whole cell of the grid belong to that cell.

    Args:
        picture: height x width x channels, in [0, 1].
        weights: words x rows x columns, on a grid over the picture.
    """
    height, width = picture.shape[:2]
    for number, word in enumerate(["", *words]):
        panel = picture
        if number:
            grid = weights[number - 1]
            down, right = height // grid.shape[0], width // grid.shape[1]
            light = np.kron(grid / grid.max(), np.ones((down, right)))
            rest = [(0, height - light.shape[0]), (0, width - light.shape[1])]
            panel = 0.25 * picture + 0.75 * np.pad(light, rest, mode="edge")[..., None] * (0.35 + 0.65 * picture)
        left = 1.08 * width * number
        ax.imshow(np.clip(panel, 0, 1), extent=(left, left + width, height, 0), interpolation="nearest")
        ax.text(left + width / 2, -0.06 * height, word or "picture", ha="center", va="bottom", fontsize=8)
    ax.set(xlim=(0, left + width), ylim=(height, -0.3 * height))
    ax.axis("off")
