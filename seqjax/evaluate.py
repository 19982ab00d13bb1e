"""Predictions over a whole data set, for all runs of a sweep at once, and carries rounded to a number of bits."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from seqjax import decode
from seqjax._checks import integers, known
from seqjax.types import Carry, InputError, Params, Seq2SeqBatch


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


class Bins(NamedTuple):
    """Of each number of a carry: where one bin ends and the next begins, and the value that stands for each bin."""

    edges: Float[Array, "edges numbers"]
    means: Float[Array, "bins numbers"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Quantiser:
    """Rounds each number of a carry to one of 2^q values, so that the carry has q bits a number and no more.

    Fitted to the carries of a calibration batch: the bins of a number are its quantiles there, moved to the nearest
    place between two different values, and each bin is represented by its mean. A complex number counts as two. Numbers
    that are the same in all rows, such as the unused slots of a cache, become that constant, and do not count.
    Integers, such as positions, and scalars are left as they are.

        quantiser = evaluate.Quantiser.fit(calibration, 2)
        carry = quantiser(model.apply(params, start, pairs, method="extend")[0])    # keeps at most quantiser.bits bits
        bounds.require_below(recall.accuracy(quantiser.bits, items, symbols), accuracy, standard_error)

    Attributes:
        bins: of each leaf of the carry; None where it is not rounded.
        per_number: q.
    """

    bins: tuple[Bins | None, ...]
    per_number: int = field(metadata={"static": True})

    @classmethod
    def fit(cls, calibration: Carry, bits: int) -> "Quantiser":
        """Bins of each number, with zero gradient with respect to the calibration batch.

        Args:
            calibration: a carry of any backbone; each array has the leading axis `batch`, or is a scalar.
            bits: q, from 1 to 8.

        Raises:
            InputError: q outside of its range, fewer than 2^q rows, or an integer that differs between rows: it would
                carry bits that are not counted.
        """
        integers(1, bits=bits)
        if bits > 8:
            raise InputError(f"bits must be <= 8, got {bits}")
        leaves = jax.tree.leaves(calibration)
        _check_integers(leaves)
        for leaf in leaves:
            if _rounds(leaf) and len(leaf) < 2**bits:
                raise InputError(f"calibration must have >= 2^bits = {2**bits} rows, got {len(leaf)}")
        found = iter(_fit([leaf for leaf in leaves if _rounds(leaf)], bits))
        return cls(tuple(next(found) if _rounds(leaf) else None for leaf in leaves), bits)

    @property
    def numbers(self) -> int:
        """Numbers that are rounded to more than one value.

        Raises:
            InputError: a quantiser of several runs (take those of one, `jax.tree.map(lambda leaf: leaf[run], …)`).
        """
        if shapes := [part.means.shape for part in self.bins if part is not None and part.means.ndim != 2]:
            raise InputError(f"bins must be those of one run, (bins, numbers), got {shapes[0]}")
        return sum(int((np.ptp(np.asarray(part.means), axis=0) > 0).sum()) for part in self.bins if part is not None)

    @property
    def bits(self) -> int:
        """Bits of a rounded carry: q for each of its `numbers`."""
        return self.per_number * self.numbers

    def __call__(self, carry: Carry, *, straight_through: bool = False) -> Carry:
        """The carry with its numbers rounded.

        Args:
            straight_through: whether the gradient is that of the identity (Bengio et al. 2013, arXiv:1308.3432), for
                training with a rounded carry; otherwise it is zero.

        Raises:
            InputError: a carry of other arrays than the calibration batch had, but for its rows, or with an integer
                that differs between rows.
        """
        leaves, tree = jax.tree.flatten(carry)
        _check_integers(leaves)
        sizes = [None if part is None else part.means.shape[1] for part in self.bins]
        found = [_numbers(leaf).shape[1] if _rounds(leaf) else None for leaf in leaves]
        if sizes != found:
            raise InputError(f"a carry must have the numbers of the calibration batch, {sizes}, got {found}")
        rounded = iter(_round([leaf for leaf in leaves if _rounds(leaf)], list(self.bins), straight_through))
        return tree.unflatten([next(rounded) if _rounds(leaf) else leaf for leaf in leaves])


def rounded(carry: Carry, bits: int, calibration: Carry, *, straight_through: bool = False) -> Carry:
    """A carry whose numbers are rounded to `bits` bits each, with the bins of a calibration batch (`Quantiser`)."""
    return Quantiser.fit(calibration, bits)(carry, straight_through=straight_through)


def _rounds(leaf: Array) -> bool:
    return leaf.ndim > 0 and jnp.issubdtype(leaf.dtype, jnp.inexact)


def _check_integers(leaves: list[Array]) -> None:
    for leaf in leaves:
        if leaf.ndim and not _rounds(leaf) and known(leaf) and (np.asarray(leaf) != np.asarray(leaf[:1])).any():
            raise InputError(f"integers of a carry must be the same in all rows, got {leaf.dtype}{leaf.shape}")


def _numbers(leaf: Array) -> Float[Array, "batch numbers"]:
    """Real numbers in single precision or more."""
    flat = leaf.reshape(len(leaf), -1)
    if jnp.iscomplexobj(leaf):
        flat = jnp.concatenate([flat.real, flat.imag], axis=1)
    return flat.astype(jnp.promote_types(flat.dtype, jnp.float32))


@partial(jax.jit, static_argnums=1)
def _fit(leaves: list[Array], bits: int) -> list[Bins]:
    return [_bins(jax.lax.stop_gradient(_numbers(leaf)), bits) for leaf in leaves]


def _bins(x: Float[Array, "batch numbers"], bits: int) -> Bins:
    rows, bins = len(x), 2**bits
    ordered, place = jnp.sort(x, axis=0), jnp.arange(1, rows)[:, None]
    # Equal values are not parted: of the places between two different ones, the nearest to each quantile.
    parts = ordered[1:] > ordered[:-1]
    before = jax.lax.cummax(jnp.where(parts, place, -rows), axis=0)
    after = jax.lax.cummin(jnp.where(parts, place, 2 * rows), axis=0, reverse=True)
    wanted = jnp.arange(1, bins) * rows // bins
    low, high = before[wanted - 1], after[wanted - 1]
    nearest = jnp.clip(jnp.where(wanted[:, None] - low <= high - wanted[:, None], low, high), 1, rows - 1)
    below, above = (jnp.take_along_axis(ordered, nearest - side, axis=0) for side in (1, 0))
    middle = below + (above - below) / 2
    edges = jnp.where(middle > below, middle, above)
    bin_of, column = _bin_of(x, edges), jnp.arange(x.shape[1])[None, :]
    count = jnp.zeros((bins, x.shape[1]), x.dtype).at[bin_of, column].add(1)
    # Around the smallest value, so that numbers that are all equal have exactly that mean.
    total = jnp.zeros((bins, x.shape[1]), x.dtype).at[bin_of, column].add(x - ordered[:1])
    return Bins(edges, ordered[:1] + total / jnp.maximum(count, 1))


def _bin_of(x: Float[Array, "batch numbers"], edges: Float[Array, "edges numbers"]) -> Int[Array, "batch numbers"]:
    # By bisection: comparing all numbers with all edges takes 2^q times the memory of a carry.
    return jax.vmap(partial(jnp.searchsorted, side="right"), in_axes=1, out_axes=1)(edges, x)


@partial(jax.jit, static_argnums=2)
def _round(leaves: list[Array], bins: list[Bins | None], straight_through: bool) -> list[Array]:
    return [_to_means(leaf, part, straight_through) for leaf, part in zip(leaves, filter(None, bins), strict=True)]


def _to_means(leaf: Array, bins: Bins, straight_through: bool) -> Array:
    x = _numbers(leaf)
    values = jnp.take_along_axis(bins.means, _bin_of(x, bins.edges), axis=0)
    if straight_through:
        values = values + (x - jax.lax.stop_gradient(x))  # adds exactly 0
    if jnp.iscomplexobj(leaf):
        values = jax.lax.complex(*jnp.split(values, 2, axis=1))
    return values.reshape(leaf.shape).astype(leaf.dtype)
