"""Arrays in, axes out: curves with bands, lower bounds and baselines, distinguishable without colour."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from seqjax.types import InputError

Numbers = Sequence[float | int] | np.ndarray

STYLE: dict[str, dict[str, Any]] = {
    # Linear recurrences and fits are blue, recurrent networks warm, convolutions green, attention and matrices purple.
    "linear": {"label": "linear RNN", "color": "#0072b2", "marker": "o", "linestyle": "-"},
    "lru": {"label": "LRU", "color": "#56b4e9", "marker": "X", "linestyle": (0, (8, 2))},
    "rnn": {"label": "RNN", "color": "#d55e00", "marker": "s", "linestyle": "--"},
    "gru": {"label": "GRU", "color": "#e69f00", "marker": "P", "linestyle": (0, (1, 1))},
    "lstm": {"label": "LSTM", "color": "#56380d", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    "mingru": {"label": "MinGRU", "color": "#a8843c", "marker": "*", "linestyle": (0, (1, 2))},
    "minlstm": {"label": "MinLSTM", "color": "#8c3b00", "marker": "x", "linestyle": (0, (5, 2, 1, 2))},
    "slstm": {"label": "sLSTM", "color": "#b2182b", "marker": (3, 1, 0), "linestyle": (0, (4, 1, 1, 1))},
    "rglru": {"label": "RG-LRU", "color": "#6f86d6", "marker": (4, 1, 0), "linestyle": (0, (8, 1, 1, 1))},
    "selective_ssm": {"label": "selective SSM", "color": "#00366b", "marker": "H", "linestyle": (0, (12, 2))},
    "gated_deltanet": {
        "label": "Gated DeltaNet",
        "color": "#6a3d9a",
        "marker": (5, 1, 36),
        "linestyle": (0, (3, 2, 1, 2)),
    },
    "mlstm": {"label": "mLSTM", "color": "#330066", "marker": (6, 1, 0), "linestyle": (0, (2, 1, 2, 3))},
    "window": {"label": "Transformer, window", "color": "#a0529c", "marker": (4, 1, 45), "linestyle": (0, (1, 3))},
    "tcn": {"label": "TCN", "color": "#009e73", "marker": "^", "linestyle": "-."},
    "cnn": {"label": "CNN", "color": "#93a829", "marker": "<", "linestyle": (0, (6, 1, 2, 1))},
    "transformer": {"label": "Transformer", "color": "#cc79a7", "marker": "D", "linestyle": ":"},
    "attention": {"label": "GRU, attention", "color": "#882255", "marker": "h", "linestyle": (0, (3, 1))},
    "quadratic": {"label": "quadratic AR", "color": "#4d4d4d", "marker": "p", "linestyle": (0, (2, 2))},
    "bag": {"label": "bag of words", "color": "#999999", "marker": "d", "linestyle": (0, (10, 2, 2, 2))},
    "any": {"label": "any model", "color": "#595959", "marker": ">", "linestyle": (0, (6, 3))},
}
"""The look of each architecture, the same in every figure: name, colour, marker and dash, each of which is its own.

