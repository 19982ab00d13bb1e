"""What is chosen by the size of a user's own data: ten rows are enough, a million are not too many."""

from collections.abc import Sequence
from pathlib import Path

from seqjax.data import corpora
from seqjax.data.files import DataError
from seqjax.types import InputError

MOST = 2_000
"""Rows of a held-out part: the interval of an accuracy is then 4 points wide or less."""

FEW = 1_000
"""Rows: where there are fewer, no word is too rare to have an id of its own."""


def held_out(where: Path | str, rows: int, *, parts: int = 2) -> int:
    """Rows for each of the held-out parts: a tenth, from 1 to `MOST`.

    Args:
        parts: how many there are.

    Raises:
        DataError: there is not one row for each of them and one to train on; names the file.
    """
    if rows <= parts:
        raise DataError([f"{where}: expected {parts + 1} rows or more, found {rows}"])
    return min(max(rows // 10, 1), MOST)


def least(rows: int) -> int:
    """The smallest count of a word with an id of its own, in that many rows for training."""
    return 1 if rows < FEW else 2


def split(where: Path | str, pairs: Sequence[corpora.Pair]) -> corpora.Split:
    """As `corpora.split`, with held-out parts in proportion, or as large as they can be.

    Raises:
        DataError: less than two pairs share no sentence with others, or there are none besides them; names the file.
    """
    wanted = held_out(where, len(pairs))
    while wanted:
        try:
            return corpora.split(pairs, held_out=wanted, seed=0)
        except InputError:  # too many pairs share sentences
            wanted //= 2
    raise DataError([f"{where}: expected two or more pairs that share no sentence with others, found fewer"])
