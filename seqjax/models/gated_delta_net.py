"""Gated DeltaNet: residual blocks around the gated delta rule."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from seqjax.models.delta_rule import Matrix, matrix_memory
from seqjax.models.module import Features, Inputs, Mask, widened
from seqjax.models.recurrent_blocks import Mixer, Past, RecurrentBlocks, check_heads, in_heads, in_one_row, initial_step
from seqjax.types import InputError

State = tuple[Past, Matrix]


class GatedDeltaNet(RecurrentBlocks):
    """The gated delta rule in residual blocks (Yang, Kautz & Hatamizadeh 2024, arXiv:2412.06464, eq. 10 and fig. 1).

    Each head has a matrix S as its state:

        S[t] = alpha S[t-1] (I - beta k k') + beta v k', y[t] = S[t] q,
        alpha = exp(-exp(a) softplus(w x + b)), beta = sigmoid(u x),

    with q, k and v = silu(convolution(W x)), q and k divided by their lengths. The output is a projection of
    norm(y) * silu(U x), where each head has a norm of its own.

    Differs from the paper: keys and values are as wide as the queries, features / heads.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`.
        heads: they divide `features`.
        gate: whether S decays; without, alpha = 1: DeltaNet (Yang et al. 2024, arXiv:2406.06484).
        delta: whether a value replaces what S holds for its key; without, S[t] = alpha S[t-1] + v k' with k / sqrt(d)
            in place of k / |k|, and q as it is: gated linear attention, or linear attention where `gate` is off, too.
        negative_eigenvalues: whether beta is 2 sigmoid(u x), so that the eigenvalue 1 - beta of I - beta k k' lies in
            (-1, 1) instead of (0, 1): state tracking needs negative ones (Grazzi et al. 2024, arXiv:2411.12537).
        householders: keys, values and betas of a step, written one after the other: DeltaProduct (Siems et al. 2025,
            arXiv:2502.10297).
        chunk: steps computed at a time, see `delta_rule`.
    """

    heads: int = 4
    gate: bool = True
    delta: bool = True
    negative_eigenvalues: bool = False
    householders: int = 1
    chunk: int = 16

    _least: ClassVar = {"expansion": 0}

    def __post_init__(self):
        check_heads(self.heads, features=self.features)
        if not self.delta and (self.negative_eigenvalues or self.householders != 1):
            raise InputError(
                "without delta there is no beta: negative_eigenvalues must be False and householders 1, got "
                f"{self.negative_eigenvalues} and {self.householders}"
            )
        super().__post_init__()

    def _mixer(self, **place: Any) -> Mixer:
        options = self.heads, self.gate, self.delta, self.negative_eigenvalues, self.householders, self.chunk
        return GatedDeltaNetMixer(*self._shape(), *options, **place)


class GatedDeltaNetMixer(Mixer):
    """The delta rule of convolved projections, normed and times a gate."""

    heads: int
    gate: bool
    delta: bool
    negative_eigenvalues: bool
    householders: int
    chunk: int

    def empty(self, batch: int) -> State:
        width = self.features // self.heads
        past = self._past(batch, (1 + 2 * self.householders) * self.features)
        return past, jnp.zeros((batch, self.heads, width, width))

    @nn.compact
    def __call__(self, state: State, x: Inputs, mask: Mask) -> tuple[State, Features]:
        (past, memory), n, width = state, self.householders, self.features // self.heads
        past, z = self._convolve(past, self._dense(x, (1 + 2 * n) * self.features, "q_k_v", bias=False), mask)
        z = widened(z if self.bare else nn.silu(z))
        q, k, v = jnp.split(z, [self.features, (1 + n) * self.features], axis=-1)
        q, k, v = (in_heads(part, self.heads, writes) for part, writes in ((q, 1), (k, n), (v, n)))
        q, k = (_unit(q), _unit(k)) if self.delta else (q, k * width**-0.5)
        memory, y = matrix_memory(q, k, v, self._log_alpha(x), self._beta(x), state=memory, mask=mask, chunk=self.chunk)
        if self.bare:
            return (past, memory), in_one_row(y)
        y = in_one_row(nn.RMSNorm(name="head_norm")(y))
        gate = nn.silu(self._dense(x, self.features, "gate", bias=False))
        return (past, memory), self._dense(y.astype(gate.dtype) * gate, self.features, "out", bias=False)

    def _log_alpha(self, x: Inputs) -> Array:
        if not self.gate:
            return jnp.zeros((*x.shape[:2], self.heads))
        rate = self.param("log_rate", _initial_rate, (self.heads,))
        step = self._dense(x, self.heads, "alpha", bias=False)
        bias = self.param("step_bias", initial_step, (self.heads,))
        return -jnp.exp(widened(rate))[None, None] * nn.softplus(widened(step) + widened(bias)[None, None])

    def _beta(self, x: Inputs) -> Array | None:
        if not self.delta:
            return None
        beta = nn.sigmoid(widened(self._dense(x, self.householders * self.heads, "beta", bias=False)))
        beta = 2 * beta if self.negative_eigenvalues else beta
        return beta.reshape(x.shape[0], x.shape[1] * self.householders, self.heads)


def _unit(x: Array) -> Array:
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-6)


def _initial_rate(key: Array, shape: tuple[int, ...]) -> Array:
    """a, such that exp(a) lies evenly between 0 and 16."""
    return jnp.log(jax.random.uniform(key, shape, minval=1e-2, maxval=16))
