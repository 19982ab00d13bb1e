"""The figure of benchmark.py: one line a workload, one mark a peer."""

from collections.abc import Sequence
from typing import Any

from _comparisons import AVX512, CLOCKS, OURSELVES, Cores
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from seqjax import plot, runs

LOOKS: dict[str, tuple[str, int, int]] = {
    "torch": ("PyTorch (in sweeps: a loop)", 1, 0),
    "torch_avx512": ("PyTorch, MKL with AVX-512", 1, 2),
    "torch_compiled": ("PyTorch compiled (in sweeps: vmap)", 4, 0),
    "torch_compiled_avx512": ("PyTorch compiled, MKL with AVX-512", 4, 2),
    "linen": ("Flax Linen", 0, 0),
    "nnx": ("Flax NNX", 6, 0),
    "equinox": ("Equinox", 2, 0),
    "haiku": ("Haiku", 3, 0),
}
"""Name, number of the series and its variant of each peer of the upper panels, from above to below in a row."""

SAME_LOOK = {"torch_loop": "torch", "torch_vmap": "torch_compiled"}

TOGETHER = ("matmul", "train_step", "sweep", "decoding")
"""Workloads whose peers are drawn in one line; those of the others have one each."""

IMPOSSIBLE = "0.82"
"""The grey of what no implementation can reach."""


def draw(records: list[runs.Record]) -> Figure:
    """Every peer's time relative to seqjax's, with its range, on a log axis; without seqjax under other settings."""
    shown = [record for record in records if record.config.peer not in OURSELVES] or records
    cores: list[Cores] = [name for name in CLOCKS if any(record.config.cores == name for record in shown)]
    lines: dict[str, list[Any]] = {}
    for record in shown:
        lines.setdefault(_line(record), []).append(record)
    parts = [part for alone in (False, True) if (part := {at: x for at, x in lines.items() if _alone(x[0]) == alone})]
    heights = [0.7 + sum(0.22 if _alone(line[0]) else 0.36 for line in part.values()) for part in parts]
    figure = Figure(figsize=(3.6 + 3.2 * len(cores), sum(heights) + 1.2), layout="constrained")
    places = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for place, part in zip(places, parts, strict=True):
        limits = _limits([record for line in part.values() for record in line])
        for ax, name in zip(plot.subplots(place, 1, len(cores))[0], cores, strict=True):
            ax.set(xscale="log", xlim=limits, ylim=(len(part) - 0.5, -0.5))
            _panel(ax, {at: [x for x in line if x.config.cores == name] for at, line in part.items()})
            if name != cores[0]:
                ax.set_yticklabels([])
            if place is places[0]:
                ax.set_title(CLOCKS[name], fontsize=9, pad=16)
                for side, text, offset in (("right", "peer is faster", -3), ("left", "seqjax is faster", 3)):
                    at: dict[str, Any] = {"xycoords": ax.get_xaxis_transform(), "textcoords": "offset points"}
                    ax.annotate(text, (1, 1), (offset, 2), ha=side, va="bottom", fontsize=7.5, **at)
    machines = dict.fromkeys(record.config.machine for record in shown if record.config.machine)
    figure.supxlabel("\n".join(["time relative to seqjax's for the same work", *machines]), fontsize=9)
    figure.legend(handles=_legend(shown), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return figure


def _alone(record: Any) -> bool:
    """Whether a row of the table has a line of its own."""
    return record.config.peer in OURSELVES or not record.config.workload.startswith(TOGETHER)


def _line(record: Any) -> str:
    """What the line of a row is called: `train_step.rnn` is "train step: RNN", `sweep.rnn_8` is "sweep: 8 RNNs"."""
    kind, what = record.config.workload.split(".")
    words = [plot.STYLE[word]["label"] if word in plot.STYLE else word for word in what.split("_")]
    if kind == "sweep":
        words[:2] = [words[1], words[0] if words[1] == "1" else f"{words[0]}s"]
    name = f"{kind.replace('_', ' ')}: {' '.join(words)}"
    return f"{name}, {record.config.peer.replace('_', ' ')}" if _alone(record) else name


def _limits(records: Sequence[Any]) -> tuple[float, float]:
    """Of the axis: all ranges, and what is impossible."""
    rows = [record.result for record in records]
    low = min([0.8, *(row["low"] for row in rows), *(row["limit"] for row in rows if row.get("limit"))])
    return 0.8 * low, 1.25 * max([1.2, *(row["high"] for row in rows)])


def _panel(ax: Axes, lines: dict[str, list[Any]]) -> None:
    """The lines, each with its records, on axes whose limits are set."""
    left, right = ax.get_xlim()
    for number, line in enumerate(lines.values()):
        limits = [limit for record in line if (limit := record.result.get("limit")) and not _alone(record)]
        if limits:
            ax.fill_betweenx([number - 0.42, number + 0.42], left, min(limits), color=IMPOSSIBLE, linewidth=0)
        ordered = sorted(line, key=lambda record: [*LOOKS, _peer(record)].index(_peer(record)))
        for place, record in enumerate(ordered):
            row, look = record.result, _look(_peer(record))
            y = number + (place - (len(line) - 1) / 2) * min(0.2, 0.8 / len(line))
            ax.plot([row["low"], row["high"]], [y, y], color=look["color"], linewidth=1.2)
            ax.plot(row["ratio"], y, **look)
    for edge in range(1, len(lines)):
        ax.axhline(edge - 0.5, color="0.85", linewidth=0.4, zorder=0)
    ax.axvline(1.0, color="black", linewidth=1.0)
    ax.set_yticks(range(len(lines)), list(lines), fontsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")
    bases = (1,) if right > 100 else (1, 2, 5)
    ticks = [base * 10**power for power in range(-2, 5) for base in bases]
    ticks = [tick for tick in ticks if left <= tick <= right]
    ax.set_xticks(ticks, [f"{tick:,g}" for tick in ticks], fontsize=8)
    ax.minorticks_off()


def _peer(record: Any) -> str:
    """The peer in whose look a row is drawn."""
    peer = record.config.peer
    base = peer.removesuffix(AVX512)
    return SAME_LOOK.get(base, base) + peer[len(base) :]


def _look(peer: str) -> dict[str, Any]:
    """The mark of a peer; black, where its line names it."""
    if peer not in LOOKS:
        return {"color": "black", "marker": "o", "linestyle": "", "markersize": 4.5}
    _, series, variant = LOOKS[peer]
    return plot.look(series, variant) | {"linestyle": "", "markersize": 4.5}


def _legend(records: Sequence[Any]) -> list[Any]:
    """The peers that are drawn in one line, in their order, and the grey of what is impossible."""
    drawn = [record for record in records if not _alone(record)]
    found = {_peer(record) for record in drawn}
    handles: list[Any] = [
        Line2D([], [], label=label, **_look(peer)) for peer, (label, *_) in LOOKS.items() if peer in found
    ]
    if any(record.result.get("limit") for record in drawn):
        handles.append(Patch(color=IMPOSSIBLE, label="beyond the processor's peak"))
    return handles
