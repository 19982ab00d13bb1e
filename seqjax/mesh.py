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
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import PyTree

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
    """
    given = {name: os.environ.get(f"JAX_{name}") for name in ("COORDINATOR_ADDRESS", "NUM_PROCESSES", "PROCESS_ID")}
    # A shell in an allocation of several tasks has JAX's marks of a Slurm step, and is alone in it.
    alone = "SLURM_JOB_ID" in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1
    if jax.distributed.is_initialized() or (alone and not given["COORDINATOR_ADDRESS"]):
        return
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself, and knows no SIGINT
    try:
        count, number = (None if given[name] is None else int(given[name]) for name in ("NUM_PROCESSES", "PROCESS_ID"))
        jax.distributed.initialize(
            num_processes=count,
            process_id=number,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    except ValueError as error:  # no launcher, or not all of the three
        if given["COORDINATOR_ADDRESS"]:
            raise InputError(f"JAX_NUM_PROCESSES and JAX_PROCESS_ID must tell who this process is: {error}") from error


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


def place(leaf: Any, sharding: Sharding | None) -> Any:
    """An array, a constant of all processes or a traced one, or a key, where the sharding says."""
    if isinstance(leaf, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(leaf, sharding)
    if is_key(leaf):  # JAX refuses keys on devices of other processes
        return _as_key(place(jax.random.key_data(leaf), sharding), leaf)
    if sharding is None or sharding.is_fully_addressable or spans(leaf):
        return jax.device_put(leaf, sharding)
    return jax.make_array_from_callback(np.shape(leaf), sharding, np.asarray(leaf).__getitem__)


def layout(tree: PyTree) -> PyTree:
    """Where the arrays lie that were placed on a grid; None for each that was not."""
    places = jax.tree.map(lambda leaf: getattr(leaf, "sharding", None), tree)
    return jax.tree.map(lambda place: place if isinstance(place, NamedSharding) else None, places)


def stay(tree: PyTree, layout: PyTree) -> PyTree:
    """Inside `jit`: arrays that lie as the arguments did, or the next call would compile again."""
    return jax.tree.map(lambda leaf, where: leaf if where is None else place(leaf, where), tree, layout)


def spans(tree: PyTree) -> bool:
    """Whether arrays lie on devices of several processes, all of which must then make the same calls."""
    return any(not getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(tree))


def whole(leaf: Any) -> np.ndarray:
    """All of an array, or of a key's numbers, on every host; all processes must ask for it."""
    leaf = jax.random.key_data(leaf) if is_key(leaf) else leaf
    if spans(leaf) and not leaf.is_fully_replicated:
        leaf = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
    return np.asarray(leaf)


def local(tree: PyTree) -> PyTree:
    """All of every array on one device of this process; all processes must ask for it."""

    return jax.tree.map(lambda leaf: _as_key(jnp.asarray(whole(leaf)), leaf), tree)


def first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def agreed(tree: PyTree) -> PyTree:
    """What process 0 has: decisions by clocks and files differ, and all must make the same calls."""
    if jax.process_count() == 1:
        return tree
    numbers = multihost_utils.broadcast_one_to_all(jax.tree.map(whole, tree))
    return jax.tree.map(_as_key, numbers, tree)


def greatest(value: int) -> int:
    """The greatest that any process has, such as the number of a signal that one of them received."""
    return int(np.max(multihost_utils.process_allgather(np.int32(value)))) if jax.process_count() > 1 else value


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _as_key(numbers: Any, like: Any) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(numbers), impl=jax.random.key_impl(like)) if is_key(like) else numbers
