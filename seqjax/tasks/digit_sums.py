"""Digit sums: read two numbers, character by character, and write their sum."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seqjax._checks import integers
from seqjax.data.batching import close_up
from seqjax.data.vocabulary import RESERVED, Vocabulary
from seqjax.types import EOS, PAD, InputError, Seq2SeqBatch

CHARACTERS = Vocabulary((*RESERVED, *"0123456789", "+"))
"""Digit d has the id d + 4, the sign the id 14."""
ZERO, SIGN = CHARACTERS.encode("0+")

MODULUS = 11
HELD_OUT = (5, 6)
"""Pairs whose difference leaves one of these when divided by `MODULUS` are held out: 18 % of all."""


@dataclass(frozen=True)
class DigitSums:
    """Two numbers of up to `digits` digits as characters, without leading zeros; the target is their sum.

    Example: 123+45 -> 168. EOS (2) ends both sides, so that the ids are 5 6 7 14 8 9 2 and 5 10 12 2, with PAD (0) up
    to 2 `digits` + 2 and `digits` + 2 tokens.

    Every pair below 10^digits is equally likely (not in flax's `examples/seq2seq`, whose task is easier). A pair is
    held out exactly when its difference leaves 5 or 6 when divided by 11: 12+7 is (5), 7+12 is (-5 = 6 - 11), 123+45 is
    not (78 = 7 * 11 + 1). Both orders of a pair are on the same side, and every sum occurs in training.

    Attributes:
        digits: most digits of a number, from 1 to 9 (the sums have to fit 32 bits).
    """

    digits: int = 3

    def __post_init__(self) -> None:
        integers(0, digits=self.digits)
        if not 1 <= self.digits <= 9:
            raise InputError(f"digits must lie in [1, 9], got {self.digits}")

    @property
    def vocabulary(self) -> Vocabulary:
        """Of both sides: the digits from id 4 on, and the sign."""
        return CHARACTERS

    def sample(self, key: Key[Array, ""], batch_size: int) -> Seq2SeqBatch:
        """Draw pairs for training."""
        return self._batch(key, batch_size, tuple(set(range(MODULUS)) - set(HELD_OUT)))

    def held_out(self, key: Key[Array, ""], batch_size: int) -> Seq2SeqBatch:
        """Draw pairs that `sample` never gives."""
        return self._batch(key, batch_size, HELD_OUT)

    def _batch(self, key: Key[Array, ""], batch_size: int, differences: tuple[int, ...]) -> Seq2SeqBatch:
        """Pairs whose difference leaves one of these: first the remainders of both numbers, then the numbers."""
        # How many numbers leave the remainder r: none of one digit leaves 10.
        counts = -((np.arange(MODULUS) - 10**self.digits) // MODULUS)
        remainders = np.array(
            [
                (first, (first - difference) % MODULUS)
                for first in range(MODULUS)
                for difference in differences
                if counts[first] * counts[(first - difference) % MODULUS] > 0
            ]
        )
        chances = np.prod(counts[remainders], axis=1, dtype=float)
        class_key, first_key, second_key = jax.random.split(key, 3)
        chosen = jax.random.choice(class_key, len(chances), (batch_size,), p=jnp.array(chances / chances.sum()))

        def number(key: Key[Array, ""], remainder: Int[Array, " batch"]) -> Int[Array, " batch"]:
            quotient = jax.random.randint(key, (batch_size,), 0, jnp.array(counts, jnp.int32)[remainder])
            return remainder + MODULUS * quotient

        first = number(first_key, jnp.array(remainders[:, 0])[chosen])
        second = number(second_key, jnp.array(remainders[:, 1])[chosen])
        sign, end = (jnp.full((batch_size, 1), token) for token in (SIGN, EOS))
        terms = [_characters(first, self.digits), sign, _characters(second, self.digits), end]
        source = close_up(jnp.concatenate(terms, axis=1))
        target = close_up(jnp.concatenate([_characters(first + second, self.digits + 1), end], axis=1))
        return Seq2SeqBatch(source, target, source != PAD, target != PAD)


def _characters(number: Int[Array, " batch"], digits: int) -> Int[Array, "batch time"]:
    """The ids of a number's digits, PAD in place of leading zeros: 45 in 3 digits -> 0 8 9."""
    place = jnp.array([10**power for power in reversed(range(digits))])[None, :]
    leading = (number[:, None] < place) & (place > 1)
    return jnp.where(leading, PAD, ZERO + number[:, None] // place % 10)
