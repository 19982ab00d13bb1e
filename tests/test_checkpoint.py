"""Checkpoints: equal to the last bit, refused when damaged, intact after a kill or a full disk."""

import errno
import inspect
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import checkpoint

CONFIG = {"model": "lstm", "learning_rate": 0.001, "features": 32, "dilations": (1, 2)}


class TrainState(NamedTuple):
    params: Any
    optimiser: Any
    step: Any
    key: Any


def make_state(step: int = 0) -> TrainState:
    params = {"dense": {"kernel": jnp.arange(12.0).reshape(3, 4) + step, "bias": jnp.full((4,), -0.0)}}
    optimiser = optax.chain(optax.clip(1.0), optax.adam(optax.linear_schedule(1.0, 0.0, 10))).init(params)
    return TrainState(params, optimiser, jnp.int32(step), jax.random.key(step))


def noise(step):
    return {"step": np.int32(step), "weights": np.random.default_rng(step).normal(size=(20, 100, 100))}


def run(script: str, *args: object) -> subprocess.Popen:
    """A process with the names `checkpoint`, `noise`, and `folder`, its first argument."""
    header = (
        "import itertools, pathlib, resource, signal, sys, numpy as np\n"
        "from seqjax import checkpoint\n"
        "folder = pathlib.Path(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", header + inspect.getsource(noise) + script, *map(str, args)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_train_state_comes_back_bitwise(tmp_path):
    state = make_state(7)
    checkpoint.save(tmp_path / "new" / "folder", 7, state, CONFIG)
    restored = checkpoint.restore(tmp_path / "new" / "folder", make_state(), CONFIG)
    assert restored.step == 7
    assert jax.tree.structure(restored.state) == jax.tree.structure(state)
    assert checkpoint.fingerprint(restored.state) == checkpoint.fingerprint(state)
    assert np.signbit(restored.state.params["dense"]["bias"]).all()
    assert jax.random.bits(restored.state.key) == jax.random.bits(jax.random.key(7))


def test_every_dtype_comes_back_bitwise(tmp_path):
    nans = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 1], np.uint32).view(np.float32)
    state = {
        "bfloat16": jnp.array([1.5, -0.0, jnp.nan], jnp.bfloat16),
        "half": np.array(0.1, np.float16),
        "nan payloads, -0, denormal": nans,
        "float64": np.array([np.pi, 5e-324]),
        "complex": jnp.array([1 + 2j]),
        "int8": np.array([-128, 127], np.int8),
        "int64": np.array(2**62 + 1),
        "bool": jnp.array([True, False]),
        "no elements": jnp.zeros((0, 3), jnp.bfloat16),
        "slash/and": {".dot": np.ones(1)},
        "keys": jax.random.split(jax.random.key(3), (2, 2)),
        "rbg": jax.random.key(3, impl="rbg"),
    }
    checkpoint.save(tmp_path, 0, state, {})
    restored = checkpoint.restore(tmp_path, state).state
    for (path, saved), found in zip(jax.tree.leaves_with_path(state), jax.tree.leaves(restored), strict=True):
        assert (found.dtype, found.shape) == (saved.dtype, saved.shape), path
        assert isinstance(found, jax.Array) == isinstance(saved, jax.Array), path
        if jnp.issubdtype(saved.dtype, jax.dtypes.prng_key):
            saved, found = jax.random.key_data(saved), jax.random.key_data(found)
        assert np.asarray(found).tobytes() == np.asarray(saved).tobytes(), path


def test_float64_is_kept_under_x64_and_never_cast_silently(tmp_path):
    with jax.enable_x64(True):
        state = {"x": jnp.array([np.pi, 1 / 3])}
        checkpoint.save(tmp_path, 1, state, {})
        like = jax.eval_shape(lambda: state)
        restored = checkpoint.restore(tmp_path, like).state
        assert restored["x"].dtype == jnp.float64
        assert checkpoint.fingerprint(restored) == checkpoint.fingerprint(state)
    with pytest.raises(ValueError, match="jax_enable_x64"):
        checkpoint.restore(tmp_path, like)


def test_structs_can_be_the_template(tmp_path):
    checkpoint.save(tmp_path, 7, make_state(7), CONFIG)
    restored = checkpoint.restore(tmp_path, jax.eval_shape(lambda: make_state()))
    assert checkpoint.fingerprint(restored.state) == checkpoint.fingerprint(make_state(7))


