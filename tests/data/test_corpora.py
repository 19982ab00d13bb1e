import gzip
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqjax.data.corpora import Pair, dedup, multi30k, normalise, references, split, tatoeba, within, without
from seqjax.data.files import DataError, data_folder
from seqjax.data.tokenizers import Words
from tests.files import BOM, failure, needs_data, public, same_lines, written, zipped
from tests.refusals import refuses

ENGLISH = [Pair("Go.", "Ve."), Pair("Go.", "Vete."), Pair("Hi.", "¡Hola!")]
TEXT = "Go.\tVe.\nGo.\tVete.\nHi.\t¡Hola!\n".encode()


# Tatoeba


@pytest.mark.parametrize(
    "content", [*same_lines(TEXT), TEXT.replace(b"Ve.", b"Ve.\tCC-BY 2.0 #1"), TEXT.replace(b"\tVe.", b" \t  Ve.")]
)
def test_pairs_are_read_from_a_text_and_from_a_zip(content, tmp_path):
    assert tatoeba(written(tmp_path, "spa.txt", content)) == (ENGLISH, 0)
    for name in ("spa-eng/spa.txt", "fra.txt"):
        members = ("spa-eng/_about.txt", b"about\xff"), (name, content), ("__MACOSX/._fra.txt", b"")
        path = written(tmp_path, "pairs.zip", zipped(*members))
        assert tatoeba(path) == (ENGLISH, 0)
        backwards = [Pair(target, source) for source, target in ENGLISH]
        assert tatoeba(path, source_column=2) == (backwards, 0)


def test_characters_that_only_python_takes_for_line_ends_stay(tmp_path):
    path = written(tmp_path, "a.txt", "a\u2028b\x0bc\tx\x85y\n".encode())
    assert tatoeba(path).pairs == [Pair("a\u2028b\x0bc", "x\x85y")]


def test_malformed_lines_are_named(tmp_path):
    content = b"a\tb\nno tab\n\na\t\n1\t2\t3\t4\nab\xffc\td\n"
    path = written(tmp_path, "a.txt", content)
    assert failure(tatoeba, path) == [
        f"{path}:6: expected UTF-8, found byte 0xff at offset {content.index(0xFF)}",
        f"{path}:2: expected sentence<TAB>translation, found 'no tab'",
        f"{path}:3: expected sentence<TAB>translation, found ''",
        f"{path}:5: expected sentence<TAB>translation, found '1\\t2\\t3\\t4'",
    ]
    assert tatoeba(path, skip_bad=True) == ([Pair("a", "b")], 5)


def test_the_byte_offset_counts_the_mark_in_front(tmp_path):
    for content in (BOM + b"\xfe\tb\n", BOM + b"a\tb\nc\xfe\td"):
        path = written(tmp_path, "a.txt", content)
        assert failure(tatoeba, path)[0].endswith(f"found byte 0xfe at offset {content.index(0xFE)}")


def test_a_fault_in_a_zip_names_the_file_within(tmp_path):
    path = written(tmp_path, "spa-eng.zip", zipped(("spa-eng/spa.txt", TEXT + b"x\n")))
    assert failure(tatoeba, path) == [f"{path}/spa-eng/spa.txt:4: expected sentence<TAB>translation, found 'x'"]


def test_twenty_faults_are_enough(tmp_path):
    lines = failure(tatoeba, written(tmp_path, "a.txt", b"x\n" * 23))
    assert len(lines) == 21
    assert lines[19].split(": ")[0].endswith(":20")
    assert lines[20] == "and 3 more"


def test_an_empty_side_is_skipped_and_counted(tmp_path):
    assert tatoeba(written(tmp_path, "a.txt", b"a\tb\n\tc\nd\t \n")) == ([Pair("a", "b")], 2)


@pytest.mark.parametrize("content", [b"", b"\n\n", BOM, b"\t\n"])
def test_an_empty_file_is_an_error(content, tmp_path):
    for path in (written(tmp_path, "a.txt", content), written(tmp_path, "a.zip", zipped(("a.txt", content)))):
        assert "expected sentence pairs, found none" in failure(tatoeba, path)[0]


def test_a_zip_needs_one_text(tmp_path):
    for names, found in ((["_about.txt"], "none"), (["a.txt", "b.txt"], "a.txt, b.txt")):
        path = written(tmp_path, "a.zip", zipped(*((name, TEXT) for name in names)))
        assert failure(tatoeba, path) == [f"{path}: expected one text besides _about.txt, found {found}"]


def test_every_truncation_of_a_zip_is_a_data_error(tmp_path):
    whole = zipped(("a.txt", TEXT))
    for length in range(len(whole)):
        assert "expected a whole zip file" in failure(tatoeba, written(tmp_path, "a.zip", whole[:length]))[0]


