"""Attention: the scaled dot product over heads, and the scores by which recurrent decoders look at a source."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float


def dot_attention(
    query: Float[Array, "batch target heads head_dim"],
    keys: Float[Array, "batch source heads head_dim"],
    values: Float[Array, "batch source heads values"],
    *,
    mask: Bool[Array, "batch target source"],
) -> tuple[Float[Array, "batch target heads values"], Float[Array, "batch heads target source"]]:
    """Weighted average of `values` by similarity of `query` to `keys`, each head for itself.

    Scaled dot product, softmax(q k' / sqrt(head_dim)) v (Vaswani et al. 2017, arXiv:1706.03762, eq. 1). A target that
    may see no source at all gets zeros, with gradients that are zero.

    Returns:
        The averages, and the weights, which sum to 1 over source.
    """
    scaled = query * query.shape[-1] ** -0.5
    wide = jnp.promote_types(scaled.dtype, jnp.float32)
    scores = jnp.einsum("bthd,bshd->bhts", scaled, keys, preferred_element_type=wide)
    return weighted_average(scores, values, mask)


def self_attention(
    query: Float[Array, "batch time heads head_dim"],
    keys: Float[Array, "batch time heads head_dim"],
    values: Float[Array, "batch time heads head_dim"],
    *,
    mask: Bool[Array, "batch time"],
    causal: bool,
) -> Float[Array, "batch time heads head_dim"]:
    """The averages of `dot_attention` for whole sequences that look at themselves; padding gets zeros.

    How is chosen when a program is lowered, for the platform that will run it. A CPU makes a causal attention in two to
    four blocks of targets: up to 3/8 of the scores are never made, and at 128 steps it takes two thirds of the time. An
    NVIDIA GPU has cuDNN's kernel for it, if the numbers are half as wide. All else is done at once.

    Args:
        mask: which steps are real: the first ones of each row.
        causal: whether a step sees only itself and those before it.
    """
    time = query.shape[1]
    whole = partial(_by_blocks, causal=causal, size=time)
    if not causal:
        return whole(query, keys, values, mask)
    blocks = partial(_by_blocks, causal=True, size=max(64, -(-time // 4)))
    cuda = _fused if _cudnn_takes(query) else whole
    return jax.lax.platform_dependent(query, keys, values, mask, cpu=blocks, cuda=cuda, default=whole)


def _by_blocks(query: Array, keys: Array, values: Array, mask: Array, *, causal: bool, size: int) -> Array:
    """Blocks of `size` targets, those of a causal attention with the sources up to their end only."""
    time = query.shape[1]
    averages = []
    for start in range(0, time, size):
        target = slice(start, min(start + size, time))
        source = slice(target.stop if causal else time)
        seen = mask[:, target, None] & mask[:, None, source]
        if causal:
            seen = seen & jnp.tri(target.stop - start, target.stop, start, dtype=bool)[None]
        averages.append(dot_attention(query[:, target], keys[:, source], values[:, source], mask=seen)[0])
    return jnp.concatenate(averages, axis=1)


def _fused(
    query: Array, keys: Array, values: Array, mask: Array, *, implementation: Literal["cudnn", "xla"] = "cudnn"
) -> Array:
    """One kernel, which need not know the padding: it comes last, where no real step sees it."""
    averages = jax.nn.dot_product_attention(query, keys, values, is_causal=True, implementation=implementation)
    return jnp.where(mask[:, :, None, None], averages, 0)


def _cudnn_takes(query: Array) -> bool:
    """Whether cuDNN is here (a program for it cannot even be traced elsewhere), and has a kernel for such numbers."""
    half, width = query.dtype in (jnp.bfloat16, jnp.float16), query.shape[-1]
    return half and width % 8 == 0 and width <= 128 and jax.devices()[0].device_kind.startswith("NVIDIA")


def weighted_average(
    scores: Float[Array, "batch heads target source"],
    values: Float[Array, "batch source heads values"],
    mask: Bool[Array, "batch target source"],
) -> tuple[Float[Array, "batch target heads values"], Float[Array, "batch heads target source"]]:
    """softmax(scores) v over the source steps that the mask lets a target see; the weights too."""
    scores = jnp.where(mask[:, None], scores, -jnp.inf)
    peak = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    mass = jnp.exp(scores - jnp.where(jnp.isfinite(peak), peak, 0.0))
    total = jnp.sum(mass, axis=-1, keepdims=True)
    # Not a tiny number: one over it, times a gradient above 4, is infinite, and infinity times no mass is NaN.
    total = jnp.where(total > 0, total, 1.0)
    # Divided after the product: head_dim numbers a row instead of `source`, a quarter of the time on CPU.
    averages = jnp.einsum("bhts,bshv->bhtv", mass.astype(values.dtype), values, preferred_element_type=mass.dtype)
    return jnp.swapaxes((averages / total).astype(values.dtype), 1, 2), mass / total


class Sight(NamedTuple):
    """What an attention may look at, made ready once for all steps of the target.

    Attributes:
        keys: compared with the query; their width is the attention's own.
        values: averaged.
        mask: which source steps are real.
    """

    keys: Float[Array, "batch source heads head_dim"]
    values: Float[Array, "batch source heads values"]
    mask: Bool[Array, "batch source"]


class Attention(nn.Module):
    """What all attentions share: they `prepare` the source once and `look` at it from every step of the target.

    This one compares by the plain dot product q' k, where query and source have the same width ("dot" of Luong et al.
    2015, arXiv:1508.04025, sec. 3.1).
    """

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> Sight:
        """The source as keys and values."""
        return Sight(source[:, :, None], source[:, :, None], mask)

    def look(
        self, sight: Sight, query: Float[Array, "batch target features"]
    ) -> tuple[Float[Array, "batch target values"], Float[Array, "batch heads target source"]]:
        """The average of the source's values by similarity to the query, and the weights (1 over source)."""
        if query.shape[-1] != sight.keys.shape[-1]:
            raise ValueError(f"dot attention needs one width, got {query.shape[-1]} and {sight.keys.shape[-1]}")
        return self._average(jnp.einsum("btd,bshd->bhts", query, sight.keys), sight)

    def _average(self, scores: Array, sight: Sight) -> tuple[Array, Array]:
        batch, _, target, source = scores.shape
        seen = jnp.broadcast_to(sight.mask[:, None, :], (batch, target, source))
        averages, weights = weighted_average(scores, sight.values, seen)
        return averages.reshape(batch, target, -1), weights


