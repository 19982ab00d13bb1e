"""The classic synthetic tasks for long memory and for nonlinearity, each with a baseline that is known exactly."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax.tasks.shift import shift
from seqjax.types import Batch, Labelled


@dataclass(frozen=True)
class Adding:
    """Add two marked numbers: u_i uniform on [0, 1], a second channel marks two steps, one target at the end.

    The adding problem of Hochreiter & Schmidhuber 1997; markers anywhere, as in Bai, Kolter & Koltun 2018,
    arXiv:1803.01271, sec. 5.1.

    Example: length 4, values .3 .9 .5 .2, markers 0 1 0 1 -> 1.1 at the last step, the only one that counts.

    Attributes:
        length: T, steps of one sequence.

    Raises:
        ValueError: length < 2.
    """

    length: int = 200

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length must be >= 2, got {self.length}")

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs are [batch, time, 2], value and marker."""
        value_key, first_key, gap_key = jax.random.split(key, 3)
        values = jax.random.uniform(value_key, (batch_size, self.length))
        first = jax.random.randint(first_key, (batch_size, 1), 0, self.length)
        # Any other step, all of them equally likely.
        second = (first + jax.random.randint(gap_key, (batch_size, 1), 1, self.length)) % self.length
        time = jnp.arange(self.length)[None, :]
        marked = (time == first) | (time == second)
        total = jnp.sum(jnp.where(marked, values, 0), axis=1)
        last = jnp.broadcast_to(time == self.length - 1, values.shape)
        return Batch(
            inputs=jnp.stack([values, marked.astype(values.dtype)], axis=-1),
            targets=jnp.where(last, total[:, None], 0)[..., None],
            weight=last.astype(values.dtype),
        )

    def constant_loss(self) -> float:
        """Squared error of the best constant, 1: the variance of two uniform numbers, 1/6."""
        return 1 / 6


