"""The chapters' README files: they are up to date, need no edit for a new script, and refuse ambiguous answers."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from seqjax import runs

ROOT = Path(__file__).parents[2]

SCRIPT = '''"""How far?

Figure    experiments/figures/{name}.png
Question  Is a * b < c?
Expect    Little.
Answer    The LSTM has {{mse model=lstm delay=8:.1e}} of
          {{max mse}}.
Cost      1 s
Run       python experiments/{chapter}/{name}.py
"""
'''

ROWS = [
    {"model": "lstm", "delay": 8, "mse": 0.00123, "smooth": True},
    {"model": "lstm", "delay": 32, "mse": 0.5, "smooth": False},
    {"model": "a b", "delay": 32, "mse": 0.75, "other": 0.0},
]


@pytest.fixture
def gallery(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "experiments")
    return importlib.import_module("gallery")


class Lab:
    """A folder `experiments` with scripts that have numbers or not."""

    def __init__(self, top: Path):
        self.top, self.folder = top, top / "experiments"
        (self.folder / "figures").mkdir(parents=True)

    def add(self, chapter: str, name: str, **numbers: Any) -> Path:
        script = self.folder / chapter / f"{name}.py"
        script.parent.mkdir(exist_ok=True)
        script.write_text(SCRIPT.format(chapter=chapter, name=name))
        if numbers:
            (self.folder / "figures" / f"{name}.json").write_text(json.dumps(numbers))
        return script


@pytest.fixture
def lab(tmp_path, monkeypatch, gallery) -> Lab:
    lab = Lab(tmp_path)
    monkeypatch.setattr(gallery, "FOLDER", lab.folder)
    return lab


def test_the_committed_files_are_up_to_date(gallery, capsys):
    assert gallery.update(gallery.Options(check=True)) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    ("placeholder", "text"),
    [
        ("mse model=lstm delay=8:.1e", "1.2e-03"),
        ("mse delay=8.0", "0.00123"),
        ('mse model="a b":.0%', "75%"),
        ("mse smooth=False", "0.5"),
        ("max mse model=lstm", "0.5"),
        ("min mse:.3f", "0.001"),
        ("median mse", "0.5"),
        ("count mse delay=32", "2"),
        ("other", "0.0"),
    ],
)
def test_placeholder(gallery, placeholder: str, text: str):
    assert gallery.resolve(placeholder, ROWS) == text


@pytest.mark.parametrize(
    ("placeholder", "message"),
    [
        ("mse model=lstm", "{mse model=lstm} must match one row.*: 2"),
        ("mse model=gru", "must match one row.*: 0"),
        ("max mse model=gru", "must match one row.*: 0"),
        ("nats", "names 'nats'; the rows have delay, model, mse, other, smooth"),
        ("mse modle=lstm", "names 'modle'"),
        ("model delay=8:.1e", "Unknown format code 'e'"),
        ("max model:.1e", "Unknown format code 'e'"),
    ],
)
def test_placeholder_that_is_not_one_number_is_refused(gallery, placeholder: str, message: str):
    with pytest.raises(ValueError, match=message):
        gallery.resolve(placeholder, ROWS)


def test_a_new_chapter_needs_no_edit_and_is_listed_once_it_has_numbers(lab, gallery, capsys):
    lab.add("fresh", "shift", rows=ROWS, cost={"seconds": 240.0, "cpu_seconds": 90.0, "device": "2 CPU cores"})
    lab.add("fresh", "new")
    (lab.folder / "fresh" / "_shared.py").write_text('"""Shared.\n\nQuestion  no\n"""')
    (lab.folder / "gallery.py").write_text('"""A tool."""')
    assert gallery.update(gallery.Options()) == 0
    assert "written: experiments/fresh/README.md" in capsys.readouterr().out
    page = (lab.folder / "fresh" / "README.md").read_text()
    assert page.startswith("# Fresh\n\n## shift\n\nHow far?\n\nIs a \\* b \\< c?\n\n")
    assert "**Answer.** The LSTM has 1.2e-03 of 0.75." in page
    assert "\npython experiments/fresh/shift.py\n" in page
    assert "\n2 min of CPU time; 4 min, 2 CPU cores; " in page
    assert "new" not in page
    listed = (lab.folder / "README.md").read_text()
    assert "## [Fresh](fresh/README.md)" in listed
    assert "| [shift](fresh/shift.py) | How far? |  | 2 min of CPU time; 4 min, 2 CPU cores |" in listed
    assert gallery.update(gallery.Options(check=True)) == 0


def test_check_writes_nothing_and_tells_what_is_out_of_date(lab, gallery, capsys):
    lab.add("memory", "shift", rows=ROWS)
    assert gallery.update(gallery.Options(check=True)) == 1
    assert capsys.readouterr().out == "out of date: experiments/memory/README.md\nout of date: experiments/README.md\n"
    assert not (lab.folder / "README.md").exists()
    gallery.update(gallery.Options())
    lab.add("memory", "shift", rows=[ROWS[0] | {"mse": 0.002}, *ROWS[1:]])
    assert gallery.update(gallery.Options(check=True)) == 1


def test_an_answer_that_fits_no_row_names_script_and_placeholder(lab, gallery, capsys):
    lab.add("memory", "shift", rows=ROWS[1:])
    assert gallery.update(gallery.Options()) == 2
    expected = "error: experiments/memory/shift.py: Answer: {mse model=lstm delay=8:.1e} must match one row"
    assert capsys.readouterr().err.startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        '{"rows": [',
        "[" * 100_000,
        "[]",
        '{"rows": 3}',
        '{"rows": [1]}',
        "null",
        '{"rows": [], "cost": {"seconds": "1"}}',
    ],
)
def test_damaged_numbers_are_named_and_nothing_is_written(text, lab, gallery, capsys):
    lab.add("memory", "shift", rows=ROWS)
    for name in ("first", "second"):
        lab.add("memory", name)
        (lab.folder / "figures" / f"{name}.json").write_text(text)
    assert gallery.update(gallery.Options()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r":.*", "", line.removeprefix("error: ")) for line in lines] == [
        str(lab.folder / "figures" / f"{name}.json") for name in ("first", "second")
    ]
    assert not (lab.folder / "memory" / "README.md").exists()


EXPECT = """
from seqjax import runs

