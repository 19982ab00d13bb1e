"""Locks, signals and exit codes."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from seqjax import tasks
from seqjax.runs import folder, process
from tests.runs.conftest import ROOT
from tests.runs.regression import Config, configs

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
    message = f".lock is in use by pid {holder.pid} on {socket.gethostname()}"
    with pytest.raises(process.Busy, match=f"^{re.escape(message)}$"), process.lock(tmp_path / ".lock"):
        pass
    holder.kill()
    holder.communicate()
    with process.lock(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == f"pid {os.getpid()} on {socket.gethostname()}"
    with process.lock(tmp_path / ".lock"):
        pass


def names(lab):
    return [folder.run_name(config, Config()) for config in configs("smoke")]


def test_a_process_exits_at_once_if_others_work_on_all_its_runs(lab):
    with process.lock(lab.home / "locks" / names(lab)[0]), process.lock(lab.home / "locks" / names(lab)[1]):
        code, out, err = lab.run("--scale", "smoke", log_compiles=True)
    assert code == process.BUSY
    assert f"{names(lab)[0]} is in use by pid {os.getpid()} on {socket.gethostname()}" in err
    assert out == ""
    assert "ompiling" not in err


def test_processes_share_the_runs_of_an_experiment(lab, here):
    """Each trains what no other holds; whoever finds all finished draws the whole figure."""
    with process.lock(lab.home / "locks" / names(lab)[0]):
        code, out, err = lab.run("--scale", "smoke")
    assert code == 0, err
    assert f"1 of 2 runs are left to other processes: {names(lab)[0]} is in use by pid {os.getpid()}" in err
    assert [run.name for run in lab.finished()] == [names(lab)[1]]
    with process.lock(lab.home / "locks" / names(lab)[0]), process.lock(lab.home / "locks" / names(lab)[1]):
        code, _, err = here("--scale", "smoke", "--overwrite")
    assert (code, "is in use by pid" in err) == (process.BUSY, True)
    code, out, err = here("--scale", "smoke")
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["0.05", "0.2"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_file_with_the_process_number(tmp_path, monkeypatch, capsys, number):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(process, "_lock_file", refuse)
    path = tmp_path / "run"
    with process.lock(path):
        assert (tmp_path / "run.pid").read_text() == f"pid {os.getpid()} on {socket.gethostname()}"
        assert "has no file locks" in capsys.readouterr().err
        with pytest.raises(process.Busy, match=f"run is in use by pid {os.getpid()} on"), process.lock(path):
            pass
    assert not (tmp_path / "run.pid").exists()
    (tmp_path / "run.pid").write_text(f"pid {2**22 - 1} on {socket.gethostname()}")  # has ended
    with process.lock(path):
        pass
    (tmp_path / "run.pid").write_text("pid 1 on elsewhere")
    with pytest.raises(process.Busy, match="pid 1 on elsewhere; if it has ended, delete"), process.lock(path):
        pass


def test_the_file_of_an_ended_process_goes_and_that_of_another_comes_back(tmp_path):
    """Also where another process has replaced it in the meantime."""
    path = tmp_path / "run.pid"
    for content, left in (("ended", []), ("another", ["run.pid"])):
        path.write_text(content)
        process._remove_lock_of("ended", path)
        assert [file.name for file in tmp_path.iterdir()] == left
    assert path.read_text() == "another"


def test_other_errors_of_a_lock_are_not_taken_for_another_process(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(process, "_lock_file", refuse)
    with pytest.raises(OSError, match="Input/output"), process.lock(tmp_path / "run"):
        pass


def test_windows_locks_the_first_byte_wherever_the_file_stands(tmp_path):
    """Locks of two processes exclude each other only if they are at one place."""
    places = []

    class Msvcrt:
        LK_NBLCK = 2

        @staticmethod
        def locking(descriptor, mode, count):
            places.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))

    (tmp_path / "run").write_text("pid 7 on x")
    with (tmp_path / "run").open("a+") as file:
        process._lock_first_byte(file, Msvcrt)
    assert places == [(0, 2, 1)]


def test_no_home_and_no_cache_stop_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(process.Path, "home", nobody)
    assert process._cache_folder() is None
    assert "Could not determine home directory" in capsys.readouterr().err
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    assert process._cache_folder() is None


def test_the_oldest_compiled_programs_are_deleted(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(process, "CACHE_BYTES", 250)
    (tmp_path / "seqjax").mkdir()
    for age in range(4):
        (tmp_path / "seqjax" / str(age)).write_bytes(bytes(100))
        os.utime(tmp_path / "seqjax" / str(age), (1e9 - age, 1e9 - age))
    process._cache_folder()
    assert sorted(path.name for path in (tmp_path / "seqjax").iterdir()) == ["0", "1"]


def test_a_platform_without_device_is_one_line(lab, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    lab.environment = {"JAX_PLATFORMS": "cuda"}
    code, _, err = lab.run("--scale", "smoke")
    assert code == process.ENVIRONMENT
    assert "error: JAX finds no device of the cuda platform" in err
    assert "Traceback" not in err


def test_a_closed_stream_stops_nothing(lab, here):
    assert here("--scale", "smoke").code == 0
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = [
            "sh",
            "-c",
            f'exec "$0" "$@" {closed}',
            sys.executable,
            str(lab.script),
            "--scale",
            "smoke",
            "--draw",
        ]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        child = subprocess.run(command, cwd=lab.folder, env=environment, capture_output=True, text=True)
        assert child.returncode == 0, child.stderr


def test_letters_that_an_encoding_lacks_are_escaped(lab):
    lab.environment = {"PYTHONIOENCODING": "ascii"}
    code, out, err = lab.run("--scale", "smoke", "--out", "ψ")
    assert code == 0, err
    assert "figure \\u03c8/" in out


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
    waiting.send_signal(signum)  # as if by `timeout`, which signals the process and then its group
    time.sleep(process.TOGETHER + 0.1)
    assert waiting.poll() is None
    waiting.send_signal(signum)
    waiting.communicate(timeout=10)
    assert waiting.returncode == 128 + signum


COMPILE = """
import hashlib
from seqjax.runs import process
with process.signals_into([], lambda: False):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one instruction of many minutes
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_there_is_nothing_to_save_is_answered_at_once(signum):
    """Also within one long call, such as a compilation, during which no Python code runs."""
    busy = python(COMPILE)
    assert busy.stdout is not None
    assert busy.stdout.readline() == "ready\n"
    busy.send_signal(signum)
    _, err = busy.communicate(timeout=10)
    assert (busy.returncode, err.strip()) == (128 + signum, process.SAVED)


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
        (MemoryError("2 GB"), 5, f"error: out of memory: 2 GB; {process.LESS_MEMORY}"),
        (RuntimeError("OOM: 2 GB"), 5, f"error: out of memory: OOM: 2 GB; {process.LESS_MEMORY}"),
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
