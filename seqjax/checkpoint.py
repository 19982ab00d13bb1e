"""Checkpoints of training states: one file a step, verified by sha256, safe against kills and full disks.

    folder/00000200.safetensors    arrays; in its header the manifest: configuration, leaves, versions and sha256
    folder/newest                  the step saved last, to tell a lost file from a save that was never finished

A file is written under another name, flushed to the disk and renamed, so that a step is complete or not there at all.
Everything is verified before it is used. One process writes: of a state that spans several, each calls `save`, which
gathers one array after the other on the host of process 0. So a step is one file, and can be restored on any number of
devices and processes.
"""

import hashlib
import json
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from seqjax import _placing, mesh
from seqjax._atomic import write_bytes, write_text
from seqjax._placing import is_key, spans, whole
from seqjax.types import InputError

State = Any
"""A pytree of JAX or NumPy arrays, including typed keys."""

KEEP = 2
"""Steps that stay on disk: the newest, and one to fall back to."""

NEWEST = "newest"

STORED = {
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint16",
    "uint8",
    "bool",
}
"""Dtypes that a safetensors file holds under their own name; others are stored as bytes."""


class Restored(NamedTuple):
    """A state and the step it was saved at."""

    step: int
    state: State


class Saved(NamedTuple):
    """What a file holds, verified: arrays by the path of their leaf, and the manifest."""

    step: int
    arrays: dict[str, np.ndarray]
    manifest: dict[str, Any]


def save(folder: Path, step: int, state: State, config: Mapping[str, Any]) -> None:
    """Write `state` as `step`, then delete all but the newest `KEEP` steps.

    Leftovers of interrupted saves, and damaged steps from `step` on, are removed first. Saving a step again with the
    same state and configuration does nothing.

    Raises:
        InputError: an intact checkpoint of this step with other content, or of a later step, exists; or a leaf is not
            an array.
        TypeError: the configuration cannot be written as JSON.
        OSError: the disk is full or not writable; names the file and the bytes needed. Earlier steps are untouched.
    """
    if step < 0:
        raise InputError(f"step must be at least 0, got {step}")
    leaves = _leaves(state)
    arrays = {path: whole(leaf) for path, leaf in leaves.items()}
    if spans(state) and not mesh.first():
        return
    manifest = {
        "step": step,
        "config": json.loads(json.dumps(dict(config))),
        "leaves": {path: _kind(leaf) for path, leaf in leaves.items()},
        "keys": {path: str(jax.random.key_impl(leaf)) for path, leaf in leaves.items() if is_key(leaf)},
        "fingerprint": _fingerprint({path: _kind(leaf) for path, leaf in leaves.items()}, arrays),
    }
    complete = steps(folder)
    for other in [other for other in complete if other >= step]:
        saved = _read(folder, other)
        if isinstance(saved, Saved):
            if all(saved.manifest[name] == manifest[name] for name in ("step", "config", "fingerprint")):
                return
            raise InputError(f"cannot save step {step}: {_path(folder, other)} exists, differs and is intact")
        complete.remove(other)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_all_but(folder, complete)
    body = json.dumps(manifest)
    header = {"manifest": body, "sha256": hashlib.sha256(body.encode()).hexdigest()}
    write_bytes(_path(folder, step), safetensors.numpy.save({path: _stored(x) for path, x in arrays.items()}, header))
    write_text(folder / NEWEST, f"{step}\n")
    _remove_all_but(folder, [*complete, step][-KEEP:])


def steps(folder: Path) -> list[int]:
    """The steps on disk, oldest first; their files may be damaged."""
    return sorted(int(path.stem) for path in folder.glob("*.safetensors") if path.stem.isdecimal())


def forget(folder: Path, after: int) -> None:
    """Delete the steps after one, to which training goes back."""
    kept = [step for step in steps(folder) if step <= after]
    if kept and folder.is_dir():
        write_text(folder / NEWEST, f"{kept[-1]}\n")
    else:
        (folder / NEWEST).unlink(missing_ok=True)
    _remove_all_but(folder, kept)


