"""The trained models in the package: which there are, and that they open in an explorer."""

import json
from typing import Any, get_args

import pytest

from seqjax import explore, pretrained

NAMES = get_args(pretrained.Name)


def test_every_name_has_its_weights_and_its_description():
    files = {path.name for path in pretrained.FOLDER.iterdir() if path.suffix in (".json", ".safetensors")}
    assert files == {f"{name}.{suffix}" for name in NAMES for suffix in ("json", "safetensors")}
    assert all((pretrained.FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000 for name in NAMES)


def test_a_pretrained_model_opens_in_the_explorer():
    """Its error there, on other sequences, is the recorded one within its standard error."""
    model, params, task = pretrained.load("shift_rnn_8_32")
    figure = explore.ShiftEvaluation(model, params, task, rows=1024, seed=7).figure()
    shown = float(figure.axes[1].get_legend_handles_labels()[1][0].removeprefix("prediction: "))
    recorded = json.loads((pretrained.FOLDER / "shift_rnn_8_32.json").read_text())["result"]
    assert shown == pytest.approx(recorded["mse"], abs=6 * recorded["standard_error"] + 0.05 * recorded["mse"])
    with pytest.raises(ValueError, match="params must be those of the model"):
        explore.ShiftEvaluation(model, pretrained.FOLDER / "shift_tcn_32_128.safetensors", task)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_pretrained_model_opens_in_the_explorer(name):
    evaluation: Any = explore.ShiftEvaluation if name.startswith("shift") else explore.LorenzEvaluation
    assert "<img" in evaluation(*pretrained.load(name)).html()


def test_a_name_that_does_not_exist_is_refused():
    name: Any = "shift_gru_8_32"
    for function in (pretrained.load, pretrained.build, pretrained.task_of):
        with pytest.raises(ValueError, match=r"name must be one of shift_rnn_8_32, .*, got 'shift_gru_8_32'"):
            function(name)
