"""Every experiment starts, explains itself, runs to the end at its smallest, and has its figure committed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seqjax import runs

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "experiments").glob("*.py"), *(ROOT / "experiments").glob("*/[!_]*.py")])
HEAVY = {"jax", "flax", "matplotlib", "optax", "orbax", "diffrax"}
DATA = "SEQJAX_DATA=path/to/data "
"""What the command in an experiment's header begins with if it reads files that are not ours to give."""


def is_measured(script: Path) -> bool:
    """Whether `runs.main` gives it its command line; the others only run these."""
    return "runs.main(" in script.read_text()


EXPERIMENTS = [script for script in SCRIPTS if is_measured(script)]

LONG_TO_COMPILE = {
    "digit_sums",
    "bottleneck",
    "captioning",
    "cnn_rank",
    "convolution_memory",
    "creature",
    "encoder_decoder_rank",
    "learning_rates",
    "lorenz96_response",
    "memory_capacity",
    "plateau",
    "reversal",
    "shapeworld",
    "shift_memory",
    "shipped_models",
    "tagging",
    "translation",
}


def run(script: Path, *arguments: str, cwd: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    # Most of a smoke run is compiling, which takes a third less time where programs may be slow.
    cheaply = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *options, str(script), *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | cheaply, capture_output=True, text=True, check=False)


def test_there_are_experiments():
    assert ROOT / "experiments" / "memory" / "shift_memory.py" in EXPERIMENTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_help_answers_before_anything_heavy_is_imported(script, tmp_path):
    done = run(script, "--help", cwd=tmp_path, options=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    imported = {name.partition(".")[0] for name in re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE)}
    assert "tyro" in imported
    assert not imported & HEAVY
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", EXPERIMENTS, ids=lambda script: script.stem)
def test_header_says_what_is_asked_and_what_to_expect(script):
    header = runs.read_header(script)
    for field in ("Title", "Question", "Expect", "Cost", "Run", "Next", "Figure"):
        assert header.get(field), field
    assert header["Run"] in (f"python {script.relative_to(ROOT)}", f"{DATA}python {script.relative_to(ROOT)}")
    assert header["Figure"] == f"experiments/figures/{script.stem}.png"
    assert header["Next"].startswith(f"python {script.relative_to(ROOT)} --")


@pytest.mark.parametrize("script", EXPERIMENTS, ids=lambda script: script.stem)
def test_figure_is_committed_with_its_numbers(script):
    figures = ROOT / "experiments" / "figures"
    assert (figures / f"{script.stem}.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((figures / f"{script.stem}.json").read_text())
    assert list(numbers) == ["experiment", "scale", "rows", "cost", "versions", "commit"]
    assert numbers["experiment"] == script.stem
    assert numbers["scale"] != "smoke"
    assert all({"parameters", "low", "high"} <= row.keys() for row in numbers["rows"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(script, id=script.stem, marks=[pytest.mark.slow] if script.stem in LONG_TO_COMPILE else [])
        for script in EXPERIMENTS
    ],
)
def test_smoke(script, tmp_path):
    if runs.read_header(script)["Run"].startswith(DATA) and not os.environ.get("SEQJAX_DATA"):
        pytest.skip(f"{script.name} is run where SEQJAX_DATA names the folder of its data")
    done = run(script, "--scale", "smoke", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    home = tmp_path / script.stem
    assert (home / f"{script.stem}.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((home / f"{script.stem}.json").read_text())
    assert numbers["rows"]
    for row in numbers["rows"]:
        assert row["low"] <= row["high"]
    assert len(list(home.glob("*/result.json"))) == len(numbers["rows"])
    assert not list(home.glob("*.partial"))
    assert "What to try next" in done.stdout
