"""The top level: what tab completion, type checkers and an installed wheel see."""

import ast
import re
import runpy
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import seqjax

PACKAGE = Path(seqjax.__file__).parent
ROOT = PACKAGE.parent


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


def test_the_package_says_which_commands_it_has(capsys):
    runpy.run_module("seqjax", run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    commands = {path.parent.name for path in PACKAGE.glob("*/__main__.py")}
    assert {line.split()[2].removeprefix("seqjax.") for line in said} == commands
    assert all(len(line.split()) > 4 for line in said)


def test_the_long_description_has_no_link_that_leads_nowhere():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    text = "![a curve](figures/a.png) **[all of them](more/README.md#a)**, [JAX](https://docs.jax.dev)"
    for one in tools["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    assert text == "[Figure: a curve] **all of them**, [JAX](https://docs.jax.dev)"


def test_what_is_cited_is_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    readme = (ROOT / "README.md").read_text()
    assert f"version = {{{version}}}" in readme
    assert re.search(r"## Changes\s+\* ([\d.]+):", readme)[1] == version  # pyright: ignore[reportOptionalSubscript]


def test_workflows_run_what_cannot_change_under_them():
    """An action is named by its commit, since a tag can be moved."""
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    used = re.findall(r"uses: (\S+)", workflow)
    assert len(used) >= 2
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
    assert all((ROOT / script).exists() for script in re.findall(r"\.ci/[\w.]+", workflow))


def test_the_lowest_versions_are_those_of_the_dependencies(capsys):
    runpy.run_path(str(ROOT / ".ci" / "lowest.py"))
    pins = dict(line.split("==") for line in capsys.readouterr().out.splitlines())
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {f"{name}>={version}" for name, version in pins.items()} == set(given)
