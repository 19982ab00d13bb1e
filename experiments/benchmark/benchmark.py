"""How fast is seqjax compared with what a user would take instead?

Figure    experiments/figures/benchmark.png
Question  The same work, done by seqjax and by the usual alternatives: Flax Linen, Flax NNX, Equinox and Haiku as their
          documentation writes it, PyTorch at its best, SciPy, a hand-written loop, the tutorials' own code. What is the
          speed relative to each, on which processor, and how far is it from what that processor can do?
Expect    Training steps: at least as fast as every other library of JAX (>= 1), and about as fast as PyTorch whose MKL
          is on its fast path (.8 to 1.2), as its matrix products are nearer to the machine's peak. Sweeps, and
          everything that goes step by step in Python: several times (>= 2) faster.
Answer    A training step runs at {median ratio workload=train_step.lstm peer=torch:.2f} times PyTorch's speed with an
          LSTM and at {median ratio workload=train_step.transformer peer=torch:.2f} times with a Transformer, a sweep of
          RNNs of width 8 at {median ratio workload=sweep.rnn_8 peer=torch_loop:.1f} times that of a loop over models,
          and beam search at {median ratio workload=decoding.beam peer=torch:.2f} times.
Fair      Each side runs in a process of its own, one at a time, in turn; a ratio is of the medians of one round, and
          low and high are those of all rounds. On one core (`cores` is one) it is the processor's time that counts, on
          all cores the wall's. The same weights, data, precision, allocator setting and optimiser on both sides; the
          number of parameters and the loss (or another result) are compared before a ratio counts. PyTorch has its
          fused Adam; compiled, where that is a peer of its own. Each process measures a large matrix product too: where
          PyTorch's reaches less than .9 of XLA's, its MKL is on its slow path (`mkl`), as on AMD's processors, and it
          is measured again with MKL's AVX-512 path (`torch_avx512`). Rows of two machines are never in one figure.
Differs   Where one side does more, a row says what it costs: `guard_off` is seqjax without the finite guard, which no
          peer has, `step_by_step` with one compiled call for each step, as the peers have it, `default_allocator`
          without the setting that scripts make, `uncached` without the compilation cache, `sweep.rnn_8_fixed_data` a
          sweep without new random numbers. On all cores, sweeps are given a device for each core
          (JAX_NUM_CPU_DEVICES), but for `one_device`. PyTorch has two biases a layer, NNX's GRU one; Haiku's RNN has
          relu and its GRU another reset gate: their losses are not compared.
Cost      3 h on two CPU cores, with nothing else running
Run       python experiments/benchmark/benchmark.py
Next      python experiments/benchmark/benchmark.py --workload train_step.lstm --peer torch --rounds 9
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from workloads import mkl
from workloads.machine import MEASURES_ONE_CORE, Machine, machine

from seqjax import plot, runs
from seqjax.types import InputError

PROCESS = Path(__file__).parent / "workloads" / "process.py"

Peer = Literal[
    "torch",
    "torch_avx512",
    "torch_compiled",
    "torch_compiled_avx512",
    "torch_loop",
    "torch_loop_avx512",
    "torch_vmap",
    "torch_vmap_avx512",
    "linen",
    "nnx",
    "equinox",
    "haiku",
    "scipy",
    "hand_scan",
    "tutorial",
    "default_allocator",
    "guard_off",
    "step_by_step",
    "uncached",
    "seqjax_one_by_one",
    "one_device",
]

Cores = Literal["one", "all"]

CLOCKS: dict[Cores, str] = {"one": "one core, processor time", "all": "all cores, elapsed time"}
"""What is measured on them."""

LIBRARIES: tuple[Peer, ...] = ("linen", "nnx", "equinox", "haiku")
"""Those of JAX."""

OURSELVES = ("default_allocator", "guard_off", "step_by_step", "uncached", "seqjax_one_by_one", "one_device")
"""Peers that are seqjax under other settings; they have no goal."""

SETTINGS = ("default_allocator", "one_device")
"""Those of them that run the same function in a process with another setting."""

AVX512 = "_avx512"
"""Ends the names of peers whose MKL is told to use these instructions."""

FAST = 0.9
"""The fraction of XLA's matrix product that PyTorch's reaches where MKL is on its fast path."""


class Row(NamedTuple):
    """A workload's peers, goals and tolerance.

    Attributes:
        goals: ratios to be reached, against libraries of `jax`; `torch`, on `one` core or `all` where they differ, and
            with MKL on its `slow` path; the `hand_scan`; the `tutorial`; and anything on a `gpu`.
        tolerance: relative difference allowed between the results.
        cores: on which it is measured.
    """

    peers: tuple[Peer, ...]
    goals: Mapping[str, float] = MappingProxyType({})
    tolerance: float = 1e-3
    cores: tuple[Cores, ...] = ("one", "all")


def _with_avx512(*peers: Any) -> tuple[Peer, ...]:
    return tuple(name for peer in peers for name in (peer, peer + AVX512))


STEP: tuple[Peer, ...] = (*_with_avx512("torch"), *LIBRARIES)
COMPILED: tuple[Peer, ...] = (*_with_avx512("torch", "torch_compiled"), *LIBRARIES)
SETTINGS_OF_STEP: tuple[Peer, ...] = ("default_allocator", "guard_off", "step_by_step")
SWEEP: tuple[Peer, ...] = (*_with_avx512("torch_loop", "torch_vmap"), "one_device")
LORENZ96: tuple[Peer, ...] = ("hand_scan", "scipy")


def _step(peers: tuple[Peer, ...], jax: float, torch: float, slow: float, tolerance: float = 1e-3) -> Row:
    return Row(peers, {"jax": jax, "torch": torch, "slow": slow, "gpu": 1.0}, tolerance)


def _sweep(one: float, all_cores: float) -> Row:
    # Each side draws its own weights and data, so that results agree only roughly.
    return Row(SWEEP, {"one": one, "all": all_cores, "gpu": 30.0}, 1.0)


ROWS: dict[str, Row] = {
    "matmul.2048": Row(_with_avx512("torch")),
    # PyTorch has two biases per layer, and Adam moves both.
    "train_step.rnn": _step((*STEP, *SETTINGS_OF_STEP), 1.1, 1.05, 2.0, 0.02),
    "train_step.gru": _step(STEP, 1.03, 1.02, 1.95, 0.02),
    "train_step.lstm": _step((*STEP, *SETTINGS_OF_STEP), 1.05, 0.9, 0.9, 0.02),
    "train_step.tcn": _step((*COMPILED, *SETTINGS_OF_STEP), 1.12, 1.2, 1.2),
    "train_step.transformer": _step((*COMPILED, *SETTINGS_OF_STEP), 1.25, 0.91, 1.48),
    "train_step.cnn": _step((*COMPILED, *SETTINGS_OF_STEP), 2.5, 0.87, 0.9),
    "train_step.translator": _step((*_with_avx512("torch"), "linen"), 1.0, 0.85, 1.75),
    "sweep.rnn_1": _sweep(3.5, 2.6),
    "sweep.rnn_8": _sweep(3.5, 4.2),
    "sweep.rnn_8_fixed_data": Row(SWEEP[:-1], tolerance=1.0),
    "sweep.rnn_32": _sweep(3.5, 3.3),
    "sweep.rnn_128": _sweep(3.5, 2.8),
    "sweep.tcn_32": _sweep(0.0, 1.85),
    "lorenz96.k1_j10": Row(LORENZ96, {"hand_scan": 0.8}, 1e-5),
    "lorenz96.k8_j32": Row(LORENZ96, {"hand_scan": 0.8}, 1e-5),
    "decoding.transformer": Row(_with_avx512("torch")),
    "decoding.greedy": Row(_with_avx512("torch"), {"torch": 1.2, "gpu": 1.2}),
    "decoding.beam": Row(_with_avx512("torch"), {"torch": 3.0, "gpu": 3.0}),
    # Ours makes fewer updates of more examples, which is the point, and draws its own processes.
    "tutorials.reversal": Row(("tutorial", "seqjax_one_by_one"), {"tutorial": 20.0}, 1.0, ("all",)),
    "tutorials.rnn": Row(("tutorial",), {"tutorial": 20.0}, 0.02, ("all",)),
    "tutorials.processes": Row(("tutorial",), {"tutorial": 20.0}, 0.2, ("all",)),
    "startup.help": Row(("torch",), cores=("all",)),
    "startup.lstm": Row(("torch", "uncached"), cores=("all",)),
}
"""Goals of Lorenz96 are against the hand-written scan; that against SciPy is `SCIPY`."""

SCIPY = 1000.0

START_TOLERANCE = 1e-4
"""Relative difference allowed between the losses of the initial weights."""

OTHER_FUNCTIONS = (("train_step.rnn", "haiku"), ("train_step.gru", "haiku"))
"""Where a library's own module is another function, of the same size: only the number of parameters is compared."""


