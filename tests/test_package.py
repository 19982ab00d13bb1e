"""The top level: what tab completion, type checkers and an installed wheel see."""

import ast
import runpy
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import seqjax

PACKAGE = Path(seqjax.__file__).parent


def test_dir_lists_the_chapters():
    assert dir(seqjax) == seqjax.__all__
    files = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {name for name in files if not name.startswith("_")} <= set(dir(seqjax))


def test_static_imports_are_the_chapters():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (guard,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    (statement,) = guard.body
    assert isinstance(statement, ast.ImportFrom)
    assert [alias.name for alias in statement.names] == seqjax.__all__


def test_a_chapter_is_loaded_on_first_use():
    assert seqjax.decode is import_module("seqjax.decode")
    with pytest.raises(AttributeError, match="module 'seqjax' has no attribute 'modles'"):
        seqjax.modles  # noqa: B018


def test_what_is_not_code_is_package_data():
    """A wheel holds type hints, and the weights of the trained models."""
    patterns = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folders = {name: PACKAGE.parent / name.replace(".", "/") for name in patterns}
    shipped = {path for name, few in patterns.items() for one in few for path in folders[name].glob(one)}
    others = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert PACKAGE / "py.typed" in others
    assert shipped == others


def test_the_package_says_which_commands_it_has(capsys):
    runpy.run_module("seqjax", run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    commands = {path.parent.name for path in PACKAGE.glob("*/__main__.py")}
    assert {line.split()[2].removeprefix("seqjax.") for line in said} == commands
    assert all(len(line.split()) > 4 for line in said)
