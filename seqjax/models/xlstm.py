"""xLSTM: exponential gates with a matrix memory (mLSTM), or with a scalar memory and memory mixing (sLSTM)."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from seqjax.models.delta_rule import matrix_memory
from seqjax.models.module import Features, Inputs, Mask, widened
from seqjax.models.recurrent_blocks import Mixer, Past, RecurrentBlocks, check_heads, in_heads, in_one_row


class MatrixState(NamedTuple):
    """Of an mLSTM.

    Attributes:
        past: of the short convolution.
        memory: C, followed by n as its last row, each times exp(-stabiliser).
        stabiliser: m.
    """

    past: Past
    memory: Float[Array, "batch heads values_and_one keys"]
    stabiliser: Float[Array, "batch heads"]


class ScalarState(NamedTuple):
    """Of an sLSTM: c and n, each times exp(-m), the output h, and m."""

    past: Past
    cell: Float[Array, "batch features"]
    normaliser: Float[Array, "batch features"]
    hidden: Float[Array, "batch features"]
    stabiliser: Float[Array, "batch features"]


class MLSTM(RecurrentBlocks):
    """Long short-term memories of matrices in residual blocks (Beck et al. 2024, arXiv:2405.04517, eq. 19 to 27).

    Each head has a matrix C and a vector n as its state:

        C[t] = f C[t-1] + i v k', n[t] = f n[t-1] + i k, y = C q / max(|n' q|, 1), f = sigmoid(…), i = exp(…),

    computed with both divided by exp(m), m[t] = max(log f + m[t-1], log i). As no gate reads the state, this is gated
    linear attention, computed by chunks of the sequence. Blocks (fig. 11) first project to width 2 `features`: q and k
    are projections of u, the silu of a short convolution, v is one of the convolution's input, and the output is a
    projection of (norm(y) + s * u) * silu(U x), where each head has a norm of its own. There is no MLP by default, as
    in the paper.

    Differs from the paper: q, k and v mix all numbers of a head instead of four.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`; with `bare`, the heads
            have as many numbers as `features`.
        heads: they divide `features`.
        chunk: steps computed at a time, see `delta_rule`.
    """

    _least: ClassVar = {"expansion": 0}

    expansion: int = 0
    heads: int = 4
    chunk: int = 16

    def __post_init__(self):
        check_heads(self.heads, features=self.features)
        super().__post_init__()

    def _mixer(self, **place: Any) -> Mixer:
        return MLSTMMixer(*self._shape(), self.heads, self.chunk, **place)


class MLSTMMixer(Mixer):
    """The recurrence of projections, one of which is convolved, normed and times a gate."""

    heads: int
    chunk: int

    @property
    def width(self) -> int:
        """Numbers of all heads."""
        return self.features if self.bare else 2 * self.features

    def empty(self, batch: int) -> MatrixState:
        width = self.width // self.heads
        memory = jnp.zeros((batch, self.heads, width + 1, width))
        return MatrixState(self._past(batch, self.width), memory, jnp.zeros((batch, self.heads)))

    @nn.compact
    def __call__(self, state: MatrixState, x: Inputs, mask: Mask) -> tuple[MatrixState, Features]:
        up = self._dense(x, self.width, "in", bias=False)
        past, convolved = self._convolve(state.past, up, mask)
        if not self.bare:
            convolved = nn.silu(convolved)
        q, k = (self._by_head(convolved, name) for name in ("q", "k"))
        v = self._by_head(up, "v")
        gates = widened(self._dense(up, 2 * self.heads, "gates", bias=False))
        bias = widened(self.param("gate_bias", _initial_gates, (2, self.heads)))
        log_i, f = jnp.split(gates + bias.reshape(1, 1, -1), 2, axis=-1)
        state, y = exponential_memory(state._replace(past=past), q, k, v, log_i, nn.log_sigmoid(f), mask, self.chunk)
        if self.bare:
            return state, in_one_row(y)
        y = in_one_row(nn.LayerNorm(use_bias=False, name="head_norm")(y))
        skip = self.param("skip", nn.initializers.ones_init(), (self.width,))
        gate = nn.silu(self._dense(x, self.width, "gate", bias=False))
        y = (y + widened(skip)[None, None] * widened(convolved)).astype(gate.dtype) * gate
        return state, self._dense(y, self.features, "out", bias=False)

    def _by_head(self, x: Features, name: str) -> Float[Array, "batch time heads width"]:
        width = self.width // self.heads
        initialise = nn.initializers.lecun_normal(batch_axis=0)
        x, kernel = promote_dtype(x, self.param(name, initialise, (self.heads, width, width)), dtype=self.dtype)
        return widened(jnp.einsum("bthi,hio->btho", in_heads(x, self.heads), kernel))


def exponential_memory(
    state: MatrixState, q: Array, k: Array, v: Array, log_i: Array, log_f: Array, mask: Mask, chunk: int
) -> tuple[MatrixState, Float[Array, "batch time heads values"]]:
    """The recurrence of `MLSTM`, as gated linear attention with gates that the stabiliser keeps below 1."""
    if mask is not None:
        log_i, log_f = jnp.where(mask[..., None], log_i, -jnp.inf), jnp.where(mask[..., None], log_f, 0)
    # m[t] = max(log f + m[t-1], log i), where sums of log f are taken off both. No output depends on m, so that it is
    # as good as constant for derivatives, but for the one that the state came with.
    total = jnp.cumsum(log_f, axis=1)
    first, before = jax.lax.stop_gradient(state.stabiliser)[:, None], jax.lax.stop_gradient((log_i, total))
    m = jnp.maximum(jax.lax.cummax(before[0] - before[1], axis=1), first) + before[1]
    previous = jnp.concatenate([state.stabiliser[:, None], m[:, :-1]], axis=1)
    enter = jnp.exp(log_i - m)[..., None]
    extended = jnp.concatenate([enter * v, enter], axis=-1)
    k = k * k.shape[-1] ** -0.5
    memory, read = matrix_memory(q, k, extended, log_f + previous - m, None, state=state.memory, mask=mask, chunk=chunk)
    # Below -80 what is read is zero in any case, and exp(-m) would be infinite.
    least = jnp.exp(-jnp.maximum(m, -80.0))[..., None]
    y = read[..., :-1] / jnp.maximum(jnp.abs(read[..., -1:]), least)
    return MatrixState(state.past, memory, m[:, -1]), y


class SLSTM(RecurrentBlocks):
    """Long short-term memories with exponential gates in residual blocks (arXiv:2405.04517, eq. 8 to 18).

        z, i, f, o = W x + R h[t-1] + b, c[t] = sigmoid(f) c[t-1] + exp(i) tanh(z), n[t] = sigmoid(f) n[t-1] + exp(i),
        h[t] = sigmoid(o) c[t] / n[t],

    computed with c and n divided by exp(m), m[t] = max(log sigmoid(f) + m[t-1], i). R mixes the numbers of a head. In
    blocks (fig. 10), i and f read a short convolution, and each head of the output has a norm of its own.

    Differs from the paper: the width of the MLP, and the biases of f at the start, which are those of the mLSTM.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`.
        heads: they divide `features`.
    """

    _least: ClassVar = {"expansion": 0}

    heads: int = 4

    def __post_init__(self):
        check_heads(self.heads, features=self.features)
        super().__post_init__()

    def _mixer(self, **place: Any) -> Mixer:
        return SLSTMMixer(*self._shape(), self.heads, **place)


class SLSTMMixer(Mixer):
    """The recurrence, of projections for z and o and of convolved ones for i and f, normed."""

    heads: int

    def empty(self, batch: int) -> ScalarState:
        zero = jnp.zeros((batch, self.features))
        return ScalarState(self._past(batch, self.features), zero, zero, zero, zero)

    @nn.compact
    def __call__(self, state: ScalarState, x: Inputs, mask: Mask) -> tuple[ScalarState, Features]:
        width = self.features // self.heads
        past, convolved = self._convolve(state.past, x, mask)
        if not self.bare:
            convolved = nn.silu(convolved)
        z_o, i_f = (
            self._dense(x, 2 * self.features, "z_o"),
            self._dense(convolved, 2 * self.features, "i_f", bias=False),
        )
        bias = self.param("i_f_bias", _initial_gates, (2, self.features))
        i_f = widened(i_f) + widened(bias).reshape(1, 1, -1)
        kernel = self.param(
            "recurrent_kernel", nn.initializers.lecun_normal(batch_axis=0), (self.heads, width, 4 * width)
        )
        gates = jnp.concatenate([widened(z_o), i_f], axis=-1)
        state, y = scalar_memory(state._replace(past=past), widened(kernel), gates, mask)
        if self.bare:
            return state, y
        return state, in_one_row(nn.LayerNorm(use_bias=False, name="head_norm")(in_heads(y, self.heads)))


def scalar_memory(
    state: ScalarState, kernel: Float[Array, "heads width gates"], gates: Array, mask: Mask
) -> tuple[ScalarState, Features]:
    """The recurrence of `SLSTM`, one step after the other; `gates`: z, o, i and f without R h."""
    batch, time, _ = gates.shape
    heads, width, _ = kernel.shape
    by_time = gates.reshape(batch, time, 4, heads, width).transpose(1, 3, 0, 2, 4).reshape(time, heads, batch, -1)
    past, *parts = state
    parts = [part.reshape(batch, heads, width).swapaxes(0, 1) for part in parts]
    real = None if mask is None else mask.T[:, None, :, None]

    def step(parts: list[Array], now: tuple[Array, Array | None]) -> tuple[list[Array], Array]:
        (cell, normaliser, hidden, stabiliser), (gates, real) = parts, now
        z, o, i, f = jnp.split(gates + hidden @ kernel, 4, axis=-1)
        log_f = nn.log_sigmoid(f)
        # Before the first step there is nothing to be kept in scale. As in `exponential_memory`, m is constant.
        begun = normaliser > 0
        m = jax.lax.stop_gradient(jnp.where(begun, jnp.maximum(log_f + stabiliser, i), i))
        keep, enter = jnp.exp(jnp.where(begun, log_f + stabiliser - m, 0)), jnp.exp(i - m)
        cell, normaliser = keep * cell + enter * jnp.tanh(z), keep * normaliser + enter
        new = [cell, normaliser, nn.sigmoid(o) * cell / normaliser, m]
        if real is not None:
            new = [jnp.where(real, after, before) for after, before in zip(new, parts, strict=True)]
        return new, new[2]

    wide = jnp.result_type(by_time, kernel, *parts)
    parts, y = jax.lax.scan(step, [part.astype(wide) for part in parts], (by_time.astype(wide), real))
    parts = [part.swapaxes(0, 1).reshape(batch, -1) for part in parts]
    return ScalarState(past, *parts), y.transpose(2, 0, 1, 3).reshape(batch, time, -1)


def _initial_gates(_: Array, shape: tuple[int, int]) -> Array:
    """Biases of i and f: 0, and from 3 to 6, as in the authors' code."""
    return jnp.stack([jnp.zeros(shape[1]), jnp.linspace(3, 6, shape[1])])
