"""The Transformer that approximation theory speaks of: one layer, and one head whose logits have a rank."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from seqjax.models.attention import Attention, Sight
from seqjax.models.layers import zero_padding


class LowRank(Attention):
    """One head that compares `head_dim` numbers, so that its logits have that rank, and averages `features` others.

    Attributes:
        head_dim: width of query and keys, m_h.
        features: width of the values, and of what is returned.
    """

    head_dim: int
    features: int

    def setup(self):
        self.query, self.key = (nn.Dense(self.head_dim, use_bias=False) for _ in range(2))
        self.value = nn.Dense(self.features, use_bias=False)

    def prepare(self, source: Float[Array, "batch source features"], mask: Bool[Array, "batch source"]) -> Sight:
        return Sight(self.key(source)[:, :, None], self.value(source)[:, :, None], mask)

    def look(
        self, sight: Sight, query: Float[Array, "batch target features"]
    ) -> tuple[Float[Array, "batch target values"], Float[Array, "batch heads target source"]]:
        return super().look(sight, self.query(query))


class Pointwise(nn.Module):
    """A network of `depth` dense layers that reads every step alone, with gelu between them.

    Attributes:
        features: width of the output.
        hidden: width of the layers before.
        depth: layers.
    """

    features: int
    hidden: int = 128
    depth: int = 3

    @nn.compact
    def __call__(self, x: Float[Array, "batch time inputs"]) -> Float[Array, "batch time features"]:
        for layer in range(self.depth - 1):
            x = nn.gelu(nn.Dense(self.hidden, name=f"layer_{layer}")(x))
        return nn.Dense(self.features, name=f"layer_{self.depth - 1}")(x)


class OneHead(nn.Module):
    """y_t = F(sum_s softmax_s(<Q f(x_t), K f(x_s)>) V f(x_s)), with networks f and F that read single steps
    (Jiang & Li 2024, arXiv:2305.18475, sec. 3).

    Every step sees all others, and none knows its place: positions, where they matter, are among the inputs.

    Attributes:
        features: width of the output.
        head_dim: rank of the logits, m_h.
        width: of f's output and of the values.
        hidden, depth: of both networks.
    """

    features: int
    head_dim: int
    width: int = 32
    hidden: int = 128
    depth: int = 3

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time features"]:
        x = Pointwise(self.width, self.hidden, self.depth, name="read")(zero_padding(x, mask))
        attention = LowRank(self.head_dim, self.width, name="attention")
        seen = jnp.ones(x.shape[:2], bool) if mask is None else mask
        y, _ = attention.look(attention.prepare(x, seen), x)
        return zero_padding(Pointwise(self.features, self.hidden, self.depth, name="write")(y), mask)
