"""Recurrent networks: RNN, GRU and LSTM, stacked, and in both directions."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array

from seqjax.models.backbone import Backbone, Causal
from seqjax.models.cells import Cell, GRUCell, LSTMCell, RNNCell, State, recurrence
from seqjax.models.module import Features, Inputs, Mask, Module, zero_padding
from seqjax.types import InputError


class Layer(Module):
    """One recurrence over time: one matrix product for the inputs of all steps, then a scan."""

    features: int
    cell: Cell
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, state: State, x: Inputs, mask: Mask) -> tuple[State, Features]:
        width = self.cell.gates * self.features
        input_kernel = self.param("input_kernel", nn.initializers.lecun_normal(), (x.shape[-1], width))
        kernel = self.param("recurrent_kernel", _orthogonal_blocks(self.cell.gates), (self.features, width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.cell.biases * self.features,))
        x, input_kernel, kernel = promote_dtype(x, input_kernel, kernel, dtype=self.dtype)

        # Time-major inside: each step then reads one contiguous slice. One product of two matrices: with three axes,
        # XLA on CPU would transpose all that it keeps for the gradient, a sixth of a training step.
        batch, time, inputs = x.shape
        projected = jnp.swapaxes(x, 0, 1).reshape(time * batch, inputs) @ input_kernel
        by_time = projected.reshape(time, batch, width), None if mask is None else mask.T
        state, y = recurrence(self.cell, kernel, bias, state, *by_time)
        return state, zero_padding(jnp.swapaxes(y, 0, 1), mask)


def _orthogonal_blocks(blocks: int) -> Callable:
    """Each gate's recurrent kernel starts orthogonal, so that products over many steps neither explode nor vanish."""
    orthogonal = nn.initializers.orthogonal()

    def initialise(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        keys = jax.random.split(key, blocks)
        return jnp.concatenate([orthogonal(k, (shape[0], shape[1] // blocks), dtype) for k in keys], axis=1)

    return initialise


class Recurrent(Causal):
    """A stack of recurrent layers, read forward. `RNN`, `GRU` and `LSTM` make one of a given cell.

    Attributes:
        features: width of every layer's state and of the output.
        cell: `RNNCell()`, `GRUCell()` or `LSTMCell()`.
        layers: depth of the stack.
        dropout: fraction of activations dropped between layers in training.
        dtype: of products, as in `Transformer`; the state has single precision.
    """

    _parts: ClassVar = {"cell": (Cell, "LSTMCell()")}

    features: int
    cell: Cell = GRUCell()
    layers: int = 1
    dropout: float = 0.0
    dtype: DTypeLike | None = None

    def start(self, batch: int, inputs: int, length: int) -> tuple[State, ...]:
        """One zero state a layer; its size depends neither on `inputs` nor on `length`."""
        return tuple(self.cell.initial_state(batch, self.features) for _ in range(self.layers))

    @nn.compact
    def _extend(self, carry: tuple[State, ...], x: Array, mask: Array | None, train: bool) -> tuple[tuple, Array]:
        states = []
        for depth, state in enumerate(carry):
            if depth:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
            state, x = Layer(self.features, self.cell, self.dtype, name=f"layer_{depth}")(state, x, mask)
            states.append(state)
        return tuple(states), x


def RNN(
    features: int,
    layers: int = 1,
    dropout: float = 0.0,
    dtype: DTypeLike | None = None,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    name: str | None = None,
) -> Recurrent:
    """A stack of plain recurrent layers, `Recurrent(features, RNNCell(activation), …)`; options as there."""
    return Recurrent(features, RNNCell(activation), layers, dropout, dtype, name=name)


def GRU(
    features: int, layers: int = 1, dropout: float = 0.0, dtype: DTypeLike | None = None, *, name: str | None = None
) -> Recurrent:
    """A stack of GRU layers, `Recurrent(features, GRUCell(), …)`; options as there."""
    return Recurrent(features, GRUCell(), layers, dropout, dtype, name=name)


def LSTM(
    features: int, layers: int = 1, dropout: float = 0.0, dtype: DTypeLike | None = None, *, name: str | None = None
) -> Recurrent:
    """A stack of LSTM layers, `Recurrent(features, LSTMCell(), …)`; options as there."""
    return Recurrent(features, LSTMCell(), layers, dropout, dtype, name=name)


class Bidirectional(Backbone):
    """A stack of recurrent layers, each in both directions; the next layer reads both (Schuster & Paliwal 1997).

    The backward direction starts at each row's last real step, never on padding.

    Attributes:
        features: width of the output; each direction has half of it.
        cell, layers, dropout, dtype: as in `Recurrent`.
    """

    causal: ClassVar[bool] = False
    _parts: ClassVar = {"cell": (Cell, "LSTMCell()")}

    features: int
    cell: Cell = GRUCell()
    layers: int = 1
    dropout: float = 0.0
    dtype: DTypeLike | None = None

    def __post_init__(self):
        if self.features % 2:
            raise InputError(f"features must be even, half of them for each direction, got {self.features}")
        super().__post_init__()

    def start(self, batch: int) -> tuple[tuple[State, State], ...]:
        """Zero states, one a layer and direction."""
        zero = self.cell.initial_state(batch, self.features // 2)
        return ((zero, zero),) * self.layers

    def encode(
        self, x: Array, *, mask: Array, initial: tuple[tuple[State, State], ...] | None = None, train: bool = False
    ) -> tuple[Array, tuple[tuple[State, State], ...]]:
        """The outputs, and each layer's two final states: forward after the last real step, backward at the first.

        Args:
            initial: the states to start from, forward and backward; None: `start`.
        """
        return self._encode(zero_padding(x, mask), mask, initial, train)

    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        return self._encode(x, mask, None, train)[0]

    @nn.compact
    def _encode(
        self, x: Array, mask: Array | None, initial: tuple[tuple[State, State], ...] | None, train: bool
    ) -> tuple[Array, tuple[tuple[State, State], ...]]:
        half, states = self.features // 2, []
        initial = self.start(x.shape[0]) if initial is None else initial
        for depth, (first, last) in enumerate(initial):
            if depth:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
            forward, ahead = Layer(half, self.cell, self.dtype, name=f"forward_{depth}")(first, x, mask)
            turned = reverse(x, mask)
            backward, back = Layer(half, self.cell, self.dtype, name=f"backward_{depth}")(last, turned, mask)
            x = jnp.concatenate([ahead, reverse(back, mask)], axis=-1)
            states.append((forward, backward))
        return x, tuple(states)


def reverse(x: Features, mask: Mask) -> Features:
    """Each row's real steps in reverse order; padding stays after them."""
    if mask is None:
        return x[:, ::-1]
    time = jnp.arange(x.shape[1])[None, :]
    length = mask.sum(axis=1)[:, None]
    return jnp.take_along_axis(x, jnp.where(mask, length - 1 - time, time)[..., None], axis=1)
