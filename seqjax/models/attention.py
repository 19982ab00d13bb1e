"""Attention: scaled dot products over heads, and the scores with which recurrent decoders attend to a source."""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from seqjax._checks import check_mask
from seqjax.models.module import Module
from seqjax.types import InputError


def dot_attention(
    query: Float[Array, "batch target heads head_dim"],
    keys: Float[Array, "batch source heads head_dim"],
    values: Float[Array, "batch source heads values"],
    *,
    mask: Bool[Array, "batch target source"],
    bias: Float[Array, "#batch heads target source"] | None = None,
) -> tuple[Float[Array, "batch target heads values"], Float[Array, "batch heads target source"]]:
    """Scaled dot-product attention of each head, softmax(q k' / sqrt(head_dim) + bias) v.

    Vaswani et al. 2017, arXiv:1706.03762, eq. 1. A target whose mask has no source gets zeros, and zero gradients.

    Returns:
        The averages, and the weights, which sum to 1 over source.
    """
    scaled = query * query.shape[-1] ** -0.5
    wide = jnp.promote_types(scaled.dtype, jnp.float32)
    scores = jnp.einsum("bthd,bshd->bhts", scaled, keys, preferred_element_type=wide)
    return weighted_average(scores if bias is None else scores + bias, values, mask)


SCORES_BYTES = 2**28
"""From this size of all scores on, `self_attention` computes a part of them at a time, and again for the gradient."""

PART_BYTES = 2**23
"""Size of the scores of such a part, which has 64 targets at least."""


