"""The sdist and the wheel: what they hold, and that they need nothing of the checkout they were built from."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_string
from pathlib import Path

import pytest

from tests.examples import ROOT, examples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

README = ROOT / "README.md"
HELD = ("seqjax", "experiments", "tests", ".ci", ".github", "README.md", "LICENSE", "pyproject.toml")
NOT_SOURCES = shutil.ignore_patterns(
    ".git", ".venv", "results", "build", "dist", "shared", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"
)


def python(*arguments: str, folder: Path, path: Path | str = "", **environment: str) -> str:
    """The output of another process; it does not know the checkout."""
    given = os.environ | {"PYTHONPATH": str(path), "MPLBACKEND": "agg", "HOME": str(folder)} | environment
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build system, which the project's own environment may have in an older version."""
    folder = tmp_path_factory.mktemp("tools")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    python("-m", "pip", "install", "--quiet", "--target", str(folder), *needed, folder=folder)
    return folder


@pytest.fixture(scope="module")
def sdist(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_SOURCES)
    build = "from hatchling.build import build_sdist; build_sdist('..')"
    python("-c", build, folder=folder / "checkout", path=tools)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def site(sdist: Path, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel, built from the sdist, is installed."""
    folder = tmp_path_factory.mktemp("site")
    pip = ["-m", "pip", "--quiet"]
    wheels = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "dist"), str(sdist)]
    python(*pip, "wheel", *wheels, folder=folder, path=tools)
    (wheel,) = (folder / "dist").glob("seqjax-*-py3-none-any.whl")
    python(*pip, "install", "--no-deps", "--target", str(folder / "site"), str(wheel), folder=folder)
    return folder / "site"


def files(folder: Path, *names: str) -> set[str]:
    """Sources below a folder, or those of these names in it."""
    found = [
        path for name in names for path in ((folder / name).rglob("*") if (folder / name).is_dir() else [folder / name])
    ]
    return {
        path.relative_to(folder).as_posix()
        for path in found
        if path.is_file() and not {"__pycache__"} & set(path.parts) and path.suffix != ".pyc"
    }


def test_the_sdist_holds_everything_and_its_tests_are_found(sdist: Path):
    assert files(sdist, *HELD) == files(sdist.parent / "checkout", *HELD)
    quick = ["tests/test_package.py", "tests/test_imports.py"]
    python("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *quick, folder=sdist)
    collected = python("-m", "pytest", "-q", "-n", "0", "--collect-only", "-p", "no:cacheprovider", folder=sdist)
    assert "error" not in collected.splitlines()[-1]


def test_the_wheel_holds_the_package_and_the_trained_models_alone(site: Path):
    about = {path.name for path in site.glob("*.dist-info")}
    assert {path.name for path in site.iterdir()} == {"seqjax"} | about
    assert files(site, "seqjax") == files(ROOT, "seqjax")
    metadata = message_from_string((site / about.pop() / "METADATA").read_text())
    assert metadata["Author"] == "The seqjax authors"
    assert metadata["Description-Content-Type"] == "text/markdown"
    links = re.findall(r"\]\(([^)]+)\)", str(metadata.get_payload()))
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_examples_run_from_the_wheel(site: Path, tmp_path: Path):
    """All that name no folder of results, each with names of its own."""
    alone = [source for source in examples(README) if "results/" not in source]
    assert len(alone) >= 3
    for number, source in enumerate(alone):
        (tmp_path / f"example_{number}.py").write_text(source)
    run = f"""
import runpy
for number in range({len(alone)}):
    runpy.run_path(f"example_{{number}}.py", run_name="__main__")
import seqjax
print(seqjax.__file__)
"""
    assert python("-c", run, folder=tmp_path, path=site).splitlines()[-1] == str(site / "seqjax" / "__init__.py")


def test_the_commands_run_from_the_wheel(site: Path, tmp_path: Path):
    told = python("-m", "seqjax", folder=tmp_path, path=site)
    commands = [line.split()[2] for line in told.splitlines()]
    assert commands == ["seqjax.data", "seqjax.runs", "seqjax.explore"]
    for command in commands:
        assert f"python -m {command}" in python("-m", command, "--help", folder=tmp_path, path=site)