The colours are those of Okabe & Ito, safe for the colour-blind, and shades of them. `attention` is a recurrent
encoder-decoder with attention; one without has the look of its cell. `linear` are linear RNNs, filters, autoregressions
and classifiers; `bag` is what counts words without their order; `any` is a bound for every architecture."""

SERIES: tuple[dict[str, Any], ...] = (
    {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    {"color": "#d55e00", "marker": "s", "linestyle": "--"},
    {"color": "#009e73", "marker": "^", "linestyle": "-."},
    {"color": "#cc79a7", "marker": "D", "linestyle": ":"},
    {"color": "#56380d", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    {"color": "#e69f00", "marker": "P", "linestyle": (0, (1, 1))},
    {"color": "#56b4e9", "marker": "X", "linestyle": (0, (8, 2))},
)
"""The looks of series that are no architectures, such as widths, delays and targets, by their number."""

MOST_BANDS = 4
"""On one panel."""

LIGHTER = (0.0, 0.35, 0.6)
"""How much white is mixed into the colour of each variant of an architecture."""


def look(style: str | int, variant: int = 0) -> dict[str, Any]:
    """What Matplotlib draws an architecture, or a series that is none, with.

    Args:
        style: a name in `STYLE`, or the number of a series.
        variant: of one architecture, such as sizes in one panel: 1 is lighter with a pale marker, 2 still lighter with
            a hollow one.

    Returns:
        `color`, `marker`, `linestyle` and `markerfacecolor`.

    Raises:
        InputError: an unknown name or variant.
    """
    if isinstance(style, str) and style not in STYLE:
        raise InputError(f"style must be one of {', '.join(STYLE)}, or a number, got {style!r}")
    if variant not in range(len(LIGHTER)):
        raise InputError(f"variant must be one of 0 to {len(LIGHTER) - 1}, got {variant}")
    found = STYLE[style] if isinstance(style, str) else SERIES[style % len(SERIES)]
    color = _mixed(found["color"], LIGHTER[variant])
    face = (color, _mixed(color, 0.6), "white")[variant]
    return {name: found[name] for name in ("marker", "linestyle")} | {"color": color, "markerfacecolor": face}


def _mixed(color: str, white: float) -> str:
    red, green, blue = (white + (1 - white) * part for part in colors.to_rgb(color))
    return colors.to_hex((red, green, blue))


def over_seeds(seeds: Iterable[int], lines: int = 1) -> str:
    """What the lines or marks of a panel are, and its bands or bars, from the numbers of random seeds of its runs."""
    numbers = sorted(set(seeds))
    if numbers in ([], [1]):
        return "one seed" if numbers else "no run"
    ends = " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
    return f"median and range of {ends} seeds" if lines <= MOST_BANDS else f"median of {ends} seeds"


def bands(columns: Sequence[Numbers] | np.ndarray, lines: int) -> Sequence[Numbers] | np.ndarray:
    """Median, smallest and largest value for `curve`: the median alone in a panel of so many lines that bands hide it.

    Args:
        columns: the three.
        lines: how many the panel has.
    """
    return columns if lines <= MOST_BANDS else columns[:1]


def figure(
    rows: int = 1, columns: int = 1, *, width: float | int = 7.0, height: float | int = 4.2
) -> tuple[Figure, np.ndarray]:
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
    ax: Axes,
    x: Numbers,
    median: Numbers,
    low: Numbers | None = None,
    high: Numbers | None = None,
    *,
    label: str,
    style: str | int,
    variant: int = 0,
    markers: bool = True,
) -> None:
    """A line through the medians, with a band over the random seeds unless `low` and `high` are left out or equal.

    Args:
        style, variant: as those of `look`.

    Raises:
        InputError: as `look`.
    """
    properties: dict[str, Any] = look(style, variant) | ({} if markers else {"marker": ""})
    ax.plot(x, median, label=label, markersize=4.5, linewidth=1.4, **properties)
    if low is not None and high is not None and not np.array_equal(low, high):
        ax.fill_between(x, low, high, color=properties["color"], alpha=0.2, linewidth=0)


def points(
    ax: Axes,
    x: Numbers,
    median: Numbers,
    low: Numbers,
    high: Numbers,
    *,
    label: str,
    style: str | int,
    variant: int = 0,
) -> None:
    """Unconnected medians, each with a bar over the range of the random seeds.

    Args:
        style, variant: as those of `look`.

    Raises:
        InputError: as `look`.
    """
    below, above = np.subtract(median, low), np.subtract(high, median)
    marks = look(style, variant) | {"linestyle": "", "markersize": 5.5}
    ax.errorbar(x, median, [below, above], label=label, elinewidth=1.2, capsize=2.5, **marks)


def variants(ax: Axes, labels: Sequence[str]) -> None:
    """Entries of a legend that name the variants of `look`, in a panel of several architectures."""
    for variant, label in enumerate(labels):
        ax.plot([], [], label=label, **look("any", variant) | {"marker": "o", "linestyle": "", "markersize": 5.5})


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


def floor(
    ax: Axes,
    x: Numbers,
    bound: Numbers,
    *,
    label: str | None,
    style: str | int,
    variant: int = 0,
    hatch: str = "\\\\\\",
) -> None:
    """A hatched region below a lower bound that is known at whole numbers. Call it after the limits of y are set.

    Between two of them it is as high as the lower one: no line between points above the bound runs through it.

    Args:
        x: increasing.
        style, variant: as those of `look`.
        hatch: Matplotlib's; empty for the line alone, in the dash of `style`.

    Raises:
        InputError: as `look`.
    """
    properties, bottom = look(style, variant), ax.get_ylim()[0]
    reached = np.maximum(np.asarray(bound, float), bottom)
    between = np.minimum(reached[:-1], reached[1:])
    places, heights = np.repeat(x, 3)[1:-1], np.empty(3 * len(reached) - 2)
    heights[::3], heights[1::3], heights[2::3] = reached, between, between
    if hatch:
        with mpl.rc_context({"hatch.linewidth": 0.5}):
            ax.fill_between(
                places, bottom, heights, facecolor="none", edgecolor=properties["color"], hatch=hatch, linewidth=0,
                alpha=0.55, label=label,
            )  # fmt: skip
    line: dict[str, Any] = (
        {"linewidth": 1.0} if hatch else {"linewidth": 1.2, "linestyle": properties["linestyle"], "label": label}
    )
    ax.plot(places, heights, color=properties["color"], **line)


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
