"""The Mackey-Glass equation: one variable that remembers its own past, chaotic for long delays."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax._checks import at_least, integers
from seqjax.types import Batch, InputError


@dataclass(frozen=True)
class MackeyGlass:
    """Predict the next sample of the Mackey-Glass delay equation (Mackey & Glass 1977) from those before.

        dx/dt = 0.2 x(t - delay) / (1 + x(t - delay)^10) - 0.1 x

    The state is the solution over the last delay, at the ends and middles of steps of h = sample_step / substeps, which
    must divide the delay. A step is that of the classical Runge-Kutta method; its own middle is the cubic Hermite
    interpolant of values and slopes at both ends. The method is of order 4 for any initial history that is smooth
    between the ends of steps, as its kinks, passed on with each delay, stay there.

    A row starts from a random constant history and is integrated through `burn_in` before its first sample.

        task = MackeyGlass(delay=17)
        batch = task.sample(jax.random.key(0), 32)      # inputs, targets: (32, 128, 1); targets[t] is inputs[t + 1]

    Attributes:
        delay: in time units; chaotic from 16.8.
        length: samples that are read in a row.
        burn_in: time units from the initial history to the first sample.
        sample_step: time units between samples.
        substeps: solver steps per sample.
    """

    delay: float = 17.0
    length: int = 128
    burn_in: float = 1_000.0
    sample_step: float = 1.0
    substeps: int = 4

    def __post_init__(self) -> None:
        integers(1, length=self.length, substeps=self.substeps)
        at_least(0, burn_in=self.burn_in)
        for name in ("delay", "sample_step"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be > 0, got {getattr(self, name)}")
        if self.steps < 1 or abs(self.steps * self.step - self.delay) > 1e-9 * self.delay:
            raise InputError(
                f"sample_step / substeps must divide delay = {self.delay}, got {self.sample_step} / {self.substeps}"
            )

    @property
    def step(self) -> float:
        """Length of a solver step, in time units."""
        return self.sample_step / self.substeps

    @property
    def steps(self) -> int:
        """Solver steps in a delay."""
        return round(self.delay / self.step)

    def tendency(self, x: Float[Array, " batch"], delayed: Float[Array, " batch"]) -> Float[Array, " batch"]:
        """dx/dt."""
        return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

    def solve_step(self, history: Float[Array, "batch halves"]) -> Float[Array, "batch halves"]:
        """The history one solver step later: `2 * steps + 1` values, half a step apart."""
        h, x, (start, middle, end) = self.step, history[:, -1], history[:, :3].T
        k1 = self.tendency(x, start)
        k2 = self.tendency(x + h / 2 * k1, middle)
        k3 = self.tendency(x + h / 2 * k2, middle)
        k4 = self.tendency(x + h * k3, end)
        after = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        between = (x + after) / 2 + h / 8 * (k1 - self.tendency(after, end))
        return jnp.concatenate([history[:, 2:], between[:, None], after[:, None]], axis=1)

    def advance(self, history: Float[Array, "batch halves"]) -> Float[Array, "batch halves"]:
        """The history one sample later, in the precision of the argument."""
        return jax.lax.fori_loop(0, self.substeps, lambda _, history: self.solve_step(history), history)

    def settled(self, key: Key[Array, ""], batch_size: int) -> Float[Array, "batch halves"]:
        """Random histories on the attractor."""
        start = jax.random.uniform(key, (batch_size, 1), minval=0.5, maxval=1.3)
        start = jnp.broadcast_to(start, (batch_size, 2 * self.steps + 1))
        samples = round(self.burn_in / self.sample_step)
        return jax.lax.fori_loop(0, samples, lambda _, history: self.advance(history), start)

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh examples, in the units of the equation."""
        start = self.settled(key, batch_size)
        _, later = jax.lax.scan(
            lambda history, _: ((after := self.advance(history)), after[:, -1]), start, length=self.length
        )
        path = jnp.concatenate([start[None, :, -1], later]).T[:, :, None]
        return Batch(path[:, :-1], path[:, 1:])