def test_placement_is_that_of_the_template(tmp_path):
    device = jax.devices()[0]
    free, bound = make_state(1), jax.device_put(make_state(1), device)
    checkpoint.save(tmp_path, 1, bound, CONFIG)
    assert not any(leaf.committed for leaf in jax.tree.leaves(checkpoint.restore(tmp_path, free).state))
    assert all(leaf.committed for leaf in jax.tree.leaves(checkpoint.restore(tmp_path, bound).state))


def test_fingerprint_sees_bits_dtypes_shapes_paths_and_keys():
    key, zeros = jax.random.key(0), np.zeros(4, np.float32)
    values = (zeros, -zeros, zeros.astype(np.int32), zeros.reshape(2, 2), key, jax.random.key_data(key))
    states = [*({"x": value} for value in values), {"y": zeros}]
    assert len({checkpoint.fingerprint(state) for state in states}) == len(states)
    assert checkpoint.fingerprint(states[0]) == checkpoint.fingerprint({"x": jnp.zeros(4)})


def test_two_newest_steps_stay(tmp_path):
    assert checkpoint.steps(tmp_path / "absent") == []
    for step in (1, 5, 10, 123_456_789):
        checkpoint.save(tmp_path, step, make_state(step), CONFIG)
    assert checkpoint.steps(tmp_path) == [10, 123_456_789]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00000010.safetensors",
        "123456789.safetensors",
        "newest",
    ]
    assert checkpoint.restore(tmp_path, make_state(), step=10).state.step == 10


def test_saving_a_step_again(tmp_path):
    checkpoint.save(tmp_path, 1, make_state(1), CONFIG)
    checkpoint.save(tmp_path, 2, make_state(2), CONFIG)
    checkpoint.save(tmp_path, 2, make_state(2), CONFIG)
    for step, state, config in [(2, make_state(3), CONFIG), (2, make_state(2), {}), (0, make_state(0), CONFIG)]:
        with pytest.raises(ValueError, match=rf"cannot save step {step}: .* exists, differs and is intact"):
            checkpoint.save(tmp_path, step, state, config)
    assert checkpoint.restore(tmp_path, make_state(), CONFIG).state.step == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "delete"])
