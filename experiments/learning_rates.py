"""Which learning rate is best for each architecture?

Figure    experiments/figures/learning_rates.png
Question  A comparison is fair only if every architecture has its own best learning rate, chosen from one grid with one
          budget. Which one is it, and how much does a wrong one cost?
Expect    Gated networks and TCNs tolerate the largest rates, and a plain RNN the smallest. The constants in the
          experiments are the best of this table, which a test checks.
Answer    Validation errors at rates of 1e-3 and 3e-2 on a shift of 8: GRU
          {validation_mse experiment=shift_memory model=gru learning_rate=1e-3:.0e} and
          {validation_mse experiment=shift_memory model=gru learning_rate=3e-2:.0e}, TCN
          {validation_mse experiment=shift_memory model=tcn learning_rate=1e-3:.0e} and
          {validation_mse experiment=shift_memory model=tcn learning_rate=3e-2:.0e}; a plain RNN on the power law
          {validation_mse experiment=convolution_memory model=rnn learning_rate=1e-3:.0e} and
          {validation_mse experiment=convolution_memory model=rnn learning_rate=3e-2:.0e}, at 3e-3
          {validation_mse experiment=convolution_memory model=rnn learning_rate=3e-3:.0e}.
Cost      9 min on two CPU cores
Run       python experiments/learning_rates.py
Next      python experiments/memory/shift_memory.py --learning-rate 0.0003 0.1 --model gru --out results/rates
"""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from matplotlib.figure import Figure

from seqjax import plot, runs
from seqjax.data.files import read_json
from seqjax.runs import Scale, process, read_header
from seqjax.runs.checks import print_checks
from seqjax.runs.command import require_publishable
from seqjax.runs.figures import save_picture
from seqjax.runs.folder import write_json

FOLDER = Path(__file__).parent

GRID = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
"""Wide enough that no best rate is the first or the last."""

LARGEST_DRAWN = 2.0
"""Larger errors are of runs that are not stable; predicting zero has less."""

SEARCHES = {
    "shift_memory": ["--delay", "8"],
    "convolution_memory": ["--filter", "power law"],
    "lorenz96_response": ["--K", "4", "--amplitude", "4.0", "--rows", "32768", "--steps", "200"],
}
"""The options of each experiment whose rates are compared, with one random seed and every rate of the grid."""


@dataclass(frozen=True)
class Config:
    """The size of the search, and the folder of its runs.

    Attributes:
        scale: smoke: two rates on one experiment; laptop, gpu: all.
        out: where the run folders go.
        draw: only draw what is finished, or, without any run, the committed numbers.
        publish: write the committed figure: all rates, at a clean commit.
    """

    scale: Scale = "laptop"
    out: Path = Path("results")
    draw: bool = False
    publish: bool = False


def search(experiment: str, config: Config) -> dict:
    """Run one experiment over the grid, and return its numbers; exit with its code, unless some runs diverged."""
    smoke, out = config.scale == "smoke", config.out / "learning_rates"
    command = [sys.executable, str(FOLDER / "memory" / f"{experiment}.py"), "--scale", config.scale, "--out", str(out)]
    command += ["--seeds", "1", "--learning-rate", *map(str, GRID[:2] if smoke else GRID)]
    command += [*([] if smoke else SEARCHES[experiment]), *(["--draw"] if config.draw else [])]
    code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    if code not in (0, process.DIVERGED):
        sys.exit(code)
    return read_json(out / experiment / f"{experiment}.json")


def table(numbers: dict) -> list[dict]:
    """One row for each trained architecture and each rate, with its error on validation sequences."""
    rows = []
    for row in numbers["rows"]:
        if row["learning_rate"]:
            columns = ("model", "learning_rate", "parameters", "validation_mse")
            of_one_seed = {"low": row["validation_mse"], "high": row["validation_mse"]}
            rows.append({"experiment": numbers["experiment"]} | {name: row[name] for name in columns} | of_one_seed)
    return rows


def best(rows: list[dict], experiment: str) -> dict[str, float]:
    """The rate with the smallest validation error, for every architecture of an experiment."""
    ordered = sorted((row for row in rows if row["experiment"] == experiment), key=lambda row: -row["validation_mse"])
    return {row["model"]: row["learning_rate"] for row in ordered}


