"""Learning in context: a new chain, or a new linear map, in every sequence."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Key

from seqjax._checks import integers
from seqjax.theory import in_context
from seqjax.types import Batch, InputError, Labelled


class Chains(NamedTuple):
    """Sequences with the chain of each, which no model sees.

    Attributes:
        transitions: probability of moving from token i to j.
    """

    batch: Labelled
    transitions: Float[Array, "batch symbols symbols"]


@dataclass(frozen=True)
class ContextChain:
    """Predict the next token of a Markov chain that is drawn anew for each sequence (Edelman et al. 2024,
    arXiv:2402.11004): what follows a token has to be counted in context.

    Example, a chain of two tokens in which 0 is mostly followed by 1: 0 1 0 1 1 0 -> 1 0 1 1 0 1.

    The first token is uniform; each row of the transition matrix has a symmetric Dirichlet(alpha) distribution.

    Attributes:
        symbols: V, tokens.
        length: T, steps of one sequence; the label at the last is one more token.
        alpha: > 0; the smaller, the more predictable the chains.
    """

    symbols: int = 3
    length: int = 127
    alpha: float = 1.0

    def __post_init__(self) -> None:
        integers(2, symbols=self.symbols)
        integers(1, length=self.length)
        if not self.alpha > 0:
            raise InputError(f"alpha must be > 0, got {self.alpha}")

    @property
    def vocab(self) -> int:
        """Ids lie below it."""
        return self.symbols

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own: all."""
        return self.length

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences, each of a fresh chain; inputs are tokens [batch, time]."""
        return self.chains(key, batch_size).batch

    def chains(self, key: Key[Array, ""], batch_size: int) -> Chains:
        """As `sample`, with the chains: the cross-entropy given the present token is then known without sampling."""
        chain_key, start_key, step_key = jax.random.split(key, 3)
        concentration = jnp.full(self.symbols, self.alpha)
        transitions = jax.random.dirichlet(chain_key, concentration, (batch_size, self.symbols))
        rows = jnp.arange(batch_size)

        def step(token: Array, key: Array) -> tuple[Array, Array]:
            return jax.random.categorical(key, jnp.log(transitions[rows, token])), token

        start = jax.random.randint(start_key, (batch_size,), 0, self.symbols)
        last, tokens = jax.lax.scan(step, start.astype(int), jax.random.split(step_key, self.length))
        labels = jnp.concatenate([tokens[1:], last[None]])
        return Chains(Labelled(tokens.T, labels.T), transitions)

    def bayes(self, batch: Labelled) -> Float64[np.ndarray, "batch time symbols"]:
        """Probabilities of the Bayes predictor at each step (`in_context.dirichlet_predictor`)."""
        return in_context.dirichlet_predictor(np.asarray(batch.inputs), self.symbols, self.alpha)

    def unigram(self, batch: Labelled) -> Float64[np.ndarray, "batch time symbols"]:
        """Probabilities of counting tokens in context, add-one smoothed (`in_context.unigram_predictor`)."""
        return in_context.unigram_predictor(np.asarray(batch.inputs), self.symbols)


@dataclass(frozen=True)
class ContextRegression:
    """Predict y = w'x for a new x from examples (x, y), with weights w ~ N(0, I/d) drawn anew for each sequence (Garg
    et al. 2022, arXiv:2208.01066).

    Inputs are d + 1 numbers a step: x, and then y of an example or 0 of a question. x lies on the sphere of radius
    sqrt(d), or is normal. The target is y, counted at questions only.

    Example, d = 2, two examples a and b, and x = c, which is only asked for:

        every     (a, 0) (a, y_a) (b, 0) (b, y_b) (c, 0)      questions after 0, 1 and 2 examples
        not       (a, y_a) (b, y_b) (c, 0)                    one question after both

    Attributes:
        inputs: d, width of x.
        examples: n, examples of a sequence.
        every: whether there is a question after every number of examples; or one, after all.
        gaussian: whether x is normal, and not on the sphere.
    """

    inputs: int = 8
    examples: int = 16
    every: bool = True
    gaussian: bool = False

    def __post_init__(self) -> None:
        integers(1, inputs=self.inputs, examples=self.examples)

    @property
    def length(self) -> int:
        """Steps of one sequence."""
        return (2 if self.every else 1) * self.examples + 1

    @property
    def reach(self) -> int:
        """Steps that a target depends on, from the earliest to its own: all."""
        return self.length

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs are [batch, time, d + 1] and targets [batch, time, 1]."""
        weight_key, x_key = jax.random.split(key)
        w = jax.random.normal(weight_key, (batch_size, self.inputs)) / self.inputs**0.5
        x = jax.random.normal(x_key, (batch_size, self.examples + 1, self.inputs))
        if not self.gaussian:
            x = x * self.inputs**0.5 / jnp.linalg.norm(x, axis=-1, keepdims=True)
        y = jnp.einsum("bti,bi->bt", x, w)[..., None]
        shown, asked = (jnp.concatenate([x, value], axis=-1) for value in (y, jnp.zeros_like(y)))
        if self.every:
            inputs = jnp.stack([asked, shown], axis=2).reshape(batch_size, -1, self.inputs + 1)[:, :-1]
            targets = jnp.repeat(y, 2, axis=1)[:, :-1]
            questions = jnp.arange(self.length) % 2 == 0
        else:
            inputs, targets = jnp.concatenate([shown[:, :-1], asked[:, -1:]], axis=1), y
            questions = jnp.arange(self.length) == self.examples
        weight = jnp.broadcast_to(questions[None, :], targets.shape[:2]).astype(y.dtype)
        return Batch(inputs, targets, weight=weight)

    def zero_loss(self) -> float:
        """Squared error of predicting zero: 1."""
        return 1.0

    def floor(self, examples: int) -> float:
        """Least squared error of any model after so many examples: max(0, 1 - n/d) (`in_context.ridge`)."""
        return in_context.ridge(examples, self.inputs)