def test_damage_anywhere_falls_back_with_a_warning(tmp_path, damage):
    """Header, manifest, padding and arrays: a flipped bit at any place of the file that means anything."""
    good = tmp_path / "good"
    for step in (1, 2):
        checkpoint.save(good, step, make_state(step), CONFIG)
    name = "00000002.safetensors"
    content = (good / name).read_bytes()
    header = int.from_bytes(content[:8], "little")
    manifest = content.index(b"fingerprint")
    for place in (0, 8, manifest, 8 + header // 2, 8 + header, len(content) - 1) if damage == "flip" else (0,):
        folder = tmp_path / f"{place}"
        shutil.copytree(good, folder)
        changed = bytearray(content)
        changed[place] ^= 1
        if damage == "delete":
            (folder / name).unlink()
        else:
            changed = {"flip": changed, "truncate": content[:-1], "append": content + b"0"}[damage]
            (folder / name).write_bytes(changed)
        with pytest.warns(UserWarning, match=f"{name} is damaged: "):
            restored = checkpoint.restore(folder, make_state(), CONFIG)
        assert restored.step == 1
        assert checkpoint.fingerprint(restored.state) == checkpoint.fingerprint(make_state(1))
        # Training goes on from step 1 and comes by step 2 again.
        checkpoint.save(folder, 2, make_state(2), CONFIG)
        assert isinstance(checkpoint._read(folder, 2), checkpoint.Saved)
        assert checkpoint.restore(folder, make_state(), CONFIG).step == 2


def test_steps_after_one_are_forgotten(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make_state(step), CONFIG)
    checkpoint.forget(tmp_path, after=1)
    assert checkpoint.restore(tmp_path, make_state()).step == 1
    checkpoint.forget(tmp_path, after=0)
    with pytest.raises(FileNotFoundError):
        checkpoint.restore(tmp_path, make_state())


def test_rows_of_several_files_are_put_together(tmp_path):
    """Any run of a group can go on in another group."""
    for number in (0, 10):
        state = {
            "x": jnp.arange(number, number + 6.0).reshape(3, 2),
            "key": jax.random.split(jax.random.key(number), 3),
        }
        checkpoint.save(tmp_path / str(number), 5, state, {})
    parts = [checkpoint.read(tmp_path / name) for name in ("10", "0", "0")]
    like = {"x": jnp.zeros((4, 2)), "key": jax.random.split(jax.random.key(1), 4)}
    together = checkpoint.place(parts, like, [slice(2, 3), slice(0, 1), slice(1, 3)])
    assert together["x"].tolist() == [[14, 15], [0, 1], [2, 3], [4, 5]]
    expected = [jax.random.split(jax.random.key(10), 3)[2], *jax.random.split(jax.random.key(0), 3)]
    assert all(ours == theirs for ours, theirs in zip(together["key"], expected, strict=True))
    with pytest.raises(ValueError, match="does not fit"):
        checkpoint.place(parts, like | {"x": jnp.zeros((4, 3))}, [slice(2, 3), slice(0, 1), slice(1, 3)])


@pytest.mark.parametrize("name", ["a[1]", "a\\b", "gs:", "*?", "ψ"])
def test_any_name_of_a_folder_can_be_read_back(tmp_path, name):
    checkpoint.save(tmp_path / name, 1, make_state(1), CONFIG)
    assert checkpoint.restore(tmp_path / name, make_state(), CONFIG).step == 1


def test_nothing_is_restored_where_nothing_is_intact(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        checkpoint.restore(tmp_path, make_state())
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make_state(step), CONFIG)
    with pytest.warns(UserWarning, match="00000007.safetensors is damaged"), pytest.raises(ValueError, match=r"\[7\]"):
        checkpoint.restore(tmp_path, make_state(), step=7)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    with pytest.warns(UserWarning, match="00000002"), pytest.raises(ValueError, match="no intact checkpoint"):
        checkpoint.restore(tmp_path, make_state())


def test_a_lost_pointer_loses_nothing(tmp_path):
    checkpoint.save(tmp_path, 1, make_state(1), CONFIG)
    (tmp_path / "newest").write_bytes(b"\xff")
    assert checkpoint.restore(tmp_path, make_state()).step == 1
    (tmp_path / "newest").unlink()
    assert checkpoint.restore(tmp_path, make_state()).step == 1


@pytest.mark.parametrize("field", [*CONFIG, "added"])
def test_another_configuration_is_refused_field_by_field(tmp_path, field):
    checkpoint.save(tmp_path, 1, make_state(), CONFIG)
    other = CONFIG | {field: "other"}
    with pytest.raises(ValueError, match=f'another configuration:\n  {field}: saved .*, expected "other"$'):
        checkpoint.restore(tmp_path, make_state(), other)
    assert checkpoint.restore(tmp_path, make_state(), other, ignore=(field,)).step == 1
    assert checkpoint.restore(tmp_path, make_state()).step == 1


def test_difference_names_both_values():
    assert checkpoint.difference(CONFIG, CONFIG | {"dilations": [1, 2]}) == []
    assert checkpoint.difference({"learning_rate": 0.001, "old": None}, {"learning_rate": 0.01, "new": 1}) == [
        "learning_rate: saved 0.001, expected 0.01",
        "new: saved nothing, expected 1",
        "old: saved null, expected nothing",
    ]


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"x": jnp.zeros(3)}, r"\['x'\]: saved \"float32\[2\]\", expected \"float32\[3\]\""),
        ({"x": jnp.zeros(2, jnp.bfloat16)}, r"\['x'\]: saved \"float32\[2\]\", expected \"bfloat16\[2\]\""),
        ({"x": jax.random.split(jax.random.key(0), 2)}, r"expected \"key<fry>\[2\]\""),
        ({"x": jnp.zeros(2), "y": jnp.zeros(1)}, r"\['y'\]: saved nothing, expected \"float32\[1\]\""),
        ({}, r"\['x'\]: saved \"float32\[2\]\", expected nothing"),
        ([jnp.zeros(2)], r"\[0\]: saved nothing"),
    ],
)
def test_another_tree_shape_or_dtype_is_refused(tmp_path, like, message):
    checkpoint.save(tmp_path, 1, {"x": jnp.zeros(2)}, {})
    with pytest.raises(ValueError, match=message):
        checkpoint.restore(tmp_path, like)


