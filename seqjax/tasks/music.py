"""Polyphonic music: which keys sound next, given all that was played before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from seqjax._checks import integers
from seqjax.data.batching import Epochs
from seqjax.data.music import KEYS, Roll
from seqjax.types import Batch, InputError


@dataclass(frozen=True, eq=False)
class Music:
    """Predict each next step of pieces of music: 88 keys, each of which sounds or does not.

    Example, three keys: the steps 100 110 001 -> inputs 100 110, targets 110 001. The first step of a piece is not
    predicted, as in Bai, Kolter & Koltun 2018, arXiv:1803.01271.

    Attributes:
        rolls: windows of the pieces, padded with zeros.
        lengths: steps of each window.
        transpose: semitones up or down by which a window may be moved in training, but never off the keyboard.
    """

    rolls: UInt8[np.ndarray, "rows steps keys"]
    lengths: Int[np.ndarray, " rows"]
    transpose: int = 0

    @classmethod
    def of(cls, pieces: Sequence[Roll], *, length: int, transpose: int = 0) -> "Music":
        """Adjacent windows that predict `length` steps each, the last of a piece fewer: each step but the first once.

        Raises:
            InputError: length < 1, transpose < 0, or there are no pieces.
        """
        integers(1, length=length)
        integers(0, transpose=transpose)
        if not pieces:
            raise InputError("needs one piece or more, got none")
        windows = [piece[start : start + length + 1] for piece in pieces for start in range(0, len(piece) - 1, length)]
        lengths = np.array([len(window) for window in windows])
        rolls = np.zeros((len(windows), lengths.max(), KEYS), np.uint8)
        for row, window in zip(rolls, windows, strict=True):
            row[: len(window)] = window
        return cls(rolls, lengths, transpose)

    def batches(self, batch_size: int) -> Epochs:
        """Batches for training: every window once in an epoch, moved by a random number of semitones."""
        lowest, highest = self._range()
        down, up = (np.minimum(room, self.transpose) for room in (lowest, KEYS - 1 - highest))
        return Epochs(_Windows(self.rolls, self.lengths, down, up), batch_size, _transposed)

    def whole(self) -> Batch:
        """All windows in order, none moved."""
        return _predicted(jnp.asarray(self.rolls), jnp.asarray(self.lengths))

    def _range(self) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """The lowest and the highest key of each window; all keys for a silent one, so that it is not moved."""
        heard = np.asarray(self.rolls.any(axis=1))
        return heard.argmax(axis=1), KEYS - 1 - heard[:, ::-1].argmax(axis=1)


class _Windows(NamedTuple):
    """Windows with the most semitones that each may be moved down and up."""

    rolls: UInt8[Array | np.ndarray, "batch steps keys"]
    lengths: Int[Array | np.ndarray, " batch"]
    down: Int[Array | np.ndarray, " batch"]
    up: Int[Array | np.ndarray, " batch"]


def _transposed(key: Key[Array, ""], windows: _Windows) -> Batch:
    rolls, lengths, down, up = map(jnp.asarray, windows)
    moves = jax.random.randint(key, lengths.shape, -down, up + 1)
    source = (jnp.arange(KEYS)[None, :] - moves[:, None]) % KEYS
    return _predicted(jnp.take_along_axis(rolls, source[:, None, :], axis=2), lengths)


def _predicted(rolls: UInt8[Array, "batch steps keys"], lengths: Int[Array, " batch"]) -> Batch:
    rolls = rolls.astype(jnp.float32)
    mask = jnp.arange(rolls.shape[1] - 1)[None, :] < lengths[:, None] - 1
    return Batch(rolls[:, :-1], rolls[:, 1:], mask)


def frequency_loss(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """Nats a step, summed over keys, of predicting each key by how often it sounds in training."""
    _, after = _steps(train)
    probability = _frequency(after, np.ones(after.shape, bool))
    return _cost(probability[None, :], _steps(test)[1])


def repetition_loss(train: Sequence[Roll], test: Sequence[Roll]) -> float:
    """The same from each key's own last step: a Markov chain of two states for each key, counted in training."""
    before, after = _steps(train)
    begins, lasts = (_frequency(after, before == state) for state in (0, 1))
    before, after = _steps(test)
    return _cost(np.where(before, lasts[None, :], begins[None, :]), after)


def _steps(pieces: Sequence[Roll]) -> tuple[Roll, Roll]:
    """What was played before each step that is predicted, and that step."""
    return np.concatenate([piece[:-1] for piece in pieces]), np.concatenate([piece[1:] for piece in pieces])


def _frequency(
    ones: UInt8[np.ndarray, "time keys"], counted: Bool[np.ndarray, "time keys"]
) -> Float[np.ndarray, " keys"]:
    """Fraction of those counted that are 1, with a pseudo-count of one half each for 0 and 1."""
    return ((ones * counted).sum(axis=0) + 0.5) / (counted.sum(axis=0) + 1)


def _cost(probability: Float[np.ndarray, "#time keys"], ones: UInt8[np.ndarray, "time keys"]) -> float:
    return float(-np.log(np.where(ones, probability, 1 - probability)).sum(axis=1).mean())
