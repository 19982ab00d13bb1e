"""Loss curves of runs while they are trained, as text in a terminal or as a picture."""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from rich.console import Console
from rich.live import Live
from rich.table import Table

from seqjax import checkpoint
from seqjax._atomic import write_bytes
from seqjax.runs import manifest
from seqjax.runs.folder import Row, curve, read_history

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 30


class Curve(NamedTuple):
    """The loss of a run.

    Attributes:
        steps: of the reports so far; empty before the first one is on the disk.
        loss: median, smallest and largest value over random seeds at each.
    """

    experiment: str
    run: str
    finished: bool
    steps: list[int]
    loss: Float64[np.ndarray, "bands steps"]


def newest(runs: Sequence[Path], last: int) -> list[Curve]:
    """The curves of the `last` runs: those under way, then the finished ones whose end was last."""
    ordered = sorted(runs, key=lambda run: (run.suffix == ".partial", _changed(run)), reverse=True)
    saved: dict[Path, Row] = {}  # a checkpoint is that of many runs
    curves = []
    for run in ordered[:last]:
        history = _history(run, saved)
        steps, loss = curve(history, "loss") if history else ([], np.empty((3, 0)))
        finished = run.suffix != ".partial"
        curves.append(Curve(run.parent.name, run.name.removesuffix(".partial"), finished, steps, loss))
    return curves


def watch(curves: Callable[[], list[Curve]], png: Path | None, every: int) -> None:
    """Draw the curves every `every` seconds, until Ctrl-C."""
    with Live(console=Console(quiet=png is not None), auto_refresh=False) as screen:
        while True:
            if png is None:
                screen.update(table(curves()), refresh=True)
            else:
                write_bytes(png, picture(curves()))
            time.sleep(every)


def table(curves: Sequence[Curve]) -> Table | str:
    """A row for each run: the last step and loss, and the curve in eight heights from its smallest to its largest."""
    if not curves:
        return "no runs yet"
    about = "curve: the loss from the first report to the last, logarithmic where it is positive"
    made = Table(box=None, pad_edge=False, expand=True, caption=about, caption_justify="left")
    made.add_column("run", ratio=1, no_wrap=True, overflow="ellipsis")
    for name in ("state", "step", "loss", "curve"):
        made.add_column(name, justify="right" if name in ("step", "loss") else "left", no_wrap=True)
    for one in curves:
        state = "finished" if one.finished else "unfinished"
        numbers = (str(one.steps[-1]), f"{one.loss[0, -1]:.3g}") if one.steps else ("", "")
        made.add_row(f"{one.experiment}/{one.run}", state, *numbers, bars(one.loss[0]))
    return made


def bars(values: Float64[np.ndarray, " steps"]) -> str:
    """A curve as a line of text: means of equal stretches, on a logarithmic scale if all values are positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.log(values) if (values > 0).all() else values
    heights = np.array([part.mean() for part in np.array_split(heights, min(WIDTH, len(heights)) or 1) if len(part)])
    finite = heights[np.isfinite(heights)]
    if not len(finite):
        return "·" * len(heights)
    low, span = finite.min(), np.ptp(finite) or 1.0
    return "".join(
        BARS[round((height - low) / span * (len(BARS) - 1))] if np.isfinite(height) else "·" for height in heights
    )


def picture(curves: Sequence[Curve]) -> bytes:
    """A panel for each experiment: medians, and bands over the random seeds."""
    from seqjax import plot  # Matplotlib, which a terminal does not need

    drawn = [one for one in curves if one.steps]
    names = list(dict.fromkeys(one.experiment for one in drawn)) or ["no report yet"]
    figure, axes = plot.figure(rows=len(names), height=1.0 + 2.8 * len(names))
    for name, ax in zip(names, axes[:, 0], strict=True):
        panel = [one for one in drawn if one.experiment == name]
        for style, one in enumerate(panel):
            label = one.run + ("" if one.finished else " (unfinished)")
            shown = plot.bands(one.loss, len(panel))
            plot.curve(ax, one.steps, *shown, label=label, style=style, markers=len(one.steps) == 1)
        if panel and all((one.loss > 0).all() for one in panel):
            ax.set_yscale("log")
        spread = "median and range" if len(panel) <= plot.MOST_BANDS else "median"
        ax.set(title=f"{name}: {spread} over random seeds", xlabel="step", ylabel="training loss")
        plot.legend(ax, fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, dpi=100, format="png")
    return content.getvalue()


def _history(run: Path, saved: dict[Path, Row]) -> list[Row]:
    if run.suffix != ".partial":
        return read_history(run / "history.csv")
    place = manifest.place(run)
    if place is None:
        return []
    folder = run.parent / "checkpoints" / place[0]
    if folder not in saved:
        saved[folder] = checkpoint.read_config(folder) or {}
    told = saved[folder].get(run.name.removesuffix(".partial"), {"columns": [], "history": []})
    return [dict(zip(told["columns"], row, strict=True)) for row in told["history"]]


def _changed(run: Path) -> float:
    try:
        return (run / manifest.MANIFEST).stat().st_mtime
    except OSError:  # finished, removed or replaced just now
        return 0.0
