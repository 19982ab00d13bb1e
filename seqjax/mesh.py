"""One model on many devices and hosts, by JAX's own runtime: where arrays lie, and what processes agree on.

Nothing here trains. A batch whose rows are spread over devices makes XLA split both passes and add up the gradients
(data parallelism); a state that is spread over them is gathered where it is used (FSDP: Rajbhandari et al. 2020,
arXiv:1910.02054; Xu et al. 2021, arXiv:2105.04663). Numbers differ from one device's by rounding alone:

    mesh.join()  # the processes that a launcher started, if any, before anything else is asked of JAX
    grid = mesh.grid()
    state = mesh.sharded(train.init(params, optimizer, key), grid)
    advance = train.scan(loss, optimizer, sample, steps=100, rows=grid)
    for state, metrics in train.run(advance, state, 10_000):
        checkpoint.save(folder, int(state.step), state, {})  # all processes call it, process 0 writes

Runs of a sweep need none of this: they are independent, and processes share them by locks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from seqjax._checks import integers
from seqjax._joining import HEARTBEAT, agreed, first, greatest, join
from seqjax._placing import as_key, place, whole
from seqjax.types import InputError

__all__ = [
    "HEARTBEAT", "MODEL", "ROWS", "agreed", "by_rows", "first", "greatest", "grid", "join", "local", "replicated",
    "sharded",
]  # fmt: skip

ROWS, MODEL = "rows", "model"
"""The axes of a grid: devices along `rows` share the rows of a batch, those along `model` see the same rows."""


def grid(rows: int | None = None, model: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A grid of devices, by default all of all processes along `rows`.

    Raises:
        InputError: rows < 1, model < 1, or rows * model is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    integers(1, model=model, **({} if rows is None else {"rows": rows}))
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
        if np.ndim(leaf) == 0:
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
        shape = np.shape(leaf)
        axes = [axis for axis, size in enumerate(shape) if size and size % grid.size == 0]
        longest = max(axes, key=lambda axis: shape[axis], default=None)
        spec = [(ROWS, MODEL) if axis == longest else None for axis in range(len(shape))]
        return place(leaf, NamedSharding(grid, PartitionSpec(*spec)))

    return jax.tree.map(split, state)


def local(tree: PyTree) -> PyTree:
    """All of every array on one device of this process; all processes must ask for it."""
    return jax.tree.map(lambda leaf: as_key(jnp.asarray(whole(leaf)), leaf), tree)
