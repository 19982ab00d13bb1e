"""How fast is seqjax compared with what a user would take instead?

Figure    experiments/figures/benchmark.png
Question  The same work, done by seqjax and by the usual alternative: PyTorch at its best, SciPy, a hand-written loop,
          the tutorials' own code. What is the speed relative to each baseline?
Expect    Sweeps and everything that goes step by step in Python: several times (>= 2) faster. Single training steps
          on a CPU: about as fast (.8 to 1.2); PyTorch's matrix products are nearer to the machine's peak.
Answer    On two CPU cores a training step runs at {ratio workload=train_step.lstm peer=torch:.2f} times PyTorch's speed
          with an LSTM and {ratio workload=train_step.transformer peer=torch:.2f} times with a Transformer, a sweep of
          RNNs of width 8 at {ratio workload=sweep.rnn_8 peer=torch_loop:.1f} times that of a loop over models, and beam
          search at {ratio workload=decoding.beam peer=torch:.2f} times.
Fair      Each side runs in a process of its own, one at a time, in turn; a ratio is of the medians of one round, and
          low and high are those of all rounds. The same weights, data, precision and allocator setting on both sides;
          the number of parameters and the loss (or another result) are compared before a ratio counts. PyTorch has its
          fused Adam; compiled, where that is a peer of its own.
Differs   `default_allocator` is seqjax itself without the setting that scripts make, `uncached` without the compilation
          cache. On a CPU, sweeps are given a device for each core (JAX_NUM_CPU_DEVICES), but for `one_device`.
Cost      25 min on two CPU cores, with nothing else running
Run       python experiments/benchmark/benchmark.py
Next      python experiments/benchmark/benchmark.py --workload train_step.lstm --peer torch --rounds 9
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from matplotlib.figure import Figure

from seqjax import plot, runs
from seqjax.types import InputError

PROCESS = Path(__file__).parent / "workloads" / "process.py"

Peer = Literal[
    "torch",
    "torch_compiled",
    "torch_loop",
    "torch_vmap",
    "scipy",
    "hand_scan",
    "tutorial",
    "default_allocator",
    "uncached",
    "seqjax_one_by_one",
    "one_device",
]

OURSELVES = ("default_allocator", "uncached", "seqjax_one_by_one", "one_device")
"""Peers that are seqjax under other settings; they have no goal."""

SETTINGS = ("default_allocator", "one_device")
"""Those of them that run the same function in a process with another setting."""


class Row(NamedTuple):
    """A workload's peers, goals and tolerance.

    Attributes:
        cpu, gpu: the ratio to be reached; 0 where there is no goal.
        tolerance: relative difference allowed between the results.
    """

    peers: tuple[Peer, ...]
    cpu: float = 0.0
    gpu: float = 0.0
    tolerance: float = 1e-3


STEP: tuple[Peer, ...] = ("torch",)
COMPILED: tuple[Peer, ...] = ("torch", "torch_compiled")
SWEEP: tuple[Peer, ...] = ("torch_loop", "torch_vmap", "one_device")
ROWS: dict[str, Row] = {
    "matmul.2048": Row(("torch",)),
    # PyTorch has two biases per layer, and Adam moves both.
    "train_step.rnn": Row(STEP, 1.2, 3.0, 0.02),
    "train_step.gru": Row(STEP, 1.2, 1.0, 0.02),
    "train_step.lstm": Row((*STEP, "default_allocator"), 1.0, 1.0, 0.02),
    "train_step.tcn": Row((*COMPILED, "default_allocator"), 2.0, 1.5),
    "train_step.transformer": Row((*COMPILED, "default_allocator"), 1.0, 1.2),
    "train_step.cnn": Row(COMPILED, 1.2, 1.5),
    "train_step.translator": Row(STEP, 1.5, 3.0),
    # Each side draws its own weights and data, so that results agree only roughly.
    **{f"sweep.rnn_{models}": Row(SWEEP, 5.0, 30.0, 1.0) for models in (1, 8, 32, 128)},
    "sweep.tcn_32": Row(SWEEP, 5.0, 30.0, 1.0),
    "lorenz96.k1_j10": Row(("hand_scan", "scipy"), 0.8, 0.8, 1e-5),
    "lorenz96.k8_j32": Row(("hand_scan", "scipy"), 0.8, 0.8, 1e-5),
    "decoding.transformer": Row(("torch",)),
    "decoding.greedy": Row(("torch",), 1.2, 1.2),
    "decoding.beam": Row(("torch",), 3.0, 3.0),
    # Ours makes fewer updates of more examples, which is the point, and draws its own processes.
    "tutorials.reversal": Row(("tutorial", "seqjax_one_by_one"), 20.0, 20.0, 1.0),
    "tutorials.rnn": Row(("tutorial",), 20.0, 20.0, 0.02),
    "tutorials.processes": Row(("tutorial",), 20.0, 20.0, 0.2),
    "startup.help": Row(("torch",)),
    "startup.lstm": Row(("torch", "uncached")),
}
"""Goals of Lorenz96 are against the hand-written scan; that against SciPy is `SCIPY`."""

SCIPY = 1000.0

START_TOLERANCE = 1e-4
"""Relative difference allowed between the losses of the initial weights."""


@dataclass(frozen=True)
class Config:
    """One workload and one peer.

    Attributes:
        workload: name of a row of the table.
        peer: what seqjax is compared with.
        rounds: turns of each side.
        repeats: most repeats of a round.
        seconds: time after which a round ends, with at least three repeats.
        smoke: tiny sizes, whose numbers mean nothing.
    """

    workload: str = "train_step.lstm"
    peer: Peer = runs.traced("torch")  # noqa: RUF009 (a field)
    rounds: int = 3
    repeats: int = 20
    seconds: float = 4.0
    smoke: bool = False

    @property
    def goal(self) -> dict[str, float]:
        """The ratio to be reached, by kind of device."""
        row = ROWS[self.workload]
        if self.peer in OURSELVES:
            return {"cpu": 0.0, "gpu": 0.0}
        return {"cpu": SCIPY, "gpu": SCIPY} if self.peer == "scipy" else {"cpu": row.cpu, "gpu": row.gpu}


def configs(scale: runs.Scale) -> list[Config]:
    """All rows with all their peers; at smoke scale two, of tiny sizes."""
    if scale == "smoke":
        return [Config("train_step.rnn", peer, 1, 2, smoke=True) for peer in ("torch", "default_allocator")]
    return [Config(workload, peer) for workload, row in ROWS.items() for peer in row.peers]


def time_side(config: Config, side: str) -> dict[str, Any]:
    """The measurement of one side, in a process of its own."""
    options = ["--repeats", str(config.repeats), "--seconds", str(config.seconds)]
    options += ["--smoke"] if config.smoke else []
    options += ["--no-keep-memory"] if side == "default_allocator" else []
    devices = str(os.cpu_count()) if side == "seqjax" and config.workload.startswith("sweep.") else "1"
    function = "seqjax" if side in SETTINGS else side
    command = [sys.executable, str(PROCESS), config.workload, function, *options]
    # As in scripts: compiled programs are cached between rounds.
    cache = str(Path.home() / ".cache" / "seqjax")
    environment = {"JAX_COMPILATION_CACHE_DIR": cache} | os.environ | {"JAX_NUM_CPU_DEVICES": devices}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(records: list[runs.Record]) -> None:
    """Sides take turns, one process at a time; a peer that is not installed leaves its row unfinished."""
    first: Config = records[0].config
    if first.workload not in ROWS:
        raise InputError(f"--workload must be one of {', '.join(ROWS)}, got {first.workload}")
    found: dict[str, list[dict[str, Any]]] = {
        side: [] for side in ("seqjax", *(record.config.peer for record in records))
    }
    for number in range(first.rounds):
        for side, rounds in found.items():
            if rounds and "missing" in rounds[0]:
                continue
            began = time.monotonic()
            rounds.append(time_side(first, side))
            spent = f"round {number + 1} of {first.rounds}, {time.monotonic() - began:.0f} s"
            print(f"{first.workload}, {side}: {spent}", file=sys.stderr)
    for record in records:
        config: Config = record.config
        theirs = found[config.peer]
        if "missing" in theirs[0]:
            print(f"{config.workload}: {theirs[0]['missing']} is not installed, {config.peer} is not measured")
            shutil.rmtree(record.work)
            continue
        record.finish(compare(config, found["seqjax"], theirs))


def compare(config: Config, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row: the peer's time for one unit of the same work, relative to ours.

    Raises:
        RuntimeError: initial losses or results differ by more than the tolerance.
    """
    tolerance = ROWS[config.workload].tolerance
    for what, allowed in (("start", START_TOLERANCE), ("value", tolerance)):
        mine, other = ours[0][what], theirs[0][what]
        if abs(mine - other) > allowed * max(abs(mine), abs(other)) and not config.smoke:
            raise RuntimeError(f"{config.workload}: {what} must agree within {allowed:g}, got {mine} and {other}")

    def unit(side: dict[str, Any]) -> float:
        return median(side["seconds"]) / side["units"]

    ratios = [unit(other) / unit(mine) for mine, other in zip(ours, theirs, strict=True)]
    device = ours[0]["device"]
    return {
        "device": device,
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "goal": config.goal["cpu" if device == "cpu" else "gpu"],
        "parameters": ours[0]["parameters"],
        "peer_parameters": theirs[0]["parameters"],
        "seconds": median(map(unit, ours)),
        "peer_seconds": median(map(unit, theirs)),
        "gflops": median(side["flops"] / side["units"] / unit(side) for side in ours) / 1e9,
        "peer_gflops": median(ours[0]["flops"] / ours[0]["units"] / unit(side) for side in theirs) / 1e9,
        "first_seconds": median(side["first_seconds"] for side in ours),
        "peer_first_seconds": median(side["first_seconds"] for side in theirs),
        "peak_megabytes": median(side["peak_megabytes"] for side in ours),
        "peer_peak_megabytes": median(side["peak_megabytes"] for side in theirs),
        "page_faults": median(side["page_faults"] / side["units"] for side in ours),
        "value": ours[0]["value"],
        "peer_value": theirs[0]["value"],
    }