def test_key_of_another_implementation_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, {"key": jax.random.key(0, impl="rbg")}, {})
    with pytest.raises(ValueError, match=r"saved \"key<rbg>\[\]\", expected \"key<fry>\[\]\""):
        checkpoint.restore(tmp_path, {"key": jax.random.key(0)})


def test_what_cannot_be_saved_leaves_no_trace(tmp_path):
    with pytest.raises(ValueError, match=r"leaves must be arrays, got 3 at \['x'\]"):
        checkpoint.save(tmp_path / "a", 1, {"x": 3}, {})
    with pytest.raises(TypeError, match="not JSON"):
        checkpoint.save(tmp_path / "a", 1, {"x": jnp.ones(1)}, {"path": tmp_path})
    with pytest.raises(ValueError, match="at least 0, got -1"):
        checkpoint.save(tmp_path / "a", -1, {"x": jnp.ones(1)}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "call", "newest"),
    [
        ("os.fsync", 0, 2),  # the file has its temporary name
        ("os.replace", 0, 2),
        ("os.replace", 1, 3),  # the file is there, the pointer is old
        ("checkpoint._remove_all_but", 1, 3),  # an older step is still there
    ],
)
def test_interruption_between_two_writes(tmp_path, monkeypatch, where, call, newest):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make_state(step), CONFIG)
    module, _, name = where.rpartition(".")
    owner = {"os": os, "checkpoint": checkpoint}[module]
    original, calls = getattr(owner, name), []

    def interrupted(*args):
        calls.append(args)
        if len(calls) > call:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, 3, make_state(3), CONFIG)
    restored = checkpoint.restore(tmp_path, make_state(), CONFIG)
    assert restored.step == newest
    assert checkpoint.fingerprint(restored.state) == checkpoint.fingerprint(make_state(newest))
    checkpoint.save(tmp_path, 4, make_state(4), CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{newest:08d}.safetensors",
        "00000004.safetensors",
        "newest",
    ]


def test_kill_at_random_moments(tmp_path):
    step = 0
    for seed in range(4):
        start = max(checkpoint.steps(tmp_path), default=-1) + 1
        process = run(
            "for step in itertools.count(int(sys.argv[2])):\n"
            "    checkpoint.save(folder, step, noise(step), {})\n"
            "    print(step, flush=True)",
            *(tmp_path, start),
        )
        assert process.stdout is not None
        assert process.stdout.readline() == f"{start}\n"
        time.sleep(random.Random(seed).uniform(0, 0.3))
        process.kill()
        told = [int(line) for line in process.communicate()[0].splitlines()]
        assert process.returncode == -signal.SIGKILL
        for step in checkpoint.steps(tmp_path):
            assert isinstance(checkpoint._read(tmp_path, step), checkpoint.Saved)
        step, state = checkpoint.restore(tmp_path, noise(0))
        assert step >= max(told, default=start)
        assert checkpoint.fingerprint(state) == checkpoint.fingerprint(noise(step))
    checkpoint.save(tmp_path, step + 1, noise(step + 1), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"{step:08d}.safetensors",
        f"{step + 1:08d}.safetensors",
        "newest",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [100, 100_000])
def test_full_disk(tmp_path, limit):
    process = run(
        "checkpoint.save(folder, 1, noise(1), {})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    checkpoint.save(folder, 2, noise(2), {})\n"
        "except OSError as error:\n"
        "    print(error.errno, error)",
        *(tmp_path, limit),
    )
    told = process.communicate()[0]
    assert told.startswith(f"{errno.EFBIG} ")
    assert re.search(r"File too large: 160\d{4} bytes are needed", told)
    assert str(tmp_path) in told
    step, state = checkpoint.restore(tmp_path, noise(0))
    assert step == 1
    assert checkpoint.fingerprint(state) == checkpoint.fingerprint(noise(1))
    checkpoint.save(tmp_path, 2, noise(2), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00000001.safetensors",
        "00000002.safetensors",
        "newest",
    ]


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match=r"taken"):
        checkpoint.save(tmp_path / "taken", 1, {"x": jnp.ones(1)}, {})
