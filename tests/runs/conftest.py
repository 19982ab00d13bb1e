"""A tiny experiment in a folder of its own, run as a process or, where that will do, in this one."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from seqjax import runs
from seqjax.runs import process
from seqjax.train import Advance, TrainState
from tests.runs import regression

ROOT = Path(__file__).parents[2]


class Lab:
    """A folder with the experiment's script in it; processes started here do not outlive the test."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.home = folder / "results" / "regression"
        self.script = folder / "regression.py"
        self.script.write_text(Path(regression.__file__).read_text())
        self.started: list[subprocess.Popen] = []
        self.environment: dict[str, str] = {}

    def start(
        self, *arguments: str, save_every: float = 30, options: tuple[str, ...] = (), log_compiles: bool = False
    ) -> subprocess.Popen:
        environment = {
            "JAX_PLATFORMS": "cpu",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XDG_CACHE_HOME": str(self.folder.parent / "cache"),  # all tests': what one compiled the next need not
            "PYTHONPATH": str(ROOT),
            "SAVE_EVERY": str(save_every),
            "JAX_LOG_COMPILES": str(int(log_compiles)),
        }
        folder, environment, out = self.folder, os.environ | environment | self.environment, subprocess.PIPE
        command = [sys.executable, *options, str(self.script), *arguments]
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, text=True)
        self.started.append(child)
        return child

    def run(self, *arguments: str, **popen) -> "Outcome":
        child = self.start(*arguments, **popen)
        out, err = child.communicate(timeout=120)
        return Outcome(child.returncode, out, err)

    def works(self) -> list[Path]:
        return sorted(self.home.glob("*.partial"))

    def finished(self) -> list[Path]:
        return sorted(path.parent for path in self.home.glob("*/result.json"))


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def program(group: Sequence[regression.Config], rows: jax.sharding.Mesh | None = None) -> tuple[TrainState, Advance]:
    """That of the experiment, compiled once for all tests; training takes over the memory of its state."""
    state, advance = _program(tuple(group), rows)
    return jax.tree.map(jnp.copy, state), advance


_program = functools.cache(regression.program)


@pytest.fixture
def lab(tmp_path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    for child in made.started:
        child.kill()
        child.communicate()


@pytest.fixture
def here(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """The experiment's command line in this process: quick, since jax is loaded."""
    made = Lab(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "prepare_process", lambda: None)
    monkeypatch.setattr(regression, "program", program)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", [str(made.script), *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            runs.main(regression.Config, regression.configs, regression.measure, regression.draw)
        assert isinstance(stopped.value.code, int)
        return Outcome(stopped.value.code, *capsys.readouterr())

    return run
