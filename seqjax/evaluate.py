"""Predictions and errors over a whole data set, for all runs of a sweep at once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from seqjax.types import Params


def predict(
    apply: Callable[..., Any],
    params: Params,
    inputs: Float[Array | np.ndarray, "rows time inputs"],
    *,
    batch_size: int = 256,
) -> Float[np.ndarray, "runs rows time targets"]:
    """What each run of a sweep predicts for every row, in chunks of one compiled shape.

    Args:
        apply: `(params, inputs) -> predictions` of one run.
        params: of all runs, with the leading axis `runs`.
        batch_size: rows at a time; bounds the memory needed.
    """
    rows = len(inputs)
    batch_size = min(batch_size, rows)
    compiled = jax.jit(jax.vmap(apply, in_axes=(0, None)))
    chunks = []
    for start in range(0, rows, batch_size):
        # The last chunk reaches back, so that it has the shape of the others.
        first = min(start, rows - batch_size)
        chunk = np.asarray(compiled(params, inputs[first : first + batch_size]))
        chunks.append(chunk[:, start - first :])
    return np.concatenate(chunks, axis=1)
