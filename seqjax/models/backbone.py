"""Backbones: what maps a sequence of vectors to a sequence of vectors."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool

from seqjax.models.module import Features, Inputs, Mask, Module, zero_padding
from seqjax.types import Carry, InputError


class Backbone(Module):
    """A sequence architecture: `(batch, time, inputs) -> (batch, time, features)`.

    A subclass defines `_call`, or all of `__call__`, and declares `causal`, in its class or as a field: whether no
    output depends on a later input.
    """

    def __call__(self, x: Inputs, *, mask: Mask = None, train: bool = False) -> Features:
        """The outputs, zero in the padding."""
        return self._call(zero_padding(x, mask), mask, train)

    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        """`__call__`, with zeros in the padding of `x`."""
        raise NotImplementedError

    def encode(
        self, x: Inputs, *, mask: Bool[Array, "batch time"], initial: Any = None, train: bool = False
    ) -> tuple[Features, tuple[Any, ...]]:
        """What an encoder passes to a decoder: its outputs, and its final state, one pytree a layer.

        The default is for architectures without a state: the mean of the outputs takes its place.

        Args:
            initial: the state to start from, of architectures that have one.

        Raises:
            InputError: an initial state for an architecture without one.
        """
        if initial is not None:
            raise InputError(f"{type(self).__name__} has no state that it could start from: initial must be None")
        outputs = self(x, mask=mask, train=train)
        return outputs, (outputs.sum(axis=1) / jnp.maximum(mask.sum(axis=1, keepdims=True), 1),)


class Causal(Backbone):
    """A backbone that can be given its input in pieces: `__call__` is `extend` from `start`.

    A subclass defines `start` and `_extend`.
    """

    causal: ClassVar[bool] = True

    def start(self, batch: int, inputs: int, length: int) -> Carry:
        """An empty carry, for sequences of at most `length` steps: a tuple with one pytree a layer."""
        raise NotImplementedError

    def extend(self, carry: Carry, x: Inputs, *, mask: Mask = None, train: bool = False) -> tuple[Carry, Features]:
        """Read further steps, any number of them. Padding leaves the carry as it is; outputs there are zero."""
        return self._extend(carry, zero_padding(x, mask), mask, train)

    def _extend(self, carry: Carry, x: Array, mask: Array | None, train: bool) -> tuple[Carry, Array]:
        """`extend`, with zeros in the padding of `x`."""
        raise NotImplementedError

    def encode(
        self, x: Inputs, *, mask: Bool[Array, "batch time"], initial: Carry = None, train: bool = False
    ) -> tuple[Features, tuple[Any, ...]]:
        """The outputs, and the carry after the last real step.

        Args:
            initial: the carry to start from; None: `start`.
        """
        carry = self.start(x.shape[0], x.shape[-1], x.shape[1]) if initial is None else initial
        # One step of padding more where there is one step: a single step would turn the rings of a convolution, and
        # the state would depend on how its source was padded.
        time = x.shape[1]
        if time == 1:
            x, mask = jnp.pad(x, ((0, 0), (0, 1), (0, 0))), jnp.pad(mask, ((0, 0), (0, 1)))
        carry, outputs = self.extend(carry, x, mask=mask, train=train)
        return outputs[:, :time], carry

    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        return self._extend(self.start(x.shape[0], x.shape[-1], x.shape[1]), x, mask, train)[1]