def read(folder: Path, step: int | None = None) -> Saved:
    """The newest intact step (or `step`); a damaged one is skipped with a warning that says what is wrong.

    Raises:
        FileNotFoundError: the folder has never held a complete checkpoint.
        InputError: all are damaged.
    """
    candidates = {*steps(folder), *_pointer(folder)} if step is None else {step}
    if not candidates:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    for candidate in sorted(candidates, reverse=True):
        saved = _read(folder, candidate)
        if isinstance(saved, Saved):
            return saved
        warnings.warn(f"checkpoint {_path(folder, candidate)} is damaged: {saved}", stacklevel=2)
    raise InputError(f"no intact checkpoint in {folder}: steps {sorted(candidates)} are damaged")


def read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of the newest step whose manifest can be read, without its arrays; None: there is none.

    Another process may save meanwhile.
    """
    for step in reversed(steps(folder)):
        with suppress(SafetensorError, OSError, ValueError), safe_open(_path(folder, step), framework="np") as file:
            return _manifest(file.metadata())["config"]
    return None


def restore(
    folder: Path,
    like: State,
    config: Mapping[str, Any] | None = None,
    *,
    step: int | None = None,
    ignore: Collection[str] = (),
) -> Restored:
    """The newest intact state (or that of `step`), equal to the saved one to the last bit.

    Args:
        like: a state of the same structure, as in `place`.
        config: must equal the saved one, except for the fields in `ignore`; None: not compared.

    Raises:
        FileNotFoundError: the folder has never held a complete checkpoint.
        InputError: all are damaged; or the configuration, the tree, a shape or a dtype differs (all are listed).
    """
    saved = read(folder, step)
    if config is not None:
        kept = [{k: v for k, v in fields.items() if k not in ignore} for fields in (saved.manifest["config"], config)]
        refuse(f"{_path(folder, saved.step)} has another configuration", difference(*kept))
    return Restored(saved.step, place([saved], like))


def place(parts: list[Saved], like: State, rows: list[slice] | None = None) -> State:
    """The leaves of one or more files in the structure of `like`.

    Leaves are placed as those of `like`: on the host for NumPy arrays, with their sharding for JAX arrays and structs
    that have one, else on the default device.

    Args:
        like: a state of the same structure: arrays or `jax.ShapeDtypeStruct`s.
        rows: of each part, the part of its leading axis that is taken; the parts are concatenated. None: all of the
            only part.

    Raises:
        InputError: the tree, a shape or a dtype differs (all are listed).
    """
    templates = _leaves(like)
    for saved in parts:
        kinds = saved.manifest["leaves"], {path: _kind(leaf) for path, leaf in templates.items()}
        if rows is not None:  # the leading axes differ
            kinds = tuple({path: _without_rows(kind) for path, kind in leaves.items()} for leaves in kinds)
        refuse(f"the checkpoint of step {saved.step} does not fit the given state", difference(*kinds))

    def leaf(path: str, template: Any) -> Any:
        arrays = [saved.arrays[path] for saved in parts]
        taken = arrays if rows is None else [array[part] for array, part in zip(arrays, rows, strict=True)]
        value: Any = taken[0] if len(taken) == 1 else np.concatenate(taken)
        if is_key(template):
            value = jax.random.wrap_key_data(jnp.asarray(value), impl=parts[0].manifest["keys"][path])
        if isinstance(template, np.ndarray | np.generic):
            return value
        if value.dtype in (np.int64, np.uint64, np.float64) and not jax.config.read("jax_enable_x64"):
            raise InputError(f"{path} has 64 bits, which needs jax_enable_x64")
        # An uncommitted array stays uncommitted, so that the resumed run can be sharded over devices.
        return _placing.place(value, template.sharding if getattr(template, "committed", True) else None)

    return jax.tree.unflatten(jax.tree.structure(like), [leaf(path, template) for path, template in templates.items()])


def fingerprint(state: State) -> str:
    """The sha256 of paths, dtypes, shapes and bytes of all leaves: equal only for states that are equal to the bit."""
    leaves = _leaves(state)
    kinds = {path: _kind(leaf) for path, leaf in leaves.items()}
    return _fingerprint(kinds, {path: whole(leaf) for path, leaf in leaves.items()})


def difference(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Field by field, e.g. "learning_rate: saved 0.001, expected 0.01"; compared as JSON, where tuples are lists."""
    old, new = ({k: json.dumps(v, sort_keys=True) for k, v in fields.items()} for fields in (saved, expected))
    return [
        f"{name}: saved {old.get(name, 'nothing')}, expected {new.get(name, 'nothing')}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]


def refuse(what: str, differences: list[str]) -> None:
    """Raise an InputError that lists the differences, if there are any."""
    if differences:
        raise InputError("\n  ".join([f"{what}:", *differences]))


def _read(folder: Path, step: int) -> Saved | str:
    """What a step holds, or what is wrong with its file."""
    path = _path(folder, step)
    try:
        if not path.exists():
            return "the file is missing"
        with safe_open(path, framework="np") as file:
            manifest = _manifest(file.metadata())
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
    except (SafetensorError, OSError, ValueError) as error:
        return f"it cannot be read ({error})"
    leaves = manifest["leaves"]
    if arrays.keys() != leaves.keys():
        return "its arrays are not those of its manifest"
    try:
        arrays = {name: _unstored(arrays[name], leaves[name], name in manifest["keys"]) for name in leaves}
    except ValueError as error:
        return f"an array has changed ({error})"
    if _fingerprint(leaves, arrays) != manifest["fingerprint"] or manifest["step"] != step:
        return "its arrays have changed (sha256)"
    return Saved(step, arrays, manifest)


def _manifest(header: Mapping[str, str] | None) -> dict[str, Any]:
    """The manifest in the header of a file; a ValueError if it has changed."""
    body = (header or {}).get("manifest", "")
    if hashlib.sha256(body.encode()).hexdigest() != (header or {}).get("sha256"):
        raise ValueError("its manifest has changed: sha256")
    return json.loads(body)


def _stored(value: np.ndarray) -> np.ndarray:
    """An array as safetensors can hold it."""
    value = np.ascontiguousarray(value).reshape(value.shape)  # a scalar would become a vector
    if value.dtype.name in STORED:
        return value
    return np.frombuffer(value.tobytes(), np.uint8).reshape(*value.shape, value.dtype.itemsize)


def _unstored(value: np.ndarray, kind: str, is_key: bool) -> np.ndarray:
    dtype = kind.partition("[")[0]
    if is_key or dtype in STORED:
        return value
    return np.frombuffer(value.tobytes(), jnp.dtype(dtype)).reshape(value.shape[:-1])


def _fingerprint(kinds: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for path in sorted(kinds):
        digest.update(f"{path} {kinds[path]}\n".encode())
        digest.update(np.ascontiguousarray(arrays[path]).tobytes())
    return digest.hexdigest()


def _leaves(tree: State) -> dict[str, Any]:
    """Leaves by path, in the order of the tree."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}
    for path, leaf in leaves.items():
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct):
            raise InputError(f"leaves must be arrays, got {leaf!r} at {path}")
    return leaves


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"


def _without_rows(kind: str) -> str:
    """The kind of an array without the length of its leading axis."""
    dtype, _, shape = kind.partition("[")
    return f"{dtype}[{shape.partition(',')[2]}"


def _path(folder: Path, step: int) -> Path:
    return folder / f"{step:08d}.safetensors"


def _pointer(folder: Path) -> set[int]:
    """The step saved last, if that file can be read; if not, the files decide."""
    try:
        return {int((folder / NEWEST).read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        return set()


def _remove_all_but(folder: Path, keep: list[int]) -> None:
    """Delete every other step, and what interrupted saves left."""
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.tmp")]:
        if path not in [_path(folder, step) for step in keep]:
            path.unlink(missing_ok=True)
