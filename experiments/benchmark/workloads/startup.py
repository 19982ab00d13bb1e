"""Start-up: whole processes, from start to end."""

import os
import subprocess
import sys
from pathlib import Path

from workloads.work import Work

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "memory" / "shift_memory.py"


def seqjax(name: str, smoke: bool) -> Work:
    """A script's --help; or five LSTM steps, with programs from the compilation cache."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(Path.home() / ".cache" / "seqjax")
    return _process(_command(name, "seqjax", smoke), {"JAX_COMPILATION_CACHE_DIR": cache})


def uncached(name: str, smoke: bool) -> Work:
    """The same without the compilation cache."""
    return _process(_command(name, "seqjax", smoke), {"JAX_ENABLE_COMPILATION_CACHE": "false"})


def torch(name: str, smoke: bool) -> Work:
    """Importing PyTorch, the least that a script with it needs; or its five LSTM steps."""
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        raise ModuleNotFoundError("torch is not installed", name="torch")
    command = [sys.executable, "-c", "import torch"] if name == "help" else _command(name, "torch", smoke)
    return _process(command, {})


def _command(name: str, side: str, smoke: bool) -> list[str]:
    if name == "help":
        return [sys.executable, str(SCRIPT), "--help"]
    size = ["--smoke"] if smoke else []
    return [sys.executable, str(HERE / "process.py"), f"train_step.{name}", side, "--repeats", "0", *size]


def _process(command: list[str], environment: dict[str, str]) -> Work:
    def run() -> float:
        subprocess.run(command, env=os.environ | environment, check=True, capture_output=True)
        return 0.0

    return Work(run, 1)
