"""The language models in the package need the bits per character that are recorded beside them."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
import pytest

from seqjax import pretrained, runs
from seqjax.data.plain_text import split
from seqjax.data.tokenizers import MarkedWords
from seqjax.runs.folder import save_parameters
from seqjax.runs.scripts import import_script
from seqjax.tasks import TextGeneration
from tests.files import needs_data

script: Any = import_script(Path(__file__).parents[2] / "experiments/language/shipped_language_models.py")
ROUND_OFF = 1e-4
"""Of a mean over 10,000 tokens and more, relative."""


NAMES = [
    pytest.param(name, marks=pytest.mark.slow if "words" in name else []) for name in get_args(pretrained.TextName)
]


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_a_language_model_needs_the_recorded_bits(name):
    recorded = json.loads((pretrained.FOLDER / f"{name}.json").read_text())["result"]
    model, params, language, window = pretrained.load(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == recorded["parameters"]
    source = script.data(name)
    assert (language, window) == (source.task.language, source.task.length)
    assert source.parts.train + source.parts.validation + source.parts.test == whole_text()
    nats = script.nats_per_token(
        model, jax.tree.map(lambda leaf: leaf[None], params), source.task, source.task.test, window
    )
    found = script.score(source, nats[0])
    for column, value in found.items():
        assert value == pytest.approx(recorded[column], rel=ROUND_OFF), column
    assert recorded["token_bits"] < recorded["counted_token_bits"]


def whole_text() -> str:
    from tests.files import public

    return public("text", "tinyshakespeare", "input.txt").read_text()


def test_unknown_words_are_spelled():
    """The code for the whole text: each token, and each letter of an unknown one, here with equal probabilities."""
    text = "a b a b a b a b a b " * 4 + "xy" + " a b" * 22
    parts = split(text, held_out=len(text) // 3)
    task = TextGeneration.of_text(parts, MarkedWords(lower=False, lines=True), length=4, least=3)
    source = script.Source(task, parts._replace(test="a zz b"))
    assert script.score(source, 0.0)["bits"] == script.spelling_bits(source) > 0
    plain = script.Source(task, parts)
    assert "xy" not in parts.test
    assert script.score(plain, np.log(2) * 3)["bits"] == pytest.approx(task.test.bits(3 * np.log(2)))
    assert script.score(plain, np.log(2) * 3)["token_bits"] == pytest.approx(3)


def test_the_first_seed_is_shipped_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    name = "shakespeare_gru_characters_128"
    config = script.Config(model=name, seeds=2)
    letters = script.Characters()
    language = TextGeneration.of_text(split("to be or not to be", held_out=4), letters, length=2).language
    vocab = len(language.vocabulary)
    shapes = jax.eval_shape(script.build(config, vocab).init, jax.random.key(0), np.zeros((1, 4), np.int32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=(2, *leaf.shape)).astype(np.float32), shapes)
    record = runs.Record(config, tmp_path / "run")
    record.begin(resume=False)
    record.keep("language.json", language.to_json())
    save_parameters(record.work / "parameters.npz", params)
    record.finish({"parameters": 7, "bits": 2.0, "low": 1.0, "high": 3.0})
    script.ship([record])
    _, shipped, read, window = pretrained.load(name)
    jax.tree.map(lambda every, one: np.testing.assert_array_equal(every[0].astype(np.float16), one), params, shipped)
    jax.tree.map(lambda every, one: np.testing.assert_array_equal(script.rounded(every[0]), one), params, shipped)
    assert (read, window) == (language, 128)
    recorded = json.loads((tmp_path / f"{name}.json").read_text())
    assert recorded["result"] == {"parameters": 7, "bits": 2.0}
    assert script.Config(**recorded["config"]) == config


def test_models_are_shipped_by_whole_runs_only(monkeypatch):
    records = [runs.Record(config, Path("results") / str(i)) for i, config in enumerate(script.configs("laptop"))]
    assert not script.is_whole(records)
    monkeypatch.setattr(sys, "argv", ["shipped_language_models.py", "--publish"])
    assert script.is_whole(records)
    assert not script.is_whole(records[1:])
