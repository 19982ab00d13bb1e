"""Trained models as they are handed in: parameters that are the model's, and a model that does what is asked."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from seqjax import convert
from seqjax.types import Params


@partial(jax.jit, static_argnums=0)
def predict(
    model: Any, params: Params, inputs: Float[Array, "batch time inputs"]
) -> Float[Array, "batch time targets"]:
    """What the model says; compiled once for each model and shape."""
    return model.apply(params, inputs)


def save(path: Path | str, params: Params) -> None:
    """Write parameters as a safetensors file, each named by where it stands: params/backbone/layer_0/bias."""
    convert.save(path, flatten_dict(params, sep="/"))


def load(path: Path | str) -> Params:
    """The parameters that `save` was given.

    Raises:
        ValueError: the file is no (whole) safetensors file.
    """
    flat = {name: jnp.asarray(value) for name, value in convert.load(path).items()}
    return unflatten_dict(flat, sep="/")


def opened(params: Params | Path | str) -> Params:
    """The parameters themselves, or those in the file."""
    return load(params) if isinstance(params, Path | str) else params


def count(params: Params) -> int:
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def require_fit(model: Any, params: Params, shape: Sequence[int], dtype: DTypeLike, *, outputs: int) -> None:
    """Hold a model's parameters against its own, and its output against what is asked; nothing is computed.

    Args:
        shape: of the input, [batch, time, …].
        outputs: numbers that it must say at each step.

    Raises:
        ValueError: leaves are missing, unexpected or of another shape or dtype, each of which is named with what was
            expected and what was found; or the output has another width.
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
        raise ValueError("\n  ".join(["params must be those of the model:", *faults]))
    width = jax.eval_shape(model.apply, params, inputs).shape[-1]
    if width != outputs:
        raise ValueError(f"model must say {outputs} numbers at each step, got {width}")


def _kind(leaf: Any) -> str:
    return f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(np.shape(leaf))}"