def draw(records: list[runs.Record]) -> Figure:
    """Every row's ratio with its range, on a log axis; a tick is the goal, and the line at 1 equal speed."""
    figure, axes = plot.figure(width=8.0, height=0.5 + 0.21 * len(records))
    ax = axes[0, 0]
    for place, record in enumerate(records):
        row = record.result
        ax.plot([row["low"], row["high"]], [place, place], color="black", linewidth=1.5)
        rounds = record.config.rounds
        met = not row["goal"] or row["ratio"] >= row["goal"]
        ax.plot(row["ratio"], place, "o", color="black", markersize=5, markerfacecolor="black" if met else "white")
        if row["goal"]:
            ax.plot(row["goal"], place, "|", color="black", markersize=11, markeredgewidth=1.2)
    names = [f"{record.config.workload}, {record.config.peer.replace('_', ' ')}" for record in records]
    ax.set_yticks(range(len(records)), names, fontsize=8)
    ax.invert_yaxis()
    ax.axvline(1.0, color="grey", linewidth=0.8)
    ax.set(xscale="log", xlabel="speed relative to the baseline (above 1: seqjax is faster)")
    ax.margins(y=0.01)
    for label, look in (
        (f"median and range of {rounds} rounds; filled: the goal is met, or there is none", {"marker": "o"}),
        ("hollow: the goal is not met", {"marker": "o", "markerfacecolor": "white", "linestyle": ""}),
        ("goal", {"marker": "|", "markersize": 11, "markeredgewidth": 1.2, "linestyle": ""}),
    ):
        ax.plot([], [], label=label, **{"color": "black", "markersize": 5, "linewidth": 1.5} | look)
    plot.legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def ratios(workload: str, *peers: str) -> list[float]:
        return [row["ratio"] for row in runs.select(rows, peer=peers) if row["workload"].startswith(workload)]

    product = runs.select(rows, workload="matmul.2048", peer="torch")
    return [
        runs.check("sweeps against a loop in PyTorch, times as fast", ratios("sweep", "torch_loop"), ">= 2"),
        runs.check("the tutorials' own code, times as fast", ratios("tutorials", "tutorial"), ">= 2"),
        runs.check("training steps against PyTorch, times as fast", ratios("train_step", "torch"), ".8 to 1.2"),
        runs.less(
            "PyTorch's matrix products are nearer to the peak",
            runs.values(product, "gflops"),
            runs.values(product, "peer_gflops"),
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
