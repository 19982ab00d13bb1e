"""Temporal parity: the product of all bits so far."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax._checks import integers
from seqjax.tasks.shift import counted_from
from seqjax.types import Batch


@dataclass(frozen=True)
class Parity:
    """Whether an even number of signs was negative: bits +1 or -1, and their product so far.

    Example: + - - + -  ->  (+) - + + -; the first target is the first bit, and does not count.

    A product of bits is uncorrelated with every sum of functions of fewer of them: no linear model is better than a
    constant, and one mistake makes all later steps wrong.

    Attributes:
        length: n, bits of one sequence, at least 2.
    """

    length: int = 32

    def __post_init__(self) -> None:
        integers(2, length=self.length)

    @property
    def reach(self) -> int:
        """Steps that a target depends on, from the earliest to its own: all."""
        return self.length

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs and targets are [batch, time, 1], +1 or -1."""
        bits = jax.random.rademacher(key, (batch_size, self.length), jnp.float32)
        return Batch(bits[..., None], jnp.cumprod(bits, axis=1)[..., None], weight=counted_from(bits, 1))

    def chance_loss(self) -> float:
        """Cross-entropy in nats of a fair coin: ln 2."""
        return math.log(2)

    def linear_loss(self) -> float:
        """Squared error of the best linear model, which is zero: 1."""
        return 1.0
