"""Batches of a data set held in memory: which rows make a batch is a pure function of key and step."""

import itertools
import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, Key, UInt32

from seqjax._checks import at_least, integers
from seqjax.types import EOS, PAD, UNK, Batches, InputError, Seq2SeqBatch

Step = Int[Array, ""] | int


def epoch_rows(key: Key[Array, ""], step: Step, rows: int, batch_size: int) -> Int[Array, " batch"]:
    """The rows of batch `step`, 1 to `rows` of them; every epoch is a fresh permutation without incomplete batches."""
    if not 1 <= batch_size <= rows:
        raise InputError(f"batch_size must lie in [1, {rows}], got {batch_size}")
    batches = rows // batch_size
    epoch, place = step // batches, step % batches
    return _shuffled(jax.random.fold_in(key, epoch), place * batch_size + jnp.arange(batch_size), rows)


@dataclass(frozen=True, eq=False)
class Rows:
    """Token sequences one after the other: as lists, the same ids take ten times the memory.

    Attributes:
        ids: of all tokens.
        lengths: number of tokens of each row; 0 or more.
    """

    ids: Int32[np.ndarray, " tokens"]
    lengths: Int32[np.ndarray, " rows"]

    @classmethod
    def of(cls, rows: "Rows | Iterable[Sequence[int]]") -> "Rows":
        """Those of lists, which are read once.

        Raises:
            InputError: a number of more than 32 bits.
        """
        if isinstance(rows, Rows):
            return rows
        ids, lengths = array("i"), array("i")
        for row in rows:
            try:
                ids.extend(iter(row))  # of an array of 64 bits too
            except OverflowError:
                raise InputError(f"ids must have 32 bits, got {max(row, key=abs)} in row {len(lengths)}") from None
            lengths.append(len(row))
        return cls(np.frombuffer(ids, np.int32), np.frombuffer(lengths, np.int32))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Int[np.ndarray, " taken"]) -> "Rows":
        """Some of them, given in their order."""
        taken = np.zeros(len(self), bool)
        taken[rows] = True
        return Rows(self.ids[np.repeat(taken, self.lengths)], self.lengths[rows])


def pad(
    rows: Rows | Sequence[Sequence[int]], length: int | None = None, *, end: bool = False
) -> tuple[Int32[np.ndarray, "rows time"], Bool[np.ndarray, "rows time"]]:
    """Pad rows on the right to one length; returns ids and mask.

    Args:
        length: of the result, at least that of the longest row, which is the default.
        end: whether EOS is appended to each row.
    """
    if length is not None:
        integers(0, length=length)
    rows = Rows.of(rows)
    lengths = rows.lengths + end
    longest = int(lengths.max(initial=0))
    length = longest if length is None else length
    if longest > length:
        raise InputError(f"rows must have at most {length} tokens, got {longest} in row {int(lengths.argmax())}")
    step = np.arange(length, dtype=np.int32)[None, :]
    mask = step < lengths[:, None]
    ids = np.full(mask.shape, PAD, np.int32)
    if end:
        ids[np.arange(len(rows)), rows.lengths] = EOS
    ids[step < rows.lengths[:, None]] = rows.ids
    return ids, mask


class Bounded(NamedTuple):
    """Rows of bounded length, and how many were left out or cut for it."""

    rows: list[Any]
    left_out: int
    cut: int


def bounded(
    rows: Iterable[Any],
    sides: Callable[[Any], Sequence[Sequence[Any]]],
    shortened: Callable[[Any, int], Any],
    *,
    longest: int = 0,
    truncate: int = 0,
) -> Bounded:
    """Cut long rows, or leave them out: one of them would pad all others to its length.

    Args:
        sides: the sequences of a row, of which the longer one counts.
        shortened: `(row, length) -> row`, cut to a length.
        longest: rows that are longer are left out; 0: none.
        truncate: rows that are longer are cut to it, before `longest` applies; 0: none.
    """
    at_least(0, longest=longest, truncate=truncate)
    found = Bounded([], 0, 0)
    for row in rows:
        if truncate and max(map(len, sides(row))) > truncate:
            row, found = shortened(row, truncate), found._replace(cut=found.cut + 1)
        if longest and max(map(len, sides(row))) > longest:
            found = found._replace(left_out=found.left_out + 1)
        else:
            found.rows.append(row)
    if found.left_out and not found.rows:
        raise InputError(f"longest must leave some of {found.left_out} rows, got {longest}")
    return found


