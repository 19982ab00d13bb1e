"""Tasks of the Chomsky hierarchy, for length generalisation (Deletang et al. 2023, arXiv:2207.02098, table 1).

A word is read, and then as many blanks as the answer has symbols; the answer is given at the blanks. Words are random,
and each row has a random length of its own: train on short ones, and test with
`dataclasses.replace(task, shortest=n, length=n)`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float64, Int, Key

from seqjax._checks import integers
from seqjax.types import InputError, Labelled

Words = Int[Array, "batch time"]
Lengths = Int[Array, " batch"]
Answers = tuple[Int[Array, "batch blanks"], Bool[Array, "batch blanks"]]
MODULUS = 5


@dataclass(frozen=True)
class ChomskyTask:
    """What these tasks share. A subclass says how words are drawn, and what is answered.

    Attributes:
        length: symbols of a word, at most.
        shortest: symbols of a word, at least; lengths that are possible are uniform between the two.
    """

    length: int = 40
    shortest: int = 1

    symbols: ClassVar[int] = 2
    classes: ClassVar[int] = 2
    _least: ClassVar[int] = 1  # the shortest word, to which steps are added
    _step: ClassVar[int] = 1
    _blanks: ClassVar[tuple[int, int]] = (0, 1)  # for each symbol of the word, and besides

    def __post_init__(self) -> None:
        integers(self._least, shortest=self.shortest)
        integers(self.shortest, length=self.length)
        if self._first > self.length:
            raise InputError(
                f"length must reach a possible one, {self._least} and every {self._step} more, got {self.length}"
            )

    @property
    def vocab(self) -> int:
        """Ids of inputs lie below it: the symbols, and the blank, which is the last."""
        return self.symbols + 1

    @property
    def time(self) -> int:
        """Steps of a sequence, at most."""
        each, more = self._blanks
        return (1 + each) * self.length + more

    @property
    def reach(self) -> int:
        """Steps that a label depends on, from the earliest to its own, at most: all."""
        return self.time

    @property
    def _first(self) -> int:
        """The shortest possible length."""
        return self.shortest + (self._least - self.shortest) % self._step

    def chance(self, length: int) -> float:
        """Accuracy of the best answers that look at nothing but the length of the word.

        Over all symbols that are scored. For the lengths that are possible.
        """
        return 1 / self.classes

    def sample(self, key: Key[Array, ""], batch_size: int) -> Labelled:
        """Draw fresh words; inputs are tokens [batch, time], with padding after the blanks."""
        length_key, word_key = jax.random.split(key)
        choices = (self.length - self._first) // self._step + 1
        lengths = self._first + self._step * jax.random.randint(length_key, (batch_size,), 0, choices)
        words = self.draw(word_key, lengths)
        answer, scored = self.answer(words, lengths)
        time, size = jnp.arange(self.time)[None, :], lengths[:, None]
        mask = time < (1 + self._blanks[0]) * size + self._blanks[1]
        read = jnp.pad(words, ((0, 0), (0, self.time - self.length)))
        inputs = jnp.where(time < size, read, jnp.where(mask, self.symbols, 0))
        place = jnp.clip(time - size, 0, answer.shape[1] - 1)
        counted = (time >= size) & mask & jnp.take_along_axis(scored, place, axis=1)
        return Labelled(inputs, jnp.where(counted, jnp.take_along_axis(answer, place, axis=1), 0), mask, counted)

    def draw(self, key: Key[Array, ""], lengths: Lengths) -> Words:
        """Random words; what follows a word of its length means nothing."""
        return jax.random.randint(key, (len(lengths), self.length), 0, self.symbols)

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        """The answers to words, and which of their symbols are scored."""
        raise NotImplementedError


def _last(x: Words, lengths: Lengths) -> Int[Array, "batch 1"]:
    return jnp.take_along_axis(x, lengths[:, None] - 1, axis=1)


def _one(answer: Int[Array, "batch 1"]) -> Answers:
    return answer, jnp.ones_like(answer, bool)


@dataclass(frozen=True)
class EvenPairs(ChomskyTask):
    """Regular: 1 if the pairs 01 and 10 together are an odd number, that is, if the first and last bit differ.

    Example: 0 1 1 0 1 _ -> 1 at the blank.
    """

    shortest: int = 2
    _least: ClassVar[int] = 2  # one bit has no pairs, and the answer would be known

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        return _one((words[:, :1] != _last(words, lengths)).astype(words.dtype))


@dataclass(frozen=True)
class CycleNavigation(ChomskyTask):
    """Regular: the place on a cycle of five after steps 0 (stay), 1 (forward) and 2 (back), from place 0.

    Example: 1 1 0 2 1 _ -> 2 at the blank.
    """

    symbols: ClassVar[int] = 3
    classes: ClassVar[int] = MODULUS

    def chance(self, length: int) -> float:
        """Accuracy of the most probable place, close to 1/5 for long words."""
        p = np.eye(MODULUS)[0]
        for _ in range(length):
            p = (p + np.roll(p, 1) + np.roll(p, -1)) / 3
        return float(p.max())

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        steps = jnp.where(words == 2, -1, words)
        return _one(_last(jnp.cumsum(steps, axis=1), lengths) % MODULUS)


@dataclass(frozen=True)
class ModularArithmetic(ChomskyTask):
    """Regular ("simple" in the paper): the value modulo 5 of a sum of products, without brackets.

    Products come before sums. The digits 0 … 4 have the ids 0 … 4, + has 5, - has 6 and * has 7. Lengths are odd.

    Example: 2 + 3 * 4 is 2 5 3 7 4 _ -> 4 at the blank (14 = 2 * 5 + 4).
    """

    length: int = 39

    symbols: ClassVar[int] = MODULUS + 3
    classes: ClassVar[int] = MODULUS
    _step: ClassVar[int] = 2

    def chance(self, length: int) -> float:
        """Accuracy of the most probable value, 0: products have more zeros than other values."""
        # p[total, term]: the sum of all finished terms, and the product that is being read.
        p = np.zeros((MODULUS, MODULUS))
        p[0] = 1 / MODULUS
        for _ in range(length // 2):
            after, sums = np.zeros_like(p), np.zeros(MODULUS)
            for total, term in np.ndindex(*p.shape):
                sums[(total + term) % MODULUS] += p[total, term]
                for digit in range(MODULUS):
                    after[total, term * digit % MODULUS] += p[total, term] / 3 / MODULUS
            p = after + 2 / 3 * sums[:, None] / MODULUS  # a term and its negative are equally likely
        values = np.zeros(MODULUS)
        for total, term in np.ndindex(*p.shape):
            values[(total + term) % MODULUS] += p[total, term]
        return float(values.max())

    def draw(self, key: Key[Array, ""], lengths: Lengths) -> Words:
        digit_key, sign_key = jax.random.split(key)
        shape = (len(lengths), self.length)
        digits = jax.random.randint(digit_key, shape, 0, MODULUS)
        signs = jax.random.randint(sign_key, shape, MODULUS, MODULUS + 3)
        return jnp.where(jnp.arange(self.length)[None, :] % 2 == 0, digits, signs)

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        def step(carry: tuple[Array, Array, Array], token: Array) -> tuple[tuple[Array, Array, Array], Array]:
            total, term, sign = carry
            digit, times = token < MODULUS, sign == MODULUS + 2
            signed = jnp.where(sign == MODULUS + 1, -token, token)
            total = jnp.where(digit & ~times, (total + term) % MODULUS, total)
            term = jnp.where(digit, jnp.where(times, term * token, signed) % MODULUS, term)
            return (total, term, jnp.where(digit, sign, token)), (total + term) % MODULUS

        zero = jnp.zeros_like(lengths)
        _, values = jax.lax.scan(step, (zero, zero, zero + MODULUS), words.T.astype(zero.dtype))
        return _one(_last(values.T, lengths))


class _Rearranged(ChomskyTask):
    """Answers that are the word in another order."""

    _blanks: ClassVar[tuple[int, int]] = (1, 0)

    def order(self, place: Int[Array, "1 time"], lengths: Int[Array, "batch 1"]) -> Int[Array, "batch time"]:
        """Which symbol of the word comes at this place of the answer."""
        raise NotImplementedError

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        place, size = jnp.arange(self.length)[None, :], lengths[:, None]
        order = jnp.clip(self.order(place, size), 0, self.length - 1)
        return jnp.take_along_axis(words, order, axis=1), place < size


@dataclass(frozen=True)
class ReverseString(_Rearranged):
    """Deterministic context-free: the word backwards.

    Example: 0 1 1 _ _ _ -> 1 1 0 at the blanks. `Reversal` is for encoder-decoders.
    """

    def order(self, place: Int[Array, "1 time"], lengths: Int[Array, "batch 1"]) -> Int[Array, "batch time"]:
        return lengths - 1 - place


@dataclass(frozen=True)
class OddsFirst(_Rearranged):
    """Context-sensitive: the first, third, … symbol, then the second, fourth, ….

    Example: 0 1 1 0 0 _ _ _ _ _ -> 0 1 0 1 0 at the blanks.
    """

    def order(self, place: Int[Array, "1 time"], lengths: Int[Array, "batch 1"]) -> Int[Array, "batch time"]:
        odd = (lengths + 1) // 2
        return jnp.where(place < odd, 2 * place, 2 * (place - odd) + 1)


@dataclass(frozen=True)
class StackManipulation(ChomskyTask):
    """Deterministic context-free: a stack, bottom first, and then actions on it; the answer is the stack, top first.

    Bits have the ids 0 and 1, POP has 2, PUSH 0 has 3 and PUSH 1 has 4; POP of an empty stack does nothing. The stack
    has from one symbol to all of the word. The answer ends in END, 2, which is scored; a word of n symbols has n + 1
    blanks, of which the last ones are not scored.

    Example: 0 1 2 2 2 4 3 and eight blanks -> 0 1 2: two symbols, three POP, PUSH 1, PUSH 0.
    """

    symbols: ClassVar[int] = 5
    classes: ClassVar[int] = 3
    _blanks: ClassVar[tuple[int, int]] = (1, 1)

    def chance(self, length: int) -> float:
        """Accuracy of the more probable of END and a bit at each place of the answer: bits are known with 1/2."""
        sizes, empty = np.zeros(length + 1), np.eye(length + 1)[0]
        for start in range(1, length + 1):
            p: Float64[np.ndarray, " sizes"] = np.eye(length + 1)[start] / length
            for _ in range(length - start):
                p = (np.append(p[1:], 0) + empty * p[0] + 2 * np.append(0, p[:-1])) / 3
            sizes += p
        reached = sizes[::-1].cumsum()[::-1]
        return float(np.maximum(sizes, (reached - sizes) / 2).sum() / reached.sum())

    def draw(self, key: Key[Array, ""], lengths: Lengths) -> Words:
        bit_key, action_key, size_key = jax.random.split(key, 3)
        shape = (len(lengths), self.length)
        sizes = jax.random.randint(size_key, lengths.shape, 1, lengths + 1)
        bits, actions = jax.random.randint(bit_key, shape, 0, 2), jax.random.randint(action_key, shape, 2, 5)
        return jnp.where(jnp.arange(self.length)[None, :] < sizes[:, None], bits, actions)

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        row = jnp.arange(len(words))

        def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            stack, size = carry
            token, time = now
            pushed = stack.at[row, size].set(jnp.where(token > 2, token - 3, token))
            after = jnp.where(token == 2, jnp.maximum(size - 1, 0), size + 1)
            real, push = time < lengths, token != 2
            return (jnp.where((real & push)[:, None], pushed, stack), jnp.where(real, after, size)), None

        empty = jnp.zeros((len(words), self.length + 1), words.dtype), jnp.zeros_like(lengths)
        (stack, size), _ = jax.lax.scan(step, empty, (words.T, jnp.arange(self.length)))
        place = size[:, None] - 1 - jnp.arange(self.length + 1)[None, :]
        top_first = jnp.take_along_axis(stack, jnp.maximum(place, 0), axis=1)
        return jnp.where(place >= 0, top_first, 2), place >= -1


@dataclass(frozen=True)
class MissingDuplicate(ChomskyTask):
    """Context-sensitive: a word w w with one symbol replaced by a hole, of the id 2; the answer is what was there.

    Example: 0 1 1 0 2 1 _ -> 1 at the blank. Lengths are even.
    """

    shortest: int = 2
    symbols: ClassVar[int] = 3
    _least: ClassVar[int] = 2
    _step: ClassVar[int] = 2

    def draw(self, key: Key[Array, ""], lengths: Lengths) -> Words:
        bit_key, hole_key = jax.random.split(key)
        bits = jax.random.randint(bit_key, (len(lengths), self.length), 0, 2)
        place = jnp.arange(self.length)[None, :]
        doubled = jnp.take_along_axis(bits, place % (lengths[:, None] // 2), axis=1)
        return jnp.where(place == jax.random.randint(hole_key, lengths.shape, 0, lengths)[:, None], 2, doubled)

    def answer(self, words: Words, lengths: Lengths) -> Answers:
        half = lengths // 2
        hole = (words == 2).argmax(axis=1)
        other = jnp.where(hole < half, hole + half, hole - half)
        return _one(jnp.take_along_axis(words, other[:, None], axis=1))
