"""Locks, signals and exit codes."""

import os
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from seqjax import tasks
from seqjax.runs import process
from tests.runs.conftest import ROOT

HOLD = """
import pathlib, sys, time
from seqjax.runs import process
with process.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

WAIT = """
import time
from seqjax.runs import process
with process.signals_into(received := []):
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


def python(script: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_lock_names_its_holder_and_is_free_after_kill_9(tmp_path):
    holder = python(HOLD, tmp_path / ".lock")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    message = f"{tmp_path} is in use by pid {holder.pid} on {socket.gethostname()}"
    with pytest.raises(process.Busy, match=f"^{re.escape(message)}$"), process.lock(tmp_path / ".lock"):
        pass
    holder.kill()
    holder.communicate()
    with process.lock(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()} on {socket.gethostname()}"
    with process.lock(tmp_path / ".lock"):
        pass


def test_second_process_in_a_folder_exits_at_once(lab):
    lab.home.mkdir(parents=True)
    with process.lock(lab.home / ".lock"):
        code, out, err = lab.run(log_compiles=True)
    assert code == process.BUSY
    assert f"in use by pid {os.getpid()} on {socket.gethostname()}" in err
    assert not out
    assert "ompiling" not in err
    assert lab.works() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_exits_at_once(signum):
    waiting = python(WAIT)
    assert waiting.stdout is not None
    assert waiting.stderr is not None
    assert waiting.stdout.readline() == "ready\n"
    waiting.send_signal(signum)
    assert waiting.stderr.readline() == "\n"
    expected = "finishing the current steps and saving; press Ctrl-C again to quit immediately\n"
    assert waiting.stderr.readline() == expected
    assert waiting.poll() is None
    waiting.send_signal(signum)
    waiting.communicate(timeout=10)
    assert waiting.returncode == 128 + signum


def test_first_signal_is_noted_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    received = []
    with process.signals_into(received):
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_nothing_is_left_by_the_test_for_writing(tmp_path):
    process.require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        process.require_writable(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (process.Stopped(signal.SIGINT), 130, "stopped; the state is saved: the same command goes on from it"),
        (process.Stopped(signal.SIGTERM), 143, "stopped; the state is saved: the same command goes on from it"),
        (process.Busy("in use"), 3, "error: in use"),
        (process.Diverged("seed 1"), 4, "error: diverged: seed 1"),
        (PermissionError(13, "Permission denied", "there"), 5, "error: [Errno 13] Permission denied: 'there'"),
        (MemoryError("2 GB"), 5, "error: out of memory: 2 GB"),
        (RuntimeError("RESOURCE_EXHAUSTED: 2 GB"), 5, "error: out of memory: RESOURCE_EXHAUSTED: 2 GB"),
    ],
)
def test_each_fault_has_its_code_and_one_line(error, code, message, capsys):
    def fail():
        raise error

    assert process.exit_code(fail) == code
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("a bug"), ArithmeticError("below the floor")])
def test_bugs_keep_their_traceback(error):
    def fail():
        raise error

    with pytest.raises(type(error), match=r"a bug|below the floor"):
        process.exit_code(fail)


def test_value_errors_of_libraries_are_bugs_even_below_the_experiments_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "experiment.py")])  # and .venv is beside it

    def mistake():
        np.broadcast_shapes((2,), (3,))

    with pytest.raises(ValueError, match="broadcast"):
        process.exit_code(mistake)


def test_value_errors_of_seqjax_are_the_users(capsys):
    def refuse():
        tasks.Shift(-1, 8)

    assert process.exit_code(refuse) == 2
    assert re.fullmatch(r"error: .*-1\n", capsys.readouterr().err)
