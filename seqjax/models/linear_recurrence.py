"""The linear recurrence with a diagonal matrix, as an associative scan."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from seqjax.models.module import Mask


def linear_recurrence(
    factor: Inexact[Array, " order"],
    state: Inexact[Array, "batch order"],
    driven: Inexact[Array, "batch time order"],
    mask: Mask,
) -> tuple[Inexact[Array, "batch order"], Inexact[Array, "batch time order"]]:
    """h[t] = factor h[t-1] + driven[t], in parallel over time: the state after the last real step, and all h."""
    wide = jnp.result_type(factor, state, driven)
    factor, state, driven = factor.astype(wide), state.astype(wide), driven.astype(wide)
    driven = driven.at[:, 0].add(factor[None] * state)
    factors = jnp.broadcast_to(factor[None, None], (1, *driven.shape[1:]))  # the same for every row
    _, h = jax.lax.associative_scan(_compose, (factors, driven), axis=1)
    if mask is None:
        return h[:, -1], h
    # Real steps come first, so that no padding has changed the state after the last of them.
    place = mask.sum(axis=1)[:, None]
    final = jnp.take_along_axis(h, jnp.maximum(place - 1, 0)[..., None], axis=1)[:, 0]
    return jnp.where(place > 0, final, state), h


def _compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """h -> a h + b, then h -> c h + d."""
    (a, b), (c, d) = first, second
    return a * c, c * b + d
