"""Ten rows of a user's own data are enough for five experiments, which answer from the run folder alone."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from seqjax import runs
from seqjax.runs import process
from seqjax.runs.scripts import import_script

FOLDER = Path(__file__).parents[2] / "experiments"

SCRIPTS = {
    "translation": ("seq2seq", "translate"),
    "text_generation": ("language", "prompt"),
    "tagging": ("language", "tag"),
    "sentiment": ("language", "classify"),
    "image_classification": ("vision", "classify"),
}
"""Their chapters, and the option for a question of one's own."""


@functools.cache
def imported(script: Path) -> Any:
    return import_script(script)


class Outcome(NamedTuple):
    code: Any
    out: str
    err: str


@pytest.fixture
def call(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """An experiment's command line at its smallest scale, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "prepare_process", lambda: None)

    def run(name: str, *options: str) -> Outcome:
        chapter, use = SCRIPTS[name]
        script = FOLDER / chapter / f"{name}.py"
        monkeypatch.syspath_prepend(script.parent)
        experiment = imported(script)
        for cached in ("data", "load", "counted"):
            if hasattr(experiment, cached):
                getattr(experiment, cached).cache_clear()
        monkeypatch.setattr(sys, "argv", [str(script), "--scale", "smoke", *options])
        capsys.readouterr()
        uses = {use: getattr(experiment, use)}
        with pytest.raises(SystemExit) as stopped:
            runs.main(experiment.Config, experiment.configs, experiment.measure, experiment.draw, **uses)
        return Outcome(stopped.value.code, *capsys.readouterr())

    return run


def results(name: str) -> list[Path]:
    return sorted(path.parent for path in Path("results", name).glob("*/result.json"))


def test_ten_pairs_and_long_ones_left_out(call):
    words = ["uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce"]
    rows = [f"{word} gato\t{number} cats" for number, word in enumerate(words)]
    path = Path("my.tsv")
    path.write_text("\n".join([*rows[:10], "no tab", "uno " * 70 + "\tone", "\tempty"]))
    code, _, err = call("translation", "--pairs-file", "my.tsv")
    assert (code, results("translation")) == (2, [])
    assert "error: my.tsv:11: expected sentence<TAB>translation, found 'no tab'\n" in err
    options = ("--pairs-file", "my.tsv", "--model", "lstm", "--skip-bad", "True")
    code, out, err = call("translation", *options)
    assert code == 0, err
    assert "2 of the pairs left out as malformed or empty, 1 of the pairs left out as too long" in err
    again = f"python experiments/seq2seq/translation.py --scale smoke {' '.join(options)} --translate TEXT"
    assert out.endswith(f"What to try next\n  {again}\n")
    (folder,) = results("translation")
    config = json.loads((folder / "config.json").read_text())
    assert (config["corpus"], config["pairs_file"], config["words"]) == ("own", "my.tsv", 60)
    assert "gato" in json.loads((folder / "source.json").read_text())["vocabulary"]
    path.unlink()
    code, out, _ = call("translation", *options, "--translate", "Dos gato!")
    assert code == 0
    assert f"{folder.name}: BLEU" in out
    assert len([line for line in out.splitlines() if line.startswith("< ")]) == 5


@pytest.mark.slow
def test_a_short_text(call):
    path = Path("my.txt")
    path.write_text("to be or not to be\n" * 3)
    code, out, err = call("text_generation", "--text", "my.txt", "--length", "16")
    assert (code, results("text_generation")) == (2, [])
    assert "error: my.txt: expected 64 characters or more for --length 16, found 57\n" in err
    options = ("--text", "my.txt", "--seeds", "1", "--steps", "4")
    code, _, err = call("text_generation", *options)
    assert code == 0, err
    path.unlink()
    code, out, _ = call("text_generation", *options, "--prompt", "not to", "--temperature", "1")
    assert code == 0
    (folder,) = results("text_generation")
    first, _, strategy, *_ = out.splitlines()
    assert first.startswith(f"{folder.name}: ")
    assert strategy == "--- temperature 1"
    written = out.partition(f"{strategy}\n")[2]
    assert written.startswith("not to")
    assert set(written) <= set("to be or not to be\n")


def conllu(sentences: int) -> str:
    rows = ("{0}\tcat{1}\t_\tNOUN" + "\t_" * 6, "{0}\tsleeps\t_\tVERB" + "\t_" * 6)
    return "\n\n".join("\n".join(row.format(n + 1, s) for n, row in enumerate(rows)) for s in range(sentences)) + "\n"


def test_held_out_parts_are_in_proportion(tmp_path, monkeypatch):
    """Ten sentences, or two parts of ten; a text of which a twentieth is shorter than a window, and a long one."""
    monkeypatch.syspath_prepend(FOLDER / "language")
    path = tmp_path / "own.conllu"
    path.write_text(conllu(10))
    data: Any = imported(FOLDER / "language" / "tagging.py").data
    one, two = data(0, own_files=(str(path),)), data(0, own_files=(str(path), str(path)))
    assert [len(part) for part in (one.train, one.validation, one.test)] == [8, 1, 1]
    assert [len(part) for part in (two.train, two.validation, two.test)] == [9, 1, 10]
    assert not {*one.train} & {*one.validation, *one.test}
    data = imported(FOLDER / "language" / "text_generation.py").data
    for characters, held_out in ((100, 16), (1000, 50)):
        path.write_text("ab" * (characters // 2))
        parts = data("own", "characters", 16, 0, own_text=str(path))
        data.cache_clear()
        assert [part.characters for part in (parts.validation, parts.test)] == [held_out, held_out]
        assert parts.train.characters == characters - 2 * held_out


@pytest.mark.slow
@pytest.mark.parametrize("parts", [("all.conllu",), ("train.conllu", "dev.conllu")])
def test_a_treebank_of_one_file_or_two(parts, call):
    for part in parts:
        Path(part).write_text(conllu(10))
    options = ("--model", "window", "--conllu", *parts)
    code, _, err = call("tagging", *options)
    assert code == 0, err
    (folder,) = results("tagging")
    config = json.loads((folder / "config.json").read_text())
    assert (config["conllu"], config["sentences"]) == ([*parts], 0)
    for part in parts:
        Path(part).unlink()
    code, out, _ = call("tagging", *options, "--tag", "cat3 sleeps")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["cat3", "sleeps"]


def test_a_table_with_three_classes(call):
    path = Path("reviews.csv")
    kinds = ("good", "so so", "bad")
    rows = [f'{n},"a {kinds[n % 3]}, film {n}",{kinds[n % 3]}' for n in range(12)]
    path.write_text("\n".join(["id,review,stars", *rows]))
    options = ("--table", "reviews.csv", "--text-column", "review", "--label-column", "stars", "--seeds", "1")
    for model in (("--only", "model=naive_bayes"), ("--only", "model=gru_both", "--model", "bag")):
        code, _, err = call("sentiment", *options, *model)
        assert code == 0, err
    bayes, network = sorted(results("sentiment"), key=lambda folder: (folder / "parameters.npz").exists())
    assert json.loads((network / "labels.json").read_text()) == sorted(kinds)
    assert json.loads((network / "sizes.json").read_text())["classes"] == 3
    assert json.loads((bayes / "result.json").read_text())["accuracy"] in (0, 1)  # of one test row
    path.unlink()
    code, out, _ = call("sentiment", *options, *model, "--classify", "a good film")
    assert code == 0
    answer = out.splitlines()[-1]
    label = answer.removeprefix("< ").partition(",")[0]
    assert label in kinds
    assert float(answer.partition(f"P({label}) = ")[2][:4]) > 0.33


def save_images(folder: Path, classes: tuple[str, ...] = ("dark", "light"), each: int = 5) -> None:
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = np.full((12 + number, 10, 3), 40 + 150 * place + number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.{('png', 'jpg')[number % 2]}")


def test_a_folder_of_images(call):
    folder = Path("pictures")
    save_images(folder)
    options = ("--images", "pictures", "--side", "8", "--steps", "60", "--learning-rate", "0.01", "--augment", "False")
    code, _, err = call("image_classification", *options)
    assert code == 0, err
    (run,) = results("image_classification")
    assert runs.load(run).arrays["classes"].tolist() == ["dark", "light"]
    (folder / "light" / "3.jpg").rename("question.jpg")
    folder.rename("gone")
    code, out, _ = call("image_classification", *options, "--classify", "question.jpg")
    assert code == 0
    assert out.splitlines()[1].split()[1] == "light"
    Path("question.jpg").write_text("no image")
    code, _, err = call("image_classification", *options, "--classify", "question.jpg")
    assert code == 2
    assert "question.jpg: expected a whole PNG or JPEG, found cannot identify image file\n" in err


@pytest.mark.parametrize(
    ("name", "options", "content", "message"),
    [
        ("translation", "--pairs-file", b"one\ntwo\nthree", "f:1: expected sentence<TAB>translation, found 'one'"),
        ("translation", "--pairs-file", b"", "f: expected sentence pairs, found none"),
        ("translation", "--pairs-file", b"a\tb\nc\td\n", "f: expected 3 rows or more, found 2"),
        ("translation", "--pairs-file", b"a\tb\na\tc\na\td\n", "f: expected two or more pairs that share no sentence"),
        ("translation", "--pairs-file", None, "there is no file f"),
        ("text_generation", "--text", b"", "f: expected text, found none"),
        ("text_generation", "--text", None, "there is no file f"),
        ("text_generation", "--unit words --text", b"word " * 99, "unit must be characters for own"),
        ("tagging", "--conllu", b"1\tcat\n", "f:1: expected 10 columns"),
        ("tagging", "--conllu", None, "there is no file f"),
        ("tagging", "--conllu f f f", b"", "conllu must name one or two files, got 3"),
        (
            "sentiment",
            "--text-column a --label-column c --table",
            b"a,b\n1,2",
            "f:1: expected one column named c, found a, b",
        ),
        (
            "sentiment",
            "--text-column a --label-column b --table",
            b"a,b\nx,y\nz,y",
            "f: expected two or more different labels in b, found 1: 'y'",
        ),
        ("sentiment", "--table", b"a,b\n1,2", "text_column and label_column must name columns of the table"),
        ("image_classification", "--images", b"", "f: expected a folder with a folder for each class, found a file"),
        ("image_classification", "--images", None, "there is no file f"),
        ("image_classification", "--data own", None, "images must name a file for data own, got none"),
    ],
)
def test_bad_input_ends_before_any_work(name, options, content, message, call):
    if content is not None:
        Path("f").write_bytes(content)
    given = options.split()
    code, out, err = call(name, *given, *(["f"] if "own" not in given and given[-1] != "f" else []))
    assert (code, out) == (2, "")
    assert f"error: {message}" in err
    assert not list(Path().rglob("result.json"))
