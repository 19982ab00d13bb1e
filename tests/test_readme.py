"""The commands and examples of the README work as they are written."""

import runpy
import sys
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import convert, pretrained
from seqjax.runs import process
from tests.examples import ROOT, examples, missing_files, type_errors

README = ROOT / "README.md"
EXPERIMENTS = ROOT / "experiments" / "README.md"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with the experiments in it as in a fresh clone."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(word: str, page: Path = README) -> dict[str, Any]:
    """The names that the one example with this word leaves."""
    (example,) = (source for source in examples(page) if word in source)
    names: dict[str, Any] = {}
    exec(example, names)
    return names


def test_it_is_short():
    assert len(README.read_text().splitlines()) <= 170


def test_the_training_example_learns(workplace: Path):
    names = run("tasks.Shift")
    assert names["metrics"]["loss"] < 0.1 * names["task"].zero_loss()


def test_the_example_with_own_pairs_and_an_own_loop_translates(workplace: Path):
    names = run("corpora.split")
    assert names["state"].step == 200
    assert names["metrics"]["loss"] < 0.3 < np.log(names["vocabs"][1])
    best = names["best"]
    assert names["task"].target.text(best.tokens[0, 0]) == "three and two"
    assert (best.log_probability[:, 0] >= best.log_probability[:, -1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("word", ["data.Epochs", "train.make_step"])
def test_the_examples_with_own_arrays_learn(word: str, workplace: Path):
    names = run(word, EXPERIMENTS)
    assert names["metrics"]["loss"] < 0.2 * names["targets"].var()


def test_the_loading_example_finds_and_writes_what_an_experiment_trained(
    workplace: Path, unchecked: None, monkeypatch: pytest.MonkeyPatch
):
    script = ["experiments/memory/shift_memory.py", "--model", "tcn", "--delay", "8", "--steps", "20", "--seeds", "1"]
    monkeypatch.setattr(process, "prepare_process", lambda: None)
    monkeypatch.setattr(sys, "argv", script)
    monkeypatch.syspath_prepend(workplace / "experiments" / "memory")
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script[0], run_name="__main__")
    assert not stopped.value.code
    names = run("runs.load")
    assert names["run"].config["delay"] == 8
    assert names["y"].shape == (1, 32, 1)
    written = pretrained.read_params("tcn.safetensors")
    assert jax.tree.all(jax.tree.map(np.array_equal, written, names["run"].params()))
    program = jax.export.deserialize(bytearray(convert.export(names["run"].model, written, jnp.ones((1, 32, 1)))))
    inputs = jax.random.normal(jax.random.key(0), (3, 32, 1))
    expected = names["run"].model.apply(written, inputs)
    np.testing.assert_allclose(program.call(written, inputs), expected, rtol=0, atol=1e-6)


def test_the_explorers_draw(workplace: Path, monkeypatch: pytest.MonkeyPatch):
    from seqjax import explore

    plotted = []
    for kind in (explore.ShiftPlotter, explore.ShiftEvaluation):
        plot = kind.plot
        monkeypatch.setattr(kind, "plot", lambda self, plot=plot: plotted.append(plot(self)))
    run("explore")
    assert len(plotted) == 2


@pytest.mark.slow
def test_the_examples_have_no_type_errors(tmp_path: Path):
    assert not type_errors(examples(README) + examples(EXPERIMENTS), tmp_path)


def test_links_and_commands_name_files_that_exist():
    assert not missing_files(README)
