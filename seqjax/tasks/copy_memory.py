"""Copy memory: repeat symbols after a long pause."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax._checks import integers
from seqjax.types import Labelled


@dataclass(frozen=True)
class CopyMemory:
    """Repeat symbols after `blanks` steps, in the form of Bai, Kolter & Koltun 2018, arXiv:1803.01271, sec. 5.1.

    `recalled` symbols of 1 … 8, `blanks` - 1 blanks (0), a delimiter (9) and as many 9s as symbols are to be recalled;
    the target is 0 up to the delimiter followed by the symbols in order.

    Example: blanks 3, recalled 2, 5 8 0 0 9 9 9 -> 0 0 0 0 0 5 8.

    Attributes:
        blanks: T, at least 1; a sequence has T + 2 `recalled` steps.
        recalled: number of symbols to remember, at least 1.
    """

    blanks: int = 500
    recalled: int = 10

    symbols = 8
    vocab = 10

    def __post_init__(self) -> None:
        integers(1, blanks=self.blanks, recalled=self.recalled)

    @property
    def length(self) -> int:
        """Steps of one sequence."""
        return self.blanks + 2 * self.recalled

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own."""
        return self.blanks + self.recalled + 1

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences; inputs are tokens [batch, time] below `vocab`, and every step counts."""
        said = jax.random.randint(key, (batch_size, self.recalled), 1, self.symbols + 1)
        rest = ((0, 0), (0, self.recalled + 1))
        silent = jnp.pad(said, ((0, 0), (0, self.blanks - 1)))
        inputs = jnp.pad(silent, rest, constant_values=self.vocab - 1)
        return Labelled(inputs, labels=jnp.pad(said, ((0, 0), (self.length - self.recalled, 0))))

    def memoryless_loss(self) -> float:
        """Cross-entropy in nats, averaged over all steps, of a model without memory: `recalled` ln 8 / `length`."""
        return self.recalled * math.log(self.symbols) / self.length
