"""Batches of a data set held in memory: which rows make a batch is a pure function of key and step."""

import jax
from jaxtyping import Array, Int, Key


def epoch_rows(key: Key[Array, ""], step: Int[Array, ""] | int, rows: int, batch_size: int) -> Int[Array, " batch"]:
    """The rows of batch `step`: every epoch is a fresh permutation of all rows; what does not fill a batch is left out.

    Raises:
        ValueError: batch_size does not lie in [1, rows].
    """
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must lie in [1, {rows}], got {batch_size}")
    batches = rows // batch_size
    epoch, place = step // batches, step % batches
    order = jax.random.permutation(jax.random.fold_in(key, epoch), rows)
    return jax.lax.dynamic_slice_in_dim(order, place * batch_size, batch_size)
