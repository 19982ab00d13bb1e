"""The manifest of a run folder: size and sha256 of every file, so that damage is found and named."""

import hashlib
import json
from pathlib import Path
from typing import Any

from seqjax._atomic import write_text
from seqjax.types import InputError

MANIFEST = "MANIFEST"
"""Its own sha256, then JSON."""


def write(folder: Path, **more: Any) -> None:
    """Record the files of a folder as they are now, and whatever else is to be known of the run."""
    body = json.dumps({"files": _files(folder), **more}, indent=1)
    write_text(folder / MANIFEST, f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}")


def read(folder: Path) -> dict[str, Any]:
    """What `write` was given.

    Raises:
        InputError: the manifest is missing or has changed.
    """
    found = _load(folder)
    if isinstance(found, str):
        raise InputError(f"{folder} is damaged: {found}")
    return found


def place(folder: Path) -> list[Any] | None:
    """Of an unfinished run: the group whose checkpoint has its state, and its number there; None if there is none."""
    found = _load(folder)
    return None if isinstance(found, str) else found.get("place")


def _load(folder: Path) -> dict[str, Any] | str:
    """The manifest, or what is wrong with it."""
    path = folder / MANIFEST
    if not path.is_file():
        return f"{MANIFEST} is missing"
    digest, _, body = path.read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest() != digest.decode(errors="replace"):
        return f"{MANIFEST} has changed (sha256)"
    return json.loads(body)


def faults(folder: Path) -> list[str]:
    """Damage to the files of a folder, one phrase a file; empty if it is intact."""
    saved = _load(folder)
    if isinstance(saved, str):
        return [saved]
    expected, found = saved["files"], _files(folder)
    wrong = [f"{name} is missing" for name in expected if name not in found]
    for name in expected.keys() & found.keys():
        (size, digest), (found_size, found_digest) = expected[name], found[name]
        if found_size != size:
            wrong.append(f"{name} has {found_size} bytes instead of {size}")
        elif found_digest != digest:
            wrong.append(f"{name} has changed (sha256)")
    return sorted(wrong)


def _files(folder: Path) -> dict[str, list[int | str]]:
    """Size and sha256 of every file below a folder except the manifest and what interrupted writes left."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST and path.suffix != ".tmp":
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = [path.stat().st_size, digest]
    return found
