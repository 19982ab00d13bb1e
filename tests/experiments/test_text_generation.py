from pathlib import Path
from types import SimpleNamespace

import pytest

from seqjax.data.language import Language
from seqjax.data.tokenizers import Characters
from seqjax.data.vocabulary import Vocabulary
from seqjax.runs.scripts import import_script


def test_a_prompt_with_unknown_characters_is_refused():
    experiment = import_script(Path(__file__).parents[2] / "experiments/language/text_generation.py")
    language = Language(Characters(), Vocabulary.count(["Tomo "])).to_json()
    record = SimpleNamespace(config=experiment.Config(), result={"bits": 2.0}, read=lambda name: language)
    with pytest.raises(ValueError, match=r"must hold characters of the training text, got 'é', 'x'$"):
        experiment.prompt([record], "Toméxo é")
