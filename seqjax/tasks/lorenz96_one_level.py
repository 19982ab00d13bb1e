"""Lorenz96 with one time scale and a constant forcing: a chaotic ring that drives itself."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax._checks import at_least, finite, integers
from seqjax.types import Batch, InputError


@dataclass(frozen=True)
class OneLevelLorenz96:
    """Predict the next sample of the autonomous Lorenz96 system (Lorenz 1996, eq. 1) from those before.

        dx_k/dt = x_{k-1} (x_{k+1} - x_{k-2}) - x_k + F,    k = 1, ..., K on a ring

    A row starts from a random state and is integrated through `burn_in` before its first sample.

        task = OneLevelLorenz96(K=40)
        batch = task.sample(jax.random.key(0), 32)      # inputs, targets: (32, 128, 40); targets[t] is inputs[t + 1]

    Attributes:
        K: variables, at least 4.
        F: the forcing; chaotic at 8 for K = 5 and more.
        length: samples that are read in a row.
        burn_in: time units from the random initial state to the first sample.
        sample_step: time units between samples.
        substeps: steps of Tsit5 per sample.
    """

    K: int = 40
    F: float = 8.0
    length: int = 128
    burn_in: float = 20.0
    sample_step: float = 0.05
    substeps: int = 2

    def __post_init__(self) -> None:
        integers(1, length=self.length, substeps=self.substeps)
        integers(4, K=self.K)
        at_least(0, burn_in=self.burn_in)
        finite(F=self.F)
        if not self.sample_step > 0:
            raise InputError(f"sample_step must be > 0, got {self.sample_step}")

    def tendency(self, x: Float[Array, "batch variables"]) -> Float[Array, "batch variables"]:
        """dx/dt."""
        before, second_before, after = (jnp.roll(x, shift, axis=1) for shift in (1, 2, -1))
        return before * (after - second_before) - x + self.F

    def advance(self, x: Float[Array, "batch variables"]) -> Float[Array, "batch variables"]:
        """The state one sample later, in the precision of the argument; differentiable in forward mode."""
        import diffrax  # takes as long to import as JAX

        from seqjax.tasks.runge_kutta import Unrolled

        step = self.sample_step / self.substeps
        zero, one, end = (jnp.asarray(time, x.dtype) for time in (0, 1, self.substeps))
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, x, args: step * self.tendency(x)),
            Unrolled(diffrax.Tsit5()),
            zero,
            end,
            one,
            x,
            saveat=diffrax.SaveAt(t1=True),
            adjoint=diffrax.ForwardMode(),
            max_steps=self.substeps,
            throw=False,
        )
        assert solution.ys is not None
        return solution.ys[0]

    def settled(self, key: Key[Array, ""], batch_size: int) -> Float[Array, "batch variables"]:
        """Random states on the attractor."""
        start = self.F + jax.random.normal(key, (batch_size, self.K))
        return jax.lax.fori_loop(0, round(self.burn_in / self.sample_step), lambda _, x: self.advance(x), start)

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh examples, in the units of the equation."""
        start = self.settled(key, batch_size)
        _, later = jax.lax.scan(lambda x, _: (after := self.advance(x), after), start, length=self.length)
        path = jnp.swapaxes(jnp.concatenate([start[None], later]), 0, 1)
        return Batch(path[:, :-1], path[:, 1:])