def close_up(tokens: Int[Array, "batch time"]) -> Int[Array, "batch time"]:
    """Move the PADs of each row to its end, the order of the others unchanged: 0 7 0 5 2 -> 7 5 2 0 0."""
    return jnp.take_along_axis(tokens, jnp.argsort(tokens == PAD, axis=1, stable=True), axis=1)


def pairs(
    sources: Rows | Sequence[Sequence[int]],
    targets: Rows | Sequence[Sequence[int]],
    *,
    source_vocab: int,
    target_vocab: int,
    source_length: int | None = None,
    target_length: int | None = None,
) -> Seq2SeqBatch:
    """Token sequences as one batch; EOS is appended to each source and target.

    Args:
        source_vocab: ids lie below it.
        source_length: steps of the result, EOS included; None: as the longest source needs.

    Raises:
        InputError: unequal numbers of sources and targets, an id outside [UNK, vocab), or a sequence that is too long.
    """
    both = _checked(sources, targets, source_vocab, target_vocab)
    return _paired(both, (source_length, target_length))


def _paired(sides: tuple[Rows, Rows], lengths: tuple[int | None, int | None] = (None, None)) -> Seq2SeqBatch:
    (source, source_mask), (target, target_mask) = map(partial(pad, end=True), sides, lengths)
    return Seq2SeqBatch(*map(jnp.asarray, (source, target, source_mask, target_mask)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Epochs:
    """Batches of rows held in memory; every epoch is a fresh permutation of all rows.

        batches = Epochs((images, labels), batch_size=64)
        images, labels = batches.batch(key, step)

    Batch `step` is a pure function of key and step (`epoch_rows`). Rows that do not fill a batch are left out of that
    epoch.

    Attributes:
        rows: a pytree of arrays with the leading axis `rows`.
        batch_size: in [1, rows]; a ValueError on use otherwise.
        augment: `(key, batch) -> batch`, a random change with a new key at every step. None: no change.
    """

    rows: Any
    batch_size: int = field(metadata={"static": True})
    augment: Callable[[Key[Array, ""], Any], Any] | None = field(default=None, metadata={"static": True})

    def batch(self, key: Key[Array, ""], step: Step) -> Any:
        """The rows of batch `step`."""
        if self.augment is None:
            return self._rows_of(key, step)
        rows_key, augment_key = jax.random.split(key)
        return self.augment(jax.random.fold_in(augment_key, step), self._rows_of(rows_key, step))

    def _rows_of(self, key: Key[Array, ""], step: Step) -> Any:
        chosen = epoch_rows(key, step, _rows(self.rows), self.batch_size)
        return jax.tree.map(lambda array: jnp.asarray(array)[chosen], self.rows)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Mixture:
    """Batches that concatenate those of several data sets.

    Attributes:
        parts: batches of equal structure; all take the same key and step.
    """

    parts: tuple[Batches, ...]

    def batch(self, key: Key[Array, ""], step: Step) -> Any:
        """The rows of batch `step`, one part after the other."""
        batches = [part.batch(key, jnp.asarray(step)) for part in self.parts]
        return jax.tree.map(lambda *fields: jnp.concatenate(fields), *batches)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Buckets:
    """Sequences of many lengths in few static shapes, so that padding is short and compilations are few.

    Each epoch takes the batches of all buckets, and the rows of each bucket, in a fresh order; rows that do not fill a
    batch of their bucket are left out. Batch `step` is `samples[choose(key, step)](key, step)`, a pure function of key
    and step, also inside jit.

    Attributes:
        parts: the rows of each bucket, a pytree of arrays with the leading axis `rows`.
        batch_size: at least 1 and at most the rows of each bucket; a ValueError on use otherwise.
    """

    parts: tuple[Any, ...]
    batch_size: int = field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        sources: Rows | Sequence[Sequence[int]],
        targets: Rows | Sequence[Sequence[int]],
        *,
        batch_size: int,
        count: int,
        source_vocab: int,
        target_vocab: int,
    ) -> "Buckets":
        """Pairs in at most `count` buckets, split as by `by_length`, each as `pairs` makes it."""
        source, target = _checked(sources, targets, source_vocab, target_vocab)
        parts = by_length(np.stack([source.lengths, target.lengths]), batch_size=batch_size, count=count)
        return cls(tuple(_paired((source.take(rows), target.take(rows))) for rows in parts), batch_size)

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return int(self._ends[-1])

    @property
    def samples(self) -> tuple[Callable[[Key[Array, ""], Step], Any], ...]:
        """For each bucket, `(key, step) -> batch`, valid for the steps for which `choose` returns that bucket."""
        return tuple(partial(self._sample, number) for number in range(len(self.parts)))

    def choose(self, key: Key[Array, ""], step: Step) -> Int[Array, ""]:
        """Which bucket batch `step` comes from."""
        return jnp.searchsorted(self._ends, self._slot(key, step)[1], side="right").astype(jnp.int32)

    @property
    def _ends(self) -> Int32[np.ndarray, " buckets"]:
        """The first slot after each bucket: an epoch has a slot for every batch of every bucket."""
        at_least(1, batch_size=self.batch_size)
        fewest = min(map(_rows, self.parts), default=0)
        if fewest < self.batch_size:
            raise InputError(f"every bucket must hold a batch of {self.batch_size}, got one of {fewest} rows")
        return np.cumsum([_rows(part) // self.batch_size for part in self.parts]).astype(np.int32)

    def _slot(self, key: Key[Array, ""], step: Step) -> tuple[Key[Array, ""], Int[Array, ""]]:
        epoch_key = jax.random.fold_in(key, step // self.per_epoch)
        slot_key, rows_key = jax.random.split(epoch_key)
        return rows_key, _shuffled(slot_key, jnp.asarray(step % self.per_epoch)[None], self.per_epoch)[0]

    def _sample(self, bucket: int, key: Key[Array, ""], step: Step) -> Any:
        part = self.parts[bucket]
        batches = _rows(part) // self.batch_size
        rows_key, slot = self._slot(key, step)
        # A step of another bucket must not leave this one: the walk in `_shuffled` ends for places within it only.
        place = jnp.clip(slot - (self._ends[bucket] - batches), 0, batches - 1)
        places = place * self.batch_size + jnp.arange(self.batch_size)
        rows = _shuffled(jax.random.fold_in(rows_key, bucket), places, _rows(part))
        return jax.tree.map(lambda array: jnp.asarray(array)[rows], part)


def by_length(
    lengths: Int[np.ndarray, "sides rows"], *, batch_size: int, count: int
) -> list[Int[np.ndarray, " bucket"]]:
    """Which rows go into each of at most `count` buckets of the longer side, split for the fewest padded tokens.

    A few rows that are much longer than the others have a bucket of their own, filled with the longest of those.

    Args:
        batch_size: least rows of a bucket, from 1 to all rows.
        count: at least 1.
    """
    at_least(1, count=count)
    if not 1 <= batch_size <= lengths.shape[1]:
        raise InputError(f"batch_size must lie in [1, {lengths.shape[1]}], got {batch_size}")
    longer = lengths.max(axis=0)
    order = np.lexsort((lengths.sum(axis=0), longer))
    # A bucket ends with the last row of some length; or else those after it hold a batch each and no row more.
    last = np.cumsum(np.unique(longer, return_counts=True)[1])
    shifts = batch_size * np.arange(min(count, len(order) // batch_size))
    cuts = np.unique(np.append(0, np.maximum(last[:, None] - shifts[None, :], 0)))
    ends = [0, *cuts[_ends(lengths[:, order], cuts, batch_size, count)]]
    return [np.sort(order[start:end]) for start, end in itertools.pairwise(ends)]


def _rows(part: Any) -> int:
    return len(jax.tree.leaves(part)[0])


def _checked(
    sources: Rows | Sequence[Sequence[int]],
    targets: Rows | Sequence[Sequence[int]],
    source_vocab: int,
    target_vocab: int,
) -> tuple[Rows, Rows]:
    if len(sources) != len(targets):
        raise InputError(f"targets must be as many as sources, {len(sources)}, got {len(targets)}")
    sides = Rows.of(sources), Rows.of(targets)
    _check_ids("sources", sides[0], source_vocab)
    _check_ids("targets", sides[1], target_vocab)
    return sides


def _check_ids(name: str, rows: Rows, vocab: int) -> None:
    # PAD, SOS and EOS are added here; within a sentence they would end or mask it.
    wrong = (rows.ids < UNK) | (rows.ids >= vocab)
    if wrong.any():
        place = int(wrong.argmax())
        row = np.searchsorted(np.cumsum(rows.lengths), place, side="right")
        raise InputError(f"ids of {name} must lie in [{UNK}, {vocab}), got {rows.ids[place]} in row {row}")


def _ends(
    lengths: Int[np.ndarray, "sides rows"], cuts: Int[np.ndarray, " cuts"], batch_size: int, count: int
) -> list[int]:
    """At which of the cuts each bucket of the ordered rows ends, such that all buckets together hold the fewest steps.

    By dynamic programming: the best k buckets up to a cut extend the best k - 1 up to a cut before it.
    """
    rows, longest = np.diff(cuts), np.maximum.reduceat(lengths, cuts[:-1], axis=1)
    best = np.full(len(cuts), np.inf)
    best[0] = 0
    table = []
    for _ in range(min(count, len(rows))):
        extended, first = np.full_like(best, np.inf), np.zeros(len(best), np.int64)
        for end in range(1, len(best)):
            # Buckets from each cut before it to this one, at once.
            filled = np.cumsum(rows[:end][::-1])[::-1]
            shape = np.maximum.accumulate(longest[:, :end][:, ::-1], axis=1)[:, ::-1].sum(axis=0)
            cost = np.where(filled >= batch_size, best[:end] + filled * shape, np.inf)
            first[end] = cost.argmin()
            extended[end] = cost[first[end]]
        best = extended
        table.append((best[-1], first))
    used = int(np.argmin([cost for cost, _ in table]))
    ends = [len(rows)]
    for _, first in table[used:0:-1]:
        ends.append(int(first[ends[-1]]))
    return ends[::-1]


ROUNDS = 12


def _shuffled(key: Key[Array, ""], places: Int[Array, " batch"], rows: int) -> Int[Array, " batch"]:
    """The entries at these places of a random permutation of `rows`, without computing the rest of it.

    Sorting all rows at every step would be slow. A generalised Feistel cipher: a place is a point of a rectangle a
    little larger than `rows`; each round shifts one coordinate by a hash of the other, which is invertible, so no two
    places coincide; points outside are enciphered again until inside (Black & Rogaway 2002, "Ciphers with arbitrary
    finite domains", section 5).
    """
    height = math.isqrt(rows - 1) + 1
    width = -(-rows // height)
    round_keys = jax.random.bits(key, (ROUNDS,), jnp.uint32)

    def encipher(point: UInt32[Array, " batch"]) -> UInt32[Array, " batch"]:
        row, column = point // width, point % width
        for number in range(0, ROUNDS, 2):
            row = (row + _hash(column, round_keys[number]) % height) % height
            column = (column + _hash(row, round_keys[number + 1]) % width) % width
        return row * width + column

    def outside(walk: tuple[Bool[Array, ""], UInt32[Array, " batch"]]) -> Bool[Array, " batch"]:
        first, point = walk
        return first | (point >= rows)

    def go_on(walk: tuple[Bool[Array, ""], UInt32[Array, " batch"]]) -> tuple[Bool[Array, ""], UInt32[Array, " batch"]]:
        return jnp.array(False), jnp.where(outside(walk), encipher(walk[1]), walk[1])

    walk = (jnp.array(True), places.astype(jnp.uint32))
    _, inside = jax.lax.while_loop(lambda walk: jnp.any(outside(walk)), go_on, walk)
    return inside.astype(jnp.int32)


def _hash(value: UInt32[Array, " batch"], round_key: UInt32[Array, ""]) -> UInt32[Array, " batch"]:
    """Mixes the bits twice (the last steps of MurmurHash3), the key in between and before."""
    for _ in range(2):
        value = value ^ round_key
        value = (value ^ (value >> 16)) * jnp.uint32(0x85EBCA6B)
        value = (value ^ (value >> 13)) * jnp.uint32(0xC2B2AE35)
        value = value ^ (value >> 16)
    return value
