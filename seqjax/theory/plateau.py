"""Why training waits: the loss of decaying exponentials on a target with a memory far away, in closed form.

The target rho(t) = e^-t + e^-(t - memory)^2/2 forgets at once and remembers a bump after `memory` time units. Training
soon learns e^-t and then sees next to nothing of the bump: every unit that decays at rate w feels it by e^(-w memory).
That is the curse of memory in optimisation (Li, Han, E & Li 2021, arXiv:2009.07799).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

HEIGHT = math.sqrt(math.pi)
"""The loss once e^-t is learned and the bump is not: the bump's squared norm."""


class Exponentials(NamedTuple):
    """A linear RNN in continuous time with one real pole a unit: khat(t) = sum_i amplitudes_i e^(-rates_i t)."""

    amplitudes: Float[Array | np.ndarray, " units"]
    rates: Float[Array | np.ndarray, " units"]


def loss(model: Exponentials, memory: Float[Array, ""] | float) -> Scalar:
    """J = int_0^oo (khat(t) - rho(t))^2 dt, the population loss on white noise, to be differentiated by JAX.

    <e^-wt, e^-vt> = 1/(w + v) and <e^-wt, bump> = sqrt(2 pi) e^(-w memory + w^2/2), where the bump is integrated over
    the whole line: cut off at 0 it differs by e^(-memory^2/2) at most, as long as rates are < memory - 1. The target's
    e^-t enters as one more unit of amplitude -1 and rate 1: what is learned of it cancels before the bump is added.

    Rates must be > 0, where J is finite, and well below memory: the formula goes on beyond, and is wrong. The bump's
    pull on a unit is e^(-w memory), which float32 loses in the rest of the gradient: use float64.
    """
    amplitudes = jnp.append(model.amplitudes, -1.0)
    rates = jnp.append(model.rates, 1.0)
    overlap = 1 / (rates[:, None] + rates[None, :])
    bump = math.sqrt(2 * math.pi) * jnp.exp(-rates * memory + rates**2 / 2)
    return amplitudes @ overlap @ amplitudes - 2 * amplitudes @ bump + HEIGHT


def second_plateau(memory: float) -> float:
    """The loss at which one unit that e^-t does not need comes to rest, to leading order in 1/memory.

    sqrt(pi) (1 - 2 sqrt(pi)/(e memory)): a unit of rate w takes 2 w <e^-wt, bump>^2 off the plateau, which is largest
    at w = 1/(2 memory). It removes a few percent of a far bump, so that an escape is to be defined by a small drop.
    """
    return HEIGHT * (1 - 2 * HEIGHT / (math.e * memory))
