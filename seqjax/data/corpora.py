"""Readers of public collections of sentence pairs, and what must be done to them before training."""

import gzip
import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax.data.text import Tokenizer

SHOWN = 20
"""Faults that an error names one by one."""


class DataError(ValueError):
    """A file does not hold what it should: `path:line: expected …, found …` for each of the first faults."""

    def __init__(self, faults: Sequence[str]):
        more = [f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        super().__init__("\n".join([*faults[:SHOWN], *more]))


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class Corpus(NamedTuple):
    """Pairs, and how many were left out: one side empty, or malformed where the caller allowed it."""

    pairs: list[Pair]
    skipped: int


class Split(NamedTuple):
    """Parts that share no sentence, on neither side."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def data_folder(given: Path | None, *expected: str) -> Path:
    """The folder of the data sets: the one given, or else the one that the environment's SEQJAX_DATA names.

    Args:
        expected: files that must be there, relative to the folder.

    Raises:
        FileNotFoundError: neither names a folder, or a file is missing; says what to set and what to put where.
    """
    named = os.environ.get("SEQJAX_DATA")
    files = ", ".join(expected) or "the data sets"
    if given is None and not named:
        raise FileNotFoundError(f"no data folder: pass --data PATH or set SEQJAX_DATA to the folder that holds {files}")
    folder = Path(named or "") if given is None else given
    origin = "SEQJAX_DATA" if given is None else "--data"
    if not folder.is_dir():
        raise FileNotFoundError(f"{origin} must name the folder that holds {files}, got {folder}, which is none")
    for name in expected:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{origin} names {folder}, which lacks {name}: put it at {folder / name}")
    return folder


def tatoeba(path: Path, *, source_column: int = 1, skip_bad: bool = False) -> Corpus:
    """Sentence pairs of tatoeba.org as manythings.org/anki gives them: English<TAB>other language, a line each.

    A third column (attribution) may follow. Reads the text itself or the zip with it inside, whose `_about.txt` is
    passed over.

    Args:
        source_column: 1 to translate from English, 2 into English.
        skip_bad: count malformed lines instead of raising.

    Raises:
        DataError: nothing to read, a damaged zip, or malformed lines.
    """
    if source_column not in (1, 2):
        raise ValueError(f"source_column must be 1 or 2, got {source_column}")
    where, content = _unzipped(path) if path.suffix.lower() == ".zip" else (str(path), path.read_bytes())
    faults: list[str] = []
    lines = _lines(where, content, faults)
    rows: list[Pair | None] = [None] * _filled(lines)
    for number, line in enumerate(lines[: len(rows)]):
        if line is None:
            continue
        columns = line.split("\t")
        if len(columns) in (2, 3):
            rows[number] = Pair(columns[source_column - 1].strip(), columns[2 - source_column].strip())
        else:
            faults.append(f"{where}:{number + 1}: expected sentence<TAB>translation, found {_excerpt(line)}")
    return _corpus(where, rows, faults, skip_bad)


def multi30k(folder: Path, split: str, source: str, target: str, *, skip_bad: bool = False) -> Corpus:
    """Descriptions of images, translated (Elliott et al. 2016, arXiv:1605.00459, task 1): a file a language.

    Line n of one is line n of the other; `train.de` or `train.de.gz`, for split "train" and language "de".

    Args:
        skip_bad: count lines that are no UTF-8 instead of raising.

    Raises:
        DataError: nothing to read, a damaged gzip, files of different length, or malformed lines.
        FileNotFoundError: a file is not in the folder.
    """
    faults: list[str] = []
    names, contents = zip(*(_gunzipped(folder / f"{split}.{language}") for language in (source, target)), strict=True)
    sides = [_lines(name, content, faults) for name, content in zip(names, contents, strict=True)]
    length = max(map(_filled, sides))
    for name, other, lines in zip(names, reversed(names), sides, strict=True):
        # Blank lines at the end are sentences where the other file has some, and nothing where it has none.
        if len(lines) < length:
            raise DataError([f"{name}:{_filled(lines) + 1}: expected {length} lines as in {other}, found {len(lines)}"])
    rows: list[Pair | None] = [
        None if one is None or other is None else Pair(one.strip(), other.strip())
        for one, other in zip(*(lines[:length] for lines in sides), strict=True)
    ]
    return _corpus(" and ".join(names), rows, faults, skip_bad)


def normalise(pairs: Iterable[Pair], source: Tokenizer, target: Tokenizer) -> Corpus:
    """The pairs as the tokenizers see them, `join(split(sentence))`; those of which nothing is left are skipped.

    To be done before `dedup` and `split`: "Go!" and "Go." may be one sentence for a model.
    """
    rows: list[Pair | None] = [
        Pair(source.join(source.split(pair.source)), target.join(target.split(pair.target))) for pair in pairs
    ]
    return _corpus("pairs", rows, [], skip_bad=False)


def dedup(pairs: Iterable[Pair]) -> list[Pair]:
    """Every pair once, in the order in which they first appear."""
    return list(dict.fromkeys(pairs))


def references(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    """All distinct translations of each source sentence: what BLEU with several references compares with."""
    found: dict[str, list[str]] = {}
    for source, target in dedup(pairs):
        found.setdefault(source, []).append(target)
    return found


def without(pairs: Sequence[Pair], sources: Collection[str]) -> list[Pair]:
    """The pairs that share no sentence with a translation of `sources`: to train a model that is asked for those."""
    targets = {pair.target for pair in pairs if pair.source in sources}
    return [pair for pair in pairs if pair.target not in targets]


def split(pairs: Sequence[Pair], *, held_out: int, seed: int) -> Split:
    """Set pairs aside for validation and test, such that neither side of any occurs in another part.

    Pairs that share a sentence hang together, directly or through others, and stay together. Such groups are taken in
    an order that depends on the seed and on the sentences alone, neither on the order of the pairs nor on the machine,
    until each part has `held_out` pairs or a few more. Groups of more than `held_out` / 10 pairs stay in train, as one
    of them would be much of a part: held-out sentences have somewhat fewer translations than the others.

    Raises:
        ValueError: held_out < 1, or too few pairs are in groups that are small enough.
    """
    if held_out < 1:
        raise ValueError(f"held_out must be >= 1, got {held_out}")
    groups = _groups(pairs)
    size = Counter(groups)
    # The smallest pair speaks for its group: the first hash, say, would let large groups come first.
    speaker: dict[int, Pair] = {}
    for group, pair in zip(groups, pairs, strict=True):
        speaker[group] = min(pair, speaker.get(group, pair))
    small = [group for group in speaker if size[group] <= max(1, held_out // 10)]
    small.sort(key=lambda group: hashlib.sha256("\t".join((str(seed), *speaker[group])).encode()).digest())
    part: dict[int, int] = {}
    waiting = iter(small)
    for number in (1, 2):
        taken = 0
        while taken < held_out:
            if (group := next(waiting, None)) is None:
                free = sum(size[group] for group in small)
                raise ValueError(f"held_out must be at most half of the {free} pairs in small groups, got {held_out}")
            part[group] = number
            taken += size[group]
    parts: tuple[list[Pair], ...] = ([], [], [])
    for group, pair in zip(groups, pairs, strict=True):
        parts[part.get(group, 0)].append(pair)
    return Split(*parts)


def _groups(pairs: Sequence[Pair]) -> list[int]:
    """For each pair, the number of its connected component in the graph that joins source to target sentences."""
    parent: list[int] = []
    number: dict[tuple[int, str], int] = {}

    def node(side: int, sentence: str) -> int:
        found = number.setdefault((side, sentence), len(parent))
        if found == len(parent):
            parent.append(found)
        return found

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    sources = [node(0, pair.source) for pair in pairs]
    targets = [node(1, pair.target) for pair in pairs]
    for source, target in zip(sources, targets, strict=True):
        parent[root(target)] = root(source)
    return [root(source) for source in sources]


def _corpus(where: str, rows: list[Pair | None], faults: list[str], skip_bad: bool) -> Corpus:
    if faults and not skip_bad:
        raise DataError(faults)
    pairs = [pair for pair in rows if pair is not None and all(pair)]
    if not pairs:
        raise DataError([f"{where}: expected sentence pairs, found none"])
    return Corpus(pairs, len(rows) - len(pairs))


def _lines(where: str, content: bytes, faults: list[str]) -> list[str | None]:
    """All lines, also the empty one behind the last line end; None, and a fault, where a line is no UTF-8."""
    # Not `splitlines`: it also cuts at characters that are part of a sentence.
    lines: list[str | None] = []
    offset = 0
    for number, raw in enumerate(content.split(b"\n"), start=1):
        text = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        try:
            lines.append(text.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            place = offset + len(raw) - len(text) + error.start
            faults.append(f"{where}:{number}: expected UTF-8, found byte {text[error.start]:#04x} at offset {place}")
            lines.append(None)
        offset += len(raw) + 1
    return lines


def _filled(lines: list[str | None]) -> int:
    """How many lines there are without the blank ones at the end."""
    return max((number for number, line in enumerate(lines, start=1) if line is None or line.strip()), default=0)


def _excerpt(line: str) -> str:
    return repr(line if len(line) <= 60 else f"{line[:60]}…")


def _unzipped(path: Path) -> tuple[str, bytes]:
    """The one text in a zip, and how to call it."""
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".txt") and not _hidden(name)]
            if len(names) != 1:
                found = ", ".join(names) or "none"
                raise DataError([f"{path}: expected one text besides _about.txt, found {found}"])
            return f"{path}/{names[0]}", archive.read(names[0])
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError([f"{path}: expected a whole zip file, found {error or type(error).__name__}"]) from None


def _gunzipped(path: Path) -> tuple[str, bytes]:
    """The content of a file or of its gzip, and its name."""
    packed = path.with_name(f"{path.name}.gz")
    if packed.is_file():
        try:
            return str(packed), gzip.decompress(packed.read_bytes())
        except _DAMAGE as error:
            raise DataError([f"{packed}: expected a whole gzip file, found {error or type(error).__name__}"]) from None
    if not path.is_file():
        raise FileNotFoundError(f"expected {packed} or {path.name} beside it, found neither")
    return str(path), path.read_bytes()


def _hidden(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith(("_", "."))


# What zipfile and gzip raise over bytes that they cannot read.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError, KeyError)
