"""Associative recall: read pairs of keys and values, then answer a key with its value."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seqjax._checks import integers
from seqjax.theory import recall
from seqjax.types import InputError, Labelled

GAP_POWER = 0.01
"""a of the distribution of zoology's gaps, which is proportional to g^(a - 1)."""


class RecallTask:
    """What all tasks share that ask for `items` values, independent and uniform on `symbols` symbols."""

    items: int
    symbols: int

    def __post_init__(self) -> None:
        integers(1, items=self.items)
        integers(2, symbols=self.symbols)

    def ceiling(self, bits: float | int) -> float:
        """Best expected accuracy of any model that carries this many bits to the questions (`recall.accuracy`)."""
        return recall.accuracy(bits, self.items, self.symbols)

    def floor(self, bits: float | int) -> float:
        """Least expected cross-entropy of such a model, in nats per answer (`recall.nats`)."""
        return recall.nats(bits, self.items, self.symbols)

    def chance(self) -> float:
        """Accuracy of guessing, 1/V; its cross-entropy is `floor(0)` = ln V."""
        return 1 / self.symbols


@dataclass(frozen=True)
class Recall(RecallTask):
    """Read pairs of a key and a value, then answer each key with its value: multi-query associative recall (Arora et
    al. 2023, arXiv:2312.04927).

    Keys are different, drawn from 0 … `keys` - 1, and every one is asked for once, in random order. Value v has the id
    `keys` + v. Only these queries are scored.

    Example, two pairs of 4 keys and 3 values:

        inputs   2 5 0 4 | 0 2             forced   2 5 0 4 | 0 4 2 5
        labels   - - - - | 0 1                      - - - - | 0 - 1 -

    Labels are values, from 0. `inputs[:, :task.cut]` are the pairs, and what a model carries from there to the rest is
    all that it can answer from: `ceiling(bits)`.

    Attributes:
        items: D, pairs of a sequence.
        keys: K, at least as many.
        symbols: V, values.
        forced: whether the right answer follows each question in the inputs (teacher forcing).
        length: T, steps of a sequence. None: queries follow each other at once. Otherwise they are spread as in
            zoology: the steps after the pairs are S = (T - 2D)/2 slots of two, each pair's query takes a free slot
            g = 1 … S, drawn with weight g^(a - 1), a = .01, and the rest are blanks, of the id K + V.
    """

    items: int = 8
    keys: int = 16
    symbols: int = 16
    forced: bool = False
    length: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        integers(1, keys=self.keys)
        if self.keys < self.items:
            raise InputError(f"keys must be >= items = {self.items}, as they differ, got {self.keys}")
        if self.length is not None:
            integers(1, length=self.length)
            if self.length < 4 * self.items or self.length % 2:
                raise InputError(f"length must be even and >= 4 items = {4 * self.items}, got {self.length}")

    @property
    def vocab(self) -> int:
        """Ids lie below it; the last is the blank, which occurs between spread questions only."""
        return self.keys + self.symbols + 1

    @property
    def cut(self) -> int:
        """Steps of the pairs, before the first question."""
        return 2 * self.items

    @property
    def time(self) -> int:
        """Steps of one sequence."""
        return self.length or self.cut + self._spacing * self.items

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own: all."""
        return self.time

    @property
    def _spacing(self) -> int:
        return 2 if self.forced or self.length else 1

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh sequences; inputs are tokens [batch, time]."""
        key_key, value_key, slot_key = jax.random.split(key, 3)
        keys = _distinct(key_key, jnp.zeros(self.keys), batch_size, self.items)
        values = jax.random.randint(value_key, (batch_size, self.items), 0, self.symbols)
        slots = _distinct(slot_key, self._log_weights(), batch_size, self.items)
        return self.written(keys, values, slots)

    def written(
        self, keys: Int[Array, "batch items"], values: Int[Array, "batch items"], slots: Int[Array, "batch items"]
    ) -> Labelled:
        """Sequences of these pairs, each of which is asked for in this slot, counted from 0."""
        keys, values, slots = (part.astype(jnp.int32) for part in (keys, values, slots))
        batch, row = len(keys), jnp.arange(len(keys))[:, None]
        answers, place = self.keys + values, self.cut + self._spacing * slots
        pairs = jnp.stack([keys, answers], axis=-1).reshape(batch, self.cut)
        empty = jnp.zeros((batch, self.time), jnp.int32)
        inputs = (empty + self.vocab - 1).at[:, : self.cut].set(pairs).at[row, place].set(keys)
        if self.forced:
            inputs = inputs.at[row, place + 1].set(answers)
        scored = empty.astype(bool).at[row, place].set(True)
        return Labelled(inputs, empty.at[row, place].set(values), scored=scored)

    def bag(self) -> recall.Plateau:
        """Accuracy and nats of a model that knows the values, but not their keys (`recall.bag`)."""
        return recall.bag(self.items, self.symbols)

    def window_ceiling(self, window: int) -> float:
        """Best accuracy of any model that sees the last `window` steps only (`recall.window`).

        Raises:
            InputError: window < 1, or spread questions.
        """
        integers(1, window=window)
        if self.length is not None:
            raise InputError(f"length must be None, for questions that are not spread, got {self.length}")
        number = np.arange(self.items)
        distance = self.cut + self._spacing * number[:, None] - (2 * number[None, :] + 1)  # from question to value
        return recall.window(float((distance < window).mean()), self.symbols)

    def _log_weights(self) -> Array:
        if self.length is None:
            return jnp.zeros(self.items)
        slots = (self.length - self.cut) // 2
        return (GAP_POWER - 1) * jnp.log(jnp.arange(1, slots + 1, dtype=jnp.float32))


def _distinct(key: Key[Array, ""], log_weights: Array, rows: int, draws: int) -> Int[Array, "batch items"]:
    """Draws without replacement, each in proportion to the weights that are left, in the order in which they fell."""
    noisy = log_weights[None, :] + jax.random.gumbel(key, (rows, len(log_weights)))
    return jax.lax.top_k(noisy, draws)[1]  # Gumbel's trick: Kool et al. 2019, arXiv:1903.06059
