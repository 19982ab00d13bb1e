"""Texts of a hidden Markov source, whose entropy rate is known: language modelling above an exact floor."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float64, Key

from seqjax._checks import integers
from seqjax.theory.sources import Source, even_process
from seqjax.types import Labelled


@dataclass(frozen=True, eq=False)
class HiddenMarkov:
    """Predict the next token of a hidden Markov source.

    Example, the even process, whose runs of 1 have even length: 0 1 1 0 0 1 -> 1 1 0 0 1 1.

    The label at step t (from 0) is the token after those up to t. A model is compared with the Bayes predictor on the
    same tokens: the regret, of which `source.window_floor` is the least value for a model of few tokens.

    Attributes:
        source: any; `theory.sources` has the even process, mess3 and random ones.
        length: T, steps of one sequence.
    """

    source: Source = field(default_factory=even_process)
    length: int = 64

    def __post_init__(self) -> None:
        integers(1, length=self.length)

    @property
    def vocab(self) -> int:
        """Ids lie below it."""
        return self.source.symbols

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own: all."""
        return self.length

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences, which start in the stationary distribution; inputs are tokens [batch, time]."""
        start_key, step_key = jax.random.split(key)
        # log 0 is an event that is never drawn.
        with np.errstate(divide="ignore"):
            start = jnp.asarray(np.log(self.source.stationary), jnp.float32)
            moves = np.moveaxis(self.source.transitions, 1, 0).reshape(self.source.states, -1)
            moves = jnp.asarray(np.log(moves), jnp.float32)

        def step(state: Array, key: Array) -> tuple[Array, Array]:
            event = jax.random.categorical(key, moves[state])
            return event % self.source.states, event // self.source.states

        state = jax.random.categorical(start_key, start, shape=(batch_size,))
        _, tokens = jax.lax.scan(step, state, jax.random.split(step_key, self.length + 1))
        return Labelled(tokens[:-1].T, tokens[1:].T)

    def bayes(self, batch: Labelled) -> Float64[np.ndarray, "batch time symbols"]:
        """Probabilities of the Bayes predictor at each step (`Source.predict`)."""
        return self.source.predict(np.asarray(batch.inputs))
