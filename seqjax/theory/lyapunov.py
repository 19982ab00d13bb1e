"""Lyapunov exponents: how fast close states of a dynamical system move apart."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqjax._checks import integers


def largest_exponents(
    advance: Callable[[Float[Array, "batch state"]], Float[Array, "batch state"]],
    start: Float[Array, "batch state"],
    key: Key[Array, ""],
    *,
    steps: int,
    settle: int,
    step_time: float = 1.0,
) -> Float[Array, " batch"]:
    """The largest Lyapunov exponent along each trajectory, per time unit (Benettin et al. 1980).

    A random perturbation is carried along by the derivative of `advance`, and scaled to norm 1 after each step; the
    exponent is the mean logarithm of these norms. Of a delay equation the state is the history on the solver's grid.

    Args:
        advance: one step of all states, each independent of the others; differentiable in forward mode.
        start: states on the attractor.
        steps: steps that count, after the first `settle`, in which perturbations turn to the direction that grows most.
        step_time: time units of a step.
    """
    integers(1, steps=steps)
    integers(0, settle=settle)

    def carried(pair: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        state, perturbation = pair
        state, perturbation = jax.jvp(advance, (state,), (perturbation,))
        norm = jnp.linalg.norm(perturbation, axis=1, keepdims=True)
        return (state, perturbation / norm), jnp.log(norm[:, 0])

    perturbation = jax.random.normal(key, start.shape, start.dtype)
    turned, _ = jax.lax.scan(carried, (start, perturbation), length=settle)
    _, growth = jax.lax.scan(carried, turned, length=steps)
    return growth.mean(axis=0) / step_time
