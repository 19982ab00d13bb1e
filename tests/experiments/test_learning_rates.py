"""The learning rates in the experiments are the best ones of the committed table."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from seqjax.runs.scripts import import_script

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def load(name: str) -> ModuleType:
    return import_script(next(EXPERIMENTS.glob(f"**/{name}.py")))


@pytest.mark.parametrize("name", ["shift_memory", "convolution_memory", "lorenz96_response"])
def test_the_constants_are_the_best_rates(name: str):
    rows = json.loads((EXPERIMENTS / "figures" / "learning_rates.json").read_text())["rows"]
    search = load("learning_rates")
    best = search.best(rows, name)
    assert best == load(name).LEARNING_RATE
    assert search.GRID[0] < min(best.values())
    assert max(best.values()) < search.GRID[-1]  # none might be better beyond the grid
    tried = {(row["model"], row["learning_rate"]) for row in rows if row["experiment"] == name}
    diverged = {(model, rate) for model in best for rate in search.GRID} - tried
    assert all(rate > best[model] for model, rate in diverged)


@pytest.mark.slow
def test_smoke(tmp_path: Path):
    script = [sys.executable, str(EXPERIMENTS / "learning_rates.py"), "--scale", "smoke", "--out", "here"]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "here" / "learning_rates" / "learning_rates.json").read_text())
    assert {row["learning_rate"] for row in numbers["rows"]} == set(load("learning_rates").GRID[:2])
    assert (tmp_path / "here" / "learning_rates" / "learning_rates.png").exists()
    assert done.stdout.startswith("shift_memory {")
