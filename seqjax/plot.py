"""Arrays in, axes out: curves with bands, floors and baselines that stay apart in grey."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
"""Colour (Okabe & Ito's, safe for the colour-blind), marker and dash: any one of the three tells the curves apart."""


def figure(rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 4.2) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` axes, without a window; sizes in inches.

    Returns:
        The figure, and its axes as an array of that shape.
    """
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, which="major", linewidth=0.4, color="0.85")
        ax.set_axisbelow(True)
    return made, axes


def curve(
    ax: Axes,
    x: Numbers,
    median: Numbers,
    low: Numbers,
    high: Numbers,
    *,
    label: str,
    style: int,
    markers: bool = True,
) -> None:
    """A line through the medians with the band of the seeds behind it."""
    look = dict(STYLES[style % len(STYLES)])
    if not markers:
        look["marker"] = ""
    ax.plot(x, median, label=label, markersize=4.5, linewidth=1.4, **look)
    ax.fill_between(x, low, high, color=look["color"], alpha=0.2, linewidth=0)


def points(
    ax: Axes,
    x: Numbers,
    median: Numbers,
    low: Numbers,
    high: Numbers,
    *,
    label: str,
    style: int,
) -> None:
    """Medians that no line joins, each with a bar over the seeds' range."""
    look = STYLES[style % len(STYLES)]
    below, above = np.subtract(median, low), np.subtract(high, median)
    marks = {"color": look["color"], "marker": look["marker"], "markersize": 5.5}
    ax.errorbar(x, median, [below, above], label=label, linestyle="", elinewidth=1.2, capsize=2.5, **marks)


def legend(ax: Axes, **options: Any) -> None:
    """Names for what has one, small and without a frame; nothing where nothing has. Options are matplotlib's."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**{"frameon": False, "fontsize": 8} | options)


def levels(ax: Axes, x: Numbers, y: Numbers, *, label: str, linestyle: str) -> None:
    """A short black line at each place of a categorical axis, for what needs no training."""
    for index, (place, height) in enumerate(zip(x, y, strict=True)):
        name = label if index == 0 else None
        ax.plot(
            [place - 0.42, place + 0.42], [height] * 2, color="black", linewidth=0.9, linestyle=linestyle, label=name
        )


def floor(ax: Axes, x: Numbers, bound: Numbers, *, label: str | None, style: int) -> None:
    """A hatched region that no model of the class named may enter. Call it after the limits of y are set."""
    look = STYLES[style % len(STYLES)]
    bottom = ax.get_ylim()[0]
    reached = np.maximum(np.asarray(bound, float), bottom)
    with mpl.rc_context({"hatch.linewidth": 0.5}):
        ax.fill_between(
            x, bottom, reached, facecolor="none", edgecolor=look["color"], hatch="///" if style % 2 else "\\\\\\",
            linewidth=0, alpha=0.55, label=label,
        )  # fmt: skip
    ax.plot(x, reached, color=look["color"], linewidth=1.0)


def baseline(ax: Axes, x: Numbers, y: Numbers, *, label: str | None) -> None:
    """A thin black line for what needs no training."""
    ax.plot(x, y, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label=label)


def heat_map(
    ax: Axes, values: np.ndarray, rows: Sequence[str] | np.ndarray, columns: Sequence[str] | np.ndarray
) -> None:
    """Numbers in [0, 1] as shades of grey, each row and column with its name: an attention map, a confusion matrix."""
    ax.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    ax.set_yticks(range(len(rows)), [str(name) for name in rows], fontsize=8)
    ax.set_xticks(range(len(columns)), [str(name) for name in columns], fontsize=8, rotation=45, ha="right")


def attended(ax: Axes, picture: np.ndarray, weights: np.ndarray, words: Sequence[str]) -> None:
    """A picture, and beside it once for each word again: the brighter a place, the more is looked at for the word.

    Light is measured against the place that is looked at most, word by word. Pixels beyond the last whole place, to
    the right and below, count with it.

    Args:
        picture: height x width x channels, in [0, 1].
        weights: words x rows x columns, on a grid over the picture.
    """
    height, width = picture.shape[:2]
    for number, word in enumerate(["", *words]):
        panel = picture
        if number:
            looked = weights[number - 1]
            down, right = height // looked.shape[0], width // looked.shape[1]
            light = np.kron(looked / looked.max(), np.ones((down, right)))
            rest = [(0, height - light.shape[0]), (0, width - light.shape[1])]
            panel = 0.25 * picture + 0.75 * np.pad(light, rest, mode="edge")[..., None] * (0.35 + 0.65 * picture)
        left = 1.08 * width * number
        ax.imshow(np.clip(panel, 0, 1), extent=(left, left + width, height, 0), interpolation="nearest")
        ax.text(left + width / 2, -0.06 * height, word or "picture", ha="center", va="bottom", fontsize=8)
    ax.set(xlim=(0, left + width), ylim=(height, -0.3 * height))
    ax.axis("off")
