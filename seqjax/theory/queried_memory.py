"""The memory of a trained network, measured on its outputs alone.

The memory of a functional H is M(t) = sup_x |d/dt H_t(x 1[t >= 0])| / |x|: how much the t-th step of a constant input x
still moves the output, whatever computes it (Wang, Li & Li 2023, arXiv:2305.19190, figures 5 and 6: "queried memory";
Wang & Li 2023, arXiv:2311.14495). Of y_t = sum_s rho(s) x_{t-s} it is |rho(t)|.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from seqjax._checks import finite, integers, known
from seqjax.types import InputError


def by_height(
    respond: Callable[[Float[Array, "batch time inputs"]], Float[Array, "batch time targets"]],
    heights: Float[Array, "heights inputs"],
    length: int,
) -> Float[Array, "heights time"]:
    """|d_t - d_{t-1}| / |x| for each height x, where d is the answer to x, x, x, … less that to 0, 0, 0, …

    d_{-1} = 0, and |.| is the largest absolute entry. The memory M is the maximum over heights, `.max(axis=0)`, a lower
    bound of the supremum over all x. Of a linear recurrence h[t] = A h[t-1] + b x[t], y[t] = c h[t], it is |c A^t b| at
    every height.

    Differs from the papers: time is discrete, and the answer to 0 is subtracted. Otherwise what a network outputs
    without input, divided by |x|, would exceed everything else as x -> 0.

    Args:
        respond: a causal network, such as `functools.partial(model.apply, params)`.
        heights: x, one row for each; none of them 0.
        length: steps of an input.

    Raises:
        InputError: a height that is 0 or not finite, none at all, or length < 1.
    """
    integers(1, length=length)
    heights = jnp.asarray(heights)
    if heights.ndim != 2:
        raise InputError(f"heights must have the axes (heights, inputs), got shape {heights.shape}")
    if known(heights):
        finite(heights=heights)
    size = jnp.abs(heights).max(axis=1)
    if known(size) and not size.all():
        raise InputError(f"heights must not be 0, got {heights[size == 0][0]}")
    x = jnp.concatenate([heights, jnp.zeros_like(heights[:1])])
    answers = respond(jnp.repeat(x[:, None], length, axis=1))
    moved = jnp.diff(answers[:-1] - answers[-1:], axis=1, prepend=0)
    return jnp.abs(moved).max(axis=2) / size[:, None]
