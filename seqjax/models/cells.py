"""Cells of recurrent networks: one step of an RNN, GRU or LSTM, and the recurrence over all steps.

Autodiff of a scan keeps every intermediate array of every step, and adds up the kernel's gradient step by step. Here a
cell states which factors its derivative needs; what the weights' tangents contribute to all steps is one product, whose
transpose is the kernel's gradient. A rule for tangents (`jax.custom_jvp`) serves forward mode and higher derivatives
too, which one for gradients would not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

State = Any
"""The state of one layer: h, or (h, c) for the LSTM; each Float[batch features]."""

Factors = Any
"""A pytree of arrays, or the tangents of such."""


@runtime_checkable
class Cell(Protocol):
    """One step of a recurrence, as a pure function of its weights.

    Attributes:
        gates: number of blocks of `features` columns of the input's and the state's projection.
        biases: number of blocks of biases.
    """

    gates: ClassVar[int]
    biases: ClassVar[int]

    def initial_state(self, batch: int, features: int) -> State:
        """Zeros."""
        return jnp.zeros((batch, features))

    def step(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Array]:
        """One step: `projected` is the input times its kernel, `kernel` multiplies the previous output."""
        ...


@runtime_checkable
class LinearisedCell(Cell, Protocol):
    """A cell that states its derivative. Its output is its state h, or the first part of its state."""

    def step(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Array]:
        new, _ = self.linearise(kernel, bias, state, projected)
        return new, _output(new)

    def linearise(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Factors]:
        """The next state, and what `tangent` needs of this step."""
        ...

    def drive(self, projected: Array, recurrent: Array, bias: Array) -> Factors:
        """What tangents of inputs and weights contribute to `tangent`, for all steps at once.

        Args:
            projected: tangent of the projected inputs, `(time, batch, gates * features)`.
            recurrent: previous outputs times the tangent of the kernel, of the same shape.
            bias: tangent of the biases.
        """
        return projected + recurrent + bias[None, None, :]

    def tangent(self, back: Array, factors: Factors, y: Array, state: State, drive: Factors) -> State:
        """The tangent of the next state.

        Args:
            back: transpose of the kernel.
            factors: from `linearise`.
            y: output of this step.
            state: tangent of the previous state.
            drive: from `drive`.
        """
        ...


@dataclass(frozen=True)
class RNNCell(LinearisedCell):
    """h' = activation(W h + U x + b) (Elman 1990)."""

    activation: Callable[[Array], Array] = jnp.tanh
    gates: ClassVar[int] = 1
    biases: ClassVar[int] = 1

    def __post_init__(self):
        if not callable(self.activation):
            raise TypeError(f"activation must be a function such as jnp.tanh, got {self.activation}")

    def linearise(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Factors]:
        z = projected + _recur(state, kernel) + bias[None, :]
        if self.activation is jnp.tanh:
            return jnp.tanh(z), None
        return jax.jvp(self.activation, (z,), (jnp.ones_like(z),))

    def tangent(self, back: Array, factors: Factors, y: Array, state: State, drive: Factors) -> State:
        z = drive + _recur_back(state, back)
        # Not (1 - y * y) * z: what depends on no tangent would be computed in a loop of its own, and kept.
        return z - y * (y * z) if factors is None else factors * z