QUIET = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUIET
@given(st.data())
def test_only_data_errors_escape_from_altered_files(tmp_path, data):
    whole = bytearray(data.draw(st.sampled_from([zipped(("a.txt", TEXT)), gzip.compress(TEXT, mtime=0), TEXT])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    written(tmp_path, "t.a", TEXT)
    for name in ("a.zip", "a.txt", "t.b.gz"):
        path = written(tmp_path, name, bytes(whole))
        with suppress(DataError):
            multi30k(tmp_path, "t", "a", "b") if name == "t.b.gz" else tatoeba(path)


@QUIET
@given(st.binary(max_size=60), st.booleans())
def test_only_data_errors_escape_from_any_bytes(tmp_path, content, skip_bad):
    try:
        corpus = tatoeba(written(tmp_path, "a.txt", content), skip_bad=skip_bad)
    except DataError:
        return
    assert corpus.pairs
    assert len(corpus.pairs) + corpus.skipped <= content.count(b"\n") + 1
    assert all(side and side == side.strip() for pair in corpus.pairs for side in pair)


test_there_are_two_columns = refuses(tatoeba, ({"path": Path("a"), "source_column": 0}, "must be 1 or 2, got 0"))


# Multi30k


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n\n", b"\r\n"])
@pytest.mark.parametrize("pack", [True, False])
def test_lines_of_two_files_are_paired(pack, ending, tmp_path):
    german = b"Ein Mann.\t\nZwei Hunde." + ending
    written(tmp_path, "train.de.gz" if pack else "train.de", gzip.compress(german) if pack else german)
    written(tmp_path, "train.en", b"A man.\nTwo dogs.\n")
    pairs = [Pair("Ein Mann.", "A man."), Pair("Zwei Hunde.", "Two dogs.")]
    assert multi30k(tmp_path, "train", "de", "en") == (pairs, 0)
    assert multi30k(tmp_path, "train", "en", "de").pairs == [Pair(target, source) for source, target in pairs]


def test_empty_lines_pair_with_lines(tmp_path):
    written(tmp_path, "val.de", b"a\n\nc\n\n")
    written(tmp_path, "val.en", b"A\nB\nC\nD\n")
    assert multi30k(tmp_path, "val", "de", "en") == ([Pair("a", "A"), Pair("c", "C")], 2)


def test_files_of_different_length_are_refused(tmp_path):
    short, long = written(tmp_path, "val.de", b"a\nb"), written(tmp_path, "val.en", b"A\nB\nC\nD\n")
    expected = [f"{short}:3: expected 4 lines as in {long}, found 2"]
    assert failure(multi30k, tmp_path, "val", "de", "en") == expected
    assert failure(multi30k, tmp_path, "val", "en", "de", skip_bad=True) == expected


def test_invalid_bytes_in_either_file(tmp_path):
    german, english = written(tmp_path, "val.de", b"a\n\xffb\nc\n"), written(tmp_path, "val.en", b"A\nB\nC\xf0\n")
    assert failure(multi30k, tmp_path, "val", "de", "en") == [
        f"{german}:2: expected UTF-8, found byte 0xff at offset 2",
        f"{english}:3: expected UTF-8, found byte 0xf0 at offset 5",
    ]
    assert multi30k(tmp_path, "val", "de", "en", skip_bad=True) == ([Pair("a", "A")], 2)


def test_damaged_and_missing_files(tmp_path):
    written(tmp_path, "val.en", b"A\n")
    with pytest.raises(FileNotFoundError, match=r"val\.de\.gz or val\.de beside it"):
        multi30k(tmp_path, "val", "de", "en")
    whole = gzip.compress(b"a\n")
    for length in range(1, len(whole)):
        written(tmp_path, "val.de.gz", whole[:length])
        assert "val.de.gz: expected a whole gzip file" in failure(multi30k, tmp_path, "val", "de", "en")[0]


# What is done to pairs


def test_pairs_as_tokenizers_see_them():
    raw = [Pair("I'm HERE!", "¡Aquí!"), Pair("I m here", "aqui"), Pair("Hm", "¿¡!?")]
    words = Words(punctuation="")
    seen = normalise(raw, words, words)
    assert seen == ([Pair("i m here", "aqui")] * 2, 1)
    assert dedup(seen.pairs) == [Pair("i m here", "aqui")]
    assert dedup([*ENGLISH, ENGLISH[0]]) == ENGLISH
    assert references([*ENGLISH, ENGLISH[0]]) == {"Go.": ["Ve.", "Vete."], "Hi.": ["¡Hola!"]}


PAIRS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("abcdefghijklmn")).map(lambda p: Pair(*p)))


@given(PAIRS, st.sets(st.sampled_from("abc")))
def test_without_leaves_no_sentence_of_what_was_taken_out(pairs, sources):
    rest = without(pairs, sources)
    targets = {pair.target for pair in pairs if pair.source in sources}
    assert rest == [pair for pair in pairs if not (pair.source in sources or pair.target in targets)]


def test_long_pairs_are_left_out_or_cut_and_counted():
    pairs = [Pair("a b c", "d"), Pair("a", "b c d e"), Pair("a b", "c d")]
    words = Words()
    assert within(pairs, words, words, longest=3) == ([pairs[0], pairs[2]], 1, 0)
    assert within(pairs, words, words, longest=3, truncate=3) == ([pairs[0], Pair("a", "b c d"), pairs[2]], 0, 1)
    assert within(pairs, words, words) == (pairs, 0, 0)


