"""Every experiment has a complete header and runs to the end at its smallest scale."""

import ast
import importlib
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqjax import runs
from seqjax.data import DataError, catalogue, data_folder
from seqjax.runs import figures
from seqjax.runs.scripts import import_script
from seqjax.types import InputError

ROOT = Path(__file__).parents[2]
SCRIPTS = runs.find_experiments(ROOT / "experiments")
EXPERIMENTS = [script for script in SCRIPTS if "runs.main(" in script.read_text()]
"""The scripts with the command line of `runs.main`."""

QUICK = {"audit", "perturbation"}
"""Experiments whose smoke run is part of the default tests; all others, new ones too, run with `-m slow`."""

DRAWN = {
    "architecture_chart", "attention_rank", "audit", "bayes_floor", "benchmark", "convolution_memory", "delay_limit",
    "forecast", "growth", "in_context", "length_generalisation", "parameterisation", "queried_memory",
    "recurrent_width", "reordering", "reversal", "shift_memory", "shipped_language_models", "state_tracking",
}  # fmt: skip
"""Experiments whose committed figure can be drawn without runs: from the numbers alone, or with committed arrays."""


COUNTED = {"growth"}
"""Experiments whose rows are counts of memory, or sums, and have no range over random seeds."""


def cases(scripts: list[Path], quick: set[str]) -> list[Any]:
    """The scripts as parameters, marked slow if they are not quick."""
    slow = [pytest.mark.slow]
    return [pytest.param(script, id=script.stem, marks=[] if script.stem in quick else slow) for script in scripts]


def run(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    here, command = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}, [sys.executable, str(script), *arguments]
    return subprocess.run(command, cwd=cwd, env=os.environ | here, capture_output=True, text=True, check=False)


def test_there_are_experiments():
    assert ROOT / "experiments" / "memory" / "shift_memory.py" in EXPERIMENTS


