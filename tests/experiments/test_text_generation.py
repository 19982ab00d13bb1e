"""The prompt of `text_generation`: which model goes on with it, and what is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seqjax.data.language import Language
from seqjax.data.tokenizers import Characters
from seqjax.data.vocabulary import Vocabulary
from seqjax.runs.scripts import import_script

experiment: Any = import_script(Path(__file__).parents[2] / "experiments/language/text_generation.py")


def record(**config: Any) -> Any:
    """A finished run that knows few letters."""
    language = Language(Characters(), Vocabulary.count(["Tomo "])).to_json()
    result, folder = {"bits": 2.0}, Path("results/run")
    return SimpleNamespace(config=experiment.Config(**config), result=result, folder=folder, read=lambda name: language)


def test_a_prompt_with_unknown_characters_is_refused():
    with pytest.raises(ValueError, match=r"must hold characters of the training text, got 'é', 'x'$"):
        experiment.prompt([record()], "Toméxo é")


def test_without_a_finished_run_the_models_of_the_package_go_on(capsys):
    for options, name in (
        ({}, "shakespeare_gru_characters_128"),
        ({"unit": "words"}, "shakespeare_gru_words_64"),
        ({"model": "gru", "unit": "characters"}, "shakespeare_gru_characters_128"),
    ):
        experiment.prompt([record(model="lstm")] * ("model" in options), "ROMEO:", temperature=0.5, length=8, **options)
        first, _, strategy, *text = capsys.readouterr().out.splitlines()
        assert first.startswith(f"{name}: ")
        assert strategy == "--- temperature 0.5"
        assert "\n".join(text).startswith("ROMEO:")


def test_the_text_depends_on_temperature_length_and_seed(capsys):
    def written(**options: Any) -> str:
        experiment.prompt([], "ROMEO:", **{"temperature": 1.0, "length": 30} | options)
        return capsys.readouterr().out.split("\n", 3)[3].removesuffix("\n")

    texts = [written(), written(seed=1), written(temperature=0.0, length=31)]
    assert [len(text) - len("ROMEO:") for text in texts] == [30, 30, 31]
    assert len({*texts}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, "--temperature must be finite and >= 0, got -0.5"),
        ({"temperature": float("nan")}, "--temperature must be finite and >= 0, got nan"),
        ({"length": 0}, "--length must be >= 1, got 0"),
        ({"seed": -1}, "--seed must be >= 0, got -1"),
        ({"unit": "pieces"}, "--unit pieces must be that of a finished run or of a model of the package, found none"),
        ({"unit": "words", "model": "tcn"}, "--unit words and --model tcn must be that of"),
    ],
)
def test_a_prompt_refuses_what_it_cannot_do(options, message):
    with pytest.raises(ValueError, match=message):
        experiment.prompt([], "ROMEO:", **options)
