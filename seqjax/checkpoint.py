"""Checkpoints of training states: verified by sha256, safe against kills and full disks, restored to the last bit.

    folder/00000200/           arrays and metadata, written by Orbax
    folder/00000200/MANIFEST   its own sha256, then JSON: configuration, leaves, sha256 and size of every file
    folder/newest              the step saved last, to tell a lost MANIFEST from a save that was never finished

A step is complete once it has a MANIFEST, which is written last and removed first. Orbax restores flipped bits and
casts dtypes without an error, so files are verified before they are read, and leaves afterwards. One process writes.
"""

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax._atomic import write_text

State = Any
"""A pytree of JAX or NumPy arrays, including typed keys."""

KEEP = 2
"""Complete steps that stay on disk: the newest, and one to fall back to."""

MANIFEST = "MANIFEST"
NEWEST = "newest"


class Restored(NamedTuple):
    """A state and the step it was saved at."""

    step: int
    state: State


def save(folder: Path, step: int, state: State, config: Mapping[str, Any]) -> None:
    """Write `state` as `step`, then delete all but the newest `KEEP` steps.

    Leftovers of interrupted saves, and damaged steps from `step` on, are removed first. Saving a step again with the
    same state and configuration does nothing.

    Raises:
        ValueError: an intact checkpoint of this step with other content, or of a later step, exists; or a leaf is not
            an array.
        TypeError: the configuration cannot be written as JSON.
        OSError: the disk is full or not writable; names the folder and the bytes needed. Earlier steps are untouched.
    """
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    leaves = _leaves(state)
    record = {
        "step": step,
        "config": json.loads(json.dumps(dict(config))),
        "leaves": {path: _kind(leaf) for path, leaf in leaves.items()},
        "keys": {path: str(jax.random.key_impl(leaf)) for path, leaf in leaves.items() if _is_key(leaf)},
        "fingerprint": fingerprint(state),
    }
    target = _path(folder, step)
    complete = steps(folder)
    for other in [other for other in complete if other >= step]:
        if not _faults(folder, other):
            saved = _manifest(folder, other)
            if all(saved[name] == record[name] for name in ("step", "config", "fingerprint")):
                return
            raise ValueError(f"cannot save step {step}: {_path(folder, other)} exists, differs and is intact")
        complete.remove(other)
    import orbax.checkpoint as ocp  # takes most of a second, which `--help` need not wait for

    # Orbax refuses arrays without elements; they are restored from their shape.
    arrays = {path: value for path, leaf in leaves.items() if (value := _value(leaf)).size}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_all_but(folder, complete)
        with ocp.PyTreeCheckpointer() as writer:
            writer.save(target.absolute(), arrays)  # returns when everything is written
        body = json.dumps(record | {"files": _files(target)}, indent=1)
        write_text(target / MANIFEST, hashlib.sha256(body.encode()).hexdigest() + "\n" + body)
        write_text(folder / NEWEST, f"{target.name}\n")
        _remove_all_but(folder, [*complete, step][-KEEP:])
    except (OSError, ValueError) as error:
        if not (code := _errno(error)):
            raise
        needed = sum(value.nbytes for value in arrays.values())
        raise OSError(code, f"{os.strerror(code)}: step {step} needs {needed} bytes", str(folder)) from error


def steps(folder: Path) -> list[int]:
    """The complete steps, oldest first; their files may be damaged."""
    return sorted(int(path.parent.name) for path in folder.glob(f"*/{MANIFEST}") if path.parent.name.isdecimal())


def _faults(folder: Path, step: int) -> list[str]:
    """Damage to the files of a step, one line per file; empty if it is intact."""
    target = _path(folder, step)
    try:
        expected = _manifest(folder, step)["files"]
        found = _files(target)
    except (OSError, ValueError) as error:
        return [f"{MANIFEST} or a file beside it cannot be read ({error})"]
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} does not belong here" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        (size, digest), (found_size, found_digest) = expected[name], found[name]
        if found_size != size:
            wrong.append(f"{name} has {found_size} bytes instead of {size}")
        elif found_digest != digest:
            wrong.append(f"{name} has changed (sha256)")
    return sorted(wrong)


