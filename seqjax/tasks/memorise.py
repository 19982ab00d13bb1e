"""Memorising a fixed map: what the weights hold, and not the state."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seqjax._checks import integers
from seqjax.tasks.recall import RecallTask
from seqjax.types import Labelled


@dataclass(frozen=True)
class Memorise(RecallTask):
    """Answer each key with its value under one fixed random map, as in the memorisation task of MAD (Poli et al. 2024,
    arXiv:2403.17844).

    Example, 4 keys with the values 2 0 1 1:  inputs 3 0 0 2  ->  labels 1 2 2 1.

    The map is drawn once, from the random seed `seed`: nothing has to be carried over time, and only what was
    learned helps. Weights that hold b bits of the map are bounded by `ceiling(b)`, on average over maps.

    Attributes:
        items: number of keys, which are the ids 0 … `items` - 1.
        symbols: V, values; independent and uniform.
        length: steps of a sequence; every one is a question.
        seed: random seed of the map.
    """

    items: int = 256
    symbols: int = 16
    length: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        integers(1, length=self.length)
        integers(0, seed=self.seed)

    @property
    def vocab(self) -> int:
        """Ids lie below it."""
        return self.items

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own: 1."""
        return 1

    @property
    def values(self) -> Int[np.ndarray, " items"]:
        """The value of each key."""
        return np.random.default_rng(self.seed).integers(self.symbols, size=self.items, dtype=np.int32)

    def ceiling(self, bits: float | int) -> float:
        """Best expected accuracy of any model whose weights hold this many bits of the map (`recall.accuracy`)."""
        return super().ceiling(bits)

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh questions; inputs are keys [batch, time], uniform and independent."""
        keys = jax.random.randint(key, (batch_size, self.length), 0, self.items)
        return Labelled(keys, jnp.asarray(self.values)[keys])
