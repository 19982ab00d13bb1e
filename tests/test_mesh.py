"""One model on many devices equals it on one; every state comes back on any number of devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import checkpoint, mesh
from seqjax._placing import spans
from seqjax.types import InputError

ROOT = Path(__file__).parents[1]


def start(mode: str, folder: Path, devices: int, **variables: object) -> subprocess.Popen:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = {"PYTHONPATH": ROOT, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags} | variables
    command, out = [sys.executable, "-m", "tests.devices", mode, str(folder)], subprocess.PIPE
    given = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(command, cwd=ROOT, env=given, stdout=out, stderr=out, text=True)


def result(child: subprocess.Popen) -> dict[str, Any]:
    out, err = child.communicate(timeout=250)
    assert child.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def eight(tmp_path_factory) -> dict[str, Any]:
    return result(start("eight", tmp_path_factory.mktemp("eight"), 8))


@pytest.mark.parametrize("name", ["TCN", "GRU", "Transformer", "dropout"])
def test_losses_on_eight_devices_are_those_on_one(eight, name):
    """Replicated and sharded, also in parts, with the same dropout; compiled once."""
    found = eight["models"][name]
    np.testing.assert_allclose(found["many"], found["one"], rtol=0, atol=1e-5)
    assert found["one"][0] > found["one"][1]
    assert found["compiled"] == 1


def test_each_device_holds_its_part_of_a_sharded_state(eight):
    for name in ("GRU", "Transformer"):
        largest, everything = eight["models"][name]["shares"]
        assert largest == 1 / 8
        assert everything < 0.2
    assert eight["models"]["TCN"]["shares"] == [1, 1]


def test_a_state_saved_on_four_devices_comes_back_on_one_and_on_eight(eight):
    saved, share = eight["saved"]
    assert share == 1 / 4
    assert eight["restored"] == [[saved, 1], [saved, 1 / 8]]


def test_runs_that_devices_do_not_divide_are_filled_up_and_the_copies_dropped(eight):
    found = eight["filled up"]
    assert np.shape(found["shared"]) == (11, 3)
    np.testing.assert_allclose(found["shared"], found["alone"], rtol=1e-5)
    assert len({tuple(run) for run in found["shared"]}) == 11
    assert (found["compiled"], found["devices"]) == (1, 6)
    each = {int(runs): (devices, share) for runs, (devices, share) in found["each"].items()}
    assert each[1], each[8] == ((1, 1), (8, 1))
    for runs, (devices, share) in each.items():
        assert share == -(-runs // 8)
        assert devices * share >= runs > (devices - 1) * share


def test_a_batch_that_devices_do_not_divide_is_refused(eight):
    message = "a batch must be a multiple of the 8 devices that share its rows, got a batch of 12"
    assert eight["refused"] == message


@pytest.mark.slow
def test_two_processes_train_as_one_and_the_first_alone_writes(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    job = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": 2}
    children = [start("joined", tmp_path, 2, JAX_PROCESS_ID=number, **job) for number in range(2)]
    alone, second = map(result, children)
    together = alone["together"]
    assert second == together
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=0, atol=1e-5)
    assert (together["compiled"], together["shares"][0]) == (1, 1 / 4)
    saved = checkpoint.read(tmp_path).manifest["fingerprint"]
    assert together["fingerprints"] == [saved, saved]
    assert together["sweep"]["compiled"] == 1
    for name in ("weights", "validation", "chosen"):
        np.testing.assert_allclose(together["sweep"][name], alone["sweep"][name], rtol=1e-5)
    assert together["agreed"] == [7, 1]


def test_a_grid_has_all_devices():
    assert dict(mesh.grid().shape) == {"rows": 2, "model": 1}
    assert dict(mesh.grid(model=2).shape) == {"rows": 1, "model": 2}
    with pytest.raises(InputError, match=r"rows \* model must be the number of devices, 2, got 3 \* 1"):
        mesh.grid(3)
    for rows, model in ((None, 0), (-2, -1)):
        with pytest.raises(InputError, match=f"model must be >= 1, got {model}"):
            mesh.grid(rows, model)


def test_counters_that_are_python_numbers_are_placed():
    for place in (mesh.replicated, mesh.sharded):
        assert {"step": int(place({"step": 3}, mesh.grid())["step"])} == {"step": 3}


def test_no_launcher_is_no_job(monkeypatch):
    """Neither a plain shell, nor an allocation of Slurm, nor a shell in one of several tasks."""
    called = []
    monkeypatch.setattr(mesh.jax.distributed, "initialize", lambda **given: called.append(given))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    mesh.join()
    for name, value in (("STEP_NODELIST", "a"), ("NTASKS", "4"), ("PROCID", "0"), ("LOCALID", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    mesh.join()
    assert called == []
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    mesh.join()
    assert [given["heartbeat_timeout_seconds"] for given in called] == [10]


def test_a_coordinator_needs_to_know_who_asks(monkeypatch):
    def refuse(**given):
        raise ValueError("Number of processes must be defined.")

    monkeypatch.setattr(mesh.jax.distributed, "initialize", refuse)
    mesh.join()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(InputError, match="JAX_NUM_PROCESSES must be given with JAX_COORDINATOR_ADDRESS, got 2"):
        mesh.join()  # each would train all of it alone
    monkeypatch.delenv("JAX_NUM_PROCESSES")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"JAX_NUM_PROCESSES and JAX_PROCESS_ID must tell .* must be defined"):
        mesh.join()


@pytest.mark.parametrize(
    ("variables", "rule"),
    [
        ({"COORDINATOR_ADDRESS": "here"}, "JAX_COORDINATOR_ADDRESS must be host:port, got 'here'"),
        ({"COORDINATOR_ADDRESS": "here:99999"}, "JAX_COORDINATOR_ADDRESS must be host:port, got 'here:99999'"),
        ({"NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES must be a whole number, got 'two'"),
        ({"PROCESS_ID": "-1"}, "JAX_PROCESS_ID must be a whole number, got '-1'"),
        ({"PROCESS_ID": "2"}, r"JAX_PROCESS_ID must lie in \[0, 2\), the number of processes, got 2"),
    ],
)
def test_who_a_process_is_must_be_possible(monkeypatch, variables, rule):
    """At once, and not after it has waited for others."""
    job = {"COORDINATOR_ADDRESS": "127.0.0.1:1", "NUM_PROCESSES": "2", "PROCESS_ID": "1"} | variables
    for name, value in job.items():
        monkeypatch.setenv(f"JAX_{name}", value)
    with pytest.raises(InputError, match=rule):
        mesh.join(1)


def test_a_port_in_use_is_refused(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        for name, value in (("COORDINATOR_ADDRESS", address), ("NUM_PROCESSES", "2"), ("PROCESS_ID", "0")):
            monkeypatch.setenv(f"JAX_{name}", value)
        with pytest.raises(OSError, match=f"process 0 cannot use the port of the coordinator {address}: .*in use"):
            mesh.join(1)


def test_one_process_agrees_with_itself():
    assert (mesh.first(), mesh.greatest(3), mesh.agreed(4), spans(jnp.ones(2))) == (True, 3, 4, False)
