"""Checks that given parameters fit a model, and that its output fits a task."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from seqjax import pretrained, runs
from seqjax.types import InputError, Params


@partial(jax.jit, static_argnums=0)
def predict(
    model: Any, params: Params, inputs: Float[Array, "batch time inputs"]
) -> Float[Array, "batch time targets"]:
    """The model's output; compiled once for each model and shape."""
    return model.apply(params, inputs)


def resolve(params: Params | Path | str) -> Params:
    """The parameters themselves, or those of a safetensors file or of the first seed of a finished run."""
    if not isinstance(params, Path | str):
        return params
    return runs.load(params).params() if Path(params).is_dir() else pretrained.read_params(params)


def trained_on(params: Params | Path | str) -> str:
    """The task that a safetensors file or the package names, or the experiment of a finished run; else empty."""
    if not isinstance(params, Path | str):
        name = next((name for name in get_args(pretrained.Name) if _same(params, _shipped(name))), None)
        return type(pretrained.task_of(name)).__name__ if name else ""
    if not Path(params).is_dir():
        return pretrained.read_task(params)
    run = runs.load(params)
    experiment = Path(run.provenance["script"]).stem
    if experiment != "shipped_models":
        return experiment
    return type(pretrained.task_of(run.config["model"])).__name__


@cache
def _shipped(name: pretrained.Name) -> Params:
    return pretrained.read_params(pretrained.FOLDER / f"{name}.safetensors")


def _same(given: Any, shipped: Params) -> bool:
    """Whether these are the same numbers."""
    if jax.tree.structure(given) != jax.tree.structure(shipped):
        return False
    return all(map(np.array_equal, jax.tree.leaves(given), jax.tree.leaves(shipped)))


def require_fit(model: Any, params: Params, shape: Sequence[int], dtype: DTypeLike, *, outputs: int) -> None:
    """Check that parameters fit a model and its output a task, by shapes and dtypes; nothing is computed.

    Args:
        shape: of the input, [batch, time, …].
        outputs: the width of the output.

    Raises:
        InputError: missing, unexpected or different leaves, with all of them, or another width of the output.
    """
    inputs = jax.ShapeDtypeStruct(tuple(shape), dtype)
    expected, found = (
        {jax.tree_util.keystr(path): _kind(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}
        for tree in (jax.eval_shape(model.init, jax.random.key(0), inputs), params)
    )
    faults = [
        f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in sorted(expected | found)
        if expected.get(name) != found.get(name)
    ]
    if faults:
        raise InputError("\n  ".join(["params must be those of the model:", *faults]))
    width = jax.eval_shape(model.apply, params, inputs).shape[-1]
    if width != outputs:
        raise InputError(f"model must return {outputs} values at each step, got {width}")


def _kind(leaf: Any) -> str:
    return f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(np.shape(leaf))}"