def self_attention(
    query: Float[Array, "batch time heads head_dim"],
    keys: Float[Array, "batch time heads head_dim"],
    values: Float[Array, "batch time heads head_dim"],
    *,
    mask: Bool[Array, "batch time"],
    causal: bool,
    bias: Float[Array, "#batch heads rows columns"] | None = None,
) -> Float[Array, "batch time heads head_dim"]:
    """`dot_attention` of whole sequences to themselves, without the weights; padding gets zeros.

    The implementation is chosen when a program is lowered, for the platform that will run it. On CPU, causal attention
    is computed in two to four blocks of targets, so that up to 3/8 of the scores are never computed. On NVIDIA GPUs,
    cuDNN's kernel computes it in half precision, without a bias. Everything else is one product, unless the sequences
    are long (`is_long`): then memory is proportional to time, as scores are computed for some targets at a time, and
    again for the gradient (Rabe & Staats 2021, arXiv:2112.05682).

    Args:
        mask: which steps are real: the first ones of each row.
        causal: whether a step attends only to itself and the steps before it.
        bias: for each pair of steps, (time, time), or by distance, (1, 2 time - 1): that of target t and source s is
            in column time - 1 - t + s. In the first form it takes the memory of the scores, and all are computed.
    """
    batch, time, heads, _ = query.shape
    check_mask(mask, (batch, time))
    by_distance = bias is None or bias.shape[2:] == (1, 2 * time - 1)
    if is_long(batch, heads, time) and by_distance:
        part = min(time, max(64, PART_BYTES // (4 * _rows(batch) * heads * time)))
        whole = partial(_in_parts, causal=causal, size=time, part=part, bias=bias)
        blocks = partial(_in_parts, causal=causal, size=-(-time // 4), part=part, bias=bias)
    else:
        bias = _pairs(bias, 0, time, time) if bias is not None and by_distance else bias
        whole = partial(_by_blocks, causal=causal, size=time, bias=bias)
        blocks = partial(_by_blocks, causal=True, size=max(64, -(-time // 4)), bias=bias)
    if not causal:
        return whole(query, keys, values, mask)
    cuda = _fused if bias is None and _cudnn_takes(query) else whole
    return jax.lax.platform_dependent(query, keys, values, mask, cpu=blocks, cuda=cuda, default=whole)


def is_long(batch: int, heads: int, time: int) -> bool:
    """Whether `self_attention` computes a part of the scores at a time."""
    return 4 * _rows(batch) * heads * time**2 >= SCORES_BYTES


def _rows(batch: Any) -> int:
    """The size of a batch; 1 in a program that is exported for batches of any size, which only one row bounds."""
    return batch if isinstance(batch, int) else 1


def _in_parts(
    query: Array,
    keys: Array,
    values: Array,
    mask: Array,
    *,
    causal: bool,
    size: int,
    part: int,
    bias: Float[Array, "#batch heads 1 distances"] | None,
) -> Array:
    """As `_by_blocks`, but the scores of a block are there for `part` targets at a time, and not kept for the gradient.

    The batch stays whole, as it may be split among devices.
    """
    time, size = query.shape[1], -(-size // part) * part
    beyond = -time % part
    query = jnp.pad(query, ((0, 0), (0, beyond), (0, 0), (0, 0)))
    real = jnp.pad(mask, ((0, 0), (0, beyond)))
    averages = []
    for start in range(0, time, size):
        targets = slice(start, start + size)
        sources = slice(min(start + size, time) if causal else time)

        def some(of_part: tuple[Array, Array, Array], sources: slice = sources) -> Array:
            first, query, real = of_part
            seen = real[:, :, None] & mask[:, None, sources]
            if causal:
                seen = seen & (jnp.arange(seen.shape[-1])[None] <= first + jnp.arange(part)[:, None])[None]
            added = None if bias is None else _pairs(bias, first, part, seen.shape[-1])
            return dot_attention(query, keys[:, sources], values[:, sources], mask=seen, bias=added)[0]

        parts = [jnp.stack(jnp.split(x[:, targets], x[:, targets].shape[1] // part, axis=1)) for x in (query, real)]
        firsts = start + part * jnp.arange(len(parts[0]))
        found = jax.lax.map(jax.checkpoint(some, prevent_cse=False), (firsts, *parts))
        averages.append(jnp.moveaxis(found, 0, 1).reshape(query.shape[0], -1, *found.shape[3:]))
    return jnp.concatenate(averages, axis=1)[:, :time]


def _pairs(
    by_distance: Float[Array, "#batch heads 1 distances"], first: Int[Array, ""] | int, targets: int, sources: int
) -> Float[Array, "#batch heads targets sources"]:
    """The biases of some targets and the first sources: each row is that before it, moved by one.

    By copies alone, as the gradient of an index would add up numbers one at a time.
    """
    batch, heads, _, distances = by_distance.shape
    padded = jnp.pad(by_distance[:, :, 0], ((0, 0), (0, 0), (targets, 0)))
    width = targets + sources - 1
    row = jax.lax.dynamic_slice_in_dim(padded, (distances + 1) // 2 - first, width, axis=2)
    rows = jnp.broadcast_to(jnp.pad(row, ((0, 0), (0, 0), (0, 1)))[:, :, None], (batch, heads, targets, width + 1))
    moved = rows.reshape(batch, heads, -1)[:, :, : targets * width].reshape(batch, heads, targets, width)
    return moved[..., targets - 1 :]


def _by_blocks(
    query: Array, keys: Array, values: Array, mask: Array, *, causal: bool, size: int, bias: Array | None
) -> Array:
    """Blocks of `size` targets; in causal attention, each with the sources up to its end only."""
    time = query.shape[1]
    averages = []
    for start in range(0, time, size):
        target = slice(start, min(start + size, time))
        source = slice(target.stop if causal else time)
        seen = mask[:, target, None] & mask[:, None, source]
        if causal:
            seen = seen & jnp.tri(target.stop - start, target.stop, start, dtype=bool)[None]
        added = None if bias is None else bias[:, :, target, source]
        averages.append(dot_attention(query[:, target], keys[:, source], values[:, source], mask=seen, bias=added)[0])
    return jnp.concatenate(averages, axis=1)


def _fused(
    query: Array, keys: Array, values: Array, mask: Array, *, implementation: Literal["cudnn", "xla"] = "cudnn"
) -> Array:
    """One kernel, without the mask: padding comes last, where no real step attends to it."""
    averages = jax.nn.dot_product_attention(query, keys, values, is_causal=True, implementation=implementation)
    return jnp.where(mask[:, :, None, None], averages, 0)


def _cudnn_takes(query: Array) -> bool:
    """Whether cuDNN is available (its kernels cannot even be traced elsewhere), and has a kernel for the query."""
    half, width = query.dtype in (jnp.bfloat16, jnp.float16), query.shape[-1]
    return half and width % 8 == 0 and width <= 128 and jax.devices()[0].device_kind.startswith("NVIDIA")


def weighted_average(
    scores: Float[Array, "batch heads target source"],
    values: Float[Array, "batch source heads values"],
    mask: Bool[Array, "batch target source"],
) -> tuple[Float[Array, "batch target heads values"], Float[Array, "batch heads target source"]]:
    """softmax(scores) v over the source steps in each target's mask, and the weights."""
    batch, _, target, source = scores.shape
    check_mask(mask, (batch, target, source), prefix=False, axes="(batch, target, source)")
    scores = jnp.where(mask[:, None], scores, -jnp.inf)
    peak = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    mass = jnp.exp(scores - jnp.where(jnp.isfinite(peak), peak, 0.0))
    total = jnp.sum(mass, axis=-1, keepdims=True)
    # Not a tiny number: its inverse times a gradient above 4 is infinite, and infinity times zero mass is NaN.
    total = jnp.where(total > 0, total, 1.0)
    # Divided after the product: head_dim numbers a row instead of `source`, a quarter of the time on CPU.
    averages = jnp.einsum("bhts,bshv->bhtv", mass.astype(values.dtype), values, preferred_element_type=mass.dtype)
    return jnp.swapaxes((averages / total).astype(values.dtype), 1, 2), mass / total


class KeysValues(NamedTuple):
    """A source prepared for attention, once for all steps of the target.

    Attributes:
        keys: compared with the query; their width depends on the attention.
        values: averaged.
        mask: which source steps are real.
    """

    keys: Float[Array, "batch source heads head_dim"]
    values: Float[Array, "batch source heads values"]
    mask: Bool[Array, "batch source"]


def keys_values(keys: Array, values: Array, mask: Array) -> KeysValues:
    """`KeysValues` whose mask is one of the source (`check_mask`)."""
    check_mask(mask, keys.shape[:2], axes="(batch, source)")
    return KeysValues(keys, values, mask)


Attended = tuple[Float[Array, "batch target values"], Float[Array, "batch heads target source"]]
"""The average of the source's values for each query, and the weights, which sum to 1 over source."""


class Attention(Module):
    """Base of attentions: they `prepare` a source once, and `attend` to it from every step of the target."""

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        """Keys and values of the source."""
        raise NotImplementedError

    def attend(self, source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
        """The average of the source's values for each query, and the weights."""
        raise NotImplementedError


class DotAttention(Attention):
    """q' k, where query and source have one width ("dot" of Luong et al. 2015, arXiv:1508.04025, sec. 3.1)."""

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        return keys_values(source[:, :, None], source[:, :, None], mask)

    def attend(self, source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
        return dot_product(source, query)


class GeneralAttention(DotAttention):
    """q' W k: the source is first projected to the query's width ("general" of Luong et al. 2015).

    Attributes:
        features: width of the query.
    """

    features: int

    def setup(self):
        self.key = nn.Dense(self.features, use_bias=False)

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        return keys_values(self.key(source)[:, :, None], source[:, :, None], mask)


class AdditiveAttention(Attention):
    """v' tanh(W q + U k + b) (Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, sec. 3.1).

    Attributes:
        features: width of the hidden layer.
    """

    features: int

    def setup(self):
        self.key = nn.Dense(self.features)
        self.query = nn.Dense(self.features, use_bias=False)
        self.energy = self.param("energy", nn.initializers.lecun_normal(), (self.features, 1))

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        return keys_values(self.key(source)[:, :, None], source[:, :, None], mask)

    def attend(self, source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
        hidden = jnp.tanh(self.query(query)[:, :, None] + source.keys[:, None, :, 0])
        return _average((hidden @ self.energy)[:, None, :, :, 0], source)


class LocationAttention(Attention):
    """softmax(W q): each place has a weight vector of its own, whatever stands there (Luong et al. 2015, eq. 8).

    Attributes:
        length: number of places; a longer source is an error.
    """

    length: int

    def setup(self):
        self.place = nn.Dense(self.length, use_bias=False)

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        if source.shape[1] > self.length:
            raise InputError(f"location attention has {self.length} places, got a source of {source.shape[1]} steps")
        return keys_values(source[:, :, None, :0], source[:, :, None], mask)

    def attend(self, source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
        return _average(self.place(query)[:, None, :, : source.mask.shape[1]], source)


class MultiHeadAttention(Attention):
    """Scaled dot products of several projections in parallel, projected back (arXiv:1706.03762, sec. 3.2.2).

    Attributes:
        features: width of query, keys and values of all heads together, and of the output.
        heads: they divide `features`.
    """

    features: int
    heads: int = 4

    def __post_init__(self):
        if self.heads < 1 or self.features % self.heads:
            raise InputError(f"heads must divide features, got {self.heads} heads and {self.features} features")
        super().__post_init__()

    def setup(self):
        self.key_value = nn.DenseGeneral((2, self.heads, self.features // self.heads))
        self.query = nn.DenseGeneral((self.heads, self.features // self.heads))
        self.out = nn.DenseGeneral(self.features, axis=(-2, -1))

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        projected = self.key_value(source)
        return keys_values(projected[:, :, 0], projected[:, :, 1], mask)

    def attend(self, source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
        seen = jnp.broadcast_to(source.mask[:, None, :], (*query.shape[:2], source.mask.shape[1]))
        averages, weights = dot_attention(self.query(query), source.keys, source.values, mask=seen)
        return self.out(averages), weights


def dot_product(source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
    """Attention with the scores q' k, not scaled.

    Raises:
        InputError: queries and keys differ in width.
    """
    if query.shape[-1] != source.keys.shape[-1]:
        raise InputError(f"dot attention needs one width, got {query.shape[-1]} and {source.keys.shape[-1]}")
    return _average(jnp.einsum("btd,bshd->bhts", query, source.keys), source)


def _average(scores: Array, source: KeysValues) -> tuple[Array, Array]:
    batch, _, target, length = scores.shape
    seen = jnp.broadcast_to(source.mask[:, None, :], (batch, target, length))
    averages, weights = weighted_average(scores, source.values, seen)
    return averages.reshape(batch, target, -1), weights
