"""The notebooks run from top to bottom, as notebooks and as scripts, and what they point to is there."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "experiments" / "tutorials" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))

every = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)


def test_there_are_three():
    assert [notebook.stem for notebook in NOTEBOOKS] == ["sequence_shapes", "tour", "translation"]


@every
def test_links_lead_somewhere(notebook):
    links = re.findall(r"\]\(([^)]+)\)", notebook.read_text())
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []


@every
def test_code_and_prose_take_turns(notebook):
    """What a percent script is: every cell is code that compiles, or a markdown cell that is nothing but comments."""
    header, *cells = re.split(r"^# %%", notebook.read_text(), flags=re.MULTILINE)
    assert "format_name: percent" in header
    prose = [cell for cell in cells if cell.startswith(" [markdown]\n")]
    assert 0.3 < len(prose) / len(cells) < 0.7
    for cell in prose:
        assert all(not line or line.startswith("#") for line in cell.split("\n")[1:])
    for cell in cells:
        if cell not in prose:
            assert cell.startswith("\n")
            compile(cell, notebook.name, "exec")


@every
def test_the_rendered_notebook_is_that_of_the_script(notebook):
    """Cell by cell, without running it: `python experiments/tutorials/render_notebooks.py` makes them anew."""
    _, *cells = re.split(r"^# %%", notebook.read_text(), flags=re.MULTILINE)
    expected = []
    for cell in cells:
        head, _, body = cell.partition("\n")
        comment = r"^# ?" if head == " [markdown]" else r"^# (?=%)"
        expected.append((head == " [markdown]", re.sub(comment, "", body.strip(), flags=re.MULTILINE)))
    rendered = json.loads(notebook.with_suffix(".ipynb").read_text())
    found = [(cell["cell_type"] == "markdown", "".join(cell["source"])) for cell in rendered["cells"]]
    assert found == expected


@every
def test_the_rendered_notebook_is_small_and_shows_pictures(notebook):
    assert notebook.with_suffix(".ipynb").stat().st_size <= 600_000
    cells = json.loads(notebook.with_suffix(".ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pictures = [sum("image/png" in output.get("data", {}) for output in cell.get("outputs", [])) for cell in cells]
    assert sum(pictures) == {"sequence_shapes": 3, "tour": 14, "translation": 1}[notebook.stem]
    explorers = ["".join(cell["source"]).endswith(".plot()") for cell in cells]
    assert all(drawn == 1 for drawn, explorer in zip(pictures, explorers, strict=True) if explorer)


@pytest.mark.slow
@pytest.mark.timeout(900)
@every
def test_as_a_notebook(notebook, tmp_path):
    """Every cell runs, in all within five minutes, and no figure is left a line of text."""
    # Of the extra `notebook`, which the tests of every day do without.
    jupytext, nbclient = import_module("jupytext"), import_module("nbclient")
    made = jupytext.read(notebook)
    resources = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(made, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in made.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type in ("display_data", "execute_result")]
    assert shown
    assert all("image/png" in data for data in shown), "also beside the view of a widget"


@pytest.mark.slow
@pytest.mark.timeout(900)
@every
def test_as_a_script_without_data(notebook, tmp_path):
    """Without public data it has something of its own to learn from."""
    environment = {name: value for name, value in os.environ.items() if name != "SEQJAX_DATA"}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    command = [sys.executable, str(notebook)]
    done = subprocess.run(command, cwd=FOLDER.parents[2], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "instead" in done.stdout