def components(pairs: list[Pair]) -> list[set[Pair]]:
    """Grown by brute force: pairs with a side in common join."""
    groups: list[set[Pair]] = []
    for pair in pairs:
        touching = [g for g in groups if any(o.source == pair.source or o.target == pair.target for o in g)]
        groups = [g for g in groups if g not in touching] + [set().union({pair}, *touching)]
    return groups


@settings(max_examples=60)
@given(PAIRS, st.integers(1, 8) | st.integers(9, 30), st.integers(0, 3), st.randoms())
def test_no_sentence_is_in_two_parts(pairs, held_out, seed, random):
    limit = max(1, held_out // 10)
    weight = Counter(pairs)
    sizes = [sum(weight[pair] for pair in group) for group in components(pairs)]
    free = sum(size for size in sizes if size <= limit)
    if free < 2 * held_out:
        with pytest.raises(ValueError, match=f"at most half of the {free} pairs in small groups, got {held_out}"):
            split(pairs, held_out=held_out, seed=seed)
    if free < 2 * (held_out + limit - 1):
        return  # whether it suffices depends on what is left over
    parts = split(pairs, held_out=held_out, seed=seed)
    assert Counter([*parts.train, *parts.validation, *parts.test]) == weight
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for side in (0, 1):
            assert not {pair[side] for pair in parts[one]} & {pair[side] for pair in parts[other]}
    for part in (parts.validation, parts.test):
        assert held_out <= len(part) < held_out + limit
        assert all(sum(weight[pair] for pair in group) <= limit for group in components(part))
    shuffled = random.sample(pairs, len(pairs))
    assert [Counter(part) for part in split(shuffled, held_out=held_out, seed=seed)] == [Counter(p) for p in parts]


def test_groups_through_a_third_pair_stay_together_and_seeds_differ():
    chain = [Pair(f"s{n // 2}", f"t{(n + 1) // 2}") for n in range(9)]
    single = [Pair(f"a{n}", f"b{n}") for n in range(300)]
    parts = {tuple(split([*chain, *single], held_out=80, seed=seed).test) for seed in range(10)}
    assert len(parts) == 10
    for seed in range(10):
        found = split([*chain, *single], held_out=80, seed=seed)
        assert [pair for pair in found.train if pair in chain] == chain, "a group of nine exceeds 80 / 10"
        homes = [sum(pair in chain for pair in part) for part in split([*chain, *single], held_out=90, seed=seed)]
        assert sorted(homes) == [0, 0, 9]
    held = Counter(pair for seed in range(60) for pair in split(single, held_out=50, seed=seed).test)
    assert max(held[pair] for pair in single) < 26, "10 of 60 are expected, standard deviation 2.9"
    with pytest.raises(ValueError, match="held_out must be >= 1, got 0"):
        split(single, held_out=0, seed=0)


# The folder


def test_the_data_folder_is_that_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQJAX_DATA", str(tmp_path / "env"))
    (tmp_path / "env").mkdir()
    assert data_folder() == tmp_path / "env"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*env/a/b\.zip$"):
        data_folder("a/b.zip")
    written(tmp_path / "env", "b.zip", b"")
    assert data_folder("b.zip") == tmp_path / "env"
    monkeypatch.setenv("SEQJAX_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"SEQJAX_DATA must name the folder that holds a/b\.zip, got .*nowhere"):
        data_folder("a/b.zip")
    with pytest.raises(FileNotFoundError, match=r"which is none; to download it: python -m seqjax\.data fetch ptb$"):
        data_folder("text/ptb/ptb.train.txt")


@needs_data
@pytest.mark.slow
def test_the_public_tatoeba_file():
    corpus = tatoeba(public("translation/tatoeba/spa-eng.zip"), source_column=2)
    assert corpus.skipped == 0
    assert len(corpus.pairs) in (113_060, 118_964), "a copy that lacks some, or the public file"
    words = Words(punctuation="")
    pairs = dedup(normalise(corpus.pairs, words, words).pairs)
    assert "i m very excited" in references(pairs)["estoy muy emocionada"]
    assert references(pairs)["estoy algo impactado"] == ["i m kind of stunned"]
    rest = without(pairs, {"estoy muy emocionada", "estoy algo impactado"})
    assert 0 < len(pairs) - len(rest) < 10
    parts = split(rest, held_out=2_000, seed=0)
    assert not {p.source for p in parts.train} & {p.source for p in (*parts.validation, *parts.test)}
    assert not {p.target for p in parts.train} & {p.target for p in (*parts.validation, *parts.test)}


@needs_data
def test_the_public_multi30k_files():
    folder = public("translation/multi30k")
    assert [len(multi30k(folder, part, "de", "en").pairs) for part in ("train", "val")] == [29_000, 1_014]
