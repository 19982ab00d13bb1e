"""The learning rates written in the experiments are the winners of the committed table."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["shift_memory", "convolution_memory", "lorenz96_response"])
def test_the_constants_are_the_winners(name: str):
    rows = json.loads((EXPERIMENTS / "figures" / "learning_rates.json").read_text())["rows"]
    search = load("learning_rates")
    assert search.best(rows, name) == load(name).LEARNING_RATE
    tried = {(row["model"], row["learning_rate"]) for row in rows if row["experiment"] == name}
    assert tried == {(model, rate) for model in load(name).LEARNING_RATE for rate in search.GRID}
