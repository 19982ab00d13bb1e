"""What grows with longer sequences, larger vocabularies, more data and more runs, and how fast?

Paper     Rabe & Staats 2021, arXiv:2112.05682 (attention without memory for all scores); Chen et al. 2016,
          arXiv:1604.06174 (computing again instead of keeping)
Figure    experiments/figures/growth.png
Question  Memory (by XLA's count of the temporary arrays of a compiled program), processor time and files against the
          length of a sequence, the size of a vocabulary, of a data set, of a sweep, and the number of sentence pairs:
          how do they grow, now and as it was before, where that can still be measured?
Expect    The gradient of a Transformer at 16,384 steps takes <= 450 MiB, in bfloat16 <= .6 of that; at 4,096 steps it
          takes <= 1.15 times the time of attention with all scores at once. The loss over a vocabulary of 32,000 takes
          <= 1145 MiB (1.2 GB) for 16,384 tokens, and its value differs by <= 1e-6. With a data set of 128 MiB, a
          compiled program has <= .1 MiB. 1,000 runs take <= 100 MiB. A million sentence pairs take <= 30 s in all,
          <= 3 s of it for batching, whose own memory is <= 2 times the ids.
Answer    The gradient of a Transformer over 16,384 steps takes {memory what=attention size=16384 way=now:,.0f} MiB in
          place of {memory what=attention size=16384 way=before:,.0f}, the loss over a vocabulary of 32,000
          {memory what=vocabulary size=32000 way=now:,.0f} MiB in place of
          {memory what=vocabulary size=32000 way=before:,.0f}; a million sentence pairs take
          {seconds what=pairs size=1000000 way=now:.0f} s.
Fair      Both ways of a row are compiled in one process and run in turn; the time is the processor's, the best of
          three. Programs are only compiled where running them would take long: there, the time is missing. The memory
          is what XLA plans on a CPU, where products of bfloat16 are computed in float32. The memory of batching is what
          NumPy and Python take at most, without the batches themselves, which are JAX's.
Differs   Rows `paper` are not measured, but computed: how training would scale on many devices, from vendors' numbers
          and assumptions.
Cost      8 min on two CPU cores
Run       python experiments/benchmark/growth.py
Next      python experiments/benchmark/growth.py --what attention --size 32768 --way now
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from _growing import PROGRAMS, of_pairs, of_programs
from _on_paper import MACHINES, scaling
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs
from seqjax.types import InputError

What = Literal["attention", "vocabulary", "data", "runs", "pairs", "paper"]
Way = Literal["before", "now", "bfloat16", "host", "hosts", "pod"]

SIZES: dict[What, tuple[int, ...]] = {
    "attention": (512, 1024, 2048, 4096, 8192, 16_384),
    "vocabulary": (2000, 8000, 32_000),
    "data": (1, 4, 16, 64, 128),
    "runs": (10, 100, 1000),
    "pairs": (1000, 10_000, 100_000, 1_000_000),
    "paper": (100_000, 1_000_000, 10_000_000, 100_000_000),
}
"""Steps; tokens; MiB; runs; pairs; parameters."""

TIMED: dict[What, int] = {"attention": 4096, "vocabulary": 8000, "runs": 100}
"""The largest size at which programs are not only compiled but run."""

PANELS: list[tuple[What, str, str, str]] = [
    ("attention", "memory", "length (steps)", "memory of a gradient (MiB)"),
    ("attention", "seconds", "length (steps)", "time of a gradient (s)"),
    ("vocabulary", "memory", "vocabulary (tokens)", "memory of loss and gradient (MiB)"),
    ("data", "cache", "data set (MiB)", "compiled program, in its file (MiB)"),
    ("runs", "memory", "runs of a sweep", "memory of an update of all (MiB)"),
    ("pairs", "batching_seconds", "sentence pairs", "processor time (s)"),
]
"""What is drawn, its column, and the axes."""

LABELS = {
    "attention": {"before": "all scores at once", "now": "in parts, if long", "bfloat16": "in parts, bfloat16"},
    "vocabulary": {"before": "all logits at once", "now": "in chunks"},
    "data": {"before": "closed over", "now": "an argument"},
    "runs": {"before": "all batched", "now": "as many as fit into a cache"},
    "pairs": {"before": "batching, loops", "now": "batching, arrays"},
}


@dataclass(frozen=True)
class Config:
    """One size of what grows, done in one way.

    Attributes:
        what: grows; `paper` is computed, not measured.
        size: of it: steps, tokens, MiB, runs, pairs or parameters.
        way: as it is done now, as it was before, or in half precision; `paper`: one host, two hosts or a pod.
        repeats: of each program, after a first time; 0: it is only compiled.
    """

    what: What = "attention"
    size: int = 1024
    way: Way = runs.traced("now")  # noqa: RUF009 (a field)
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.way not in ways(self.what):
            raise InputError(f"way must be {', '.join(ways(self.what))} for what={self.what}, got {self.way}")


def configs(scale: runs.Scale) -> list[Config]:
    """All sizes in all ways; at smoke scale the smallest in one way."""
    if scale == "smoke":
        return [Config(what, sizes[0], ways(what)[-1], repeats=0) for what, sizes in SIZES.items()]
    return [
        Config(what, size, way, repeats=3 if size <= TIMED.get(what, 0) else 0)
        for what, sizes in SIZES.items()
        for size in sizes
        for way in ways(what)
    ]


def ways(what: What) -> list[Way]:
    """Those that are compared."""
    found: dict[str, Any] = LABELS | {"paper": MACHINES}
    return [way for way in get_args(Way) if way in found[what]]


def measure(records: list[runs.Record]) -> None:
    """All ways of one size, in turn."""
    first: Config = records[0].config
    chosen = [record.config.way for record in records]
    if first.what == "paper":
        rows = [scaling(first.size, MACHINES[way]) for way in chosen]
    elif first.what == "pairs":
        rows = of_pairs(first.size, chosen)
    else:
        rows = of_programs([PROGRAMS[first.what](first.size, way) for way in chosen], first.repeats)
    for record, row in zip(records, rows, strict=True):
        record.finish(row)


def draw(records: list[runs.Record]) -> Figure:
    """Everything against its size on log axes; the slope is that of the last two sizes."""
    figure, axes = plot.figure(2, 3, width=12.5, height=7.4)
    for ax, (what, column, across, up) in zip(axes.flat, PANELS, strict=True):
        of_what = [record for record in records if record.config.what == what]
        for number, way in enumerate(ways(what)):
            _line(ax, [r for r in of_what if r.config.way == way], column, LABELS[what][way], number)
        if what == "pairs":
            _line(ax, [r for r in of_what if r.config.way == "now"], "seconds", "reading to batches", 2)
        ax.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
        sizes = sorted({record.config.size for record in of_what if column in record.result})
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** 0.35)  # room for the legend
        plot.legend(ax, loc="upper left")
    return figure


def _line(ax: Axes, records: Sequence[Any], column: str, label: str, number: int) -> None:
    points = sorted((r.config.size, r.result[column]) for r in records if column in r.result)
    if not points:
        return
    sizes, values = np.array(points, float).T
    slope = ""
    if len(points) > 1 and min(values[-2:]) > 0:
        slope = f", slope {np.diff(np.log(values[-2:]))[0] / np.diff(np.log(sizes[-2:]))[0]:.2f}"
    plot.curve(ax, sizes, values, label=label + slope, style=number)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def now(column: str, what: str, size: int, way: str = "now") -> float:
        return runs.value(rows, column, what=what, size=size, way=way)

    def against_before(column: str, what: str, size: int) -> float:
        return runs.ratio(now(column, what, size), now(column, what, size, "before"))

    half = runs.ratio(now("memory", "attention", 16_384, "bfloat16"), now("memory", "attention", 16_384))
    return [
        runs.check("16,384 steps, MiB", now("memory", "attention", 16_384), "<= 450"),
        runs.check("16,384 steps in bfloat16, of float32", half, "<= .6"),
        runs.check("4,096 steps, of the time before", against_before("seconds", "attention", 4096), "<= 1.15"),
        runs.check("vocabulary of 32,000, MiB", now("memory", "vocabulary", 32_000), "<= 1145"),
        runs.check(
            "vocabulary of 8,000, difference of the losses",
            abs(against_before("value", "vocabulary", 8000) - 1),
            "<= 1e-6",
        ),
        runs.check("program of 128 MiB of data, MiB", now("cache", "data", 128), "<= .1"),
        runs.check("1,000 runs, MiB", now("memory", "runs", 1000), "<= 100"),
        runs.check("a million pairs, s", now("seconds", "pairs", 1_000_000), "<= 30"),
        runs.check("a million pairs, s of batching", now("batching_seconds", "pairs", 1_000_000), "<= 3"),
        runs.check("a million pairs, memory of batching for that of ids", now("per_id", "pairs", 1_000_000), "<= 2"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
