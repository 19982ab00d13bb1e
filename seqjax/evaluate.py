"""Predictions over a whole data set, for all runs of a sweep at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree, Shaped

from seqjax import decode
from seqjax._checks import integers
from seqjax.types import Params, Seq2SeqBatch


def in_chunks(function: Callable[[Any], Any], rows: PyTree, *, batch_size: int = 256) -> Any:
    """Apply a function to all rows in chunks of one shape, which bounds the memory needed.

    Args:
        function: of a chunk of the rows to arrays with as many rows; jitted, it is compiled once.
        rows: a pytree of arrays, whose first axis is `rows`.

    Returns:
        What `function` returns, as NumPy arrays.

    Raises:
        InputError: no rows, or batch_size < 1.
    """
    count = len(jax.tree.leaves(rows)[0])
    integers(1, rows=count, batch_size=batch_size)
    batch_size = min(batch_size, count)
    chunks = []
    for start in range(0, count, batch_size):
        # The last chunk overlaps the one before, so that all have one shape.
        first = min(start, count - batch_size)
        chunk = function(jax.tree.map(lambda array: array[first : first + batch_size], rows))  # noqa: B023
        chunks.append(jax.tree.map(lambda array: np.asarray(array)[start - first :], chunk))  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)


def predict(
    apply: Callable[..., Any],
    params: Params,
    inputs: PyTree,
    *,
    batch_size: int = 256,
) -> Shaped[np.ndarray, "runs rows ..."]:
    """The predictions of each run of a sweep for every row.

    Args:
        apply: `(params, inputs) -> predictions` of one run.
        params: of all runs, with the leading axis `runs`.
        inputs: arrays with the leading axis `rows`, read `batch_size` rows at a time.
    """
    every = jax.jit(jax.vmap(apply, in_axes=(0, None), out_axes=1))
    return np.moveaxis(in_chunks(partial(every, params), inputs, batch_size=batch_size), 1, 0)


def greedy(
    model: Any, params: Params, batch: Seq2SeqBatch, *, batch_size: int = 500
) -> Int[np.ndarray, "runs rows target"]:
    """The greedy output of each run of a sweep for every source, with as many tokens as the targets have.

    Args:
        model: an encoder-decoder, with `begin` and `step`.
        params: of all runs, with the leading axis `runs`.
        batch_size: rows at a time.
    """
    length = batch.target.shape[1]

    def decode_chunk(params: Params, chunk: Seq2SeqBatch) -> Array:
        carry = model.apply(params, chunk.source, chunk.source_mask, length, method="begin")
        first = jnp.full(len(chunk.source), model.special.sos, jnp.int32)
        step = partial(model.apply, params, method="step")
        return decode.greedy(step, carry, first, length=length, special=model.special).tokens

    return predict(decode_chunk, params, batch, batch_size=batch_size)
