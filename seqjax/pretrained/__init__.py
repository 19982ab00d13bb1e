"""Small trained models: an LSTM, a TCN and a Transformer on each of Shift and Lorenz96, and two language models.

    model, params, task = pretrained.load("shift_tcn_32_128")
    explore.ShiftEvaluation(model, params, task).plot()

    model, params, language, window = pretrained.load("shakespeare_gru_words_64")
    explore.Writer(model, params, language, window)("To be", decode.greedy, length=20)

Beside the parameters of each model (safetensors, whose metadata name the task) lies a JSON file with the configuration
that it was trained with, its error on test data and errors of baselines, the seed of that data, and the vocabulary of
a language model. `experiments/tutorials/shipped_models.py` trains the first six, and
`experiments/language/shipped_language_models.py` the language models, whose parameters are stored in half precision.
"""

import json
from pathlib import Path
from typing import Literal, get_args, overload

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from seqjax import convert, models, tasks
from seqjax.data import Language
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.types import InputError, Params

ShiftName = Literal["shift_rnn_8_32", "shift_tcn_32_128", "shift_transformer_32_128"]
"""Task, architecture, delay and length."""

LorenzName = Literal["lorenz_rnn_1_10_128", "lorenz_tcn_1_10_128", "lorenz_transformer_1_10_128"]
"""Task, architecture, K, J and length."""

Name = Literal[ShiftName, LorenzName]

TextName = Literal["shakespeare_gru_characters_128", "shakespeare_gru_words_64"]
"""Text, architecture, unit and the tokens of a window."""

FOLDER = Path(__file__).parent

TARGET_SCALE = 0.511
"""Standard deviation of y in Lorenz96, by `Lorenz96.calibrated` on 4,096 rows."""


@overload
def load(name: ShiftName) -> tuple[models.Regressor, Params, tasks.Shift]: ...
@overload
def load(name: LorenzName) -> tuple[models.Regressor, Params, tasks.Lorenz96]: ...
@overload
def load(name: TextName) -> tuple[models.LanguageModel, Params, Language, int]: ...
def load(name: str) -> tuple:
    """A trained model, its parameters and its task; of a language model its language and the tokens of a window.

    Raises:
        InputError: there is no model of this name.
    """
    *_, last = _parts(name, get_args(Name) + get_args(TextName))
    params = read_params(FOLDER / f"{name}.safetensors")
    if name in get_args(Name):
        return build(name), params, task_of(name)
    about = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    language = Language.from_json(json.dumps(about["language"]))
    return build_language_model(name, len(language.vocabulary)), params, language, int(last)


def build(name: str) -> models.Regressor:
    """The model of a `Name` without parameters; its architecture does not depend on the task."""
    match _parts(name, get_args(Name))[1]:
        case "rnn":
            return models.Regressor(models.LSTM(64))
        case "tcn":  # a receptive field of 125 steps
            return models.Regressor(models.TCN(24, kernel_size=3, dilations=(1, 2, 4, 8, 16)))
        case _:
            return models.Regressor(models.Transformer(32, heads=4, layers=2))


def build_language_model(name: str, vocab: int, dropout: float = 0.0) -> models.LanguageModel:
    """The model of a `TextName` without parameters, of which there are less than half a million.

    Args:
        vocab: number of tokens; for words, its embeddings are most of the parameters.
        dropout: fraction of embeddings and features dropped in training.
    """
    if _parts(name, get_args(TextName))[2] == "characters":
        return models.LanguageModel(models.GRU(320), vocab, embedding=64, dropout=dropout)
    return models.LanguageModel(models.GRU(160), vocab, embedding=72, dropout=dropout, tied=True)


def task_of(name: str) -> tasks.Shift | tasks.Lorenz96:
    """The task that a model of a `Name` was trained on."""
    kind, _, *sizes = _parts(name, get_args(Name))
    if kind == "shift":
        delay, length = map(int, sizes)
        return tasks.Shift(delay, length, GaussianProcess())
    K, J, length = map(int, sizes)
    return tasks.Lorenz96(K, J, length, target_scale=TARGET_SCALE)


def _parts(name: str, names: tuple[str, ...]) -> list[str]:
    if name not in names:
        raise InputError(f"name must be one of {', '.join(names)}, got {name!r}")
    return name.split("_")


def write_params(path: Path | str, params: Params, task: str = "") -> None:
    """Write parameters as a safetensors file, each under its path in the tree: params/backbone/layer_0/bias.

    Args:
        task: the name of the task that they were trained on, for `read_task`; none if it is empty.
    """
    convert.save(path, flatten_dict(params, sep="/"), {"task": task} if task else None)


def read_params(path: Path | str) -> Params:
    """The parameters that `write_params` wrote; those in half precision become float32.

    Raises:
        InputError: the file is not a complete safetensors file.
    """
    flat = {name: jnp.asarray(_widened(value)) for name, value in convert.load(path).items()}
    return unflatten_dict(flat, sep="/")


def read_task(path: Path | str) -> str:
    """The task that `write_params` was given; empty if it was given none.

    Raises:
        InputError: as `read_params`.
    """
    return convert.metadata(path).get("task", "")


def _widened(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value
