"""Who may import whom: read off the source by `ast`."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# Chapter: the chapters that it may import from. Of its own chapter only where a folder is named; without cycles there.
LEARNING = "types _checks losses metrics"
EVERYTHING = "types data losses metrics theory tasks models mesh train sweep early_stopping evaluate plot"
MAY_IMPORT = {
    "types": "",
    "_atomic": "",
    "_checks": "types",
    # floor 1
    "data": "types _checks data",
    "losses": "types _checks",
    "metrics": "types _checks",
    "_placing": "",
    "_joining": "types _placing",
    "mesh": "types _checks _placing _joining",
    "theory": "types _checks theory",
    # floor 2: tasks and models do not know each other
    "tasks": "types _checks data theory tasks",
    "models": "types _checks models",
    # floor 3: neither tasks nor models
    "train": f"{LEARNING} _placing mesh",
    "sweep": f"{LEARNING} _placing mesh train",
    "early_stopping": f"{LEARNING} _placing mesh train sweep",
    "decode": LEARNING,
    "evaluate": f"{LEARNING} decode",
    "convert": "types _checks",
    "plot": "types",
    # floor 4
    "checkpoint": f"{EVERYTHING} _atomic _placing",
    "runs": f"{EVERYTHING} _atomic _checks _placing checkpoint runs",
    "pretrained": "types data tasks models convert",
    "explore": f"{EVERYTHING} decode convert runs pretrained explore",
    # commands, which nobody imports
    "__main__": "",
    "data/__main__": "types data runs",
}

# Package: where it may be imported; in brackets, where for the type checker only.
HOMES = {
    "flax.linen": "seqjax/models experiments",
    "flax.nnx": "experiments/benchmark/workloads",
    "equinox": "experiments/benchmark/workloads",
    "haiku": "experiments/benchmark/workloads",
    "diffrax": "seqjax/tasks/lorenz96.py seqjax/tasks/lorenz96_one_level.py seqjax/tasks/runge_kutta.py experiments",
    "matplotlib": "seqjax/plot.py seqjax/explore [seqjax/runs] experiments",
    "scipy": "seqjax/tasks/worlds.py seqjax/theory/censored.py experiments/benchmark/workloads",
    "safetensors": "seqjax/convert.py seqjax/checkpoint.py",
    "sacrebleu": "seqjax/metrics.py",
    "tensorboardX": "seqjax/runs/tensorboard.py",
    "torch": "experiments/benchmark/workloads",
    "ipywidgets": "seqjax/explore/explorer.py",
    "IPython": "seqjax/explore/explorer.py",
}

NEVER = ("jax._src", "pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")


class Import(NamedTuple):
    """One imported name, in full: `from a import b` is `a.b`."""

    path: str
    name: str
    typing_only: bool


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports_of(path: Path) -> Iterator[Import]:
    where, nodes = path.relative_to(ROOT).as_posix(), nodes_of(path)
    guards = [node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")]
    guarded = {node for guard in guards for child in guard.body for node in ast.walk(child)}
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(where, alias.name, node in guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{where}:{node.lineno}: relative import"
            yield from (Import(where, f"{node.module}.{alias.name}", node in guarded) for alias in node.names)


@functools.cache
def imported(folder: str) -> list[Import]:
    """All that the files in this folder import; not read before a test asks, since every worker imports this file."""
    return [found for path in sorted((ROOT / folder).rglob("*.py")) for found in imports_of(path)]


def inner() -> list[Import]:
    """The package's of its own chapters; its own file imports all of them, for type checkers only."""
    return [one for one in imported("seqjax") if inside(one.name, "seqjax") and one.path != "seqjax/__init__.py"]


def module_of(name: str) -> str:
    """The file or folder of a name: seqjax.data.gaussian_process.Signal -> seqjax/data/gaussian_process."""
    parts = name.split(".")
    while parts and not ((ROOT / "/".join(parts)).is_dir() or (ROOT / "/".join(parts)).with_suffix(".py").exists()):
        parts.pop()
    return "/".join(parts)


