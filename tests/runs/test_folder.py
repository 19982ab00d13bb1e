"""What is in a run folder, and how it gets there."""

import dataclasses
import errno
import json
import os
import re
import string
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import runs
from seqjax.runs import folder, provenance
from seqjax.train import TrainState
from tests.runs.regression import Config

ROW = {"parameters": 5, "mse": 0.25, "low": 0.2, "high": 0.3}


@pytest.fixture
def record(tmp_path) -> runs.Record:
    made = runs.Record(Config(), tmp_path / "run")
    made.begin(resume=True)
    return made


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace"])
def test_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch, broken):
    path = tmp_path / "file.txt"
    folder.write_text(path, "old\n")

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, broken.removeprefix("os."), die)
        with pytest.raises(KeyboardInterrupt):
            folder.write_text(path, "new\n")
    assert path.read_text() == "old\n"
    folder.write_text(path, "ψ\n")
    assert path.read_bytes() == "ψ\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_with_the_path(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*history.csv"):
        folder.write_text(tmp_path / "history.csv", "")


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        folder.write_json(tmp_path / "result.json", {"mse": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_run_names_are_readable_stable_and_different():
    assert folder.run_name(Config(), Config()) == "default-" + folder.run_name(Config(), Config())[-8:]
    # Pinned: a name that changes would orphan every run on disk.
    assert folder.run_name(Config(steps=50, learning_rate=1e-4), Config()) == "steps=50-learning_rate=0.0001-9eef7f7b"
    configs = [Config(), Config(seeds=3), Config(seeds=4), Config(learning_rate=0.1), Config(fault="nan")]
    assert len({folder.run_name(config, Config()) for config in configs}) == len(configs)
    # The hash is of the whole configuration, whatever the defaults are at the time.
    assert folder.run_name(Config(), Config(seeds=9)) == f"seeds=2-{folder.run_name(Config(), Config())[-8:]}"


def test_run_names_hold_no_odd_characters_and_are_short():
    @dataclasses.dataclass(frozen=True)
    class Odd:
        text: str = ""
        other: tuple[float, ...] = ()

    texts = ("../../x", "a b/c:d*?\n", "é" * 5, "long" * 100, "LONG" * 100)
    names = [folder.run_name(odd, Odd()) for odd in (*map(Odd, texts), Odd(other=(0.1, 2e-5)))]
    for name in names:
        assert re.fullmatch(r"text=[\w.=-]+|other=[\w.=-]+", name)
        assert set(name) <= {*string.ascii_letters, *string.digits, *"._=-é"}
        assert len(name) <= 89
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Config)])
def test_a_folder_with_another_configuration_is_refused_field_by_field(record, field):
    saved = dataclasses.asdict(Config())
    (record.work / "config.json").write_text(json.dumps(saved | {field: "edited"}))
    difference = f'{field}: saved "edited", expected {json.dumps(saved[field])}'
    message = re.escape(f"{record.work}/config.json holds another configuration:\n  {difference}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        record.begin(resume=True)
    assert json.loads((record.work / "config.json").read_text())[field] == "edited"
    record.begin(resume=False)
    assert json.loads((record.work / "config.json").read_text()) == saved


def test_starting_again_leaves_nothing_of_the_first_try(record):
    record.keep("words.json", "[]")
    record.move_to(folder.Place("group", 0, 1))
    record.begin(resume=True)
    assert (record.work / "words.json").exists()
    assert record.place == ("group", 0, 1)
    record.begin(resume=False)
    assert {path.name for path in record.work.iterdir()} == {"config.json", "MANIFEST"}
    assert record.place is None


def test_history_comes_back_as_it_was(record):
    places = [(1, 0), (1, 1), (2, 0), (2, 1)]
    record.history = [{"step": at, "seed": seed, "loss": (at + seed) / 3, "skipped": 0.0} for at, seed in places]
    record.finish(ROW)
    back = folder.read_history(record.folder / "history.csv")
    assert back == record.history
    assert all(type(row["step"]) is int and type(row["seed"]) is int for row in back)
    assert folder.read_history(record.work / "none.csv") == []


def test_a_finished_run_is_renamed_into_place_and_read_back(record):
    losses = ((10, (0.5, 0.1, 0.9)), (20, (0.3, 0.4, 0.2)))
    record.history = [
        {"step": step, "seed": seed, "loss": loss} for step, row in losses for seed, loss in enumerate(row)
    ]
    kernel = np.arange(6.0).reshape(2, 3)
    record.state = TrainState({"params": {"kernel": kernel}}, {}, jnp.full(2, 20), jax.random.split(jax.random.key(0)))
    assert not record.complete
    record.finish(ROW, outputs=np.ones(3))
    assert record.complete
    assert not record.work.exists()
    run = runs.load(record.folder)
    assert Config(**run.config) == Config()
    assert run.result == record.result == ROW
    steps, bands = run.curve("loss")
    assert (steps, bands.tolist()) == ([10, 20], [[0.5, 0.3], [0.1, 0.2], [0.9, 0.4]])
    assert run.history == record.history
    np.testing.assert_array_equal(run.arrays["outputs"], np.ones(3))
    np.testing.assert_array_equal(run.params(1)["params"]["kernel"], [3.0, 4.0, 5.0])
    named = {"seconds", "cpu_seconds", "device", "versions", "commit", "script", "command", "date", "stretches"}
    assert set(record.provenance) == named
    assert {"python", "jax", "flax", "seqjax"} <= set(record.provenance["versions"])


def test_text_that_is_kept_is_read_from_the_finished_run(record):
    text = '["<pad>", "ñandú￭"]\r\n\n'
    record.keep("source.json", "old")
    record.keep("source.json", text)
    with pytest.raises(FileNotFoundError):
        record.read("source.json")
    record.begin(resume=True)
    record.finish(ROW)
    kept = sorted(path.name for path in record.folder.iterdir() if "json" in path.name)
    assert kept == [f"{name}.json" for name in ("config", "provenance", "result", "source")]
    assert runs.Record(Config(), record.folder).read("source.json") == text
    with pytest.raises(FileNotFoundError, match="other"):
        record.read("other")


def test_finishing_again_replaces_the_first(record):
    record.finish(ROW, old=np.ones(1))
    record.begin(resume=True)
    record.finish(ROW | {"mse": 0.5}, new=np.ones(1))
    assert record.result["mse"] == 0.5
    assert set(record.arrays) == {"new"}


def test_there_is_no_run_without_a_result(record, tmp_path):
    for path in (record.work, record.folder, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no finished run in {path}: expected a folder with result.json"):
            runs.load(path)


def test_the_cost_of_all_tries_is_added_up(record, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(folder.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(folder.time, "process_time", lambda: 2 * now[0])
    record.start_clock(2)
    now[0] += 10
    assert record.cost() == (5, 10)
    record.stretches = [{"seconds": 3.0, "cpu_seconds": 4.0}]
    record.finish(ROW)
    assert (record.provenance["seconds"], record.provenance["cpu_seconds"]) == (8, 14)


def test_the_commit_is_that_of_this_tree(monkeypatch):
    commit = provenance.commit.__wrapped__
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", commit())
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"


@pytest.mark.parametrize("moment", ["rename", "rmtree"])
def test_a_kill_while_a_run_is_replaced_leaves_the_old_or_the_new(record, monkeypatch, moment):
    record.finish(ROW)
    record.begin(resume=True)

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "rename":  # the old one is aside, the new one not yet in its place
            rename = Path.rename
            patch.setattr(Path, "rename", lambda path, to: die() if path == record.work else rename(path, to))
        else:
            patch.setattr(folder.shutil, "rmtree", lambda path, **_: die() if Path(path).exists() else None)
        with pytest.raises(KeyboardInterrupt):
            record.finish(ROW | {"mse": 0.5})
    record.recover()
    assert record.result["mse"] == (0.25 if moment == "rename" else 0.5)
    assert not record.folder.with_name("run.old").exists()


FILES = ["config.json", "result.json", "history.csv", "provenance.json", "arrays.npz", "parameters.npz", "words.json"]


@pytest.mark.parametrize("name", [*FILES, "checkpoint/00000020.safetensors", "MANIFEST"])
def test_every_damaged_file_of_a_finished_run_is_named(record, capsys, name):
    record.state = TrainState({"kernel": np.ones((2, 3))}, {}, jnp.full(2, 20), jax.random.split(jax.random.key(0)))
    record.keep("words.json", "[]")
    record.finish(ROW, outputs=np.ones(3))
    assert folder.damaged([record]) == []
    content = bytearray((record.folder / name).read_bytes() or b" ")
    content[len(content) // 2] ^= 1
    (record.folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{re.escape(str(record.folder))} is damaged: .*{name}.*train it again with"):
        runs.load(record.folder)
    assert folder.damaged([record]) == [record]
    assert name in capsys.readouterr().err
    (record.folder / name).unlink()
    assert folder.damaged([record]) == [record]


def test_without_runs_the_error_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run the script shift_memory.py with --model tcn --delay 8 first"):
        runs.finished(tmp_path / "shift_memory", model="tcn", delay=8)
