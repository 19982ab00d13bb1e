"""One side of one row of the benchmark, timed in a process of its own.

python experiments/benchmark/workloads/process.py train_step.lstm torch --repeats 20

prints one line of JSON: the seconds of every repeat, the number that must agree, memory and page faults, the machine,
and what its framework's large matrix products reach on it.
"""

import json
import resource
import runpy
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import tyro

PROCESS = Path(__file__).parents[3] / "seqjax" / "runs" / "memory.py"
"""Run by its path: importing `seqjax.runs` would load JAX into the process of another framework."""


@dataclass(frozen=True)
class Arguments:
    """One side of one row, and how often to repeat it."""

    workload: Annotated[str, tyro.conf.Positional]
    side: Annotated[str, tyro.conf.Positional]
    repeats: int = 10
    seconds: float = 10.0
    smoke: bool = False
    keep_memory: bool = True
    cores: Literal["one", "all"] = "all"


def measure(given: Arguments) -> dict:
    """Prepare, run once (which compiles), once more, then repeat with a clock: at least three times, or not at all.

    On one core the clock is that of the processor, which other processes hardly change; on all it is the wall's.
    """
    from workloads.matmul import peak

    clock = time.process_time if given.cores == "one" else time.perf_counter
    module, _, name = given.workload.partition(".")
    began = time.perf_counter()
    work = getattr(import_module(f"workloads.{module}"), given.side)(name, given.smoke)
    value = work.run()
    first = time.perf_counter() - began
    if not given.repeats:
        return {"first_seconds": first}
    work.run()
    before, seconds = resource.getrusage(resource.RUSAGE_SELF), []
    while len(seconds) < given.repeats and (len(seconds) < 3 or sum(seconds) < given.seconds):
        began = clock()
        work.run()
        seconds.append(clock() - began)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "first_seconds": first,
        "start": work.start,
        "value": value,
        "units": work.units,
        "parameters": work.parameters,
        "flops": work.flops,
        "page_faults": (after.ru_minflt - before.ru_minflt) / len(seconds),
        "peak_megabytes": after.ru_maxrss / 1024,
        "product": peak(clock, given.smoke),
        "versions": versions(),
    }


def versions() -> str:
    """Of the frameworks that this process has imported."""
    loaded = {name: sys.modules.get(name) for name in ("jax", "flax", "equinox", "haiku", "torch", "scipy", "numpy")}
    return ", ".join(f"{name} {module.__version__}" for name, module in loaded.items() if module)


def device() -> str:
    """The device, as the work's framework names it; PyTorch's sides may import JAX, but not the other way round."""
    if torch := sys.modules.get("torch"):
        return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    if jax := sys.modules.get("jax"):
        return jax.devices()[0].device_kind
    return "cpu"


def main() -> None:
    """Print the measurement, or which library is missing."""
    given = tyro.cli(Arguments)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    machine = import_module("workloads.machine")
    whole = machine.machine()._asdict()
    if given.cores == "one":
        machine.use_one_thread()
    if given.keep_memory:
        runpy.run_path(str(PROCESS))["keep_memory"]()
    try:
        found = measure(given) | whole | {"device": device()}
    except ModuleNotFoundError as error:
        found = {"missing": error.name}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
