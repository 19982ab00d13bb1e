"""One model on many devices and hosts, by JAX's own runtime: where arrays lie, and what processes agree on.

Nothing here trains. A batch whose rows are spread over devices makes XLA split both passes and add up the gradients
(data parallelism); a state that is spread over them is gathered where it is used (FSDP: Rajbhandari et al. 2020,
arXiv:1910.02054; Xu et al. 2021, arXiv:2105.04663). Numbers differ from one device's by rounding alone:

    grid = mesh.grid()
    state = mesh.sharded(train.init(params, optimizer, key), grid)
    advance = train.scan(loss, optimizer, sample, steps=100, rows=grid)
    for state, metrics in train.run(advance, state, 10_000):
        checkpoint.save(folder, int(state.step), state, {})  # all processes call it, process 0 writes

Runs of a sweep need none of this: they are independent, and processes share them by locks.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from seqjax._placing import as_key, place, whole
from seqjax.types import InputError

ROWS, MODEL = "rows", "model"
"""The axes of a grid: devices along `rows` share the rows of a batch, those along `model` see the same rows."""

HEARTBEAT = 10
"""Seconds without a sign of life after which a process counts as dead, and JAX ends the others with exit code 134."""


def join(timeout: int = 300) -> None:
    """Join the other processes of this job, if there are any; before anything else is asked of JAX.

    JAX finds Slurm, Open MPI, Kubernetes and Cloud TPU itself. Elsewhere each process is told by three environment
    variables: JAX_COORDINATOR_ADDRESS (host and port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
        timeout: seconds after which JAX ends the process, with exit code 134, if not all have come.

    Raises:
        InputError: the coordinator's address is given, and number or count of the processes is not.
        TimeoutError: the coordinator with the given address does not answer.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    count, number = (os.environ.get(f"JAX_{name}") for name in ("NUM_PROCESSES", "PROCESS_ID"))
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    # A shell in an allocation of several tasks has JAX's marks of a Slurm step, and is alone in it.
    alone = tasks == 1 and "SLURM_JOB_ID" in os.environ and not address
    if alone or jax.distributed.is_initialized():
        return
    if address and number not in (None, "0"):
        _await(address, timeout)
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
    except RuntimeError:  # devices are in use already, as in a notebook, which is alone
        if address or tasks > 1 or jax.default_backend() == "tpu":
            raise


def _await(address: str, timeout: int) -> None:
    """Wait for the coordinator; if JAX waits in vain, it ends the process with a stack trace."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"the coordinator {address} did not answer within {timeout} s")


def grid(rows: int | None = None, model: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A grid of devices, by default all of all processes along `rows`.

    Raises:
        InputError: rows * model is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    rows = len(devices) // model if rows is None else rows
    if rows * model != len(devices):
        raise InputError(f"rows * model must be the number of devices, {len(devices)}, got {rows} * {model}")
    return jax.make_mesh((rows, model), (ROWS, MODEL), axis_types=(AxisType.Auto,) * 2, devices=devices)


def by_rows(sample: Callable[..., Any], grid: Mesh, parts: int = 1) -> Callable[..., Any]:
    """`sample`, whose batches are spread: each device makes its own rows, where they are needed.

    Args:
        parts: how many parts of a batch come one after the other.

    Raises:
        InputError: when a batch is made whose rows are no multiple of parts and devices.
    """
    share = NamedSharding(grid, PartitionSpec(ROWS))

    def split(leaf: Any) -> Any:
        if leaf.ndim == 0:
            return leaf
        if leaf.shape[0] % (grid.shape[ROWS] * parts):
            of = f" and {parts} parts" if parts > 1 else ""
            raise InputError(
                f"a batch must be a multiple of the {grid.shape[ROWS]} devices{of} that share its rows, "
                f"got a batch of {leaf.shape[0]}"
            )
        return jax.lax.with_sharding_constraint(leaf, share)

    return lambda *of: jax.tree.map(split, sample(*of))


def replicated(state: PyTree, grid: Mesh) -> PyTree:
    """All of every array on each device; the processes must have the same arrays."""
    return jax.tree.map(lambda leaf: place(leaf, NamedSharding(grid, PartitionSpec())), state)


def sharded(state: PyTree, grid: Mesh) -> PyTree:
    """Each array split by its longest axis that the devices divide: of parameters and optimiser each holds a part."""

    def split(leaf: Any) -> Any:
        axes = [axis for axis, size in enumerate(leaf.shape) if size and size % grid.size == 0]
        longest = max(axes, key=lambda axis: leaf.shape[axis], default=None)
        spec = [(ROWS, MODEL) if axis == longest else None for axis in range(leaf.ndim)]
        return place(leaf, NamedSharding(grid, PartitionSpec(*spec)))

    return jax.tree.map(split, state)


def local(tree: PyTree) -> PyTree:
    """All of every array on one device of this process; all processes must ask for it."""

    return jax.tree.map(lambda leaf: as_key(jnp.asarray(whole(leaf)), leaf), tree)


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
