"""The loss of decaying exponentials on a target with distant memory, in closed form: why training has plateaus.

The target is rho(t) = e^-t + e^-(t - memory)^2/2. Training soon learns e^-t; a unit that decays at rate w feels the
bump only by e^(-w memory): the curse of memory in optimisation (Li, Han, E & Li 2021, arXiv:2009.07799).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from seqjax.types import InputError

HEIGHT = math.sqrt(math.pi)
"""The loss once e^-t is learned and the bump is not: the bump's squared norm."""


class Exponentials(NamedTuple):
    """A linear RNN in continuous time with one real pole a unit: khat(t) = sum_i amplitudes_i e^(-rates_i t)."""

    amplitudes: Float[Array | np.ndarray, " units"]
    rates: Float[Array | np.ndarray, " units"]


def loss(model: Exponentials, memory: Float[Array, ""] | float) -> Scalar:
    """J = int_0^oo (khat(t) - rho(t))^2 dt, the population loss on white noise; differentiable.

    <e^-wt, e^-vt> = 1/(w + v) and <e^-wt, bump> = sqrt(2 pi) e^(-w memory + w^2/2), with the bump integrated over the
    whole line; cutting it off at 0 changes at most e^(-memory^2/2) for rates < memory - 1.

    Rates must be > 0 and well below memory; outside, the formula is wrong. Use float64: the gradient from the bump,
    e^(-w memory), is lost in float32.
    """
    # As one more unit, so that what is learned of e^-t cancels before the bump is added.
    amplitudes = jnp.append(model.amplitudes, -1.0)
    rates = jnp.append(model.rates, 1.0)
    overlap = 1 / (rates[:, None] + rates[None, :])
    bump = math.sqrt(2 * math.pi) * jnp.exp(-rates * memory + rates**2 / 2)
    return amplitudes @ overlap @ amplitudes - 2 * amplitudes @ bump + HEIGHT


def second_plateau(memory: float) -> float:
    """The loss at which one unit that e^-t does not need converges, to leading order in 1/memory.

    sqrt(pi) (1 - 2 sqrt(pi)/(e memory)): a unit of rate w gains 2 w <e^-wt, bump>^2, which is largest at
    w = 1/(2 memory). That is a few percent for a distant bump, so an escape is best defined by a small drop.
    """
    if not memory > 0:
        raise InputError(f"memory must be > 0, got {memory}")
    return HEIGHT * (1 - 2 * HEIGHT / (math.e * memory))
