"""The selective state-space model of Mamba."""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.linear_recurrence import linear_recurrence
from seqjax.models.module import Features, Inputs, Mask, widened
from seqjax.models.recurrent_blocks import Mixer, Past, RecurrentBlocks, initial_step

State = tuple[Past, Float[Array, "batch order channels"]]


class SelectiveSSM(RecurrentBlocks):
    """Mamba: selective state-space models in residual blocks (Gu & Dao 2023, arXiv:2312.00752, alg. 2 and fig. 3).

    Each of E = 2 features channels has a state of `order` numbers:

        step = softplus(W2 W1 x + b), a = exp(step A), h[t] = a h[t-1] + step B(x) x, y = C(x) h + D x,

    where x is a short convolution of a projection, A < 0, and B(x), C(x) are projections that all channels share. The
    output is a projection of y * silu(gate). There is no MLP by default, as in the paper.

    Differs from the paper: time is a loop, or an associative scan, of states that lie in memory; no fused kernel.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`; with `bare`, there are
            as many channels as features.
        order: numbers of each channel's state.
        signed: whether a is 2 exp(step A) - 1, in (-1, 1), with which parity can be learned (Grazzi et al. 2024,
            arXiv:2411.12537).
    """

    _least: ClassVar = {"expansion": 0}

    expansion: int = 0
    order: int = 8
    signed: bool = False

    def _mixer(self, **place: Any) -> Mixer:
        return SelectiveSSMMixer(*self._shape(), self.order, self.signed, **place)


class SelectiveSSMMixer(Mixer):
    """The selective recurrence of a convolved projection, times a gate."""

    order: int
    signed: bool

    @property
    def channels(self) -> int:
        return self.features if self.bare else 2 * self.features

    def empty(self, batch: int) -> State:
        return self._past(batch, self.channels), jnp.zeros((batch, self.order, self.channels))

    @nn.compact
    def __call__(self, state: State, x: Inputs, mask: Mask) -> tuple[State, Features]:
        past, h = state
        u, gate = self._dense(x, self.channels, "in", bias=False), None
        if not self.bare:
            gate = nn.silu(self._dense(x, self.channels, "gate", bias=False))
            past, u = self._convolve(past, u, mask)
            u = nn.silu(u)
        h, y = self._recurrence(h, u, mask)
        if gate is not None:
            y = self._dense(y.astype(gate.dtype) * gate, self.features, "out", bias=False)
        return (past, h), y

    def _recurrence(self, h: Array, u: Features, mask: Mask) -> tuple[Array, Features]:
        rank, channels = -(-self.features // 16), u.shape[-1]
        narrow = self._dense(u, rank + 2 * self.order, "step_b_c", bias=False)
        low, b, c = jnp.split(narrow, [rank, rank + self.order], axis=-1)
        bias = self.param("step_bias", initial_step, (channels,))
        step = nn.softplus(widened(self._dense(low, channels, "step", bias=False)) + widened(bias)[None, None])
        a = -jnp.exp(widened(self.param("log_a", _initial_a, (self.order, channels))))
        skip = widened(self.param("skip", nn.initializers.ones_init(), (channels,)))
        u, b, c = widened(u), widened(b), widened(c)
        factor = jnp.exp(step[:, :, None] * a[None, None])
        if self.signed:
            factor = 2 * factor - 1
        h, states = linear_recurrence(factor, h, (step * u)[:, :, None] * b[..., None], mask)
        # Not a product of matrices: a small one for each step of each row would take most of the time on CPU.
        return h, jnp.sum(states * c[..., None], axis=2) + skip[None, None] * u


def _initial_a(_: Array, shape: tuple[int, int]) -> Array:
    """A = -1, -2, …, -order in each channel ("S4D-Real", sec. 3.6 of the paper)."""
    return jnp.broadcast_to(jnp.log(jnp.arange(1.0, shape[0] + 1))[:, None], shape)
