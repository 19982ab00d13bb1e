"""The linear recurrence with a diagonal matrix, whose factors may change with time.

On CPU, a loop over time; elsewhere, an associative scan (Martin & Cundy 2018, arXiv:1709.04057).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from seqjax.models.module import Mask


def linear_recurrence(
    factor: Inexact[Array, "*factors"],
    state: Inexact[Array, "batch *order"],
    driven: Inexact[Array, "batch time *order"],
    mask: Mask,
) -> tuple[Inexact[Array, "batch *order"], Inexact[Array, "batch time *order"]]:
    """h[t] = factor[t] h[t-1] + driven[t] for every number of the state: it after the last real step, and all h.

    The form is chosen when a program is lowered, for the platform that will run it; both give derivatives of any order,
    in both modes.

    Args:
        factor: of each step, with the shape of `driven`, or the same for all rows and steps, `(*order)`.
    """
    wide = jnp.result_type(factor, state, driven)
    factor, state, driven = factor.astype(wide), state.astype(wide), driven.astype(wide)
    if factor.ndim == driven.ndim:
        factor = jnp.swapaxes(factor, 0, 1)
    h = jnp.swapaxes(_states(factor, state, jnp.swapaxes(driven, 0, 1)), 0, 1)
    if mask is None:
        return h[:, -1], h
    # Real steps come first, so that no padding has changed the state after the last of them.
    place = mask.sum(axis=1).reshape(-1, *(1,) * (driven.ndim - 1))
    final = jnp.take_along_axis(h, jnp.maximum(place - 1, 0), axis=1)[:, 0]
    return jnp.where(place[:, 0] > 0, final, state), h


@jax.custom_jvp
def _states(factor: Array, state: Array, driven: Array) -> Array:
    """All h; here and below, time is the first axis."""
    return jax.lax.platform_dependent(factor, state, driven, cpu=by_steps, default=in_parallel)


@_states.defjvp
def _tangents(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    # Tangents follow the same recurrence. Autodiff of a scan would keep more of each step: a fifth slower on CPU.
    (factor, state, driven), (d_factor, d_state, d_driven) = primals, tangents
    h = _states(factor, state, driven)
    previous = jnp.concatenate([state[None], h[:-1]])
    return h, _states(factor, d_state, _full(d_factor, driven) * previous + d_driven)


def by_steps(factor: Array, state: Array, driven: Array) -> Array:
    """One step after the other."""

    def step(h: Array, now: tuple[Array | None, Array]) -> tuple[Array, Array]:
        changing, driven = now
        h = (factor[None] if changing is None else changing) * h + driven
        return h, h

    return jax.lax.scan(step, state, (factor if factor.ndim == driven.ndim else None, driven))[1]


def in_parallel(factor: Array, state: Array, driven: Array) -> Array:
    """As an associative scan."""
    if factor.ndim < driven.ndim:  # the same for every row
        factor = jnp.broadcast_to(factor[None, None], (len(driven), 1, *factor.shape))
    driven = driven.at[0].add(factor[0] * state)
    return jax.lax.associative_scan(_compose, (factor, driven))[1]


def _full(factor: Array, driven: Array) -> Array:
    return factor if factor.ndim == driven.ndim else factor[None, None]


def _compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """h -> a h + b, then h -> c h + d."""
    (a, b), (c, d) = first, second
    return a * c, c * b + d
