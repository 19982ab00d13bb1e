"""The table "Cell by cell" in experiments/tutorials/README.md: every row's line works."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from tests.examples import ROOT, examples, type_errors

PAGE = ROOT / "experiments" / "tutorials" / "README.md"


def lines() -> list[str]:
    """The last column of the table, row by row."""
    table = PAGE.read_text().partition("| tutorial, section |")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .*? \| .* \| (.*) \|$", table, flags=re.MULTILINE)
    found = [re.fullmatch(r"`([^`]+)`", row) for row in rows]
    assert all(found)
    return [match[1] for match in found if match]


def python_lines() -> list[str]:
    return [line for line in lines() if not line.startswith("python ")]


def test_every_tutorial_has_rows():
    table = PAGE.read_text().partition("| tutorial, section |")[2]
    for tutorial in ("sequence_shapes", "reversal", "translation", "attention", "approximation"):
        assert f"\n| {tutorial}" in table
    assert len(lines()) > 40


def test_lines_name_what_exists():
    names: dict[str, Any] = {}
    exec(examples(PAGE)[0], names)
    for line in python_lines():
        for node in ast.walk(ast.parse(line)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                assert hasattr(names[node.value.id], node.attr), line


@pytest.mark.slow
def test_lines_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(examples(PAGE)[0], names)
    for line in python_lines():
        exec(line, names)


@pytest.mark.slow
def test_lines_have_no_type_errors(tmp_path: Path):
    assert not type_errors(["\n".join([examples(PAGE)[0], *python_lines()])], tmp_path)