def expect(rows):
    errors = runs.values(rows, "mse", model="lstm")
    return [runs.check("LSTM", errors, "< .1"), runs.less("a * b", errors[0], errors[1]), runs.every("none", [])]
"""


def test_expectations_are_listed_with_their_verdict(lab, gallery, capsys):
    script = lab.add("memory", "shift", rows=ROWS)
    script.write_text(script.read_text() + EXPECT)
    assert gallery.update(gallery.Options()) == 0
    lines = ["* ✗ LSTM: \\< .1 (0.00123, 0.5)", "* ✓ a \\* b (0.00123 \\< 0.5)", "* – none (not measured)"]
    page = (lab.folder / "memory" / "README.md").read_text()
    assert "\n\n".join(["", "**Expected.** 1 of 2 hold, 1 not measured:", "\n".join(lines), "```\n"]) in page
    assert "| How far? | 1 of 2 hold, 1 not measured | 1 s |" in (lab.folder / "README.md").read_text()
    script.write_text(script.read_text() + "\n\ndef expect(rows):\n    return 1 / 0\n")
    assert gallery.update(gallery.Options(check=True)) == 2
    expected = "error: experiments/memory/shift.py: expect: ZeroDivisionError: division by zero\n"
    assert capsys.readouterr().err.endswith(expected)


def test_hand_written_texts_tables_and_the_top_readme(lab, gallery):
    lab.add("memory", "shift", rows=ROWS)
    (lab.folder / "memory" / "_intro.md").write_text("# Of memory\n\nText.\n")
    (lab.folder / "memory" / "_notes.md").write_text(
        "## Numbers\n\n{table shift model mse other}\n\n{table shift mse mse=0.5 model=lstm}\n"
    )
    top = lab.top / "README.md"
    top.write_text("before\n<!-- gallery shift -->\nold\n<!-- end -->\nafter\n")
    gallery.update(gallery.Options())
    page = (lab.folder / "memory" / "README.md").read_text()
    assert page.startswith("# Of memory\n\nText.\n\n## shift\n")
    table = ["| model | mse | other |", "| --- | --- | --- |", "| lstm | 0.00123 |  |", "| lstm | 0.5 |  |"]
    selected = "\n| mse |\n| --- |\n| 0.5 |\n"
    assert page.endswith("\n".join(["\n## Numbers\n", *table, "| a b | 0.75 |  |", selected]))
    entry = "* **[How far?](experiments/memory/README.md#shift)** The LSTM has 1.2e-03 of 0.75. "
    command = "`python experiments/memory/shift.py`"
    assert top.read_text() == f"before\n<!-- gallery shift -->\n{entry}{command}\n<!-- end -->\nafter\n"
    top.write_text("<!-- gallery shfit -->\n<!-- end -->\n")
    assert gallery.update(gallery.Options()) == 2


def test_chapters_are_in_order(lab, gallery):
    for chapter in ("zoo", "theory", "memory", "."):
        lab.add(chapter, f"in_{chapter.strip('.')}", rows=ROWS)
    found = [script.stem for script in gallery.find_experiments(lab.folder)]
    assert found == ["in_memory", "in_theory", "in_zoo", "in_"]
    lab.add("zoo", "creature", rows=ROWS)
    lab.add("zoo", "aardvark", rows=ROWS)
    found = [script.stem for script in gallery.find_experiments(lab.folder)]
    assert found[2:5] == ["creature", "aardvark", "in_zoo"]


def test_links_and_commands_name_files_that_exist():
    from tests.examples import missing_files

    for page in (ROOT / "experiments").rglob("README.md"):
        assert not missing_files(page), page


def test_the_table_of_the_theory_chapter_has_every_paper():
    """Those that its scripts name in the field Paper, by their arXiv number."""
    chapter = ROOT / "experiments" / "theory"
    headers = [runs.read_header(script) for script in runs.find_experiments(chapter)]
    named = {number for header in headers for number in re.findall(r"arXiv:([\d.]+\d)", header["Paper"])}
    assert len(named) > 5
    assert named <= set(re.findall(r"arXiv:([\d.]+\d)", (chapter / "_notes.md").read_text()))
