"""The trained models that come with the repository are as good as the files beside them say."""

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import evaluate, explore, runs
from seqjax.runs.folder import save_parameters

SCRIPTS = Path(__file__).parents[2] / "experiments" / "tutorials"
FOLDER = SCRIPTS.parent / "models"
NAMES = (
    "shift_rnn_8_32",
    "shift_tcn_32_128",
    "shift_transformer_32_128",
    "lorenz_rnn_1_10_128",
    "lorenz_tcn_1_10_128",
    "lorenz_transformer_1_10_128",
)
ROUND_OFF = 1e-3
"""Of an error, relative. Predictions are good to 1e-6 or so, and the errors stand at 1e-3 to 1e-2 in them."""


@pytest.fixture
def script(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("shipped_models")


def test_six_models_and_nothing_else_are_shipped():
    assert {path.name for path in FOLDER.iterdir()} == {f"{n}.{end}" for n in NAMES for end in ("json", "safetensors")}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_has_the_error_that_is_told_of_it(name, script):
    told = json.loads((FOLDER / f"{name}.json").read_text())
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000
    model, params, task = script.load(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == told["result"]["parameters"]
    batch = script.test_batch(task, told["data_seed"])
    found = script.score(evaluate.in_chunks(partial(jax.jit(model.apply), params), batch.inputs), batch)
    for metric in ("mse", "standard_error"):
        assert getattr(found, metric) == pytest.approx(told["result"][metric], rel=ROUND_OFF), metric
    assert 1 - found.r2 == pytest.approx(1 - told["result"]["r2"], rel=ROUND_OFF)
    assert found.mse < told["result"]["memoryless"] < told["result"]["zero_predictor"]


def test_a_shipped_model_is_opened_in_the_explorer(script):
    """Its error there, on other sequences, is that of the file, give or take the standard error."""
    model, _, task = script.load("shift_rnn_8_32")
    figure = explore.ShiftEvaluation(model, FOLDER / "shift_rnn_8_32.safetensors", task, rows=1024, seed=7).figure()
    shown = float(figure.axes[1].get_legend_handles_labels()[1][0].removeprefix("prediction: "))
    told = json.loads((FOLDER / "shift_rnn_8_32.json").read_text())["result"]
    assert shown == pytest.approx(told["mse"], abs=6 * told["standard_error"] + 0.05 * told["mse"])
    with pytest.raises(ValueError, match="params must be those of the model"):
        explore.ShiftEvaluation(model, str(FOLDER / "shift_tcn_32_128.safetensors"), task)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_model_is_opened_in_the_explorer(name, script):
    model, params, task = script.load(name)
    evaluation = explore.ShiftEvaluation if name.startswith("shift") else explore.LorenzEvaluation
    assert "<img" in evaluation(model, params, task).html()


def test_the_first_seed_is_shipped(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "FOLDER", tmp_path / "models")
    config = script.Config(model="shift_rnn_8_32", seeds=2)
    shapes = jax.eval_shape(script.build(config).init, jax.random.key(0), jnp.zeros((1, 4, 1)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=(2, *leaf.shape)).astype(np.float32), shapes)
    record = runs.Record(config, tmp_path / "run")
    record.begin(resume=False)
    save_parameters(record.work / "parameters.npz", params)
    record.finish({"parameters": 16961, "mse": 0.5, "low": 0.5, "high": 0.75})
    script.ship([record])
    shipped = script.load("shift_rnn_8_32")
    jax.tree.map(lambda every, one: np.testing.assert_array_equal(every[0], one), params, shipped.params)
    told = json.loads((tmp_path / "models/shift_rnn_8_32.json").read_text())
    assert told["result"] == {"parameters": 16961, "mse": 0.5}
    assert script.Config(**told["config"]) == config


def test_models_are_shipped_by_whole_runs_only(script):
    whole = script.configs("laptop")

    def records(configs, home):
        return [runs.Record(config, home / "shipped_models" / str(i)) for i, config in enumerate(configs)]

    assert script.is_whole(records(whole, Path("results")))
    assert not script.is_whole(records(whole[1:], Path("results")))
    assert not script.is_whole(records(whole, Path("elsewhere")))
    assert not script.is_whole(records(script.configs("smoke"), Path("results")))
