"""The diagonal linear RNN with a choice of parameterisations."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.backbone import Causal
from seqjax.models.linear_recurrence import linear_recurrence
from seqjax.models.module import zero_padding
from seqjax.types import InputError


class DiagonalRNN(Causal):
    """Real states that decay independently: h[t] = h[t-1] + step (U x[t] - f(w) h[t-1]), y[t] = C h[t], without biases.

    Euler's steps of the linear RNN h' = -f(w) h + U x. f maps a weight w to a rate of decay, and decides what training
    can do to it (Wang & Li 2023, arXiv:2311.14495): with w itself, a small update of a slow state can make its rate
    negative, so that the state grows; with `jnp.exp`, `nn.softplus` or `reciprocal`, rates stay positive.

    Attributes:
        features: width of the output.
        order: states.
        rate: f; a state is stable while 0 < f(w) < 2 / step.
        weight: initialiser of w; None: normal numbers, of which those that are not stable are drawn again.
        step: time between two inputs, > 0.
    """

    features: int
    order: int
    rate: Callable[[Array], Array] = jnp.exp
    weight: nn.initializers.Initializer | None = None
    step: float = 1.0

    def __post_init__(self):
        if not self.step > 0:
            raise InputError(f"step must be > 0, got {self.step}")
        super().__post_init__()

    def start(self, batch: int, inputs: int, length: int) -> tuple[Float[Array, "batch order"]]:
        """Zeros; their size depends neither on `inputs` nor on `length`."""
        return (jnp.zeros((batch, self.order)),)

    @nn.compact
    def _extend(self, carry: tuple[Array], x: Array, mask: Array | None, train: bool) -> tuple[tuple[Array], Array]:
        w = self.param("w", self.weight or self._stable, (self.order,))
        driven = self.step * nn.Dense(self.order, use_bias=False, name="read")(x)
        state, h = linear_recurrence(1 - self.step * self.rate(w), carry[0], driven, mask)
        return (state,), zero_padding(nn.Dense(self.features, use_bias=False, name="write")(h), mask)

    def _stable(self, key: Array, shape: tuple[int, ...]) -> Array:
        """For each state the first stable one of 256 numbers; their scale widens and narrows, should the first fail."""
        tries = jnp.arange(256)
        scale = jnp.exp(jnp.maximum(tries - 32, 0) / 32 * (-1.0) ** tries)
        w = scale[:, None] * jax.random.normal(key, (256, *shape))
        moved = self.step * jax.vmap(self.rate)(w)
        return jnp.take_along_axis(w, jnp.argmax((moved > 0) & (moved < 2), axis=0)[None], axis=0)[0]


def reciprocal(w: Array) -> Array:
    """1 / (w^2 + .1): "best" of arXiv:2311.14495, with which gradients stay in bounds, for rates up to 10."""
    return 1 / (w**2 + 0.1)
