"""Pooling: all real steps of a row as one vector."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax._checks import check_mask
from seqjax.models.attention import weighted_average
from seqjax.models.module import Features, Mask, Module, zero_padding

Pooling = Callable[[Array, Array | None], Array]
"""`(y, mask) -> (batch, features)`: a function or a module; zeros for a row without a real step."""


def last(y: Features, mask: Mask) -> Float[Array, "batch features"]:
    """The last real step."""
    if mask is None:
        return y[:, -1]
    y = zero_padding(y, mask)
    place = jnp.maximum(mask.sum(axis=1) - 1, 0)
    return jnp.take_along_axis(y, place[:, None, None], axis=1)[:, 0]


def ends(y: Features, mask: Mask) -> Float[Array, "batch both_features"]:
    """The last real step and the first, concatenated: where both directions of a `Bidirectional` end."""
    return jnp.concatenate([last(y, mask), zero_padding(y, mask)[:, 0]], axis=-1)


def mean(y: Features, mask: Mask) -> Float[Array, "batch features"]:
    """The average over the real steps."""
    if mask is None:
        return y.mean(axis=1)
    return zero_padding(y, mask).sum(axis=1) / jnp.maximum(mask.sum(axis=1), 1)[:, None]


def maximum(y: Features, mask: Mask) -> Float[Array, "batch features"]:
    """Each feature's largest value over the real steps."""
    if mask is None:
        return y.max(axis=1)
    check_mask(mask, y.shape[:2])
    largest = jnp.where(mask[..., None], y, -jnp.inf).max(axis=1)
    return jnp.where(mask.any(axis=1)[:, None], largest, 0.0)


class AttentionPooling(Module):
    """The real steps averaged by softmax(v' tanh(W y + b)) (Yang et al. 2016, N16-1174, eqs. 5 to 7).

    Attributes:
        features: width of the hidden layer that scores a step.
    """

    features: int = 32

    @nn.compact
    def __call__(self, y: Features, mask: Mask) -> Float[Array, "batch features"]:
        y = zero_padding(y, mask)
        seen = jnp.ones(y.shape[:2], bool) if mask is None else mask
        score = nn.Dense(1, use_bias=False, name="score")(jnp.tanh(nn.Dense(self.features, name="hidden")(y)))
        averages, _ = weighted_average(score[:, None, None, :, 0], y[:, :, None], seen[:, None])
        return averages[:, 0, 0]
