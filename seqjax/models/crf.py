"""Linear-chain conditional random field: all tags of a sentence are scored together (Lafferty et al. 2001).

A path y has the score start[y_1] + sum_t emissions[t, y_t] + sum_t between[y_t, y_t+1] + end[y_T] and the probability
exp(score - log Z). A row without a real step has one path, the empty one, with score 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from seqjax.models.module import Mask, Module, widened, zero_padding

Emissions = Float[Array, "batch time tags"]
Tags = Int[Array, "batch time"]
Scores = Float[Array, " batch"]


class Transitions(NamedTuple):
    """Scores of the first tag, of a tag (row) followed by another (column), and of the last tag."""

    start: Float[Array, " tags"]
    between: Float[Array, "tags tags"]
    end: Float[Array, " tags"]


class Path(NamedTuple):
    """The best tags of each row, 0 in padding, and their score."""

    tags: Tags
    score: Scores


def log_partition(emissions: Emissions, transitions: Transitions, mask: Mask = None) -> Scores:
    """log Z, over all paths, by the forward algorithm; its gradient by `emissions` is each step's posterior."""
    emissions, mask = _clean(emissions, mask)

    def step(forward: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        emission, real = now
        new = jax.nn.logsumexp(forward[:, :, None] + transitions.between[None], axis=1) + emission
        return jnp.where(real[:, None], new, forward), None

    first = transitions.start[None] + emissions[:, 0]
    forward, _ = jax.lax.scan(step, first, (jnp.swapaxes(emissions, 0, 1)[1:], mask.T[1:]))
    return jnp.where(mask[:, 0], jax.nn.logsumexp(forward + transitions.end[None], axis=1), 0.0)


def score(emissions: Emissions, transitions: Transitions, tags: Tags, mask: Mask = None) -> Scores:
    """The score of given tags; those in padding do not matter."""
    emissions, mask = _clean(emissions, mask)
    tags = jnp.where(mask, tags, 0)
    own = jnp.take_along_axis(emissions, tags[..., None], axis=-1)[..., 0]
    moves = jnp.where(mask[:, 1:], transitions.between[tags[:, :-1], tags[:, 1:]], 0.0)
    last = jnp.maximum(mask.sum(axis=1) - 1, 0)
    ends = transitions.start[tags[:, 0]] + transitions.end[jnp.take_along_axis(tags, last[:, None], axis=1)[:, 0]]
    return jnp.where(mask, own, 0.0).sum(axis=1) + moves.sum(axis=1) + jnp.where(mask[:, 0], ends, 0.0)


def log_likelihood(emissions: Emissions, transitions: Transitions, tags: Tags, mask: Mask = None) -> Scores:
    """The log-probability of each row's tags."""
    return score(emissions, transitions, tags, mask) - log_partition(emissions, transitions, mask)


def viterbi(emissions: Emissions, transitions: Transitions, mask: Mask = None) -> Path:
    """The path with the highest score (Viterbi 1967)."""
    emissions, mask = _clean(emissions, mask)

    def step(best: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        emission, real = now
        candidates = best[:, :, None] + transitions.between[None]
        stay = jnp.arange(emission.shape[1])[None]
        came_from = jnp.where(real[:, None], jnp.argmax(candidates, axis=1), stay)
        return jnp.where(real[:, None], jnp.max(candidates, axis=1) + emission, best), came_from

    first = transitions.start[None] + emissions[:, 0]
    best, came_from = jax.lax.scan(step, first, (jnp.swapaxes(emissions, 0, 1)[1:], mask.T[1:]))
    best = best + transitions.end[None]
    last = jnp.argmax(best, axis=1)

    def back(tag: Array, came_from: Array) -> tuple[Array, Array]:
        return jnp.take_along_axis(came_from, tag[:, None], axis=1)[:, 0], tag

    opening, others = jax.lax.scan(back, last, came_from, reverse=True)
    tags = jnp.concatenate([opening[None], others]).T
    return Path(jnp.where(mask, tags, 0), jnp.where(mask[:, 0], jnp.max(best, axis=1), 0.0))


class CRF(Module):
    """A tagger's scores as the emissions of a chain, and the transitions between tags.

    Attributes:
        tagger: from words to scores, `(batch, time, tags)`.
    """

    tagger: nn.Module

    @nn.compact
    def __call__(self, *inputs: Array, mask: Mask = None, train: bool = False) -> tuple[Emissions, Transitions]:
        """Emissions of each sentence and the transitions: the arguments of the functions of this module."""
        emissions = self.tagger(*inputs, mask=mask, train=train)
        tags, zeros = emissions.shape[-1], nn.initializers.zeros_init()
        start, end = (self.param(name, zeros, (tags,)) for name in ("start", "end"))
        return emissions, Transitions(start, self.param("between", zeros, (tags, tags)), end)


def _clean(emissions: Array, mask: Array | None) -> tuple[Array, Array]:
    """Zeros in the padding of the emissions, in float32 or wider, and the mask."""
    mask = jnp.ones(emissions.shape[:2], bool) if mask is None else mask
    return zero_padding(widened(emissions), mask), mask