LARGE = ("gru", "lstm", "tcn")
"""What is expected to tolerate the largest rates."""


def draw(rows: list[dict]) -> Figure:
    """Validation error against learning rate, one panel for each experiment."""
    experiments = list(dict.fromkeys(row["experiment"] for row in rows))
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plot.figure(1, len(experiments), width=10.0, height=3.6)
    for ax, experiment in zip(axes[0], experiments, strict=True):
        for model in models:
            line = [row for row in rows if (row["experiment"], row["model"]) == (experiment, model)]
            if line:
                rates = [row["learning_rate"] for row in line]
                errors = [min(row["validation_mse"], LARGEST_DRAWN) for row in line]
                style, variant = {"linear_4": ("linear", 0), "linear_16": ("linear", 1)}.get(model, (model, 0))
                label = plot.STYLE[style]["label"] + f" of order {model.removeprefix('linear_')}" * (style != model)
                plot.curve(ax, rates, errors, label=label, style=style, variant=variant)
        ax.set(xscale="log", yscale="log", title=experiment.replace("_", " "), xlabel="peak learning rate of Adam")
    axes[0, 0].set_ylabel(f"validation error (mean squared)\nlarger ones drawn at {LARGEST_DRAWN:g}")
    handles = {label: handle for ax in axes[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    look = {"frameon": False, "fontsize": 8, "title": "one seed"}
    figure.legend(handles.values(), handles.keys(), loc="outside right upper", **look)
    return figure


def main() -> None:
    """Search, draw, and print the best rates."""
    header = "\n\n".join(f"{field}: {text}" for field, text in read_header(Path(__file__)).items())
    config = tyro.cli(Config, prog="python experiments/learning_rates.py", description=header)
    # Ctrl-C reaches the running experiment, which saves its state; `search` exits with its code.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if config.publish:
        require_publishable(config.scale != "smoke", config.scale)
    experiments = list(SEARCHES)[:1] if config.scale == "smoke" else list(SEARCHES)
    if config.draw and config.scale != "smoke" and not (config.out / "learning_rates").exists():
        committed = FOLDER / "figures" / "learning_rates"
        target = committed if config.publish else config.out / "figures" / "learning_rates"
        target.parent.mkdir(parents=True, exist_ok=True)
        save_picture(draw(read_json(committed.with_suffix(".json"))["rows"]), target.with_suffix(".png"))
        print(f"figure {target}.png, drawn from the committed numbers")
        return
    searches = [search(experiment, config) for experiment in experiments]
    rows = [row for numbers in searches for row in table(numbers)]
    own = config.out / ("learning_rates" if config.scale == "smoke" else "figures")
    folder = FOLDER / "figures" if config.publish else own
    folder.mkdir(parents=True, exist_ok=True)
    draw(rows).savefig(folder / "learning_rates.png", dpi=150)
    cost = {name: round(sum(n["cost"][name] for n in searches), 1) for name in ("seconds", "cpu_seconds")}
    cost["device"] = searches[0]["cost"]["device"]
    summary = {"experiment": "learning_rates", "scale": config.scale, "rows": rows, "cost": cost}
    write_json(folder / "learning_rates.json", summary | {name: searches[0][name] for name in ("versions", "commit")})
    for experiment in experiments:
        print(experiment, best(rows, experiment))
    if config.scale != "smoke":
        print_checks(expect(rows))
    print(f"\nfigure {folder / 'learning_rates.png'}, numbers in learning_rates.json")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    experiments = dict.fromkeys(row["experiment"] for row in rows)
    found = [rates for e in experiments if {"rnn", "transformer", *LARGE} <= (rates := best(rows, e)).keys()]
    networks = (*LARGE, "transformer")
    return [
        runs.every(
            "GRU, LSTM and TCN have a rate at least as large as the Transformer's",
            [rates[model] >= rates["transformer"] for rates in found for model in LARGE],
        ),
        runs.every("the plain RNN's is the smallest", [rates["rnn"] <= rates[m] for rates in found for m in networks]),
    ]


if __name__ == "__main__":
    sys.exit(process.exit_code(main))
