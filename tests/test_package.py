"""The top level: what tab completion, type checkers and an installed wheel see."""

import ast
import re
import runpy
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

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


@pytest.fixture
def long_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What setup.py makes of a README, with these lines after [project]'s own."""

    def made(readme: str, project: str = "") -> str:
        (tmp_path / "README.md").write_text(readme)
        (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'seqjax'\n{project}")
        (tmp_path / "setup.py").write_text((ROOT / "setup.py").read_text())
        given: dict[str, str] = {}
        monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=given.update))
        runpy.run_path(str(tmp_path / "setup.py"))
        return given["long_description"]

    return made


def test_the_long_description_has_no_link_that_leads_nowhere(long_description):
    readme = "![a curve](figures/a.png) **[all of them](more/README.md#a)**, [JAX](https://docs.jax.dev)"
    assert long_description(readme) == ("[Figure: a curve] **all of them**, [JAX](https://docs.jax.dev)")
    source = "https://code.example/seqjax"
    absolute = long_description(readme, f"urls = {{ Source = '{source}' }}")
    assert f"![a curve]({source}/raw/HEAD/figures/a.png)" in absolute
    assert f"[all of them]({source}/blob/HEAD/more/README.md#a)" in absolute


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
