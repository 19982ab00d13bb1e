"""Copying: repeat a string of symbols, at once or picked out from blanks."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from seqjax._checks import integers
from seqjax.tasks.recall import RecallTask
from seqjax.types import InputError, Labelled


@dataclass(frozen=True)
class CopyString(RecallTask):
    """Read a string of symbols and a delimiter, then repeat the string (Jelassi et al. 2024, arXiv:2402.01032).

    Symbols are 0 … V - 1, the delimiter has the id V. After it the inputs are the string again, a step late, as a
    language model reads what it has written; not forced they are blanks, of the id V + 1. Only the copy is scored.

    Example, D = 3, V = 9:

        inputs   5 8 0 | 9 5 8             not forced   5 8 0 | 9 10 10
        labels   - - - | 5 8 0                          - - - | 5  8  0

    `CopyMemory` has a pause between the two, and scores every step.

    Attributes:
        items: D, symbols of a string, at most.
        symbols: V.
        forced: whether the inputs repeat the string (teacher forcing).
        shortest: fewest symbols of a string; lengths are uniform, and padding follows shorter ones. None: all strings
            have D.
    """

    items: int = 16
    symbols: int = 16
    forced: bool = True
    shortest: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shortest is not None:
            integers(1, shortest=self.shortest)
            if self.shortest > self.items:
                raise InputError(f"shortest must be <= items = {self.items}, got {self.shortest}")

    @property
    def vocab(self) -> int:
        """Ids lie below it."""
        return self.symbols + 2

    @property
    def length(self) -> int:
        """Steps of one sequence, at most."""
        return 2 * self.items

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own, at most: D + 1."""
        return self.items + 1

    @property
    def cut(self) -> int:
        """Steps of the string, before the delimiter.

        Raises:
            InputError: strings of several lengths.
        """
        self._check_length()
        return self.items

    def ceiling(self, bits: float | int) -> float:
        """Best expected accuracy of any model that carries this many bits past `cut` (`recall.accuracy`)."""
        self._check_length()
        return super().ceiling(bits)

    def floor(self, bits: float | int) -> float:
        """Least expected cross-entropy of such a model, in nats per symbol (`recall.nats`)."""
        self._check_length()
        return super().floor(bits)

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences; inputs are tokens [batch, time]."""
        symbol_key, length_key = jax.random.split(key)
        string = jax.random.randint(symbol_key, (batch_size, self.items), 0, self.symbols)
        shortest = self.items if self.shortest is None else self.shortest
        lengths = jax.random.randint(length_key, (batch_size, 1), shortest, self.items + 1)
        place = jnp.arange(self.length)[None, :] - lengths  # counted from the delimiter
        real = place < lengths
        asked = jnp.take_along_axis(_questions(string, self.symbols, self.forced), place % self.items, axis=1)
        said = jnp.take_along_axis(string, place % self.items, axis=1)
        read = jnp.take_along_axis(string, (place + lengths) % self.items, axis=1)
        scored = (place >= 0) & real
        inputs = jnp.where(place < 0, read, jnp.where(real, asked, 0))
        return Labelled(inputs, jnp.where(scored, said, 0), None if self.shortest is None else real, scored)

    def _check_length(self) -> None:
        if self.shortest not in (None, self.items):
            raise InputError(f"shortest must be None, for strings of one length, got {self.shortest}")


@dataclass(frozen=True)
class SelectiveCopy(RecallTask):
    """Read symbols scattered among blanks, then repeat them in order (Gu & Dao 2023, arXiv:2312.00752, sec. 4.1.1).

    Symbols are 0 … V - 1, the delimiter has the id V and blanks V + 1. The symbols' places are uniform, all sets of
    them being equally likely. Only the copy is scored.

    Example, D = 2, V = 9, 5 steps before the delimiter:

        inputs   10 5 10 10 8 | 9 10           forced   10 5 10 10 8 | 9 5
        labels    - -  -  - - | 5  8                     - -  -  - - | 5 8

    Attributes:
        items: D, symbols to repeat.
        symbols: V.
        cut: steps before the delimiter, at least D.
        forced: whether the inputs repeat the symbols, a step late (teacher forcing).
    """

    items: int = 16
    symbols: int = 16
    cut: int = 240
    forced: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        integers(1, cut=self.cut)
        if self.cut < self.items:
            raise InputError(f"cut must be >= items = {self.items}, got {self.cut}")

    @property
    def vocab(self) -> int:
        """Ids lie below it."""
        return self.symbols + 2

    @property
    def length(self) -> int:
        """Steps of one sequence."""
        return self.cut + self.items

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own: all, since a symbol's number counts."""
        return self.length

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences; inputs are tokens [batch, time]."""
        symbol_key, place_key = jax.random.split(key)
        string = jax.random.randint(symbol_key, (batch_size, self.items), 0, self.symbols)
        noise = jax.random.uniform(place_key, (batch_size, self.cut))
        places = jnp.sort(jax.lax.top_k(noise, self.items)[1], axis=1)
        row = jnp.arange(batch_size)[:, None]
        read = jnp.full((batch_size, self.cut), self.symbols + 1).at[row, places].set(string)
        inputs = jnp.concatenate([read, _questions(string, self.symbols, self.forced)], axis=1)
        labels = jnp.pad(string, ((0, 0), (self.cut, 0)))
        scored = jnp.arange(self.length)[None, :] >= self.cut
        return Labelled(inputs, labels, scored=jnp.broadcast_to(scored, labels.shape))


def _questions(string: Int[Array, "batch items"], symbols: int, forced: bool) -> Int[Array, "batch items"]:
    """The delimiter, then the string a step late, or blanks."""
    rest = string[:, :-1] if forced else jnp.full_like(string[:, :-1], symbols + 1)
    return jnp.concatenate([jnp.full_like(string[:, :1], symbols), rest], axis=1)
