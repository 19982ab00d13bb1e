"""The figure of forecast.py: forecasts, valid prediction times, and the climate of free runs."""

from typing import Any

import numpy as np
from _climate import BINS
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs

LABEL = {
    "linear": "linear AR", "quadratic": "quadratic AR", "gru": "GRU", "lstm": "LSTM", "tcn": "TCN",
    "transformer": "Transformer",
}  # fmt: skip

TITLE = {
    "lorenz96": "Lorenz96, 8 variables",
    "mackey_glass_17": "Mackey-Glass, delay 17",
    "mackey_glass_30": "Mackey-Glass, delay 30",
}


def draw(records: list[runs.Record]) -> Figure:
    """For each system: a forecast beside the truth, valid prediction times, and the climate of free runs."""
    systems = list(dict.fromkeys(record.config.system for record in records))
    figure, axes = plot.figure(4, len(systems), width=2.6 + 4.8 * len(systems), height=13.5)
    for place, system in enumerate(systems):
        own = [record for record in records if record.config.system == system]
        axes[0, place].set_title(TITLE.get(system) or own[0].config.column or "your series", fontsize=11)
        for ax, draw_one in zip(axes[:, place], (trajectories, prediction_times, histograms, spectra), strict=True):
            draw_one(ax, own)
    found: dict[str, Any] = {}
    for ax in axes.flat:
        handles, labels = ax.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True)) | found
    title = "parameters in brackets"
    figure.legend(found.values(), found.keys(), loc="outside right upper", frameon=False, fontsize=9, title=title)
    return figure


def time_unit(record: runs.Record) -> str:
    return "Lyapunov times" if record.result["exponent"] else "samples"


def trajectories(ax: Axes, records: list[runs.Record]) -> None:
    """The first of the test trajectories, by linear autoregression and the best network."""
    by_time = sorted(records, key=lambda record: record.result["vpt"])
    linear = [record for record in by_time if record.config.model == "linear"][-1:]
    networks = [record for record in by_time if record.config.model not in ("linear", "quadratic")][-1:]
    first = records[0]
    per_sample = (first.result["exponent"] or 1.0) * first.result["sample_step"]
    time = per_sample * (1 + np.arange(len(first.arrays["truth"])))
    truth = first.arrays["truth"].astype(float)
    ax.plot(time, truth, color="black", linewidth=2.4, alpha=0.75, label="truth")
    for record in linear + networks:
        y, style = record.arrays["prediction"].astype(float), record.config.model
        plot.curve(ax, time, y, label=LABEL[style], style=style, markers=False)
        ax.axvline(float(record.arrays["first_vpt"]), color=plot.look(style)["color"], linewidth=0.8)
    ax.plot([], [], color="0.3", linewidth=0.8, label="error above half a standard deviation")
    spread = 0.6 + np.abs(truth).max()
    ax.set(xlabel=f"time ({time_unit(first)})", ylabel="first variable (standard deviations)", ylim=(-spread, spread))
    ax.set_xlim(0, time[-1])


def prediction_times(ax: Axes, records: list[runs.Record]) -> None:
    """Medians, with a thin bar over the quartiles of starts and seeds and a thick one over the seeds' medians."""
    kinds = [model for model in LABEL if any(record.config.model == model for record in records)]
    for record in records:
        row, noisy = record.result, bool(record.config.noise)
        place = kinds.index(record.config.model) + (0.16 if noisy else -0.16)
        properties = plot.look(record.config.model)
        ax.plot([place] * 2, [row["lower"], row["upper"]], color=properties["color"], linewidth=1.2)
        ax.plot([place] * 2, [row["low"], row["high"]], color=properties["color"], linewidth=4.5, alpha=0.45)
        ax.plot(place, row["vpt"], marker=properties["marker"], markersize=6.5, color=properties["color"],
                markerfacecolor="white" if noisy else properties["color"])  # fmt: skip
    linear = [record.result["vpt"] for record in records if record.config.model == "linear"]
    if linear:
        plot.baseline(ax, [-0.5, len(kinds) - 0.5], [max(linear)] * 2, label="median of linear AR")
    for noisy, label in ((False, "no noise in training"), (True, "noise in training")):
        face = "white" if noisy else "0.3"
        ax.plot([], [], color="0.3", marker="o", linestyle="", markerfacecolor=face, label=label)
    ax.plot([], [], color="0.3", linewidth=1.2, label="quartiles of forecasts")
    seeds = max(record.config.seeds for record in records)
    ax.plot([], [], color="0.3", linewidth=4.5, alpha=0.45, label=f"range of the medians of {seeds} seeds")
    names = [f"{LABEL[kind]}\n({parameters(records, kind)})" for kind in kinds]
    ax.set_xticks(range(len(kinds)), names, fontsize=8, rotation=30)
    ax.set(ylabel=f"valid prediction time ({time_unit(records[0])})", ylim=(0, None))


def parameters(records: list[runs.Record], kind: str) -> str:
    """How many an architecture has; autoregressions with noise and without may have different orders."""
    counts = sorted({record.result["parameters"] for record in records if record.config.model == kind})
    return " or ".join(f"{count:,}" for count in counts)


def shown_climates(records: list[runs.Record]) -> list[runs.Record]:
    """Of each model the run with noise, if there is one, as long as some of its forecasts stay finite."""
    by_model = {record.config.model: record for record in sorted(records, key=lambda record: record.config.noise)}
    return [record for record in by_model.values() if "histogram" in record.arrays]


def histograms(ax: Axes, records: list[runs.Record]) -> None:
    """Densities of the second half of free runs."""
    middles = (BINS[1:] + BINS[:-1]) / 2
    true = records[0].arrays["true_histogram"].astype(float)
    ax.fill_between(middles, 0, true, color="0.8", linewidth=0)
    for record in shown_climates(records):
        y = record.arrays["histogram"].astype(float)
        plot.curve(ax, middles, y, label=LABEL[record.config.model], style=record.config.model, markers=False)
    ax.plot(middles, true, color="black", linewidth=2.4, alpha=0.75)
    shown = {record.config.model for record in shown_climates(records)}
    if gone := dict.fromkeys(LABEL[record.config.model] for record in records if record.config.model not in shown):
        ax.text(0.02, 0.97, f"all runs escape:\n{', '.join(gone)}", transform=ax.transAxes, va="top", fontsize=8)
    ax.set(xlabel="value (standard deviations)", ylabel="density, second half of the free run")
    ax.set(ylim=(0, 1.6 * true.max()), xlim=(-3, 3))


def spectra(ax: Axes, records: list[runs.Record]) -> None:
    """Power spectra of the second half of free runs, up to the frequency that has one thousandth of the power."""
    true = records[0].arrays["true_spectrum"].astype(float)
    frequency = np.arange(1, len(true) + 1) / (2 * len(true) * records[0].result["sample_step"])
    ax.plot(frequency, true, color="black", linewidth=2.4, alpha=0.75)
    for record in shown_climates(records):
        y = record.arrays["spectrum"].astype(float)
        plot.curve(ax, frequency, y, label=LABEL[record.config.model], style=record.config.model, markers=False)
    unit = "time unit" if records[0].result["exponent"] else "sample"
    ax.set(xlabel=f"frequency (cycles per {unit})", ylabel="power, second half of the free run (dB)")
    last = np.flatnonzero(true > true.max() - 60)[-1]
    ax.set(xlim=(0, frequency[last]), ylim=(true.max() - 70, true.max() + 8))
