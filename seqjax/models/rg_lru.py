"""The real-gated linear recurrent unit (RG-LRU) of Griffin."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.linear_recurrence import linear_recurrence
from seqjax.models.module import Features, Inputs, Mask, widened
from seqjax.models.recurrent_blocks import Mixer, Past, RecurrentBlocks

State = tuple[Past, Float[Array, "batch features"]]

SHARPNESS = 8.0
"""c of the paper: how much the recurrence gate r changes the decay."""

STEEPEST = 1000.0
"""The slope of `root` is at most this, as in the authors' code."""


class RGLRU(RecurrentBlocks):
    """Real-gated linear recurrent units in residual blocks: Griffin without its attention, named Hawk.

    De et al. 2024, arXiv:2402.19427, eq. 1 to 4 and fig. 2:

        r, i = sigmoid(W u + b), a = exp(-8 r softplus(p)), h[t] = a h[t-1] + sqrt(1 - a^2) (i * u),
        y = V (gelu(U x) * h), where u is a short convolution of a projection of x.

    Differs from the paper: recurrence and MLP are as wide as the block, and W is a full matrix.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`.
    """

    def _mixer(self, **place: Any) -> Mixer:
        return RGLRUMixer(*self._shape(), **place)


class RGLRUMixer(Mixer):
    """The recurrence of a convolved projection, times a gate."""

    def empty(self, batch: int) -> State:
        return self._past(batch, self.features), jnp.zeros((batch, self.features))

    @nn.compact
    def __call__(self, state: State, x: Inputs, mask: Mask) -> tuple[State, Features]:
        past, h = state
        past, u = self._convolve(past, self._dense(x, self.features, "in"), mask)
        r, i = jnp.split(nn.sigmoid(widened(self._dense(u, 2 * self.features, "gates"))), 2, axis=-1)
        rate = self.param("rate", _initial_rate, (self.features,))
        log_a = -SHARPNESS * r * nn.softplus(widened(rate))[None, None]
        h, y = linear_recurrence(jnp.exp(log_a), h, root(-jnp.expm1(2 * log_a)) * (i * u), mask)
        if self.bare:
            return (past, h), y
        gate = nn.gelu(self._dense(x, self.features, "gate"))
        return (past, h), self._dense(gate * y.astype(gate.dtype), self.features, "out")


@jax.custom_jvp
def root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The square root of a number >= 0, whose slope is bounded: at 0 that of the square root is infinite."""
    return jnp.sqrt(x)


@root.defjvp
def _root_tangent(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (d_x,) = primals, tangents
    return jnp.sqrt(x), d_x / (2 * jnp.sqrt(jnp.maximum(x, 1 / (4 * STEEPEST**2))))


def _initial_rate(key: Array, shape: tuple[int, ...]) -> Array:
    """p, such that a lies evenly between .9 and .999 where r = 1 (sec. 2.4 of the paper)."""
    decay = jax.random.uniform(key, shape, minval=0.9, maxval=0.999)
    return jnp.log(jnp.expm1(-jnp.log(decay) / SHARPNESS))
