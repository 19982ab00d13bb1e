"""Residual blocks around a recurrence: what today's recurrent architectures have in common."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from seqjax._checks import integers
from seqjax.models.backbone import Causal
from seqjax.models.causal_conv import DepthwiseConv
from seqjax.models.module import Features, Inputs, Mask, Module, widened, zero_padding
from seqjax.types import InputError

State = Any
"""What a block carries: a pytree of arrays whose first axis is the batch."""

Past = Float[Array, "batch reach width"] | None
"""The last inputs of a short convolution."""


class Mixer(Module):
    """What a block mixes its steps with: a recurrence, and what the paper has around it.

    Attributes:
        features: width of the output.
        kernel_size, bare, dtype: as in `RecurrentBlocks`.
    """

    features: int
    kernel_size: int
    bare: bool
    dtype: DTypeLike | None

    def empty(self, batch: int) -> State:
        """The state of a sequence that begins."""
        raise NotImplementedError

    def __call__(self, state: State, x: Inputs, mask: Mask) -> tuple[State, Features]:
        """Read further steps; outputs in the padding may be any finite numbers."""
        raise NotImplementedError

    def _past(self, batch: int, width: int) -> Past:
        """The past of a short convolution, if there is one."""
        return self._convolution(parent=None).empty(batch, width) if self._convolves() else None

    def _convolve(self, past: Past, x: Features, mask: Mask) -> tuple[Past, Features]:
        """A short causal convolution of each channel, if there is one."""
        return (None, x) if past is None else self._convolution(name="convolution")(past, x, mask)

    def _convolves(self) -> bool:
        return self.kernel_size > 1 and not self.bare

    def _convolution(self, **place: Any) -> DepthwiseConv:
        return DepthwiseConv(self.kernel_size, self.dtype, **place)

    def _dense(self, x: Array, features: int, name: str, *, bias: bool = True) -> Array:
        return dense(x, features, name, self.dtype, bias=bias)


class RecurrentBlocks(Causal):
    """Residual blocks around a recurrence, the base of `MinGRU`, `SelectiveSSM`, `GatedDeltaNet` and their like.

    Each block is x + mixer(norm(x)), followed by x + mlp(norm(x)) where there is one; norms divide by the root of the
    mean square (Zhang & Sennrich 2019, arXiv:1910.07467), and the MLP has a gate, W (silu(U x) * V x) (Shazeer 2020,
    arXiv:2002.05202). A subclass defines `_mixer`.

    Attributes:
        features: width of every block and of the output.
        layers: blocks.
        kernel_size: steps that the short convolution of each channel sees; 1: there is none.
        expansion: width of the MLP in units of `features`; 0: there is none.
        dropout: fraction of the output of mixers and MLPs dropped in training; with `bare`, between layers.
        bare: whether each layer is the recurrence alone, of projections of its input, without residual sum, norm,
            convolution, output gate, output projection and MLP; there is no embedding before the first one then.
        dtype: of products, as in `Transformer`; recurrences and their states have single precision or more.
    """

    _least: ClassVar = {"expansion": 0}

    features: int
    layers: int = 2
    kernel_size: int = 4
    expansion: int = 2
    dropout: float = 0.0
    bare: bool = False
    dtype: DTypeLike | None = None

    def _mixer(self, **place: Any) -> Mixer:
        """The mixer of a block; `place`: Flax's `name` and `parent`."""
        raise NotImplementedError

    def _shape(self) -> tuple[int, int, bool, DTypeLike | None]:
        """The first attributes of a mixer."""
        return self.features, self.kernel_size, self.bare, self.dtype

    def start(self, batch: int, inputs: int, length: int) -> tuple[State, ...]:
        """One zero state a block; its size depends neither on `inputs` nor on `length`."""
        return (self._mixer(parent=None).empty(batch),) * self.layers

    @nn.compact
    def _extend(self, carry: tuple[State, ...], x: Array, mask: Array | None, train: bool) -> tuple[tuple, Array]:
        states, drop = [], nn.Dropout(self.dropout, deterministic=not train)
        if not self.bare:
            x = dense(x, self.features, "embed", self.dtype)
        for depth, state in enumerate(carry):
            if self.bare:
                state, x = self._mixer(name=f"layer_{depth}")(state, drop(x) if depth else x, mask)
            else:
                block = Block(self._mixer(parent=None), self.expansion, self.dropout, self.dtype, name=f"block_{depth}")
                state, x = block(state, x, mask, train=train)
            states.append(state)
        if not self.bare:
            x = nn.RMSNorm(dtype=self.dtype, name="final_norm")(x)
        return tuple(states), zero_padding(widened(x), mask)


class Block(Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)) unless `expansion` is 0."""

    _least: ClassVar = {"expansion": 0}

    mixer: Mixer
    expansion: int
    dropout: float
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, state: State, x: Features, mask: Mask, *, train: bool) -> tuple[State, Features]:
        drop, features = nn.Dropout(self.dropout, deterministic=not train), x.shape[-1]
        state, y = self.mixer(state, nn.RMSNorm(dtype=self.dtype, name="norm")(x), mask)
        x = x + drop(y.astype(x.dtype))
        if not self.expansion:
            return state, x
        y = nn.RMSNorm(dtype=self.dtype, name="mlp_norm")(x)
        y = dense(y, 2 * self.expansion * features, "mlp_in", self.dtype, bias=False)
        gate, value = jnp.split(y, 2, axis=-1)
        return state, x + drop(dense(nn.silu(gate) * value, features, "mlp_out", self.dtype, bias=False))


def dense(x: Inputs, features: int, name: str, dtype: DTypeLike | None, *, bias: bool = True) -> Array:
    """`nn.Dense`, as part of the module that calls it, of all steps of all rows as one matrix.

    With two axes in place of its first, the gradient of the kernel takes a transposed copy of the wider side on CPU.
    """
    rows = nn.Dense(features, use_bias=bias, dtype=dtype, name=name)(x.reshape(-1, x.shape[-1]))
    return rows.reshape(*x.shape[:2], features)


def check_heads(heads: int, **widths: int) -> None:
    """Require that heads divide a width, which is given under its name."""
    integers(1, heads=heads)
    for name, width in widths.items():
        if width % heads:
            raise InputError(f"heads must divide {name}, got {heads} heads and {width} {name}")


def in_heads(x: Array, heads: int, parts: int = 1) -> Array:
    """(batch, time, parts * heads * width) -> (batch, time * parts, heads, width)."""
    return x.reshape(x.shape[0], x.shape[1] * parts, heads, x.shape[-1] // (parts * heads))


def in_one_row(x: Array) -> Array:
    """(batch, time, heads, width) -> (batch, time, heads * width)."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


def initial_step(key: Array, shape: tuple[int, ...]) -> Array:
    """b, such that log softplus(b) lies evenly between log .001 and log .1 (arXiv:2312.00752, sec. 3.6)."""
    step = jnp.exp(jax.random.uniform(key, shape, minval=math.log(1e-3), maxval=math.log(0.1)))
    return jnp.log(jnp.expm1(step))
