"""Agreement: the tag of a noun is decided by a verb that comes later, so a causal tagger can only guess."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from seqjax._checks import fractions, integers
from seqjax.types import UNK, Labelled

NOUN, SINGULAR_VERB, PLURAL_VERB, FILLER = range(UNK + 1, UNK + 5)
"""Ids: a noun that is alike in both numbers, as "sheep", a verb that shows its number, and the first filler."""

TAGS = ("noun, singular", "noun, plural", "verb, singular", "verb, plural", "other")


@dataclass(frozen=True)
class Agreement:
    """Tag each word; a noun has the number of its verb, `distance` words later (after Linzen et al. 2016,
    arXiv:1611.01368, turned round).

    Example, distance 3, two clauses: the sheep near town graze, the sheep on hills grazes, without the articles:

        ids     4 7 9 6 4 8 8 5     noun, two fillers, plural verb; noun, two fillers, singular verb
        labels  1 4 4 3 0 4 4 2     the first noun is plural, as its verb, and the second singular

    The first clause is singular or plural at random; each further one repeats the number of the clause before it with
    probability `repeat`. Fillers are uniform and carry no meaning: before a noun, only the clause before tells of its
    number (see `ceiling`).

    Attributes:
        distance: words from a noun to its verb, at least 1.
        clauses: of each sequence, at least 1.
        repeat: in [0, 1].
        fillers: how many different ones there are, at least 1.
    """

    distance: int = 8
    clauses: int = 4
    repeat: float = 0.8
    fillers: int = 4

    def __post_init__(self) -> None:
        integers(1, distance=self.distance, clauses=self.clauses, fillers=self.fillers)
        fractions(repeat=self.repeat)

    @property
    def vocab(self) -> int:
        """Ids lie below it."""
        return FILLER + self.fillers

    @property
    def length(self) -> int:
        """Words of every sequence."""
        return self.clauses * (self.distance + 1)

    @property
    def nouns(self) -> Bool[np.ndarray, " time"]:
        """Which steps are nouns, the only ones whose tag needs context."""
        return np.arange(self.length) % (self.distance + 1) == 0

    @property
    def ceiling(self) -> float:
        """Fraction of nouns that the best causal tagger gets right.

        Half of the first nouns, and max(repeat, 1 - repeat) of the later ones, each of which follows a verb.
        """
        return (0.5 + (self.clauses - 1) * max(self.repeat, 1 - self.repeat)) / self.clauses

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences; the inputs are ids."""
        number_key, filler_key = jax.random.split(key)
        first_key, change_key = jax.random.split(number_key)
        first = jax.random.bernoulli(first_key, 0.5, (batch_size, 1))
        change = jax.random.bernoulli(change_key, 1 - self.repeat, (batch_size, self.clauses - 1))
        plural = jnp.cumsum(jnp.concatenate([first, change], axis=1), axis=1) % 2
        fillers = jax.random.randint(filler_key, (batch_size, self.clauses, self.distance - 1), 0, self.fillers)
        return self.written(plural, fillers)

    def written(self, plural: Int[Array, "batch clauses"], fillers: Int[Array, "batch clauses gap"]) -> Labelled:
        """Sequences of these numbers, 1 where a clause is plural, and fillers, counted from 0."""
        plural = plural[:, :, None]
        other = TAGS.index("other")
        ids = jnp.concatenate([jnp.full_like(plural, NOUN), FILLER + fillers, SINGULAR_VERB + plural], axis=2)
        labels = jnp.concatenate([plural, jnp.full_like(fillers, other), 2 + plural], axis=2)
        shape = (len(plural), self.length)
        return Labelled(ids.reshape(shape), labels.reshape(shape))