@dataclass(frozen=True)
class Config:
    """One workload and one peer.

    Attributes:
        workload: name of a row of the table.
        peer: what seqjax is compared with.
        cores: `one` takes the processor's time on one core, `all` the wall's on all.
        rounds: turns of each side.
        repeats: most repeats of a round.
        seconds: time after which a round ends, with at least three repeats.
        smoke: tiny sizes, whose numbers mean nothing.
        machine: processor and cores that the row is measured on; empty for this one.
    """

    workload: str = "train_step.lstm"
    peer: Peer = runs.traced("torch")  # noqa: RUF009 (a field)
    cores: Cores = "all"
    rounds: int = 3
    repeats: int = 20
    seconds: float = 4.0
    smoke: bool = False
    machine: str = ""

    def goal(self, device: str, mkl: str) -> float:
        """The ratio to be reached; 0 where there is none."""
        goals = ROWS[self.workload].goals
        if self.peer in OURSELVES:
            return 0.0
        if self.peer == "scipy":
            return SCIPY
        if device != "cpu":
            return goals.get("gpu", 0.0)
        if self.peer in LIBRARIES:
            return goals["jax"]
        if mkl == "slow" and "slow" in goals:
            return goals["slow"]
        kind = "torch" if self.peer.startswith("torch") else self.peer
        return goals.get(kind, goals.get(self.cores, 0.0))


