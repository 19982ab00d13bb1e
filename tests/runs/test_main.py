"""`python -m seqjax.runs`: what is in a folder of results."""

import json
import sys
import time

import numpy as np
import pytest

from seqjax import runs
from seqjax.runs import __main__ as command
from seqjax.runs import folder, training, watching
from tests.runs.regression import Config


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two finished runs, one that diverged, one interrupted and one damaged."""
    home = tmp_path / "results" / "regression"
    for number, state in enumerate(("finished", "finished", "diverged", "interrupted", "damaged")):
        config = Config(learning_rate=0.1 * (number + 1))
        record = runs.Record(config, home / f"{state}-{number}")
        record.begin(resume=True)
        if state == "interrupted":
            continue
        record.finish({"diverged": [{"seed": 0, "last_good_step": 3}]} if state == "diverged" else {"mse": number / 4})
        if state == "damaged":
            (record.folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["seqjax.runs", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            command.main()
        return stopped.value.code, *capsys.readouterr()

    return call


def test_list_tells_the_state_of_every_run(home, call):
    code, out, _ = call("list")
    assert code == 0
    states = {line.split()[1]: line.split()[2] for line in out.splitlines()[1:]}
    expected = ("finished", "finished", "diverged", "interrupted", "damaged")
    assert states == {f"{name}-{number}": name for number, name in enumerate(expected)}
    assert "config.json has" in out
    assert call("list", home)[1] == out
    code, out, err = call("list", home / "nothing")
    assert (code, out) == (2, "")
    assert "no runs in" in err


def test_show_and_compare(home, call):
    code, out, _ = call("show", home / "finished-1")
    assert (code, json.loads(out)["result"]) == (0, {"mse": 0.25})
    code, out, _ = call("compare", home / "finished-0", home / "finished-1")
    assert code == 0
    assert ["learning_rate", "0.1", "0.2"] in [line.split() for line in out.splitlines()]
    assert ["mse", "0", "0.25"] in [line.split() for line in out.splitlines()]
    assert "features" not in out
    for wrong in ([home / "finished-0"], [home / "finished-0", home / "damaged-4"], [home / "gone", home / "gone"]):
        code, out, err = call("compare", *wrong)
        assert (code, out) != (0, "")
        assert "Traceback" not in err


def test_remove_deletes_what_it_is_told_and_nothing_else(home, call):
    for name in ("finished-0", "finished-1"):
        (home / "tensorboard" / name).mkdir(parents=True)
    before = {path.name for path in home.iterdir()} | {"locks"}
    code, _, _ = call("remove", home / "finished-0", home / "interrupted-3.partial")
    assert code == 0
    assert {path.name for path in home.iterdir()} == before - {"finished-0", "interrupted-3.partial"}
    assert [path.name for path in (home / "tensorboard").iterdir()] == ["finished-1"]
    code, _, err = call("remove", home)
    assert (code, f"{home} is no run" in err) == (2, True)
    with folder_lock(home, "finished-1"):
        assert call("remove", home / "finished-1")[0] == 3
    assert (home / "finished-1").exists()


def folder_lock(home, name):
    return command.process.lock(home / "locks" / name)


def test_runs_written_without_a_manifest_are_said_to_be_damaged(home, call):
    (home / "finished-0" / folder.manifest.MANIFEST).unlink()
    assert "damaged (MANIFEST is missing)" in call("list")[1]


def test_watch_draws_what_is_on_the_disk_until_it_is_interrupted(tmp_path, call, monkeypatch):
    """One run begun, one with reports and one finished; Ctrl-C is an interrupt while it waits."""
    home = tmp_path / "results" / "regression"
    records = {name: runs.Record(Config(), home / name) for name in ("begun", "training", "done")}
    for record in records.values():
        record.begin(resume=True)
        record.start_clock(1)
        record.history = [
            {"step": step, "seed": seed, "loss": 4.0 / step, "skipped": 0.0}
            for step in (10, 20, 40, 80)
            for seed in (0, 1)
        ]
    training.Group([records["training"]]).save({"w": np.zeros(2)}, 0, 80)
    records["done"].finish({"mse": 0.5})
    waits = []

    def interrupt(seconds):
        waits.append(seconds)
        if len(waits) > 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    code, out, err = call("watch", "--every", 3)
    assert (code, err.strip(), waits) == (130, "stopped", [3, 3])
    rows = [line.split() for line in out.splitlines()[1:-1]]
    assert sorted(rows) == [
        ["regression/begun", "unfinished"],
        ["regression/done", "finished", "80", "0.05", "█▆▃▁"],  # log of 4/10, 4/20, 4/40 and 4/80: equally far apart
        ["regression/training", "unfinished", "80", "0.05", "█▆▃▁"],
    ]
    assert rows[-1][0] == "regression/done"
    waits.clear()
    code, out, _ = call("watch", home.parent, "--png", tmp_path / "curves.png", "--last", 2)
    assert (code, out) == (130, "")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert call("watch", tmp_path / "nothing")[::2] == (2, f"error: results must be a folder, got {tmp_path}/nothing\n")


def test_a_curve_as_text_says_where_it_is_not_finite():
    assert watching.bars(np.array([1.0, np.nan, 100.0])) == "▁·█"
    assert watching.bars(np.array([-7.0, -6.0, 0.0])) == "▁▂█"
    assert watching.bars(np.array([2.0, 2.0])) == "▁▁"
    assert watching.bars(np.array([np.inf])) == "·"
    assert watching.bars(np.array([])) == ""
    assert len(watching.bars(np.arange(1.0, 1000.0))) == watching.WIDTH
