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
          8 RNNs at {median ratio workload=sweep.rnn_8 peer=torch_loop:.1f} times that of a loop over models, and beam
          search at {median ratio workload=decoding.beam peer=torch:.2f} times.
Fair      Each side runs in a process of its own, one at a time, in turn; a ratio is of the medians of one round, and
          low and high are those of all rounds. On one core (`cores` is one) it is the processor's time that counts, on
          all cores the wall's. Sweeps are measured on both, since they are what uses several cores, tutorials and
          start-up on all, the rest on one; `--cores all` measures any row. The same weights, data, precision, allocator
          setting and optimiser on both sides; the number of parameters and the loss (or another result) are compared
          before a ratio counts; where the sides draw their own weights and data, losses must be finite. PyTorch has its
          fused Adam; compiled, where that is a peer of its own. Each process measures a large matrix product too: where
          PyTorch's reaches less than .9 of XLA's, its MKL is on its slow path (`mkl`), as on AMD's processors, and it
          is measured again with MKL's AVX-512 path (`torch_avx512`). Rows of two machines are never in one figure.
Differs   Where one side does more, a row says what it costs: `guard_off` is seqjax without the finite guard, which no
          peer has, `step_by_step` with one compiled call for each step, as the peers have it, `default_allocator`
          without the setting that scripts make, `uncached` without the compilation cache, `sweep.rnn_8_fixed_data` a
          sweep without new random numbers. On all cores, sweeps are given a device for each core
          (JAX_NUM_CPU_DEVICES), but for `one_device`. PyTorch has two biases a layer, NNX's GRU one; Haiku's RNN has
          relu and its GRU another reset gate: their losses are not compared.
Cost      90 min on two CPU cores, with nothing else running
Run       python experiments/benchmark/benchmark.py
Next      python experiments/benchmark/benchmark.py --workload train_step.lstm --peer torch --rounds 9
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from _comparisons import (
    AVX512,
    CLOCKS,
    FAST,
    LIBRARIES,
    OTHER_FUNCTIONS,
    OURSELVES,
    PARAMETERS_TOLERANCE,
    ROWS,
    SCIPY,
    SETTINGS,
    START_TOLERANCE,
    Cores,
    Peer,
)
from _speed_figure import draw
from workloads import mkl
from workloads.machine import MEASURES_ONE_CORE, Machine, machine, usable_threads

from seqjax import runs
from seqjax.types import InputError

PROCESS = Path(__file__).parent / "workloads" / "process.py"


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
        for cores in (row.cores if scale == "laptop" and MEASURES_ONE_CORE else ("all",))
        for peer in row.peers
        if (cores, peer) != ("one", "one_device")
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
    environment["JAX_NUM_CPU_DEVICES"] = str(len(usable_threads())) if sweeps_on_all else "1"
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
            if not number and side.endswith(AVX512) and (reason := needless(side, found, records[0])):
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


def needless(side: str, found: dict[str, list[dict[str, Any]]], record: runs.Record) -> str | None:
    """Why MKL's AVX-512 path is not measured after PyTorch as installed, if it is not."""
    if machine().instruction_set != "AVX-512":
        return "the processor has no AVX-512"
    if mkl.compiler() is None:
        return f"it needs a C compiler, one of {', '.join(mkl.COMPILERS)}"
    base = side.removesuffix(AVX512)
    installed = found.get(base)
    if installed and "unmeasured" in installed[0]:
        return installed[0]["unmeasured"]
    path = mkl_path(side, found["seqjax"], installed) if installed else path_before(record, base)
    return "PyTorch's MKL is on its fast path as installed" if path == "fast" else None


def path_before(record: runs.Record, peer: str) -> str:
    """The `mkl` of this peer's row, if it was finished before; empty where it was not asked for."""
    try:
        row = runs.finished(record.folder.parent, **asdict(record.config) | {"peer": peer})
    except FileNotFoundError:
        return ""
    return runs.load(row[0]).result["mkl"]


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
        RuntimeError: parameters, initial losses or results differ by more than the tolerance, or are not finite.
    """
    row = ROWS[config.workload]
    compared = [("parameters", PARAMETERS_TOLERANCE)]
    if (config.workload, config.peer) not in OTHER_FUNCTIONS:
        compared += [("start", START_TOLERANCE), ("value", row.tolerance)]
    for what, allowed in [] if config.smoke else compared:
        mine, other = ours[0][what], theirs[0][what]
        if not abs(mine - other) <= allowed * max(abs(mine), abs(other)):
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
            "PyTorch's matrix products are nearer to the peak, GFLOP/s",
            runs.values(product, "gflops"),
            runs.values(product, "peer_gflops"),
        ),
        runs.check("sweeps against a loop in PyTorch, times as fast", ratios(rows, "sweep", "torch_loop"), ">= 2"),
        runs.check("the tutorials' own code, times as fast", ratios(rows, "tutorials", "tutorial"), ">= 2"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
