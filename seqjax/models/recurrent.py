"""Recurrent networks: three cells, one fast scan, stacked and in both directions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from seqjax.models.layers import Causal, zero_padding

State = Any
"""The memory of one layer: h, or (h, c) for the LSTM; each Float[batch features]."""


class Cell(Protocol):
    """One step of a recurrence, as a pure function of its weights.

    Attributes:
        gates: how many blocks of `features` columns the input and the recurrent projection have.
        biases: how many blocks of biases.
    """

    gates: ClassVar[int]
    biases: ClassVar[int]

    def start(self, batch: int, features: int) -> State:
        """Empty memory."""
        ...

    def step(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Array]:
        """One step: `projected` is the input times its kernel, `kernel` multiplies the previous output."""
        ...


@dataclass(frozen=True)
class RNN:
    """h' = activation(W h + U x + b) (Elman 1990)."""

    activation: Callable[[Array], Array] = jnp.tanh
    gates: ClassVar[int] = 1
    biases: ClassVar[int] = 1

    def start(self, batch: int, features: int) -> Float[Array, "batch features"]:
        return jnp.zeros((batch, features))

    def step(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Array]:
        h = self.activation(projected + _recur(state, kernel) + bias[None, :])
        return h, h


@dataclass(frozen=True)
class GRU:
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), with the reset gate after the product as in cuDNN.

    r, z = sigmoid(U x + W h + b), n = tanh(U_n x + b_n + r (W_n h + c_n)), h' = (1 - z) n + z h; c_n comes last.
    """

    gates: ClassVar[int] = 3
    biases: ClassVar[int] = 4

    def start(self, batch: int, features: int) -> Float[Array, "batch features"]:
        return jnp.zeros((batch, features))

    def step(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Array]:
        width = state.shape[-1]
        recurrent = _recur(state, kernel)
        gate = nn.sigmoid(projected[:, : 2 * width] + recurrent[:, : 2 * width] + bias[None, : 2 * width])
        reset, update = gate[:, :width], gate[:, width:]
        memory = recurrent[:, 2 * width :] + bias[None, 3 * width :]
        candidate = jnp.tanh(projected[:, 2 * width :] + bias[None, 2 * width : 3 * width] + reset * memory)
        h = candidate + update * (state - candidate)
        return h, h


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, g, o = U x + W h + b; c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c').
    """

    gates: ClassVar[int] = 4
    biases: ClassVar[int] = 4

    def start(self, batch: int, features: int) -> tuple[Float[Array, "batch features"], Float[Array, "batch features"]]:
        return jnp.zeros((batch, features)), jnp.zeros((batch, features))

    def step(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Array]:
        h, c = state
        i, f, g, o = jnp.split(projected + _recur(h, kernel) + bias[None, :], 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        h = nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


def _recur(state: Array, kernel: Array) -> Array:
    """The recurrent product, with the kernel's numbers, but as precise as the state: that adds up over many steps."""
    return jnp.matmul(state.astype(kernel.dtype), kernel, preferred_element_type=state.dtype)


class Layer(nn.Module):
    """One recurrence over time: a single matrix product for all inputs, then a scan over arrays."""

    features: int
    cell: Callable[[], Cell]
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        state: State,
        x: Float[Array, "batch time inputs"],
        mask: Bool[Array, "batch time"] | None = None,
    ) -> tuple[State, Float[Array, "batch time features"]]:
        cell = self.cell()
        width = cell.gates * self.features
        input_kernel = self.param("input_kernel", nn.initializers.lecun_normal(), (x.shape[-1], width))
        kernel = self.param("recurrent_kernel", _orthogonal_blocks(cell.gates), (self.features, width))
        bias = self.param("bias", nn.initializers.zeros_init(), (cell.biases * self.features,))
        x, input_kernel, kernel = promote_dtype(x, input_kernel, kernel, dtype=self.dtype)

        def step(state: State, now: tuple[Array, Array | None]) -> tuple[State, Array]:
            projected, real = now
            new, y = cell.step(kernel, bias, state, projected)
            if real is None:
                return new, y
            return jax.tree.map(lambda after, before: jnp.where(real[:, None], after, before), new, state), y

        # Time-major inside: each step then reads one contiguous slice. One product of two matrices: with three axes,
        # XLA on CPU would turn all that it keeps for the gradient round, a sixth of a training step.
        batch, time, inputs = x.shape
        projected = jnp.swapaxes(x, 0, 1).reshape(time * batch, inputs) @ input_kernel
        over_time = projected.reshape(time, batch, width), None if mask is None else mask.T
        state, y = jax.lax.scan(step, state, over_time)
        return state, zero_padding(jnp.swapaxes(y, 0, 1), mask)