class General(Attention):
    """q' W k: the source is first projected to the query's width ("general" of Luong et al. 2015).

    Attributes:
        features: width of the query.
    """

    features: int

    def setup(self):
        self.key = nn.Dense(self.features, use_bias=False)

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> Sight:
        return Sight(self.key(source)[:, :, None], source[:, :, None], mask)


class Additive(Attention):
    """v' tanh(W q + U k + b) (Bahdanau, Cho & Bengio 2015, arXiv:1409.0473, sec. 3.1, and seed S3).

    Attributes:
        features: width of the hidden layer.
    """

    features: int

    def setup(self):
        self.key = nn.Dense(self.features)
        self.query = nn.Dense(self.features, use_bias=False)
        self.energy = self.param("energy", nn.initializers.lecun_normal(), (self.features, 1))

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> Sight:
        return Sight(self.key(source)[:, :, None], source[:, :, None], mask)

    def look(
        self, sight: Sight, query: Float[Array, "batch target features"]
    ) -> tuple[Float[Array, "batch target values"], Float[Array, "batch heads target source"]]:
        hidden = jnp.tanh(self.query(query)[:, :, None] + sight.keys[:, None, :, 0])
        return self._average((hidden @ self.energy)[:, None, :, :, 0], sight)


class MultiHead(Attention):
    """Scaled dot products of several projections side by side, projected back (arXiv:1706.03762, sec. 3.2.2).

    Attributes:
        features: width of query, keys and values of all heads together, and of what is returned.
        heads: they divide `features`.
    """

    features: int
    heads: int = 4

    def __post_init__(self):
        if self.heads < 1 or self.features % self.heads:
            raise ValueError(f"heads must divide features, got {self.heads} heads and {self.features} features")
        super().__post_init__()

    def setup(self):
        self.key_value = nn.DenseGeneral((2, self.heads, self.features // self.heads))
        self.query = nn.DenseGeneral((self.heads, self.features // self.heads))
        self.out = nn.DenseGeneral(self.features, axis=(-2, -1))

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> Sight:
        projected = self.key_value(source)
        return Sight(projected[:, :, 0], projected[:, :, 1], mask)

    def look(
        self, sight: Sight, query: Float[Array, "batch target features"]
    ) -> tuple[Float[Array, "batch target values"], Float[Array, "batch heads target source"]]:
        seen = jnp.broadcast_to(sight.mask[:, None, :], (*query.shape[:2], sight.mask.shape[1]))
        averages, weights = dot_attention(self.query(query), sight.keys, sight.values, mask=seen)
        return self.out(averages), weights
