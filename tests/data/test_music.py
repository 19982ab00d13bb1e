from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from seqjax.data.files import DataError
from seqjax.data.music import KEYS, PARTS, piano_rolls
from tests.files import failure, needs_data, public

RNG = np.random.default_rng(0)


def roll(steps: int) -> np.ndarray:
    return (RNG.random((steps, KEYS)) < 0.1).astype(np.uint8)


def cells(*pieces) -> np.ndarray:
    made = np.empty((1, len(pieces)), object)
    made[0, :] = pieces
    return made


def saved(folder: Path, **variables) -> Path:
    path = folder / "pieces.mat"
    savemat(path, variables)
    return path


@pytest.fixture
def whole(tmp_path) -> Path:
    return saved(tmp_path, traindata=cells(roll(5), roll(3)), validdata=cells(roll(4)), testdata=cells(roll(2)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_pieces_come_back_as_they_were(dtype, tmp_path):
    train, validation = [roll(5), roll(3)], [roll(4)]
    parts = {"traindata": train, "validdata": validation}
    path = saved(tmp_path, **{name: cells(*(p.astype(dtype) for p in pieces)) for name, pieces in parts.items()})
    found = piano_rolls(path)
    for expected, actual in zip((train, validation), found[:2], strict=True):
        assert len(actual) == len(expected)
        for one, other in zip(expected, actual, strict=True):
            assert other.dtype == np.uint8
            np.testing.assert_array_equal(one, other)


PIECES = [
    (roll(4)[:, :87], r"traindata, piece 1: expected numbers \[time >= 2, 88\], found \[4, 87\]"),
    (roll(4).T, r"traindata, piece 1: expected numbers \[time >= 2, 88\], found \[88, 4\]"),
    (roll(1), r"traindata, piece 1: expected numbers \[time >= 2, 88\], found \[1, 88\]"),
    (2 * np.ones((4, KEYS)), r"traindata, piece 1: expected 0 or 1, found 2"),
    (np.full((4, KEYS), np.nan), r"traindata, piece 1: expected 0 or 1, found nan"),
    (0.5 * np.ones((4, KEYS)), r"traindata, piece 1: expected 0 or 1, found 0.5"),
    (cells(roll(4)), r"expected real numbers, found class 0x1, stored as type 14$"),
    ("a tune", r"expected real numbers, found class 0x4, stored as type \d+$"),
]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        *[({"traindata": cells(roll(3), one), "validdata": cells(roll(3))}, expected) for one, expected in PIECES],
        ({"traindata": cells(roll(3))}, "expected a variable validdata, found none"),
        ({"traindata": roll(3), "validdata": cells(roll(3))}, "expected traindata to be a cell array, found class 0x9"),
        ({"traindata": cells(), "validdata": cells(roll(3))}, "expected pieces in traindata, found none"),
    ],
)
def test_wrong_pieces_and_missing_parts_are_named(variables, expected, tmp_path):
    path = saved(tmp_path, **variables)
    with pytest.raises(DataError, match=expected) as caught:
        piano_rolls(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_all_faults_are_told_at_once(tmp_path):
    path = saved(tmp_path, traindata=cells(roll(1), roll(3), roll(1)), validdata=cells(roll(1)))
    assert len(failure(piano_rolls, path)) == 3
    assert len(failure(piano_rolls, path, skip_bad=True)) == 3, "no piece for validation is left"
    path = saved(tmp_path, traindata=cells(roll(1), roll(3), roll(1)), validdata=cells(roll(2)))
    found = piano_rolls(path, skip_bad=True)
    assert ([*map(len, found.train)], [*map(len, found.validation)], found.skipped) == ([3], [2], 2)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_holds_piano_rolls(data, whole, tmp_path):
    """Cut anywhere, any byte changed: it ends in a DataError or in pieces as they should be, never in anything else."""
    content = bytearray(whole.read_bytes())
    path = tmp_path / "damaged.mat"
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        found = piano_rolls(path)
    except DataError:
        return
    for piece in [*found.train, *found.validation]:
        assert piece.dtype == np.uint8
        assert piece.shape[1] == KEYS
        assert set(np.unique(piece)) <= {0, 1}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        piano_rolls(tmp_path / "nowhere.mat")


@needs_data
@pytest.mark.parametrize(
    ("name", "pieces", "steps"),
    [("JSB_Chorales", (229, 76), (13_807, 4_602)), ("Nottingham", (694, 173), (176_561, 45_513))],
)
def test_public_files_have_as_many_pieces_as_they_should(name, pieces, steps):
    path = public("music", f"{name}.mat")
    found = piano_rolls(path)
    assert tuple(map(len, found[:2])) == pieces
    assert tuple(sum(map(len, part)) for part in found[:2]) == steps
    expected = loadmat(path)
    for variable, part in zip(PARTS, found[:2], strict=True):
        for one, other in zip(expected[variable].ravel(), part, strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
