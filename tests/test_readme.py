"""What the README tells a newcomer to type works as it stands there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a fresh clone's top, but whose results nobody misses."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_training_example_learns(workplace: Path):
    names: dict = {}
    exec(examples()[0], names)
    assert names["metrics"]["loss"] < 0.1 * names["task"].zero_loss()


def test_the_encoder_decoder_example_writes_what_it_finds_likeliest(workplace: Path):
    names: dict = {}
    exec(examples()[1], names)
    best, logits = names["best"], names["logits"]
    assert logits.shape == (*names["batch"].target.shape, len(names["task"].vocabulary))
    assert (best.log_probability[:, 0] >= best.log_probability[:, -1]).all()


def test_the_loading_example_finds_what_an_experiment_trained(workplace: Path):
    script = ["experiments/memory/shift_memory.py", "--model", "tcn", "--delay", "8", "--steps", "20", "--seeds", "1"]
    environment = os.environ | {"XDG_CACHE_HOME": str(workplace)}
    subprocess.run([sys.executable, *script], check=True, cwd=workplace, env=environment, capture_output=True)
    names: dict = {}
    exec(examples()[2], names)
    whole = names["model"].apply(names["params"], names["jnp"].array([[[1.0], [-1.0], [0.5]]]))
    assert float(names["y"][0, 0, 0]) == pytest.approx(float(whole[0, 2, 0]), abs=1e-6)


def test_the_explorers_draw(workplace: Path):
    from matplotlib.figure import Figure

    names: dict = {}
    exec(examples()[3].replace("explore.Shift", "figure = explore.Shift"), names)
    assert isinstance(names["figure"], Figure)


def from_the_seeds() -> tuple[str, list[str]]:
    """What is run before the table of the seeds' cells, and what that has in its last column."""
    section = README[README.index("### From the seeds") : README.index("## Add your own")]
    lines = re.findall(r"^\| S\d.* \| `([^`]+)` \|$", section, flags=re.MULTILINE)
    assert len(lines) == section.count("\n| S")
    return re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[0], lines


def test_the_seeds_lines_are_python_and_name_what_exists(workplace: Path):
    setup, lines = from_the_seeds()
    names: dict = {}
    exec(setup, names)
    for line in lines:
        if line.startswith("python "):
            assert (ROOT / line.split()[1]).exists()
            continue
        for node in ast.walk(ast.parse(line)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                assert hasattr(names[node.value.id], node.attr), line


@pytest.mark.slow
def test_the_seeds_lines_run_one_after_the_other(workplace: Path):
    setup, lines = from_the_seeds()
    names: dict = {}
    exec(setup, names)
    for line in lines:
        if not line.startswith("python "):
            exec(line, names)


def test_the_commands_name_files_that_exist():
    paths = re.findall(r"\]\(([\w./]+)\)", README) + re.findall(r"bin/python (experiments/[\w/]+\.py)", README)
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing


def test_every_experiment_has_its_row():
    for script in [*(ROOT / "experiments").glob("*.py"), *(ROOT / "experiments").glob("*/[!_]*.py")]:
        assert f"({script.relative_to(ROOT)})" in README
