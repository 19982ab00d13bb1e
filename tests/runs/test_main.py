"""`python -m seqjax.runs`: what is in a folder of results."""

import json
import sys

import pytest

from seqjax import runs
from seqjax.runs import __main__ as command
from seqjax.runs import folder
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
    before = {path.name for path in home.iterdir()} | {"locks"}
    code, _, _ = call("remove", home / "finished-0", home / "interrupted-3.partial")
    assert code == 0
    assert {path.name for path in home.iterdir()} == before - {"finished-0", "interrupted-3.partial"}
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