def configs(scale: runs.Scale) -> list[Config]:
    """All rows with all their peers; at smoke scale one peer of each library, of a tiny model.

    The machine is part of a configuration: a row that was measured on another one is measured again.
    """
    here = machine().name
    if scale == "smoke":
        cores: Cores = "one" if MEASURES_ONE_CORE else "all"
        peers: tuple[Peer, ...] = ("torch", *LIBRARIES)
        return [Config("train_step.rnn", peer, cores, 1, 2, smoke=True, machine=here) for peer in peers]
    return [
        Config(workload, peer, cores, machine=here)
        for workload, row in ROWS.items()
        for cores in row.cores
        for peer in row.peers
        if (cores, peer) != ("one", "one_device")
        and (cores == "all" or (scale == "laptop" and MEASURES_ONE_CORE))
        and (scale == "laptop" or not peer.endswith((AVX512, "allocator", "device")))
    ]


def time_side(config: Config, side: str) -> dict[str, Any]:
    """The measurement of one side, in a process of its own."""
    options = ["--repeats", str(config.repeats), "--seconds", str(config.seconds), "--cores", config.cores]
    options += ["--smoke"] if config.smoke else []
    options += ["--no-keep-memory"] if side == "default_allocator" else []
    function = "seqjax" if side in SETTINGS else side.removesuffix(AVX512)
    command = [sys.executable, str(PROCESS), config.workload, function, *options]
    # As in scripts: compiled programs are cached between rounds.
    environment = {"JAX_COMPILATION_CACHE_DIR": str(Path.home() / ".cache" / "seqjax")} | os.environ
    sweeps_on_all = side == "seqjax" and config.workload.startswith("sweep.") and config.cores == "all"
    environment["JAX_NUM_CPU_DEVICES"] = str(os.cpu_count()) if sweeps_on_all else "1"
    if config.cores == "one":
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with TemporaryDirectory() as folder:
        if side.endswith(AVX512):
            environment["LD_PRELOAD"] = str(mkl.build(Path(folder)))
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {"unmeasured": f"{found['missing']} is not installed"} if "missing" in found else found


