"""Reversal: output a sequence backwards. The first symbol comes last, so a context vector must hold all of them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from seqjax._checks import integers
from seqjax.data.vocabulary import RESERVED, Vocabulary
from seqjax.types import EOS, PAD, UNK, InputError, Seq2SeqBatch

HELD_OUT_FROM = 4
"""The length from which on some sequences are held out. There are so few shorter ones (25 of length 1) that a model can
only memorise them: all are for training, and should be reported separately."""


@dataclass(frozen=True)
class Reversal:
    """The symbols 1, 2, ..., `symbols` in any order; the target is the source reversed.

    Example: 3 1 4 17 -> 17 4 1 3. Symbol s has the id s + 3, and EOS (2) ends both sides, so that source and target
    are 6 4 7 20 2 and 20 7 4 6 2, with PAD (0) up to `longest` + 1 tokens.

    Lengths are uniform, and so are the sequences of each length. A sequence of at least `HELD_OUT_FROM` symbols is held
    out exactly when its sum is divisible by the number of symbols: 3 1 4 17 is (25 = 1 * 25), 3 1 4 18 is for training.
    That is one in `symbols` at every length. The sum does not see the order, so no sequence held out is a permutation
    of one for training.

    For accuracy by length, beyond what was trained too: `dataclasses.replace(task, shortest=n, longest=n)`.

    Attributes:
        symbols: number of different ones, at least 2.
        shortest: fewest symbols of a sequence, at least 1.
        longest: most symbols, at least `shortest`.
    """

    symbols: int = 25
    shortest: int = 1
    longest: int = 20

    def __post_init__(self) -> None:
        integers(2, symbols=self.symbols)
        integers(1, shortest=self.shortest, longest=self.longest)
        if self.longest < self.shortest:
            raise InputError(f"longest must be >= shortest = {self.shortest}, got {self.longest}")

    @property
    def vocabulary(self) -> Vocabulary:
        """Of both sides: 1, 2, 3, ..., from id 4 on."""
        return Vocabulary((*RESERVED, *(str(symbol) for symbol in range(1, self.symbols + 1))))

    def sample(self, key: Key[Array, ""], batch_size: int) -> Seq2SeqBatch:
        """Draw sequences for training."""
        length_key, symbol_key, class_key = jax.random.split(key, 3)
        lengths = jax.random.randint(length_key, (batch_size,), self.shortest, self.longest + 1)
        return self._batch(symbol_key, lengths, jax.random.randint(class_key, (batch_size,), 1, self.symbols))

    def held_out(self, key: Key[Array, ""], batch_size: int) -> Seq2SeqBatch:
        """Draw sequences that `sample` never gives, of max(`shortest`, `HELD_OUT_FROM`) symbols and more.

        Raises:
            InputError: longest < HELD_OUT_FROM.
        """
        if self.longest < HELD_OUT_FROM:
            raise InputError(f"longest must be >= {HELD_OUT_FROM} for sequences to be held out, got {self.longest}")
        length_key, symbol_key = jax.random.split(key)
        shortest = max(self.shortest, HELD_OUT_FROM)
        lengths = jax.random.randint(length_key, (batch_size,), shortest, self.longest + 1)
        return self._batch(symbol_key, lengths, jnp.zeros_like(lengths))

    def _batch(
        self, key: Key[Array, ""], lengths: Int[Array, " batch"], remainder: Int[Array, " batch"]
    ) -> Seq2SeqBatch:
        """Sequences of these lengths, of which the long ones leave this remainder when their sum is divided."""
        free = jax.random.randint(key, (len(lengths), self.longest), 1, self.symbols + 1)
        lengths = lengths[:, None]
        time = jnp.arange(self.longest + 1)[None, :]
        place = time[:, :-1]
        others = jnp.sum(jnp.where(place < lengths - 1, free, 0), axis=1)
        last = (remainder - others - 1) % self.symbols + 1
        symbols = jnp.where((place == lengths - 1) & (lengths >= HELD_OUT_FROM), last[:, None], free)

        def tokens(order: Int[Array, "batch time"]) -> Int[Array, "batch time"]:
            ids = jnp.take_along_axis(symbols, jnp.clip(order, 0, self.longest - 1), axis=1) + UNK
            return jnp.where(time < lengths, ids, jnp.where(time == lengths, EOS, PAD))

        mask = time <= lengths
        forwards = jnp.broadcast_to(time, mask.shape)
        return Seq2SeqBatch(tokens(forwards), tokens(lengths - 1 - time), mask, mask)
