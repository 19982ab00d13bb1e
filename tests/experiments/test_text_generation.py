from types import SimpleNamespace

import pytest

from seqjax.data.text import Characters, Vocabulary
from seqjax.tasks import Language
from tests.experiments import scripts


def test_a_model_of_characters_names_those_it_does_not_know():
    experiment = scripts.load("language/text_generation")
    kept = Language(Characters(), Vocabulary.count(["Tomo "])).to_json()
    record = SimpleNamespace(config=experiment.Config(), result={"bits": 2.0}, read=lambda name: kept)
    with pytest.raises(ValueError, match=r"must hold characters of the training text, got 'é', 'x'$"):
        experiment.prompt([record], "Toméxo é")
