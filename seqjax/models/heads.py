"""What stands on top of a backbone, and what stands below it where it reads tokens."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Num

from seqjax.models.attention import weighted_average
from seqjax.models.layers import zero_padding
from seqjax.types import Carry

Pooling = Callable[[Array, Array | None], Array]
"""`(y, mask) -> (batch, features)`: all real steps of a row as one vector; zeros where a row has none."""


def last(
    y: Float[Array, "batch time features"], mask: Bool[Array, "batch time"] | None
) -> Float[Array, "batch features"]:
    """The last real step: for what reads forward, all that it remembers."""
    if mask is None:
        return y[:, -1]
    place = jnp.maximum(mask.sum(axis=1) - 1, 0)
    return jnp.take_along_axis(zero_padding(y, mask), place[:, None, None], axis=1)[:, 0]


def ends(
    y: Float[Array, "batch time features"], mask: Bool[Array, "batch time"] | None
) -> Float[Array, "batch both_features"]:
    """The last real step beside the first: where two directions have read the whole row, twice as wide."""
    return jnp.concatenate([last(y, mask), zero_padding(y, mask)[:, 0]], axis=-1)


def mean(
    y: Float[Array, "batch time features"], mask: Bool[Array, "batch time"] | None
) -> Float[Array, "batch features"]:
    """The average over the real steps."""
    if mask is None:
        return y.mean(axis=1)
    return zero_padding(y, mask).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)[:, None]


def maximum(
    y: Float[Array, "batch time features"], mask: Bool[Array, "batch time"] | None
) -> Float[Array, "batch features"]:
    """Each feature's largest value over the real steps."""
    if mask is None:
        return y.max(axis=1)
    largest = jnp.where(mask[..., None], y, -jnp.inf).max(axis=1)
    return jnp.where(mask.any(axis=1)[:, None], largest, 0.0)


class AttentionPooling(nn.Module):
    """The real steps averaged by softmax(v' tanh(W y + b)) (Yang et al. 2016, N16-1174, eqs. 5 to 7).

    Attributes:
        features: width of the hidden layer that scores a step.
    """

    features: int = 32

    @nn.compact
    def __call__(
        self, y: Float[Array, "batch time features"], mask: Bool[Array, "batch time"] | None
    ) -> Float[Array, "batch features"]:
        y = zero_padding(y, mask)
        seen = jnp.ones(y.shape[:2], bool) if mask is None else mask
        score = nn.Dense(1, use_bias=False, name="score")(jnp.tanh(nn.Dense(self.features, name="hidden")(y)))
        averages, _ = weighted_average(score[:, None, None, :, 0], y[:, :, None], seen[:, None])
        return averages[:, 0, 0]


class Embedded(nn.Module):
    """A backbone that reads tokens: an embedding below it, and dropout between the two.

    The embedding of what stands in the padding, PAD or anything, reaches nothing and has no gradient.

    Attributes:
        backbone: any sequence architecture, or a function that is called like one.
        vocab: ids lie below it.
        embedding: width of the embeddings.
        dropout: share of embedded numbers dropped in training.
    """

    backbone: Callable[..., Array]
    vocab: int
    embedding: int
    dropout: float = 0.0

    def setup(self):
        self.table = nn.Embed(self.vocab, self.embedding)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time features"]:
        x = self.drop(self.table(tokens), deterministic=not train)
        return self.backbone(zero_padding(x, mask), mask=mask, train=train)


class Classifier(nn.Module):
    """One class for a whole row: its steps pooled into one vector, and a linear readout of that.

        Classifier(Embedded(Recurrent(64), vocab=1000, embedding=32), classes=2)

    Attributes:
        backbone: any sequence architecture.
        classes: how many there are.
        pooling: `last`, `ends`, `mean`, `maximum`, or a module such as `AttentionPooling()`.
        dropout: share of the pooled vector dropped in training.
    """

    backbone: nn.Module
    classes: int
    pooling: Pooling = last
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Num[Array, "batch time *inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch classes"]:
        pooled = self.pooling(self.backbone(x, mask=mask, train=train), mask)
        return nn.Dense(self.classes, name="readout")(nn.Dropout(self.dropout)(pooled, deterministic=not train))


class Regressor(nn.Module):
    """A linear readout at each step: real-valued targets, one set a step.

    Attributes:
        backbone: any sequence architecture; a causal one makes the regressor stream too.
        targets: width of what is predicted.
    """

    backbone: nn.Module
    targets: int = 1

    def setup(self):
        self.readout = nn.Dense(self.targets)

    def start(self, batch: int, inputs: int, length: int) -> Carry:
        """The backbone's empty memory."""
        return self.backbone.start(batch, inputs, length)

    def extend(
        self,
        carry: Carry,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[Carry, Float[Array, "batch time targets"]]:
        """Predict for further steps."""
        carry, y = self.backbone.extend(carry, x, mask=mask, train=train)
        return carry, self.readout(y)

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time targets"]:
        return self.readout(self.backbone(x, mask=mask, train=train))