@pytest.mark.parametrize("script", cases(SCRIPTS, {"shift_memory"}))
def test_help_answers(script, tmp_path):
    done = run(script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_help_answers_in_this_process(script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.syspath_prepend(script.parent)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(script), run_name="__main__")
    assert not stopped.value.code
    assert "usage: " in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", EXPERIMENTS, ids=lambda script: script.stem)
def test_header_has_all_fields(script):
    header = runs.read_header(script)
    for field in ("Title", "Question", "Expect", "Cost", "Run", "Next", "Figure"):
        assert header.get(field), field
    assert header["Run"] == f"python {script.relative_to(ROOT)}"
    assert header["Figure"] == f"experiments/figures/{script.stem}.png"
    assert header["Next"].startswith(f"python {script.relative_to(ROOT)} --")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_header_names_the_data_sets_that_are_read(script):
    """Which ones is tested where each is fetched and read: tests/data/test_fetched.py."""
    needed, more = catalogue.of_header(runs.read_header(script))
    assert set(needed + more) <= catalogue.CATALOGUE.keys()
    assert needed or "data_folder(" not in script.read_text()


@pytest.mark.parametrize("script", cases(EXPERIMENTS, {"shift_memory", "bottleneck"}))
def test_a_committed_figure_is_drawn_without_runs_or_says_that_it_needs_them(script):
    experiment = import_script(script)
    records = figures.published(ROOT / "experiments" / "figures" / script.stem, experiment.Config)
    if not records:
        pytest.skip("the figure is not published yet")
    try:
        assert experiment.draw(records).axes
    except InputError as error:
        assert str(error).startswith("drawing needs the runs: the committed figure")  # noqa: PT017
        assert script.stem not in DRAWN
    else:
        assert script.stem in DRAWN


def config_of(script: Path) -> ast.ClassDef | None:
    classes = (node for node in ast.parse(script.read_text()).body if isinstance(node, ast.ClassDef))
    return next((node for node in classes if node.name == "Config"), None)


CONFIGS = {script.stem: config for script in SCRIPTS if (config := config_of(script))}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_of_a_configuration_is_documented(name):
    """In Google's style, one line each in the order of the fields, more deeply indented where it goes on."""
    _, _, listed = (ast.get_docstring(CONFIGS[name]) or "").partition("\n\nAttributes:\n")
    documented = dict(re.findall(r"^    (\w+): (.+\.(?:\n {8}.+)*)$", f"{listed}\n", re.MULTILINE))
    parts = (part.target for part in CONFIGS[name].body if isinstance(part, ast.AnnAssign))
    fields = [part.id for part in parts if isinstance(part, ast.Name)]
    assert list(documented) == fields
    assert sum(1 + text.count("\n") for text in documented.values()) == len(listed.splitlines())


def test_the_same_field_has_the_same_words():
    """Of the fields that most experiments have."""
    texts = {}
    for config in CONFIGS.values():
        for field, text in re.findall(r"^    (\w+): (.+)$", ast.get_docstring(config) or "", re.MULTILINE):
            texts.setdefault(field, []).append(text)
    common = {field: found for field, found in texts.items() if len(found) > 9}
    assert {"model", "steps", "batch_size", "learning_rate", "seeds"} <= common.keys()
    for field, found in common.items():
        assert found.count(max(found, key=found.count)) > len(found) / 2, field


def test_bad_and_long_rows_of_a_corpus_are_counted_on_stderr(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "experiments" / "language")
    monkeypatch.setenv("SEQJAX_DATA", str(tmp_path))
    folder = tmp_path / "sentiment" / "sst2"
    folder.mkdir(parents=True)
    rows = [f"word{n} good\t{n % 2}" for n in range(8)]
    (folder / "dev.tsv").write_text("some more\t1\n")
    (folder / "train.tsv").write_text("\n".join([*rows, "no label", "very " * 99 + "good\t1"]))
    data = importlib.import_module("sentiment").data
    with pytest.raises(DataError, match=r"train\.tsv:9: expected sentence<TAB>label, found 'no label'"):
        data(8)
    assert len(data(10, longest=50, skip_bad=True).train) == 6
    left_out = "1 of the sentences left out as malformed or empty"
    assert capsys.readouterr().err == f"warning: {left_out}, 1 of the sentences left out as too long\n"
    assert len(data(10, truncate=2, skip_bad=True).train) == 7
    assert capsys.readouterr().err == f"warning: {left_out}, 1 of the sentences cut\n"


FIGURES = ROOT / "experiments" / "figures"
PUBLISHED = [script for script in EXPERIMENTS if (FIGURES / f"{script.stem}.json").exists()]


@pytest.mark.parametrize("script", PUBLISHED, ids=lambda script: script.stem)
def test_numbers_are_committed_with_their_figure_and_answer(script):
    path = FIGURES / f"{script.stem}.json"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads(path.read_text())
    assert list(numbers) == ["experiment", "scale", "rows", "cost", "versions", "commit"]
    assert numbers["experiment"] == script.stem
    assert numbers["scale"] != "smoke"
    if script.stem not in COUNTED:
        assert all({"parameters", "low", "high"} <= row.keys() for row in numbers["rows"])
    assert runs.read_header(script).get("Answer")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", cases(EXPERIMENTS, QUICK))
def test_smoke(script, tmp_path):
    needed, _ = catalogue.of_header(runs.read_header(script))
    files = [data_folder() / file.path for data_set in catalogue.named(needed).values() for file in data_set.files]
    if not os.environ.get("SEQJAX_DATA") and not all(file.is_file() for file in files):
        pytest.skip(f"{script.name} is run after `python -m seqjax.data fetch {' '.join(needed)}`")
    done = run(script, "--scale", "smoke", "--out", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    home = tmp_path / script.stem
    assert (home / f"{script.stem}.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((home / f"{script.stem}.json").read_text())
    assert numbers["rows"]
    if script.stem not in COUNTED:
        assert all(row["low"] <= row["high"] for row in numbers["rows"])
    assert len(list(home.glob("*/result.json"))) == len(numbers["rows"])
    assert not list(home.glob("*.partial"))
    assert "What to try next" in done.stdout
