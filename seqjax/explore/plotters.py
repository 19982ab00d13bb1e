"""Figures of the tasks Shift, Convolution and Lorenz96."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from seqjax import plot
from seqjax.data.gaussian_process import GaussianProcess, WhiteNoise
from seqjax.explore.explorer import WIDTH, Explorer, choice, legend_above, line, load_ipywidgets, number, title
from seqjax.tasks.convolution import BUMP, Convolution, parse_filter
from seqjax.tasks.lorenz96 import Lorenz96, Trajectories
from seqjax.tasks.shift import Shift
from seqjax.types import InputError

MOST_STEMS = 32
"""Of a filter; with more taps they would touch, and a line is drawn."""

MOST_NAMES = 8
"""At an axis."""


@dataclass(frozen=True, eq=False)
class ShiftPlotter(Explorer):
    """One sequence and its shift by k steps (`tasks.Shift`).

    Attributes:
        k: the delay, in steps.
        length: steps of the sequence.
        signal: smooth, or white noise, whose steps are independent.
    """

    k: int = 25
    length: int = 100
    signal: GaussianProcess | WhiteNoise = field(default=GaussianProcess())

    def figure(self) -> Figure:
        x, y = _sequence(Shift(self.k, self.length, self.signal), self.seed)
        figure, axes = plot.figure(width=WIDTH, height=3.4)
        ax = axes[0, 0]
        line(ax, range(self.length), x, label="input x(t)", style=0)
        line(ax, range(self.length), y, label=f"output y(t) = x(t - {self.k})", style=1)
        if 0 < self.k < self.length:
            seen = x[: self.length - self.k]
            start = int(np.abs(seen).argmax())
            end, height, grey = start + self.k, seen[start], "0.35"
            ax.annotate("", (end, height), (start, height), arrowprops={"arrowstyle": "->", "color": grey})
            middle = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "color": grey}
            ax.annotate(f"{self.k} steps", ((start + end) / 2, height), **middle)
        ax.set(xlabel="time (steps)", ylabel="standard deviations of x")
        ax.margins(x=0.01, y=0.12)
        legend_above(ax)
        title(figure, f"Shift by {self.k} of {self.length} steps")
        return figure

    def controls(self) -> dict[str, Any]:
        return {"k": number(self.k, "delay k"), "signal": _signals(self.signal)}


@dataclass(frozen=True, eq=False)
class ConvoPlotter(Explorer):
    """One sequence, a filter, and the filtered sequence (`tasks.Convolution`).

    Attributes:
        filter: weights at lag 0, 1, …, separated by commas.
        normalise: divide the weights by their sum.
        length: steps of the sequence.
        signal: smooth, or white noise.
    """

    filter: str = BUMP
    normalise: bool = False
    length: int = 100
    signal: GaussianProcess | WhiteNoise = field(default=GaussianProcess())

    def figure(self) -> Figure:
        task = Convolution(parse_filter(self.filter), self.length, self.signal, self.normalise)
        x, y = _sequence(task, self.seed)
        figure, axes = plot.figure(1, 2, width=WIDTH, height=3.4)
        left, right = axes[0]
        left.get_gridspec().set_width_ratios([1, 3])
        lags = range(len(task.kernel))
        left.axhline(0, color="black", linewidth=0.6)
        if len(lags) <= MOST_STEMS:
            left.vlines(lags, 0, task.kernel, color="black", linewidth=1.2)
            left.plot(lags, task.kernel, color="black", marker="o", markersize=4.5, linestyle="")
        else:
            left.plot(lags, task.kernel, color="black", linewidth=1.2)
        left.set(xlabel="lag s (steps)", ylabel="filter ρ(s)", xlim=(-0.6, len(lags) - 0.4))
        left.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        line(right, range(self.length), x, label="input x(t)", style=0)
        line(right, range(self.length), y, label="output y(t) = Σ ρ(s) x(t - s)", style=1)
        right.set(xlabel="time (steps)", ylabel="standard deviations of x")
        right.margins(x=0.01)
        legend_above(right)
        taps = "1 tap" if len(lags) == 1 else f"{len(lags)} taps"
        title(figure, f"Convolution with a filter of {taps}, sum {math.fsum(task.kernel):.3g}")
        return figure

    def controls(self) -> dict[str, Any]:
        widgets = load_ipywidgets()
        text = widgets.Text(self.filter, description="filter", continuous_update=False, layout={"width": "30em"})
        normalise = widgets.Checkbox(self.normalise, description="normalise", indent=False, layout={"width": "8em"})
        return {"filter": text, "normalise": normalise, "signal": _signals(self.signal)}


@dataclass(frozen=True, eq=False)
class LorenzPlotter(Explorer):
    """One trajectory of two-level Lorenz96, with the variables hidden from a model (`tasks.Lorenz96`).

    Attributes:
        K: slow variables.
        J: fast variables for each slow one.
        amplitude: standard deviation of the forcing; at 1 the response is nearly linear.
        length: samples of the trajectory, ten to a time unit.
    """

    K: int = 1
    J: int = 10
    amplitude: float = 1.0
    length: int = 200

    def figure(self) -> Figure:
        task = Lorenz96(self.K, self.J, self.length, self.amplitude)
        forcing, slow, fast, ok = (np.asarray(rows[0]) for rows in _solve(task, jax.random.key(self.seed)))
        if not ok:
            raise InputError(f"amplitude must be small enough for the solver, got {self.amplitude}: it blew up")
        time = task.sample_step * np.arange(1, self.length + 1)
        figure = Figure(figsize=(WIDTH, 5.4), layout="constrained")
        beside: Any = figure.subfigures(1, 2, width_ratios=[1.7, 1])
        (top,), (below,) = plot.subplots(beside[0], rows=2)
        phase = plot.subplots(beside[1])[0, 0]
        line(top, time, forcing[:, 0], label="forcing $F_1$", style=0)
        line(top, time, slow[:, 0], label="slow $y_1$", style=1)
        for other in range(1, self.K):
            label = "other y" if other == 1 else None
            top.plot(time, slow[:, other], color="0.75", linewidth=0.8, zorder=1, label=label)
        top.set(ylabel="forcing and response", xlim=(0, time[-1]))
        top.tick_params(labelbottom=False)  # the time axis is that of the panel below
        legend_above(top)

        mean = fast[:, 0].mean(axis=1)
        phase.plot(slow[:, 0], mean, color="0.35", linewidth=0.8, marker=".", markersize=3)
        for end, marker, label in ((0, "o", "start"), (-1, "s", "end")):
            phase.plot(slow[end, 0], mean[end], color="black", marker=marker, linestyle="", label=label)
        phase.set(xlabel="slow $y_1$", ylabel="mean of its fast $z_{j1}$")
        legend_above(phase)

        rows = self.K * self.J
        shown = below.imshow(fast.reshape(-1, rows).T, aspect="auto", cmap="cividis", extent=(0, time[-1], rows, 0))
        below.grid(False)
        for border in range(self.J, rows, self.J):
            below.axhline(border, color="white", linewidth=0.6)
        named = range(0, self.K, -(-self.K // MOST_NAMES))
        below.set_yticks([self.J * (k + 0.5) for k in named], [f"k = {k + 1}" for k in named], fontsize=8)
        below.set(xlabel="time (units of the slow equation)", ylabel=f"j = 1 … {self.J}, downwards")
        figure.colorbar(shown, ax=below, location="bottom", aspect=40, label="fast $z_{jk}$, hidden from a model")
        title(figure, f"Lorenz96, K = {self.K}, J = {self.J}, amplitude {self.amplitude:g}")
        return figure

    def controls(self) -> dict[str, Any]:
        amplitude = number(float(self.amplitude), "amplitude")
        return {"K": number(self.K, "K"), "J": number(self.J, "J"), "amplitude": amplitude}


def _sequence(task: Shift | Convolution, seed: int) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """One input and its output."""
    batch = task.sample(jax.random.key(seed), 1)
    return np.asarray(batch.inputs)[0, :, 0], np.asarray(batch.targets)[0, :, 0]


@partial(jax.jit, static_argnums=0)
def _solve(task: Lorenz96, key: Key[Array, ""]) -> Trajectories:
    return task.solve(key, 1)


def _signals(chosen: GaussianProcess | WhiteNoise) -> Any:
    """A choice between the two kinds of input, and `chosen` if it is neither."""
    options = {"smooth input": GaussianProcess(), "white noise": WhiteNoise()}
    if chosen not in options.values():
        options[str(chosen)] = chosen
    return choice(chosen, "input x", list(options.items()))
