"""The table of all that the tutorials show and say: it is complete, and names what exists."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.files import failure

ROOT = Path(__file__).parents[2]

TOML = """
[tasks.T1]
row = "images"
where = ["seqjax/images.py"]
test = ["tests/test_images.py::test_images", "tests/test_images.py::test_made"]

[claims.C1]
row = "deep"
where = ["seqjax/images.py"]
test = ["tests/test_images.py::test_images"]
pending = "wide"
"""


@pytest.fixture
def rows(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "experiments")
    return importlib.import_module("_rows")


def repository(top: Path, content: str) -> Path:
    for name, text in {
        "seqjax/images.py": "",
        "tests/test_images.py": "def test_images():\n    pass\n\n\ntest_made = refuses(\n",
        "experiments/tutorials/rows.toml": content,
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top / "experiments" / "tutorials" / "rows.toml"


def test_every_row_is_there_and_names_files_and_tests_that_exist(rows):
    names = [row.name for row in rows.read(ROOT / "experiments" / "tutorials" / "rows.toml", ROOT)]
    wanted = {"A": 18, "T": 13, "P": 22, "W": 12, "C": 15, "D": 15}
    expected = [f"{letter}{n}" for letter, count in wanted.items() for n in range(1, count + 1)]
    expected.insert(expected.index("T10"), "T9b")
    assert names == expected


def test_a_table(rows, tmp_path):
    image, test = "[seqjax/images.py](../../seqjax/images.py)", "(../../tests/test_images.py)"
    assert rows.table(repository(tmp_path, TOML), tmp_path).splitlines() == [
        "2 rows, 1 partial: C1.",
        *("", "**Tasks**", "", "| | what | where | test |", "|---|---|---|---|"),
        f"| T1 | images | {image} | [test_images]{test}, [test_made]{test} |",
        *("", "**Claims**", "", "| | what | where | test |", "|---|---|---|---|"),
        f"| C1 | deep; **partial**: wide | {image} | [test_images]{test} |",
    ]


@pytest.mark.parametrize(
    ("changed", "faults"),
    [
        (
            ("seqjax/images.py", "seqjax/gone.py"),
            ["[tasks.T1] where: expected a file of the repository, found seqjax/gone.py"],
        ),
        (("::test_made", "::test_mad"), ["[tasks.T1] test: expected a test of tests/test_images.py, found 'test_mad'"]),
        (("::test_made", ""), ["[tasks.T1] test: expected a test of tests/test_images.py, found ''"]),
        (('["seqjax/images.py"]', "[]"), ["[tasks.T1] where: expected a list of one or more, found []"]),
        (('["seqjax/images.py"]', '"seqjax"'), ["[tasks.T1] where: expected a list of one or more, found 'seqjax'"]),
    ],
)
def test_what_does_not_exist_is_named(rows, changed, faults, tmp_path):
    old, new = changed
    path = repository(tmp_path, TOML.replace(old, new, 1))
    assert failure(rows.read, path, tmp_path) == [f"{path}: {fault}" for fault in faults]


@pytest.mark.parametrize("content", ["row = ", "[a]\nb = 1", '[a.b]\nrow = ""', '[a.b]\nrows = ""', "[[a]]\nrow = 1"])
def test_what_is_no_table_of_rows_is_refused(rows, content, tmp_path):
    path = repository(tmp_path, content)
    assert failure(rows.read, path, tmp_path)[0].startswith(f"{path}: expected tables [section.name] with row, where")
