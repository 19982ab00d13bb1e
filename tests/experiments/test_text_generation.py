import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqjax.data.language import Language
from seqjax.data.tokenizers import Characters
from seqjax.data.vocabulary import Vocabulary

SCRIPTS = Path(__file__).parents[2] / "experiments" / "language"


def test_a_model_of_characters_names_those_it_does_not_know(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    experiment = importlib.import_module("text_generation")
    kept = Language(Characters(), Vocabulary.count(["Tomo "])).to_json()
    record = SimpleNamespace(config=experiment.Config(), result={"bits": 2.0}, read=lambda name: kept)
    with pytest.raises(ValueError, match=r"must hold characters of the training text, got 'é', 'x'$"):
        experiment.prompt([record], "Toméxo é")
