"""Attention whose logits have a low rank, and the Transformer of one such head that approximation theory studies."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from seqjax.models.attention import Attended, Attention, KeysValues, dot_product, keys_values
from seqjax.models.backbone import Backbone
from seqjax.models.module import Features, Inputs, Module, zero_padding


class LowRankAttention(Attention):
    """One head with queries and keys of width `head_dim`, the rank of its logits, and values of width `features`.

    Attributes:
        head_dim: width of query and keys, m_h.
        features: width of the values and of the output.
    """

    head_dim: int
    features: int

    def setup(self):
        self.query, self.key = (nn.Dense(self.head_dim, use_bias=False) for _ in range(2))
        self.value = nn.Dense(self.features, use_bias=False)

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> KeysValues:
        return keys_values(self.key(source)[:, :, None], self.value(source)[:, :, None], mask)

    def attend(self, source: KeysValues, query: Float[Array, "batch target features"]) -> Attended:
        return dot_product(source, self.query(query))


class Pointwise(Module):
    """A network of `depth` dense layers with gelu between them, applied to each step separately.

    Attributes:
        features: width of the output.
        hidden: width of the layers before.
        depth: layers.
    """

    features: int
    hidden: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, x: Inputs) -> Features:
        for layer in range(self.depth - 1):
            x = nn.gelu(nn.Dense(self.hidden, name=f"layer_{layer}")(x))
        return nn.Dense(self.features, name=f"layer_{self.depth - 1}")(x)


class SingleHeadTransformer(Backbone):
    """y_t = F(sum_s softmax_s(<Q f(x_t), K f(x_s)>) V f(x_s)), with pointwise networks f and F
    (Jiang & Li 2024, arXiv:2305.18475, sec. 3).

    Every step attends to all others. There are no position encodings: where positions matter, they are inputs.

    Attributes:
        features: width of the output.
        head_dim: rank of the logits, m_h.
        width: of f's output and of the values.
        hidden, depth: of both networks.
    """

    causal: ClassVar[bool] = False

    features: int
    head_dim: int
    width: int = 32
    hidden: int = 128
    depth: int = 3

    @nn.compact
    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        x = Pointwise(self.width, self.hidden, self.depth, name="read")(x)
        attention = LowRankAttention(self.head_dim, self.width, name="attention")
        seen = jnp.ones(x.shape[:2], bool) if mask is None else mask
        y, _ = attention.attend(attention.prepare(x, seen), x)
        return zero_padding(Pointwise(self.features, self.hidden, self.depth, name="write")(y), mask)
