"""The processes of one job: how they find each other, and what they agree on."""

import os
import re
import socket
import time
from contextlib import suppress

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree

from seqjax._placing import as_key, whole
from seqjax.types import InputError

HEARTBEAT = 10
"""Seconds without a sign of life after which a process counts as dead, and JAX ends the others with exit code 134."""


def join(timeout: int = 300) -> None:
    """Join the other processes of this job, if there are any; before anything else is asked of JAX.

    JAX finds Slurm, Open MPI, Kubernetes and Cloud TPU itself. Elsewhere each process is told by three environment
    variables: JAX_COORDINATOR_ADDRESS (host and port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
        timeout: seconds after which JAX ends the process, with exit code 134, if not all have come.

    Raises:
        InputError: the coordinator's address has no port; number or count of the processes is not given with it, or
            without it; or the number is not below the count.
        TimeoutError: the coordinator with the given address does not answer.
        OSError: another program has the port of process 0.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    count, number = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
    if address and not (re.fullmatch(r".+:\d+", address) and 0 < int(address.rpartition(":")[2]) < 2**16):
        raise InputError(f"JAX_COORDINATOR_ADDRESS must be host:port, got {address!r}")
    for name, value in (("NUM_PROCESSES", count), ("PROCESS_ID", number)):
        if value and not re.fullmatch(r"\d+", value):
            raise InputError(f"JAX_{name} must be a whole number, got {value!r}")
    if count and number and int(number) >= int(count):
        raise InputError(f"JAX_PROCESS_ID must lie in [0, {count}), the number of processes, got {number}")
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    # A shell in an allocation of several tasks has JAX's marks of a Slurm step, and is alone in it.
    alone = tasks == 1 and "SLURM_JOB_ID" in os.environ and not address
    if alone or jax.distributed.is_initialized():
        return
    if address and number:
        _require_free(address) if int(number) == 0 else _await(address, timeout)
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself, and knows no SIGINT
    try:
        jax.distributed.initialize(
            num_processes=int(count) if count else None,
            process_id=int(number) if number else None,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except ValueError as error:  # JAX finds no launcher, or not all of the three
        if address:
            raise InputError(f"JAX_NUM_PROCESSES and JAX_PROCESS_ID must tell who this process is: {error}") from error
        if count and int(count) > 1:  # it would train all of it alone, as the others would
            raise InputError(f"JAX_NUM_PROCESSES must be given with JAX_COORDINATOR_ADDRESS, got {count}") from error
    except RuntimeError:  # devices are in use already, as in a notebook, which is alone
        if address or tasks > 1 or jax.default_backend() == "tpu":
            raise


def _require_free(address: str) -> None:
    """Refuse a port that is in use: JAX would end this process with a segmentation fault."""
    try:
        socket.create_server(("", int(address.rpartition(":")[2]))).close()
    except OSError as error:
        raise OSError(f"process 0 cannot use the port of the coordinator {address}: {error}") from error


def _await(address: str, timeout: int) -> None:
    """Wait for the coordinator; if JAX waits in vain, it ends the process with a stack trace."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the coordinator {address} did not answer within {timeout} s")


def first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def agreed(tree: PyTree) -> PyTree:
    """What process 0 has: decisions by clocks and files differ, and all must make the same calls."""
    if jax.process_count() == 1:
        return tree
    numbers = multihost_utils.broadcast_one_to_all(jax.tree.map(whole, tree))
    return jax.tree.map(as_key, numbers, tree)


def greatest(value: int) -> int:
    """The greatest that any process has, such as the number of a signal that one of them received."""
    return int(np.max(multihost_utils.process_allgather(np.int32(value)))) if jax.process_count() > 1 else value
