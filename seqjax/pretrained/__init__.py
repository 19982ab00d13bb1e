"""Six small trained models with their tasks: an LSTM, a TCN and a Transformer on each of Shift and Lorenz96.

    model, params, task = pretrained.load("shift_tcn_32_128")
    explore.ShiftEvaluation(model, params, task).plot()

Beside the parameters of each model (safetensors) lies a JSON file with the configuration that it was trained with, its
error on test data, the seed of that data, and errors of baselines. `experiments/tutorials/shipped_models.py` trains
them.
"""

from pathlib import Path
from typing import Literal, get_args, overload

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from seqjax import convert, models, tasks
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.types import InputError, Params

ShiftName = Literal["shift_rnn_8_32", "shift_tcn_32_128", "shift_transformer_32_128"]
"""Task, architecture, delay and length."""

LorenzName = Literal["lorenz_rnn_1_10_128", "lorenz_tcn_1_10_128", "lorenz_transformer_1_10_128"]
"""Task, architecture, K, J and length."""

Name = Literal[ShiftName, LorenzName]

FOLDER = Path(__file__).parent

TARGET_SCALE = 0.511
"""Standard deviation of y in Lorenz96, by `Lorenz96.calibrated` on 4,096 rows."""


@overload
def load(name: ShiftName) -> tuple[models.Regressor, Params, tasks.Shift]: ...
@overload
def load(name: LorenzName) -> tuple[models.Regressor, Params, tasks.Lorenz96]: ...
def load(name: str) -> tuple[models.Regressor, Params, tasks.Shift | tasks.Lorenz96]:
    """A trained model, its parameters and its task.

    Raises:
        InputError: there is no model of this name.
    """
    return build(name), read_params(FOLDER / f"{name}.safetensors"), task_of(name)


def build(name: str) -> models.Regressor:
    """The model without parameters; its architecture does not depend on the task."""
    match _parts(name)[1]:
        case "rnn":
            return models.Regressor(models.LSTM(64))
        case "tcn":  # a receptive field of 125 steps
            return models.Regressor(models.TCN(24, kernel_size=3, dilations=(1, 2, 4, 8, 16)))
        case _:
            return models.Regressor(models.Transformer(32, heads=4, layers=2))


def task_of(name: str) -> tasks.Shift | tasks.Lorenz96:
    """The task that a model was trained on."""
    kind, _, *sizes = _parts(name)
    if kind == "shift":
        delay, length = map(int, sizes)
        return tasks.Shift(delay, length, GaussianProcess())
    K, J, length = map(int, sizes)
    return tasks.Lorenz96(K, J, length, target_scale=TARGET_SCALE)


def _parts(name: str) -> list[str]:
    names = get_args(Name)
    if name not in names:
        raise InputError(f"name must be one of {', '.join(names)}, got {name!r}")
    return name.split("_")


def write_params(path: Path | str, params: Params) -> None:
    """Write parameters as a safetensors file, each under its path in the tree: params/backbone/layer_0/bias."""
    convert.save(path, flatten_dict(params, sep="/"))


def read_params(path: Path | str) -> Params:
    """The parameters that `write_params` wrote.

    Raises:
        InputError: the file is not a complete safetensors file.
    """
    flat = {name: jnp.asarray(value) for name, value in convert.load(path).items()}
    return unflatten_dict(flat, sep="/")