@dataclass(frozen=True)
class GRUCell(LinearisedCell):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), with the reset gate after the product as in cuDNN.

    r, z = sigmoid(U x + W h + b), n = tanh(U_n x + b_n + r (W_n h + c_n)), h' = (1 - z) n + z h; c_n comes last.
    """

    gates: ClassVar[int] = 3
    biases: ClassVar[int] = 4

    def linearise(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Factors]:
        width = state.shape[-1]
        recurrent = _recur(state, kernel)
        gate = nn.sigmoid(projected[:, : 2 * width] + recurrent[:, : 2 * width] + bias[None, : 2 * width])
        r, z = gate[:, :width], gate[:, width:]
        memory = recurrent[:, 2 * width :] + bias[None, 3 * width :]
        n = jnp.tanh(projected[:, 2 * width :] + bias[None, 2 * width : 3 * width] + r * memory)
        h = n + z * (state - n)
        return h, (memory * r * (1 - r), (state - n) * z * (1 - z), (1 - z) * (1 - n * n), r, z)

    def drive(self, projected: Array, recurrent: Array, bias: Array) -> Factors:
        width = recurrent.shape[-1] // 3
        # Split and not sliced, as the transpose of a slice adds zeros.
        of_gates, of_candidate, of_memory = jnp.split(bias[None, None, :], [2 * width, 3 * width], axis=-1)
        gates, candidate = jnp.split(projected, [2 * width], axis=-1)
        more, memory = jnp.split(recurrent, [2 * width], axis=-1)
        return gates + more + of_gates, candidate + of_candidate, memory + of_memory

    def tangent(self, back: Array, factors: Factors, y: Array, state: State, drive: Factors) -> State:
        of_r, of_z, of_n, r, z = factors
        gates, candidate, memory = drive
        more, inner = jnp.split(_recur_back(state, back), [2 * state.shape[-1]], axis=-1)
        reset, update = jnp.split(gates + more, 2, axis=-1)
        n = candidate + of_r * reset + r * (memory + inner)
        return of_n * n + of_z * update + z * state


@dataclass(frozen=True)
class LSTMCell(LinearisedCell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, g, o = U x + W h + b; c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c').
    """

    gates: ClassVar[int] = 4
    biases: ClassVar[int] = 4

    def initial_state(self, batch: int, features: int) -> State:
        return jnp.zeros((batch, features)), jnp.zeros((batch, features))

    def linearise(self, kernel: Array, bias: Array, state: State, projected: Array) -> tuple[State, Factors]:
        h, old = state
        i, f, g, o = jnp.split(projected + _recur(h, kernel) + bias[None, :], 4, axis=-1)
        i, f, g, o = nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)
        c = f * old + i * g
        squashed = jnp.tanh(c)
        of_gates = g * i * (1 - i), old * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)
        return (o * squashed, c), (*of_gates, f, o * (1 - squashed * squashed))

    def tangent(self, back: Array, factors: Factors, y: Array, state: State, drive: Factors) -> State:
        h, c = state
        of_i, of_f, of_g, of_o, f, of_c = factors
        input_gate, forget_gate, candidate, output_gate = jnp.split(drive + _recur_back(h, back), 4, axis=-1)
        c = f * c + of_i * input_gate + of_f * forget_gate + of_g * candidate
        return (of_c * c + of_o * output_gate, c)


def recurrence(
    cell: Cell, kernel: Array, bias: Array, state: State, projected: Array, mask: Array | None
) -> tuple[State, Array]:
    """All steps of a cell.

    Args:
        projected: the inputs times their kernel, `(time, batch, gates * features)`.
        mask: which steps are real, `(time, batch)`: the state stays as it is at others, whose outputs mean nothing.

    Returns:
        The final state, and the outputs, `(time, batch, features)`.
    """
    run = _linearised if isinstance(cell, LinearisedCell) else _scan
    return run(cell, kernel, bias, state, projected, mask)


def _scan(
    cell: Cell, kernel: Array, bias: Array, state: State, projected: Array, mask: Array | None
) -> tuple[State, Array]:
    def step(state: State, now: tuple[Array, Array | None]) -> tuple[State, Array]:
        projected, real = now
        new, y = cell.step(kernel, bias, state, projected)
        return _where(real, new, state), y

    return jax.lax.scan(step, state, (projected, mask))


_linearised = jax.custom_jvp(_scan, nondiff_argnums=(0,))


@_linearised.defjvp
def _tangents(cell: LinearisedCell, primals: tuple, tangents: tuple) -> tuple:
    kernel, bias, state, projected, mask = primals
    d_kernel, d_bias, d_state, d_projected, _ = tangents

    def step(state: State, now: tuple[Array, Array | None]) -> tuple[State, tuple[Array, Factors]]:
        projected, real = now
        new, factors = cell.linearise(kernel, bias, state, projected)
        new = _where(real, new, state)
        return new, (_output(new), factors)

    final, (y, factors) = jax.lax.scan(step, state, (projected, mask))
    previous = jnp.concatenate([_output(state)[None], y[:-1]])
    recurrent = _recur(previous.reshape(-1, previous.shape[-1]), d_kernel).reshape(projected.shape)
    drive, back = cell.drive(d_projected, recurrent, d_bias), kernel.T

    def tangent_step(d_state: State, now: tuple[Factors, Factors, Array, Array | None]) -> tuple[State, Array]:
        drive, factors, y, real = now
        new = _where(real, cell.tangent(back, factors, y, d_state, drive), d_state)
        return new, _output(new)

    return (final, y), jax.lax.scan(tangent_step, d_state, (drive, factors, y, mask))


def _where(real: Array | None, new: State, old: State) -> State:
    if real is None:
        return new
    return jax.tree.map(lambda after, before: jnp.where(real[:, None], after, before), new, old)


def _output(state: State) -> Array:
    return state[0] if isinstance(state, tuple) else state


def _recur(state: Array, kernel: Array) -> Array:
    """h @ W in the kernel's dtype, accumulated in the state's."""
    return jnp.matmul(state.astype(kernel.dtype), kernel, preferred_element_type=state.dtype)


def _recur_back(state: Array, back: Array) -> Array:
    """h @ back.T, likewise: its transpose, in the backward loop, is a product with `back` as it lies in memory."""
    contract = (((1,), (1,)), ((), ()))
    return jax.lax.dot_general(state.astype(back.dtype), back, contract, preferred_element_type=state.dtype)
