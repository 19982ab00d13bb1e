"""Shift: repeat the input after a delay. A pure test of memory, with an exact floor for linear RNNs."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax._checks import integers
from seqjax.data.gaussian_process import Signal, WhiteNoise
from seqjax.theory import bounds
from seqjax.types import Batch, InputError


def shift(x: Float[Array, "batch time"], delay: int) -> Float[Array, "batch time"]:
    """y_t = x_{t-delay}, and 0 for t < delay.

    Example: by 3 steps, 5 8 9 0 1 2 5 6 -> 0 0 0 5 8 9 0 1.
    """
    integers(0, delay=delay)
    length = x.shape[1]
    return jnp.pad(x, ((0, 0), (min(delay, length), 0)))[:, :length]


def counted_from(x: Float[Array, "batch time"], step: int) -> Float[Array, "batch time"]:
    """Loss weights of the shape of `x`: 0 before `step`, 1 from it on."""
    return jnp.broadcast_to(jnp.arange(x.shape[1]) >= step, x.shape).astype(x.dtype)


@dataclass(frozen=True)
class Shift:
    """Repeat the input after a delay: y_t = x_{t-delay}, and 0 for t < delay.

    Example: delay 3, 5 8 9 0 1 2 5 6 -> 0 0 0 5 8 9 0 1.

    All errors below are squared errors averaged over the `length` steps, for a signal of unit variance.

    Attributes:
        delay: k >= 0, in steps; from `length` on every target is zero.
        length: T, steps of one sequence, at least 1.
        signal: the input. A smooth one can be extrapolated into the past, which hides whether a model remembers
            (`window_floor` says by how much).
    """

    delay: int = 8
    length: int = 32
    signal: Signal = field(default=WhiteNoise())

    def __post_init__(self) -> None:
        integers(0, delay=self.delay)
        integers(1, length=self.length)

    @property
    def reach(self) -> int:
        """Steps that a target depends on, from the earliest to its own: delay + 1."""
        return min(self.delay + 1, self.length)

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs and targets are [batch, time, 1]."""
        x = self.signal.sample(key, batch_size, self.length)
        return Batch(inputs=x[..., None], targets=shift(x, self.delay)[..., None])

    def zero_loss(self) -> float:
        """Error of predicting zero: 1 - k/T."""
        return max(0.0, 1 - self.delay / self.length)

    def memoryless_floor(self) -> float:
        """Best error of any model that sees the present input only (`bounds.memoryless`)."""
        return bounds.memoryless(self.signal.covariance(self.length), self.delay)

    def window_floor(self, window: int) -> float:
        """Best error of any model that sees the last `window` inputs only: (1 - k/T) times `bounds.window`."""
        steps = max(self.delay + 1, window)
        return self.zero_loss() * bounds.window(self.signal.covariance(steps), self.delay, window)

    def floor(self, order: int) -> float:
        """Best error of any linear RNN with `order` states on white noise (`bounds.shift`).

        Raises:
            InputError: the signal is not white noise, or length < 2 delay + 1.
        """
        if not isinstance(self.signal, WhiteNoise):
            raise InputError(f"signal must be WhiteNoise() for this floor to hold, got {self.signal}")
        return bounds.shift(self.delay, self.length, order)