def measure(records: list[runs.Record]) -> None:
    """Sides take turns, one process at a time; a peer that cannot be measured leaves its row unfinished.

    Raises:
        InputError: an unknown workload, or another machine than this one.
    """
    first: Config = records[0].config
    if first.workload not in ROWS:
        raise InputError(f"--workload must be one of {', '.join(ROWS)}, got {first.workload}")
    if first.machine not in ("", here := machine().name):
        raise InputError(f"--machine must be this one to be measured, {here}, got {first.machine}")
    if first.cores == "one" and not MEASURES_ONE_CORE:
        raise InputError("--cores must be all where the system cannot keep a process on one core, got one")
    found: dict[str, list[dict[str, Any]]] = {
        side: [] for side in ("seqjax", *(record.config.peer for record in records))
    }
    for number in range(first.rounds):
        for side, rounds in found.items():
            if rounds and "unmeasured" in rounds[0]:
                continue
            if side.endswith(AVX512) and (reason := needless(side, found)):
                rounds.append({"unmeasured": reason})
                continue
            began = time.monotonic()
            rounds.append(time_side(first, side))
            spent = f"round {number + 1} of {first.rounds}, {time.monotonic() - began:.0f} s"
            print(f"{first.workload}, {CLOCKS[first.cores]}, {side}: {spent}", file=sys.stderr)
    for record in records:
        config: Config = record.config
        theirs = found[config.peer]
        if reason := theirs[0].get("unmeasured"):
            print(f"{config.workload}, {CLOCKS[config.cores]}: {config.peer} is unmeasured: {reason}")
            shutil.rmtree(record.work)
            continue
        record.finish(compare(config, found["seqjax"], theirs))


def needless(side: str, found: dict[str, list[dict[str, Any]]]) -> str | None:
    """Why MKL's AVX-512 path is not measured after PyTorch as installed, if it is not."""
    if machine().instruction_set != "AVX-512":
        return "the processor has no AVX-512"
    if mkl.compiler() is None:
        return f"it needs a C compiler, one of {', '.join(mkl.COMPILERS)}"
    installed = found.get(side.removesuffix(AVX512))
    if not installed:  # it alone was asked for
        return None
    if "unmeasured" in installed[0]:
        return installed[0]["unmeasured"]
    fast = mkl_path(side, found["seqjax"], installed) == "fast"
    return "PyTorch's MKL is on its fast path as installed" if fast else None


