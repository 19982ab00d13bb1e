"""The trained models in the package have the errors that are recorded beside them."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import evaluate, pretrained, runs
from seqjax.runs.folder import save_parameters
from seqjax.runs.scripts import import_script

script: Any = import_script(Path(__file__).parents[2] / "experiments/tutorials/shipped_models.py")
ROUND_OFF = 1e-3
"""Of an error, relative. Predictions are accurate to about 1e-6, and errors are 1e-3 to 1e-2 of them."""


QUICK = ("shift_rnn_8_32", "shift_tcn_32_128", "lorenz_tcn_1_10_128", "lorenz_transformer_1_10_128")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in get_args(pretrained.Name)]
)
def test_a_pretrained_model_has_the_recorded_error(name):
    recorded = json.loads((pretrained.FOLDER / f"{name}.json").read_text())
    model, params, task = pretrained.load(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == recorded["result"]["parameters"]
    batch = script.test_batch(task, recorded["data_seed"])
    found = script.score(evaluate.in_chunks(partial(jax.jit(model.apply), params), batch.inputs), batch)
    for metric in ("mse", "standard_error"):
        assert getattr(found, metric) == pytest.approx(recorded["result"][metric], rel=ROUND_OFF), metric
    assert 1 - found.r2 == pytest.approx(1 - recorded["result"]["r2"], rel=ROUND_OFF)
    assert found.mse < recorded["result"]["memoryless"] < recorded["result"]["zero_predictor"]


def test_the_first_seed_is_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    config = script.Config(model="shift_rnn_8_32", seeds=2)
    shapes = jax.eval_shape(script.build(config).init, jax.random.key(0), jnp.zeros((1, 4, 1)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=(2, *leaf.shape)).astype(np.float32), shapes)
    record = runs.Record(config, tmp_path / "run")
    record.begin(resume=False)
    save_parameters(record.work / "parameters.npz", params)
    record.finish({"parameters": 16961, "mse": 0.5, "low": 0.5, "high": 0.75})
    script.ship([record])
    _, shipped, _ = pretrained.load("shift_rnn_8_32")
    jax.tree.map(lambda every, one: np.testing.assert_array_equal(every[0], one), params, shipped)
    recorded = json.loads((tmp_path / "shift_rnn_8_32.json").read_text())
    assert recorded["result"] == {"parameters": 16961, "mse": 0.5}
    assert script.Config(**recorded["config"]) == config


def test_models_are_shipped_by_whole_runs_only(monkeypatch):
    whole = script.configs("laptop")

    def records(configs, home):
        return [runs.Record(config, home / "shipped_models" / str(i)) for i, config in enumerate(configs)]

    assert not script.is_whole(records(whole, Path("results")))
    monkeypatch.setattr(sys, "argv", ["shipped_models.py", "--publish"])
    assert script.is_whole(records(whole, Path("results")))
    assert not script.is_whole(records(whole[1:], Path("results")))
    assert not script.is_whole(records(script.configs("smoke"), Path("results")))