def restore(
    folder: Path,
    like: State,
    config: Mapping[str, Any] | None = None,
    *,
    step: int | None = None,
    ignore: Collection[str] = (),
) -> Restored:
    """The newest intact state (or that of `step`), equal to the saved one to the last bit.

    A damaged step is skipped with a warning that names its damaged files. Leaves are placed as those of `like`: on the
    host for NumPy arrays, with their sharding for JAX arrays and structs that have one, else on the default device.

    Args:
        like: a state of the same structure: arrays or `jax.ShapeDtypeStruct`s.
        config: must equal the saved one, except for the fields in `ignore`; None: not compared.

    Raises:
        FileNotFoundError: the folder has never held a complete checkpoint.
        ValueError: all are damaged; or the configuration, the tree, a shape or a dtype differs (all are listed).
    """
    candidates = {*steps(folder), *_pointer(folder)} if step is None else {step}
    if not candidates:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    for candidate in sorted(candidates, reverse=True):
        if wrong := _faults(folder, candidate):
            warnings.warn(f"checkpoint {_path(folder, candidate)} is damaged: {'; '.join(wrong)}", stacklevel=2)
            continue
        record = _manifest(folder, candidate)
        if config is not None:
            kept = [{k: v for k, v in fields.items() if k not in ignore} for fields in (record["config"], config)]
            _refuse(f"{_path(folder, candidate)} has another configuration", difference(*kept))
        return Restored(candidate, _read(_path(folder, candidate), record, like))
    raise ValueError(f"no intact checkpoint in {folder}: steps {sorted(candidates)} are damaged")


def fingerprint(state: State) -> str:
    """The sha256 of paths, dtypes, shapes and bytes of all leaves: equal only for states that are equal to the bit."""
    digest = hashlib.sha256()
    for path, leaf in sorted(_leaves(state).items()):
        digest.update(f"{path} {_kind(leaf)}\n".encode())
        digest.update(_value(leaf).tobytes())
    return digest.hexdigest()


def difference(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Field by field, e.g. "learning_rate: saved 0.001, expected 0.01"; compared as JSON, where tuples are lists."""
    old, new = ({k: json.dumps(v, sort_keys=True) for k, v in fields.items()} for fields in (saved, expected))
    return [
        f"{name}: saved {old.get(name, 'nothing')}, expected {new.get(name, 'nothing')}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


def _read(target: Path, record: dict[str, Any], like: State) -> State:
    import orbax.checkpoint as ocp

    templates = _leaves(like)
    kinds = {path: _kind(leaf) for path, leaf in templates.items()}
    _refuse(f"{target} does not fit the given state", difference(record["leaves"], kinds))
    with ocp.PyTreeCheckpointer() as reader:
        as_numpy = {path: ocp.RestoreArgs(restore_type=np.ndarray) for path, x in templates.items() if x.size}
        arrays = reader.restore(target.absolute(), restore_args=as_numpy)

    def leaf(path: str, template: Any) -> Any:
        value = arrays[path] if template.size else np.zeros(template.shape, template.dtype)
        if path in record["keys"]:
            value = jax.random.wrap_key_data(jnp.asarray(value), impl=record["keys"][path])
        if isinstance(template, np.ndarray | np.generic):
            return value
        # An uncommitted array stays uncommitted, so that the resumed run can be sharded over devices.
        return jax.device_put(value, template.sharding if getattr(template, "committed", True) else None)

    leaves = [leaf(path, template) for path, template in templates.items()]
    state = jax.tree.unflatten(jax.tree.structure(like), leaves)
    if fingerprint(state) != record["fingerprint"]:
        raise ValueError(f"{target} was not restored as it was saved (64-bit leaves need jax_enable_x64)")
    return state


def _errno(error: Exception) -> int | None:
    """The system's error code; TensorStore reports a full disk as a ValueError whose text has the code."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None


def _refuse(what: str, differences: list[str]) -> None:
    if differences:
        raise ValueError("\n  ".join([f"{what}:", *differences]))


def _leaves(tree: State) -> dict[str, Any]:
    """Leaves by path, in the order of the tree."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}
    for path, leaf in leaves.items():
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct):
            raise ValueError(f"leaves must be arrays, got {leaf!r} at {path}")
    return leaves


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _value(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _path(folder: Path, step: int) -> Path:
    return folder / f"{step:08d}"


def _pointer(folder: Path) -> set[int]:
    """The step saved last, if that file can be read; if not, the manifests decide."""
    try:
        return {int((folder / NEWEST).read_text())}
    except (OSError, ValueError):
        return set()


def _manifest(folder: Path, step: int) -> dict[str, Any]:
    digest, _, body = (_path(folder, step) / MANIFEST).read_text().partition("\n")
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        raise ValueError(f"{MANIFEST} has changed (sha256)")
    return json.loads(body)


def _files(target: Path) -> dict[str, list[int | str]]:
    """Size and sha256 of every file below `target` except the manifest."""
    found = {}
    for path in sorted(target.rglob("*")):
        if path.is_file() and path != target / MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(target).as_posix()] = [path.stat().st_size, digest]
    return found


def _remove_all_but(folder: Path, keep: list[int]) -> None:
    """Delete every other step, complete or not, and what interrupted saves left."""
    (folder / f"{NEWEST}.tmp").unlink(missing_ok=True)
    for path in folder.glob("[0-9]" * 8 + "*"):
        if path not in [_path(folder, step) for step in keep]:
            (path / MANIFEST).unlink(missing_ok=True)  # first, so that a half deleted step does not look complete
            shutil.rmtree(path)
