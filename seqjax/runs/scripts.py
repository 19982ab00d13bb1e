"""An experiment's script: where it is, what its header says, and its functions."""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType


def experiments_folder(script: Path) -> Path:
    """The folder `experiments` that a script is in, or its own folder if it is elsewhere."""
    return next((folder for folder in script.resolve().parents if folder.name == "experiments"), script.parent)


CHAPTERS = ("memory", "seq2seq", "language", "vision", "music", "theory", "tutorials", "benchmark")
"""The order in which chapters are listed; any other chapter follows these."""

OPENING = ("creature",)
"""Experiments that come first in their chapter; the others follow in alphabetical order."""


def find_experiments(folder: Path) -> list[Path]:
    """The scripts in a folder `experiments` and in its chapters whose header has a `Question`, chapter by chapter.

    Scripts beside the chapters come last; names that start with an underscore are left out.
    """
    scripts = [*folder.glob("[!_]*.py"), *folder.glob("*/[!_]*.py")]
    return sorted((script for script in scripts if "Question" in read_header(script)), key=partial(_place, folder))


def _place(folder: Path, script: Path) -> tuple[int, str, bool, str]:
    chapter = script.parent.name if script.parent != folder else ""
    known = CHAPTERS.index(chapter) if chapter in CHAPTERS else len(CHAPTERS)
    return known if chapter else len(CHAPTERS) + 1, chapter, script.stem not in OPENING, script.stem


def chapter_title(folder: Path) -> str:
    """The first line of its `_intro.md`, or else its name."""
    intro = folder / "_intro.md"
    title = intro.read_text(encoding="utf-8").partition("\n")[0] if intro.exists() else ""
    return title.removeprefix("# ") or folder.name.capitalize()


def typed_path(script: Path) -> str:
    """The path of a script from the top of the repository, as a command names it."""
    folder = experiments_folder(script).resolve()
    top = folder.parent if folder.name == "experiments" else folder
    return script.resolve().relative_to(top).as_posix()


def read_header(script: Path) -> dict[str, str]:
    """The fields of an experiment's docstring: `Question`, `Expect`, `Cost`, …, and its first line as `Title`."""
    lines = (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").splitlines()
    header, field = {"Title": lines[0] if lines else ""}, ""
    for line in lines[1:]:
        if line[:1].strip():
            field, _, line = line.partition(" ")
            header[field] = line.strip()
        elif field and line.strip():
            header[field] += "\n  " + line.strip()
    return header


def find_script(recorded: str, run: Path) -> Path:
    """The script that made a run: where it was then, or in a folder `experiments` above the run or the current folder.

    Raises:
        FileNotFoundError: it is nowhere; says where it was looked for.
    """
    script = Path(recorded)
    inside = typed_path(script)
    tried = [script, *(above / inside for folder in (run, Path.cwd()) for above in (folder, *folder.resolve().parents))]
    for path in tried:
        if path.is_file():
            return path
    raise FileNotFoundError(f"the script of {run} must be {script}, or {inside} in a folder above the run: found none")


def import_script(path: Path) -> ModuleType:
    """The script as a module; what it imports from its own folder is found there."""
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with _on_path(path.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