def _orthogonal_blocks(blocks: int) -> Callable:
    """Each gate's recurrent kernel starts orthogonal: products over many steps neither explode nor vanish."""
    orthogonal = nn.initializers.orthogonal()

    def initialise(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
        keys = jax.random.split(key, blocks)
        return jnp.concatenate([orthogonal(k, (shape[0], shape[1] // blocks), dtype) for k in keys], axis=1)

    return initialise


class Recurrent(Causal):
    """A stack of recurrent layers, read forward.

    Attributes:
        features: width of every layer's state and of the output.
        cell: RNN, GRU or LSTM, or a partial of one: `partial(RNN, activation=nn.relu)`.
        layers: depth of the stack.
        dropout: share of activations dropped between layers in training.
        dtype: what products are computed with, as in `Transformer`; the state keeps single precision.
    """

    features: int
    cell: Callable[[], Cell] = GRU
    layers: int = 1
    dropout: float = 0.0
    dtype: DTypeLike | None = None

    def start(self, batch: int, inputs: int, length: int) -> tuple[State, ...]:
        """One zero state a layer; its size depends neither on `inputs` nor on `length`."""
        return tuple(self.cell().start(batch, self.features) for _ in range(self.layers))

    @nn.compact
    def extend(
        self,
        carry: tuple[State, ...],
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[tuple[State, ...], Float[Array, "batch time features"]]:
        """Read further steps from any state, a trained or a given one too; padding leaves the state as it is."""
        # Padding may hold anything, and a NaN that no output shows would still reach the kernels' gradients.
        left, x = [], zero_padding(x, mask)
        for depth, state in enumerate(carry):
            if depth:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
            state, x = Layer(self.features, self.cell, self.dtype, name=f"layer_{depth}")(state, x, mask)
            left.append(state)
        return tuple(left), x


class Bidirectional(nn.Module):
    """A stack of recurrent layers, each read in both directions; the next layer sees both (Schuster & Paliwal 1997).

    The backward direction starts at each row's last real step, never on padding.

    Attributes:
        features: width of the output; each direction has half of it.
        cell, layers, dropout, dtype: as in `Recurrent`.
    """

    features: int
    cell: Callable[[], Cell] = GRU
    layers: int = 1
    dropout: float = 0.0
    dtype: DTypeLike | None = None

    def __post_init__(self):
        if self.features % 2:
            raise ValueError(f"features must be even, half of them for each direction, got {self.features}")
        super().__post_init__()

    def start(self, batch: int) -> tuple[tuple[State, State], ...]:
        """Zero states, forward and backward, of every layer."""
        zero = self.cell().start(batch, self.features // 2)
        return tuple((zero, zero) for _ in range(self.layers))

    @nn.compact
    def read(
        self,
        carry: tuple[tuple[State, State], ...],
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[tuple[tuple[State, State], ...], Float[Array, "batch time features"]]:
        """Read a whole sequence; the final forward state has seen its end, the backward one its beginning."""
        left, x = [], zero_padding(x, mask)  # as in `Recurrent`
        for depth, (forward, backward) in enumerate(carry):
            if depth:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
            half = self.features // 2
            forward, ahead = Layer(half, self.cell, self.dtype, name=f"forward_{depth}")(forward, x, mask)
            turned = reverse(x, mask)
            backward, behind = Layer(half, self.cell, self.dtype, name=f"backward_{depth}")(backward, turned, mask)
            x = jnp.concatenate([ahead, reverse(behind, mask)], axis=-1)
            left.append((forward, backward))
        return tuple(left), x

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time features"]:
        return self.read(self.start(x.shape[0]), x, mask=mask, train=train)[1]


def reverse(
    x: Float[Array, "batch time features"], mask: Bool[Array, "batch time"] | None
) -> Float[Array, "batch time features"]:
    """Each row's real steps in reverse order; padding stays behind them."""
    if mask is None:
        return x[:, ::-1]
    time = jnp.arange(x.shape[1])[None, :]
    length = mask.sum(axis=1)[:, None]
    return jnp.take_along_axis(x, jnp.where(mask, length - 1 - time, time)[..., None], axis=1)
