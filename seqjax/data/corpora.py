"""Readers of public collections of sentence pairs, and what must be done to them before training."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax._checks import at_least
from seqjax.data.batching import Bounded, bounded
from seqjax.data.files import DataError, contents, excerpt, filled, gunzipped, read_lines, unzipped
from seqjax.data.tokenizers import Tokenizer
from seqjax.types import InputError


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


def tatoeba(path: Path, *, source_column: int = 1, skip_bad: bool = False) -> Corpus:
    """Sentence pairs of tatoeba.org as manythings.org/anki gives them: English<TAB>other language, a line each.

    A third column (attribution) may follow. Reads the text, or the zip with it inside.

    Args:
        source_column: 1 to translate from English, 2 into English.
        skip_bad: count malformed lines instead of raising.

    Raises:
        DataError: nothing to read, a damaged zip, or malformed lines.
    """
    if source_column not in (1, 2):
        raise InputError(f"source_column must be 1 or 2, got {source_column}")
    where, content = unzipped(path) if path.suffix.lower() == ".zip" else (str(path), contents(path))
    faults: list[str] = []
    lines = read_lines(where, content, faults)
    rows: list[Pair | None] = [None] * filled(lines)
    for number, line in enumerate(lines[: len(rows)]):
        if line is None:
            continue
        columns = line.split("\t")
        if len(columns) in (2, 3):
            rows[number] = Pair(columns[source_column - 1].strip(), columns[2 - source_column].strip())
        else:
            faults.append(f"{where}:{number + 1}: expected sentence<TAB>translation, found {excerpt(line)}")
    return _corpus(where, rows, faults, skip_bad)


def multi30k(folder: Path, split: str, source: str, target: str, *, skip_bad: bool = False) -> Corpus:
    """Descriptions of images, translated (Elliott et al. 2016, arXiv:1605.00459, task 1): a file a language.

    Line n of one is line n of the other; `train.de` or `train.de.gz`, for split "train" and language "de".

    Args:
        skip_bad: count lines that are no UTF-8 instead of raising.

    Raises:
        DataError: no text, a damaged gzip, files of different length, or malformed lines.
        FileNotFoundError: a file is missing.
    """
    faults: list[str] = []
    names, contents = zip(*(gunzipped(folder / f"{split}.{language}") for language in (source, target)), strict=True)
    sides = [read_lines(name, content, faults) for name, content in zip(names, contents, strict=True)]
    length = max(map(filled, sides))
    for name, other, lines in zip(names, reversed(names), sides, strict=True):
        # Blank lines at the end are sentences where the other file has some, and nothing where it has none.
        if len(lines) < length:
            raise DataError([f"{name}:{filled(lines) + 1}: expected {length} lines as in {other}, found {len(lines)}"])
    rows: list[Pair | None] = [
        None if one is None or other is None else Pair(one.strip(), other.strip())
        for one, other in zip(*(lines[:length] for lines in sides), strict=True)
    ]
    return _corpus(" and ".join(names), rows, faults, skip_bad)


def normalise(pairs: Iterable[Pair], source: Tokenizer, target: Tokenizer) -> Corpus:
    """The pairs as the tokenizers see them, `join(split(sentence))`; those of which nothing is left are skipped.

    Use it before `dedup` and `split`: "Go!" and "Go." may be one sentence for a model.
    """
    rows: list[Pair | None] = [
        Pair(source.join(source.split(pair.source)), target.join(target.split(pair.target))) for pair in pairs
    ]
    return _corpus("pairs", rows, [], skip_bad=False)


def within(
    pairs: Iterable[Pair], source: Tokenizer, target: Tokenizer, *, longest: int = 0, truncate: int = 0
) -> Bounded:
    """The pairs with at most `longest` tokens a side, those longer than `truncate` cut to it before; 0: no bound."""

    def sides(pair: Pair) -> list[list[str]]:
        return [source.split(pair.source), target.split(pair.target)]

    def shortened(pair: Pair, length: int) -> Pair:
        of_source, of_target = sides(pair)
        return Pair(source.join(of_source[:length]), target.join(of_target[:length]))

    return bounded(pairs, sides, shortened, longest=longest, truncate=truncate)


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
    """The pairs that share no sentence with a translation of `sources`: for a model that is tested on those."""
    targets = {pair.target for pair in pairs if pair.source in sources}
    return [pair for pair in pairs if pair.target not in targets]


def split(pairs: Sequence[Pair], *, held_out: int, seed: int) -> Split:
    """Set pairs aside for validation and test, such that neither side of any occurs in another part.

    Pairs that share a sentence, directly or through others, stay together. Such groups are taken in an order that
    depends on the seed and the sentences alone, until each part has `held_out` pairs or a few more. Groups of more than
    `held_out` / 10 pairs stay in train: held-out sentences have somewhat fewer translations than the others.

    Raises:
        InputError: held_out < 1, or too few pairs are in groups that are small enough.
    """
    at_least(1, held_out=held_out)
    groups = _groups(pairs)
    size = Counter(groups)
    # The smallest pair represents its group: the smallest hash would let large groups come first.
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
                raise InputError(f"held_out must be at most half of the {free} pairs in small groups, got {held_out}")
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
