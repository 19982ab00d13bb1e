"""MinGRU and MinLSTM: gated recurrent networks whose gates do not read the state."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.linear_recurrence import linear_recurrence
from seqjax.models.module import Features, Inputs, Mask, widened
from seqjax.models.recurrent_blocks import Mixer, Past, RecurrentBlocks

State = tuple[Past, Float[Array, "batch features"]]


class MinGRU(RecurrentBlocks):
    """Minimal gated recurrent units in residual blocks (Feng et al. 2024, arXiv:2410.01201, sec. 3.1).

    h[t] = (1 - z[t]) h[t-1] + z[t] g(V x[t] + c), z = sigmoid(W x + b), so that h is a weighted mean of candidates.

    Differs from the paper: h is computed as it is, not by its logarithm, and may have any sign.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`.
        activation: g.
    """

    activation: Callable[[Array], Array] = jax.nn.identity

    def _mixer(self, **place: Any) -> Mixer:
        return MinGRUMixer(*self._shape(), self.activation, **place)


class MinLSTM(RecurrentBlocks):
    """Minimal long short-term memories in residual blocks (Feng et al. 2024, arXiv:2410.01201, sec. 3.2).

    h[t] = (f[t] h[t-1] + i[t] g(V x[t] + c)) / (f[t] + i[t]), with f and i each a sigmoid(W x + b) of its own.

    Differs from the paper as `MinGRU` does.

    Attributes:
        features, layers, kernel_size, expansion, dropout, bare, dtype: as in `RecurrentBlocks`.
        activation: g.
    """

    activation: Callable[[Array], Array] = jax.nn.identity

    def _mixer(self, **place: Any) -> Mixer:
        return MinLSTMMixer(*self._shape(), self.activation, **place)


class MinGRUMixer(Mixer):
    """A short convolution, then the recurrence, with gate and candidate from one product."""

    activation: Callable[[Array], Array]

    def empty(self, batch: int) -> State:
        return self._past(batch, self.features), jnp.zeros((batch, self.features))

    @nn.compact
    def __call__(self, state: State, x: Inputs, mask: Mask) -> tuple[State, Features]:
        past, h = state
        past, x = self._convolve(past, x, mask)
        keep, add, candidate = self._gates(x)
        h, y = linear_recurrence(keep, h, add * self.activation(candidate), mask)
        return (past, h), y

    def _gates(self, x: Inputs) -> tuple[Array, Array, Array]:
        """The factors of state and candidate, and the candidate."""
        update, candidate = jnp.split(widened(self._dense(x, 2 * self.features, "gate_candidate")), 2, axis=-1)
        z = nn.sigmoid(update)
        return 1 - z, z, candidate


class MinLSTMMixer(MinGRUMixer):
    """As `MinGRUMixer`, with two gates."""

    def _gates(self, x: Inputs) -> tuple[Array, Array, Array]:
        gates = widened(self._dense(x, 3 * self.features, "gates_candidate"))
        forget, enter, candidate = jnp.split(gates, 3, axis=-1)
        # The logarithm of f / i: both may be too small for a quotient.
        odds = nn.log_sigmoid(forget) - nn.log_sigmoid(enter)
        keep = nn.sigmoid(odds)
        return keep, 1 - keep, candidate