def chapter(path: str) -> str:
    inner = Path(path).with_suffix("").as_posix().removeprefix("seqjax/")
    return inner if inner in MAY_IMPORT else inner.partition("/")[0]


def inside(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def names(found: list[Import]) -> list[str]:
    return [f"{one.path}: {one.name}" for one in found]


def test_every_chapter_has_its_place():
    chapters = {chapter(str(path.relative_to(ROOT))) for path in (ROOT / "seqjax").rglob("*.py")}
    assert chapters - {"__init__"} == set(MAY_IMPORT)


def test_chapters_import_from_those_before_them():
    assert len(inner()) > 30, "the imports were read"
    wrong = [
        one
        for one in inner()
        if module_of(one.name) == "seqjax" or chapter(module_of(one.name)) not in MAY_IMPORT[chapter(one.path)].split()
    ]
    assert names(wrong) == []


def test_no_import_goes_round_in_a_circle():
    graph: dict[str, set[str]] = {}
    for one in inner():
        graph.setdefault(one.path.removesuffix(".py"), set()).add(module_of(one.name))
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("seqjax/models/module") < order.index("seqjax/models/__init__")


@pytest.mark.parametrize("package", HOMES)
def test_packages_are_imported_at_home_only(package):
    homes = HOMES[package].split()
    wrong = [
        one
        for one in imported("seqjax") + imported("experiments")
        if inside(one.name, package)
        and not any(one.path.startswith(home) for home in homes)
        and not (one.typing_only and any(one.path.startswith(home[1:-1]) for home in homes if home[0] == "["))
    ]
    assert names(wrong) == []


def test_experiments_do_not_know_each_other():
    # A module with a leading underscore is what a chapter's scripts share.
    others = {path.stem for path in (ROOT / "experiments").rglob("[!_]*.py")} | {"experiments"}
    assert len(others) > 1
    written = [one for one in imported("experiments") if not one.path.startswith("experiments/tutorials/notebooks/")]
    assert names([one for one in written if one.name.split(".")[0] in others]) == []


def test_what_nobody_imports():
    everything = imported("seqjax") + imported("experiments") + imported("tests")
    assert names([one for one in everything if any(inside(one.name, package) for package in NEVER)]) == []


def test_no_private_jax_and_no_pickle_through_numpy():
    for path in [*(ROOT / "seqjax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        for node in nodes_of(path):
            assert not (isinstance(node, ast.Attribute) and node.attr == "_src"), f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{path}:{node.value.lineno}"


def run(script: str, **environment: str) -> str:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_seqjax_loads_nothing_and_reads_no_environment():
    script = """
import os, sys
class Closed(dict):
    def refuse(self, *_):
        raise AssertionError("the environment was read")
    __getitem__ = get = __contains__ = __iter__ = keys = items = refuse
os.environ = Closed()
os.getenv = os.environ.refuse
import seqjax
print(*sorted({"jax", "numpy", "flax", "matplotlib", "diffrax"} & set(sys.modules)))
"""
    assert run(script).strip() == ""


def test_importing_every_chapter_touches_no_device_and_no_optional_package():
    """On a platform that does not exist, whatever asks for a device fails."""
    chapters = ", ".join(sorted(name for name in MAY_IMPORT if "/" not in name))
    script = f"""
from seqjax import {chapters}
import jax
try:
    jax.devices()
except RuntimeError:
    print("no device")
import sys
heavy = {{"IPython", "diffrax", "ipywidgets", "sacrebleu", "scipy", "sentencepiece", "tensorboardX", "torch"}}
print(*heavy & set(sys.modules))
"""
    assert run(script, JAX_PLATFORMS="nowhere").split() == ["no", "device"]


@pytest.mark.parametrize("folder", ["seqjax", "experiments"])
def test_text_is_utf_8_whatever_the_system_s_own_encoding(folder):
    """Windows has another one."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                given = {keyword.arg for keyword in node.keywords}
                if node.func.attr == "read_text" or (node.func.attr == "open" and given & {"newline"}):
                    assert "encoding" in given, f"{path}:{node.lineno}"