def mkl_path(peer: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str:
    """Whether PyTorch's MKL is on its `fast` or `slow` path on a CPU; empty for other peers."""
    product, other = (median(side["product"] for side in rounds) for rounds in (ours, theirs))
    if not peer.startswith("torch") or ours[0]["device"] != "cpu" or not product or not other:
        return ""
    return "fast" if other >= FAST * product else "slow"


def compare(config: Config, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """The row: the peer's time for one unit of the same work, relative to ours.

    Its `limit` is the time that the products of our computation take at the machine's peak, relative to our time: no
    implementation can be faster than that.

    Raises:
        RuntimeError: initial losses or results differ by more than the tolerance.
    """
    tolerance = ROWS[config.workload].tolerance
    alike = not config.smoke and (config.workload, config.peer) not in OTHER_FUNCTIONS
    for what, allowed in (("start", START_TOLERANCE), ("value", tolerance)):
        mine, other = ours[0][what], theirs[0][what]
        if abs(mine - other) > allowed * max(abs(mine), abs(other)) and alike:
            raise RuntimeError(f"{config.workload}: {what} must agree within {allowed:g}, got {mine} and {other}")

    def unit(side: dict[str, Any]) -> float:
        return median(side["seconds"]) / side["units"]

    ratios = [unit(other) / unit(mine) for mine, other in zip(ours, theirs, strict=True)]
    device, path = ours[0]["device"], mkl_path(config.peer, ours, theirs)
    flops, seconds = ours[0]["flops"] / ours[0]["units"], median(map(unit, ours))
    product, peer_product = (median(side["product"] for side in rounds) for rounds in (ours, theirs))
    peak = 1e9 * max(side["product"] for side in (*ours, *theirs))
    return {
        "device": device,
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "goal": config.goal(device, path),
        "limit": flops / peak / seconds if peak else 0.0,
        "mkl": path,
        "parameters": ours[0]["parameters"],
        "peer_parameters": theirs[0]["parameters"],
        "seconds": seconds,
        "peer_seconds": median(map(unit, theirs)),
        "gflops": median(flops / unit(side) for side in ours) / 1e9,
        "peer_gflops": median(flops / unit(side) for side in theirs) / 1e9,
        "product": product,
        "peer_product": peer_product,
        "first_seconds": median(side["first_seconds"] for side in ours),
        "peer_first_seconds": median(side["first_seconds"] for side in theirs),
        "peak_megabytes": median(side["peak_megabytes"] for side in ours),
        "peer_peak_megabytes": median(side["peak_megabytes"] for side in theirs),
        "page_faults": median(side["page_faults"] / side["units"] for side in ours),
        "value": ours[0]["value"],
        "peer_value": theirs[0]["value"],
        "versions": ours[0]["versions"],
        "peer_versions": theirs[0]["versions"],
        **{name: ours[0][name] for name in Machine._fields},
    }


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
    """What the line of a row is called: `train_step.rnn` is "train step: RNN"."""
    kind, what = record.config.workload.split(".")
    words = [plot.STYLE[word]["label"] if word in plot.STYLE else word for word in what.split("_")]
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


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    # Rows that do not tell how fast PyTorch's MKL is were measured where it is fast.
    fast = [row for row in rows if row.get("mkl") != "slow"]

    def ratios(rows: list[runs.Row], workload: str, *peers: str) -> list[float]:
        return [row["ratio"] for row in runs.select(rows, peer=peers) if row["workload"].startswith(workload)]

    libraries = ratios(rows, "train_step", *LIBRARIES)
    pytorch = ratios(fast, "train_step", "torch", "torch_avx512")
    product = runs.select(fast, workload="matmul.2048", peer=("torch", "torch_avx512"))
    against_libraries = runs.check("training steps against JAX's libraries, times as fast", libraries, ">= 1")
    return [
        # Rows without `cores` are older than the comparison with these.
        *([] if rows and "cores" not in rows[0] else [against_libraries]),
        runs.check("training steps against PyTorch, times as fast", pytorch, ".8 to 1.2"),
        runs.less(
            "PyTorch's matrix products are nearer to the peak",
            runs.values(product, "gflops"),
            runs.values(product, "peer_gflops"),
        ),
        runs.check("sweeps against a loop in PyTorch, times as fast", ratios(rows, "sweep", "torch_loop"), ">= 2"),
        runs.check("the tutorials' own code, times as fast", ratios(rows, "tutorials", "tutorial"), ">= 2"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
