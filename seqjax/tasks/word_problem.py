"""The word problem of a finite group: state tracking."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqjax._checks import integers
from seqjax.theory import groups
from seqjax.types import InputError, Labelled


@dataclass(frozen=True, eq=False)
class WordProblem:
    """The product of all elements of a group that were read so far, at every step.

    Example, Z3: 1 2 2 0 1 -> 1 0 2 2 0. On Z2 it is parity.

    Inputs are token ids, 0 … `vocab` - 1; labels are elements of the group, as in its table.

    Attributes:
        group: `theory.groups` has cyclic, symmetric and alternating ones, and any by its table.
        tokens: the elements that occur, uniform and independent. None: all.
        length: T, steps of one sequence.
    """

    group: groups.Group = field(default_factory=lambda: groups.symmetric(3))
    tokens: tuple[int, ...] | None = None
    length: int = 32

    def __post_init__(self) -> None:
        integers(1, length=self.length)
        if not self.elements or min(self.elements) < 0 or max(self.elements) >= self.group.order:
            raise InputError(f"tokens must be elements in [0, {self.group.order}), got {self.tokens}")

    @property
    def elements(self) -> tuple[int, ...]:
        """The element of each token."""
        return tuple(range(self.group.order)) if self.tokens is None else self.tokens

    @property
    def vocab(self) -> int:
        """Ids of inputs lie below it."""
        return len(self.elements)

    @property
    def classes(self) -> int:
        """Labels lie below it: the order of the group."""
        return self.group.order

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own: all."""
        return self.length

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh words; inputs are tokens [batch, time]."""
        tokens = jax.random.randint(key, (batch_size, self.length), 0, self.vocab)
        table = jnp.asarray(self.group.table, jnp.int32)
        start = jnp.full(batch_size, self.group.identity, jnp.int32)

        def step(product: Array, element: Array) -> tuple[Array, Array]:
            product = table[product, element]
            return product, product

        _, products = jax.lax.scan(step, start, jnp.asarray(self.elements)[tokens].T)
        return Labelled(tokens, products.T)

    def chance(self, length: int | None = None) -> float:
        """Accuracy of the best constant answer after `length` tokens; None: after all (`groups.chance`)."""
        return groups.chance(self.group, self.elements, self.length if length is None else length)

    def commutative_ceiling(self, length: int | None = None) -> float:
        """Best accuracy there of a model that only counts tokens (`groups.commutative_ceiling`)."""
        return groups.commutative_ceiling(self.group, self.elements, self.length if length is None else length)
