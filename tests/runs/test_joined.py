"""Processes that train as one, and processes that share runs: also when one of them is killed."""

import os
import signal
import time

import numpy as np
import pytest

from seqjax import runs
from seqjax.runs import process
from tests.runs import regression
from tests.runs.conftest import Lab, Outcome
from tests.runs.test_process import names
from tests.runs.test_training import everything, files, newest, until
from tests.test_mesh import free_port

STEPS = 200
ROWS = ("--scale", "smoke", "--steps", str(STEPS), "--devices", "rows")


def start_two(lab: Lab, *arguments: str, second: tuple[str, ...] | None = None, **variables: str) -> list:
    """Two processes with two devices each, of one job."""
    job = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": "2", "SEQJAX_JOIN_TIMEOUT": "60"}
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    children = []
    for number, own in enumerate((arguments, arguments if second is None else second)):
        lab.environment = {**job, **variables, "JAX_PROCESS_ID": str(number), "XLA_FLAGS": flags}
        children.append(lab.start(*own, save_every=0))
    return children


def outcomes(children: list) -> list[Outcome]:
    ended = [(*child.communicate(timeout=120), child.returncode) for child in children]
    return [Outcome(code, out, err) for out, err, code in ended]


def contents(lab: Lab) -> list:
    return [everything(run) for run in lab.finished()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> list:
    """What two joined processes find in one go."""
    lab = Lab(tmp_path_factory.mktemp("undisturbed"))
    first, second = outcomes(start_two(lab, *ROWS))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert len(lab.finished()) == 2
    assert "learning_rate" in first.out
    assert [line for line in (second.out + second.err).splitlines() if "[Gloo]" not in line] == []
    assert not files(lab.home)
    return contents(lab)


def test_one_run_of_two_processes_is_that_of_one_process(tmp_path, undisturbed):
    """But for rounding: on four devices in two processes, and on the two of a single one."""
    lab = Lab(tmp_path)
    lab.environment = {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"}
    assert lab.run(*ROWS).code == 0
    for ours, (_, history, _, parameters) in zip(contents(lab), undisturbed, strict=True):
        rows = [[np.array(text.split(",")[1:], float) for text in each.splitlines()[1:]] for each in (ours[1], history)]
        np.testing.assert_allclose(*rows, rtol=0, atol=1e-5)
        for name, value in parameters.items():
            numbers = [np.frombuffer(each, np.float32) for each in (ours[3][name], value)]
            np.testing.assert_allclose(*numbers, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_any_signal_saves_and_the_same_command_goes_on_to_the_same_bits(tmp_path, undisturbed):
    """Whichever process receives it."""
    lab = Lab(tmp_path)
    children = start_two(lab, *ROWS)
    until(lambda: newest(lab) > 0)
    children[1].send_signal(signal.SIGTERM)
    first, second = outcomes(children)
    assert (first.code, second.code) == (143, 143), first.err + second.err
    assert process.SAVED in first.err
    assert process.SAVED not in second.err
    assert 0 < newest(lab) < STEPS
    first, second = outcomes(start_two(lab, *ROWS))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "resumed" in first.err
    assert contents(lab) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_other_and_nothing_is_lost(tmp_path, undisturbed, victim):
    lab = Lab(tmp_path)
    children = start_two(lab, *ROWS)
    until(lambda: newest(lab) > 0)
    children[victim].kill()
    began = time.monotonic()
    killed_and_other = outcomes(children)
    assert time.monotonic() - began < 20  # two heartbeats
    assert killed_and_other[1 - victim].code in (process.ENVIRONMENT, 134), killed_and_other[1 - victim].err
    assert 0 < newest(lab) < STEPS
    assert [each.code for each in outcomes(start_two(lab, *ROWS))] == [0, 0]
    assert contents(lab) == undisturbed


def test_different_commands_are_refused_with_the_difference(lab):
    children = start_two(lab, *ROWS, second=(*ROWS, "--seeds", "3"))
    for number, (code, _, err) in enumerate(outcomes(children)):
        assert code == process.USAGE, err
        assert "error: all processes must have the same command, got " in err
        assert number == 0 or "'--seeds', '3'" in err
    assert not lab.home.exists()


def test_a_coordinator_that_does_not_answer_is_one_line(lab):
    address = f"127.0.0.1:{free_port()}"
    lab.environment = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "1",
        "SEQJAX_JOIN_TIMEOUT": "1",
    }
    code, out, err = lab.run(*ROWS)
    assert (code, out) == (process.ENVIRONMENT, "")
    assert err == f"error: the coordinator {address} did not answer within 1 s\n"


def test_rows_that_devices_do_not_divide_are_refused(here, monkeypatch):
    """Two devices share batches of eight rows, and refuse those of seven."""
    assert here("--scale", "smoke", "--devices", "rows").code == 0
    original = regression.sample
    monkeypatch.setattr(regression, "sample", lambda key, config, rows: original(key, config, rows - 1))
    code, _, err = here("--scale", "smoke", "--devices", "rows", "--seeds", "3")
    message = "error: a batch must be a multiple of the 2 devices that share its rows, got a batch of 7"
    assert (code, err.splitlines()[-1]) == (2, message)


FOUR = ("--scale", "smoke", "--learning-rate", "0.05", "0.1", "0.2", "0.4", "--share", "4")


@pytest.mark.slow
def test_a_killed_process_leaves_its_runs_to_the_others(tmp_path):
    """Each run is trained by one process; the survivor goes on with those of the killed one, to the same bits."""
    steps = ("--steps", "200")
    for name in ("shared", "alone"):
        (tmp_path / name).mkdir()
    shared, alone = Lab(tmp_path / "shared"), Lab(tmp_path / "alone")
    children = [shared.start(*FOUR, *steps, save_every=0) for _ in range(2)]
    until(lambda: len({path.parent for path in files(shared.home)}) >= 2)
    holders = [path.read_text() for path in (shared.home / "locks").iterdir()]
    assert {int(holder.split()[1]) for holder in holders} == {child.pid for child in children}
    children[0].kill()
    _, survivor = outcomes(children)
    assert survivor.code == 0, survivor.err
    assert len(shared.finished()) == 4
    assert not shared.works()
    for run in shared.finished():
        stretches = runs.load(run).provenance["stretches"]
        assert [stretch["from"] for stretch in stretches] == [0, *(stretch["to"] for stretch in stretches[:-1])]
        assert stretches[-1]["to"] == 200
    assert alone.run(*FOUR, *steps).code == 0
    assert contents(shared) == contents(alone)


@pytest.mark.parametrize("told", [("--share", "9"), ()])
def test_a_process_that_finds_no_run_free_is_not_needed(here, lab, monkeypatch, told):
    """As most of an array's are when there are more of them than runs."""
    if not told:
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "9")
    first, second = names(lab)
    with process.lock(lab.home / "locks" / first), process.lock(lab.home / "locks" / second):
        code, out, err = here("--scale", "smoke", *told)
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == (
        "2 of 2 runs are left to the other processes; the one that finishes the last of them draws"
    )


def test_the_parts_of_a_process_by_number(here):
    """For folders without locks."""
    code, out, err = here("--scale", "smoke", "--share", "1/2")
    assert (code, out) == (0, "")
    assert "1 of 2 runs are left to the other processes" in err
    code, out, _ = here("--scale", "smoke", "--share", "2/2")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["0.05", "0.2"]


@pytest.mark.parametrize("text", ["0", "3/2", "0/2", "two"])
def test_a_share_is_a_number_of_processes(here, text):
    code, _, err = here("--scale", "smoke", "--share", text)
    assert (code, err) == (2, f"error: --share must be N or K/N with 1 <= K <= N, got {text!r}\n")
    assert here("--scale", "smoke", "--share", text, "--draw")[::2] == (code, err)


def test_shared_runs_are_not_overwritten(here):
    code, _, err = here("--scale", "smoke", "--share", "2", "--overwrite")
    assert code == 2
    assert err.startswith("error: --overwrite is for one process, got --share")


@pytest.mark.parametrize(
    ("variables", "joined", "processes"),
    [
        ({}, False, 1),
        ({"ARRAY_TASK_COUNT": "100"}, False, 100),
        ({"STEP_NUM_TASKS": "8"}, False, 8),
        ({"ARRAY_TASK_COUNT": "3", "STEP_NUM_TASKS": "8"}, True, 3),
    ],
)
def test_slurm_says_how_many_share(monkeypatch, variables, joined, processes):
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert process.sharing(process.SLURM, joined) == process.Sharing(processes)
