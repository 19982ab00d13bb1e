"""Multi-delay recall: all of the last inputs at every step, a measure of memory capacity."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax._checks import integers
from seqjax.tasks.shift import counted_from, shift
from seqjax.types import Batch, InputError


@dataclass(frozen=True)
class MultiDelay:
    """Output all of the last inputs at every step: y_t = (x_t, x_{t-1}, …, x_{t-k}), x white noise of variance 1.

    Jaeger 2001, "Short term memory in echo state networks": how much of the past is in a state?

    Example: delay 2, 5 8 9 0 -> (5, -, -) (8, 5, -) (9, 8, 5) (0, 9, 8), of which the last two count.

    Attributes:
        delay: k, the longest, at least 0; there are k + 1 targets.
        length: T, steps of one sequence, more than `delay`.
    """

    delay: int = 31
    length: int = 128

    def __post_init__(self) -> None:
        integers(0, delay=self.delay, length=self.length)
        if self.length <= self.delay:
            raise InputError(f"length must be > delay = {self.delay}, got {self.length}")

    @property
    def reach(self) -> int:
        """Steps that a target depends on, from the earliest to its own: delay + 1."""
        return self.delay + 1

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; targets are [batch, time, delay + 1], and the first `delay` steps do not count."""
        x = jax.random.normal(key, (batch_size, self.length))
        delayed = [shift(x, delay) for delay in range(self.delay + 1)]
        return Batch(x[..., None], jnp.stack(delayed, axis=-1), weight=counted_from(x, self.delay))

    def zero_loss(self) -> float:
        """Squared error of predicting zero: the variance, 1."""
        return 1.0

    def floor(self, features: int) -> float:
        """Least squared error, averaged over delays, of any model that reads out `features` numbers linearly.

        The targets are uncorrelated and of equal variance, so sum_k R^2_k <= features (Jaeger 2001, prop. 2).
        """
        return max(0.0, 1 - features / (self.delay + 1))