@dataclass(frozen=True)
class CopyMemory:
    """Say again what was said `blanks` steps ago, in the form of Bai, Kolter & Koltun 2018, arXiv:1803.01271, sec. 5.1.

    `recalled` symbols of 1 … 8, blanks (0), a delimiter (9) and as many 9s as symbols are to be recalled; the target
    is 0 up to the delimiter and the symbols, in order, behind it.

    Example: blanks 3, recalled 2, 5 8 0 0 9 9 9 -> 0 0 0 0 0 5 8.

    Attributes:
        blanks: T; a sequence has T + 2 `recalled` steps.
        recalled: how many symbols are to be kept in mind.

    Raises:
        ValueError: blanks < 1 or recalled < 1.
    """

    blanks: int = 500
    recalled: int = 10

    symbols = 8
    vocab = 10

    def __post_init__(self) -> None:
        for name, value in (("blanks", self.blanks), ("recalled", self.recalled)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")

    @property
    def length(self) -> int:
        """Steps of one sequence."""
        return self.blanks + 2 * self.recalled

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences; inputs are tokens [batch, time] below `vocab`, and every step counts."""
        said = jax.random.randint(key, (batch_size, self.recalled), 1, self.symbols + 1)
        rest = ((0, 0), (0, self.recalled + 1))
        silent = jnp.pad(said, ((0, 0), (0, self.blanks - 1)))
        inputs = jnp.pad(silent, rest, constant_values=self.vocab - 1)
        return Labelled(inputs, labels=jnp.pad(said, ((0, 0), (self.length - self.recalled, 0))))

    def memoryless_loss(self) -> float:
        """Cross-entropy in nats, averaged over all steps, of whoever has forgotten the symbols: 10 ln 8 / (T + 20)."""
        return self.recalled * math.log(self.symbols) / self.length


@dataclass(frozen=True)
class MultiDelay:
    """Tell all of the last inputs at every step: y_t = (x_t, x_{t-1}, …, x_{t-k}), x white noise of variance 1.

    Jaeger 2001, "Short term memory in echo state networks": how much of the past is in a state?

    Example: delay 2, 5 8 9 0 -> (5, -, -) (8, 5, -) (9, 8, 5) (0, 9, 8), of which the last two count.

    Attributes:
        delay: k, the longest; there are k + 1 targets.
        length: T, steps of one sequence.

    Raises:
        ValueError: delay < 0 or length <= delay.
    """

    delay: int = 31
    length: int = 128

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise ValueError(f"delay must be >= 0, got {self.delay}")
        if self.length <= self.delay:
            raise ValueError(f"length must be > delay = {self.delay}, got {self.length}")

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; targets are [batch, time, delay + 1], and the first `delay` steps do not count."""
        x = jax.random.normal(key, (batch_size, self.length))
        delayed = [shift(x, delay) for delay in range(self.delay + 1)]
        return Batch(x[..., None], jnp.stack(delayed, axis=-1), weight=_weight(x, self.delay))

    def zero_loss(self) -> float:
        """Squared error of predicting zero: the variance, 1."""
        return 1.0

    def floor(self, features: int) -> float:
        """Least squared error, averaged over delays, of any model that reads out `features` numbers linearly.

        The targets are uncorrelated and of equal variance, so the R^2 of all of them together, sum_k R^2_k, is at most
        the number of numbers read (Jaeger 2001, prop. 2): 1 - features / (delay + 1).
        """
        return max(0.0, 1 - features / (self.delay + 1))


@dataclass(frozen=True)
class Parity:
    """Whether an even number of signs was negative: bits +1 or -1, and their product so far.

    Example: + - - + -  ->  (+) - + + -; the first target is the first bit, and does not count.

    A product of two or more bits is uncorrelated with every sum of functions of fewer of them (it is orthogonal to all
    monomials of lower order): no linear model is better than a constant, and one mistake makes all later steps wrong.

    Attributes:
        length: n, bits of one sequence.

    Raises:
        ValueError: length < 2.
    """

    length: int = 32

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length must be >= 2, got {self.length}")

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs and targets are [batch, time, 1], +1 or -1."""
        bits = jax.random.rademacher(key, (batch_size, self.length), jnp.float32)
        return Batch(bits[..., None], jnp.cumprod(bits, axis=1)[..., None], weight=_weight(bits, 1))

    def chance_loss(self) -> float:
        """Cross-entropy in nats of a fair coin: ln 2."""
        return math.log(2)

    def linear_loss(self) -> float:
        """Squared error of the best linear model, which is zero: 1."""
        return 1.0


@dataclass(frozen=True)
class DelayedXor:
    """Multiply two past bits: y_t = x_{t-first} x_{t-second} for iid bits +1 or -1, an exclusive or of signs.

    Memory alone is not enough: the product is uncorrelated with every linear function of the inputs.

    Example: delays 1 and 2, + - - + -  ->  (-) (-) - + -; targets before step 2 do not count.

    Attributes:
        first, second: the two delays, in steps.
        length: T, steps of one sequence.

    Raises:
        ValueError: the delays are equal, one of them is negative, or length is not greater than both.
    """

    first: int = 2
    second: int = 5
    length: int = 64

    def __post_init__(self) -> None:
        if min(self.first, self.second) < 0 or self.first == self.second:
            raise ValueError(f"delays must be >= 0 and differ, got {self.first} and {self.second}")
        if self.length <= max(self.first, self.second):
            raise ValueError(f"length must be > {max(self.first, self.second)}, got {self.length}")

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs and targets are [batch, time, 1]."""
        bits = jax.random.rademacher(key, (batch_size, self.length), jnp.float32)
        product = shift(bits, self.first) * shift(bits, self.second)
        return Batch(bits[..., None], product[..., None], weight=_weight(bits, max(self.first, self.second)))

    def linear_loss(self) -> float:
        """Squared error of the best linear model, which is zero: 1."""
        return 1.0


def _weight(x: Float[Array, "batch time"], uncounted: int) -> Float[Array, "batch time"]:
    """1 at each step but the first ones."""
    return jnp.broadcast_to(jnp.arange(x.shape[1]) >= uncounted, x.shape).astype(x.dtype)
