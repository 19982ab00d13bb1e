"""Delayed exclusive or: the product of two past bits."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax._checks import integers
from seqjax.tasks.shift import counted_from, shift
from seqjax.types import Batch, InputError


@dataclass(frozen=True)
class DelayedXor:
    """Multiply two past bits: y_t = x_{t-first} x_{t-second} for iid bits +1 or -1, an exclusive or of signs.

    Memory alone is not enough: the product is uncorrelated with every linear function of the inputs.

    Example: delays 1 and 2, + - - + -  ->  (0) (0) - + -; targets before step 2 do not count.

    Attributes:
        first, second: the delays in steps, >= 0 and different.
        length: T, steps of one sequence, more than both.
    """

    first: int = 2
    second: int = 5
    length: int = 64

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 0 or self.first == self.second:
            raise InputError(f"delays must be >= 0 and differ, got {self.first} and {self.second}")
        integers(0, first=self.first, second=self.second, length=self.length)
        if self.length <= max(self.first, self.second):
            raise InputError(f"length must be > {max(self.first, self.second)}, got {self.length}")

    @property
    def reach(self) -> int:
        """Steps that a target depends on, from the earliest to its own."""
        return max(self.first, self.second) + 1

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs and targets are [batch, time, 1]."""
        bits = jax.random.rademacher(key, (batch_size, self.length), jnp.float32)
        product = shift(bits, self.first) * shift(bits, self.second)
        return Batch(bits[..., None], product[..., None], weight=counted_from(bits, max(self.first, self.second)))

    def linear_loss(self) -> float:
        """Squared error of the best linear model, which is zero: 1."""
        return 1.0
