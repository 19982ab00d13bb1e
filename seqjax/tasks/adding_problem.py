"""The adding problem: the sum of two marked numbers of a long sequence."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax._checks import integers
from seqjax.types import Batch


@dataclass(frozen=True)
class AddingProblem:
    """Add two marked numbers: u_i uniform on [0, 1], a second channel marks two steps, one target at the end.

    Hochreiter & Schmidhuber 1997; markers anywhere, as in Bai, Kolter & Koltun 2018, arXiv:1803.01271, sec. 5.1.

    Example: length 4, values .3 .9 .5 .2, markers 0 1 0 1 -> 1.1 at the last step, the only one that counts.

    Attributes:
        length: T, steps of one sequence, at least 2.
    """

    length: int = 200

    def __post_init__(self) -> None:
        integers(2, length=self.length)

    @property
    def reach(self) -> int:
        """Steps that the target depends on, from the earliest to its own: all."""
        return self.length

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
