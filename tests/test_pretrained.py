"""The trained models in the package: which there are, and that they open in an explorer."""

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import convert, decode, explore, pretrained, runs
from seqjax.runs import manifest
from seqjax.runs.folder import save_parameters
from seqjax.tasks import Lorenz96, Shift

NAMES = get_args(pretrained.Name)
TEXT_NAMES = get_args(pretrained.TextName)


def test_every_name_has_its_weights_and_its_description():
    files = {path.name for path in pretrained.FOLDER.iterdir() if path.suffix in (".json", ".safetensors")}
    every = NAMES + TEXT_NAMES
    assert files == {f"{name}.{suffix}" for name in every for suffix in ("json", "safetensors")}
    assert all((pretrained.FOLDER / f"{name}.safetensors").stat().st_size < 1_000_000 for name in every)


def test_every_file_names_its_task():
    found = {name: pretrained.read_task(pretrained.FOLDER / f"{name}.safetensors") for name in NAMES}
    assert found == {name: {"shift": "Shift", "lorenz": "Lorenz96"}[name.split("_")[0]] for name in NAMES}
    texts = [pretrained.read_task(pretrained.FOLDER / f"{name}.safetensors") for name in TEXT_NAMES]
    assert texts == [f"TextGeneration of Tiny Shakespeare by {unit}" for unit in ("characters", "words")]


def test_half_precision_is_read_as_single(tmp_path):
    path = tmp_path / "half.safetensors"
    numbers = np.array([1.0, 2**-12, 60000], np.float16)
    pretrained.write_params(path, {"params": {"half": numbers, "whole": np.arange(3)}})
    read = pretrained.read_params(path)["params"]
    assert (read["half"].dtype, read["whole"].dtype) == (jnp.float32, jnp.int32)
    np.testing.assert_array_equal(read["half"], numbers)
    assert convert.load(path)["params/half"].dtype == np.float16
    assert pretrained.read_task(path) == ""


def test_weights_of_another_task_are_refused(tmp_path):
    """Of a file, of a run's folder, and of the package; Shift's model has the shapes that Lorenz96 needs."""
    model, params, shift = pretrained.load("shift_rnn_8_32")
    lorenz = Lorenz96(J=3, length=48, burn_in=5.0, target_scale=0.5)
    file = pretrained.FOLDER / "shift_rnn_8_32.safetensors"
    explore.ShiftEvaluation(model, file, shift)
    with pytest.raises(
        ValueError, match=rf"params must be those of a model of Lorenz96, got {file}, of a model of Shift$"
    ):
        explore.LorenzEvaluation(model, file, lorenz)
    with pytest.raises(ValueError, match=r"model of Shift, got .*_1_10_128\.safetensors, of a model of Lorenz96$"):
        explore.ShiftEvaluation(model, pretrained.FOLDER / "lorenz_rnn_1_10_128.safetensors", shift)

    with pytest.raises(ValueError, match=r"of a model of Lorenz96, got those of a model of Shift$"):
        explore.LorenzEvaluation(model, params, lorenz)

    def run(script: str, **config: Any) -> Path:
        """A finished run of one seed."""
        record = runs.Record(Settings(**config), tmp_path / script / "run")
        record.begin(resume=False)
        save_parameters(record.work / "parameters.npz", jax.tree.map(lambda leaf: leaf[None], params))
        record.finish({})
        path = record.folder / "provenance.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"script": f"experiments/memory/{script}.py"}))
        manifest.write(record.folder)
        return record.folder

    found = explore.ShiftEvaluation(model, run("shift_memory"), shift).params
    jax.tree.map(np.testing.assert_array_equal, found, params)
    with pytest.raises(ValueError, match=r"model of Lorenz96, got .*/run, of a model of shift_memory$"):
        explore.LorenzEvaluation(model, tmp_path / "shift_memory" / "run", lorenz)
    explore.LorenzEvaluation(model, run("lorenz96_response"), lorenz)
    shipped = run("shipped_models", model="shift_rnn_8_32")
    explore.ShiftEvaluation(model, shipped, shift)
    with pytest.raises(ValueError, match=r"model of Lorenz96, got .*/run, of a model of Shift$"):
        explore.LorenzEvaluation(model, shipped, lorenz)


@dataclasses.dataclass(frozen=True)
class Settings:
    model: str = "lstm"


def test_a_title_says_that_predictions_are_worse_than_none():
    """Where nothing names the task of the parameters: here another sign, and another delay."""
    model, params, shift = pretrained.load("shift_rnn_8_32")
    warning = "worse than predicting zero: was the model trained on this task?"
    own, readout = params["params"], jax.tree.map(jnp.negative, params["params"]["readout"])
    other = {"params": own | {"readout": readout}}
    lorenz = Lorenz96(J=3, length=48, burn_in=5.0, target_scale=0.511)
    assert warning in explore.LorenzEvaluation(model, other, lorenz, rows=64).figure().get_suptitle()
    assert warning in explore.ShiftEvaluation(model, params, Shift(0, 32), rows=64).figure().get_suptitle()
    assert warning not in explore.ShiftEvaluation(model, params, shift, rows=64).figure().get_suptitle()


@pytest.mark.parametrize("name", TEXT_NAMES)
def test_language_models_write_words_of_the_text(name):
    """Of what they write, most is words that the training text has."""
    words = pretrained.load("shakespeare_gru_words_64")[2]
    write = explore.Writer(*pretrained.load(name))
    length = 40 if "words" in name else 200
    written = write("ROMEO:\n", decode.sample, length=length, key=jax.random.key(0), temperature=0.7).text
    tokens = words.tokenizer.split(written)[:-1]  # the last may be cut
    assert len(tokens) > 20
    assert sum(token in words.vocabulary.symbols for token in tokens) / len(tokens) > 0.8
    assert "<unk>" not in written


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
    with pytest.raises(ValueError, match=r"must be one of shakespeare_gru_characters_128, .*, got 'shift_rnn_8_32'"):
        pretrained.build_language_model("shift_rnn_8_32", vocab=9)
