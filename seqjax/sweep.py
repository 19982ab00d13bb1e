"""Many whole training runs as one program: over seeds and hyper-parameters, batched by `vmap` and sharded by device."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Int, Key, PyTree

from seqjax import mesh, train
from seqjax._checks import integers
from seqjax._placing import place
from seqjax.train import Advance, Totals, TrainState
from seqjax.types import Batches, Bucketed, LossFn, Params

RUNS, WHOLE = jax.sharding.PartitionSpec("runs"), jax.sharding.PartitionSpec()

CACHE_BYTES = 2**20
"""A core's cache. On a CPU, runs are batched only while what they keep for the gradient fits into it together: then the
overhead of each operation is shared. Larger ones are faster one after the other."""

MEMORY_FRACTION = 0.5
"""Of an accelerator's memory, what runs that are batched may keep for the gradient; the rest is for all states and for
what a step needs for a moment."""


def sweep(
    initialise: Callable[[Key[Array, ""]], Params],
    loss: LossFn,
    optimizer: Callable[[PyTree], optax.GradientTransformation],
    sample: Callable[[Key[Array, ""], PyTree], Any] | Batches | Bucketed,
    *,
    keys: Key[Array, " runs"],
    settings: PyTree,
    steps: int,
    chunk: int | None = None,
    rows: jax.sharding.Mesh | None = None,
) -> tuple[TrainState, Advance]:
    """The first state of many runs, and the function that trains them all, to be given to `train.run`.

    Args:
        initialise: parameters from a key.
        optimizer: from one run's settings, such as a learning rate, which are traced.
        sample: `(key, setting) -> batch` for one run, with a new key at each step, or a data set's batches.
        keys: one for each run's parameters, data and dropout; equal keys give equal data.
        settings: a pytree of arrays with the leading axis `runs`.
        steps: updates between two reports.
        chunk: runs that a device batches at a time; 1: one after the other. None: as many as fit into an accelerator's
            memory, or a CPU core's cache, and 1 for buckets, all of which `vmap` would compute.
        rows: devices that share the rows of every batch, as `mesh.grid`, each with a copy of all states. None: this
            process's devices share the runs.

    Returns:
        The state and the function. The runs are divided evenly among the fewest devices that leave each the smallest
        number. If that number of devices does not divide the runs, some runs are trained twice and the copies dropped,
        and between two calls of the function each device holds the states of all runs.

    Raises:
        InputError: chunk < 1; or, when traced, devices do not divide the `rows` of a batch.
    """
    if chunk is not None:
        integers(1, chunk=chunk)

    def first(run: tuple[Key[Array, ""], PyTree]) -> TrainState:
        key, setting = run
        init_key, train_key = jax.random.split(key)
        return train.init(initialise(init_key), optimizer(setting), train_key)

    def of_one(batches: Any, setting: PyTree) -> Advance:
        own = batches if isinstance(batches, (Batches, Bucketed)) else lambda key: batches(key, setting)
        return train.scan(loss, optimizer(setting), own, steps, rows=rows)

    # One after the other, not vmapped: two batched QR factorisations (orthogonal initialisers) at a time wait for each
    # other's threads forever on a CPU of two cores (jaxlib 0.10.2, `ParallelBatchMap`).
    state = jax.jit(lambda *runs: jax.lax.map(first, runs))(keys, settings)
    local = len(keys) if rows is not None else _share(len(keys))
    if chunk is None:
        chunk = _chunk(loss, sample, jax.tree.map(lambda leaf: leaf[0], (state, settings)), local)

    def extend(
        batches: Any, settings: PyTree, state: TrainState, totals: Totals, n: Int[Array, ""] | int
    ) -> tuple[TrainState, Totals]:
        def runs(
            state: TrainState, totals: Totals, settings: PyTree, n: Any, batches: Any
        ) -> tuple[TrainState, Totals]:
            def one(state: TrainState, totals: Totals, setting: PyTree) -> tuple[TrainState, Totals]:
                return of_one(batches, setting).extend(state, totals, n)

            if chunk >= local > 1:
                return jax.vmap(one)(state, totals, settings)
            batch_size = None if chunk == 1 else chunk
            return jax.lax.map(lambda run: one(*run), (state, totals, settings), batch_size=batch_size)

        if rows is not None:
            return runs(state, totals, settings, n, batches)
        if callable(batches):
            return sharded(partial(runs, batches=batches), len(keys), replicated=1)(state, totals, settings, n)
        return sharded(runs, len(keys), replicated=2)(state, totals, settings, n, batches)

    def start(batches: Any, settings: PyTree, state: TrainState) -> Totals:
        return jax.vmap(lambda state, setting: of_one(batches, setting).start(state))(state, settings)

    if rows is None:
        state, settings = shard((state, settings), len(keys))
    else:
        state, settings = mesh.replicated((state, settings), rows)
        sample = mesh.replicated(sample, rows) if isinstance(sample, (Batches, Bucketed)) else sample
    extend, start = (train.with_batches(function, sample, settings) for function in (extend, start))
    return state, Advance(extend, Partial(train.averaged), start, steps)


def _chunk(loss: LossFn, sample: Any, run: tuple[TrainState, PyTree], runs: int) -> int:
    """Runs that a device batches by default, of `runs` such as this one: a divisor, or the last fewer would be another
    program.
    """
    if isinstance(sample, Bucketed):
        return 1
    memory = CACHE_BYTES
    if jax.default_backend() != "cpu":
        memory = int(MEMORY_FRACTION * _memory())
        if not memory:
            return runs
    state, setting = run
    batch = sample.batch if isinstance(sample, Batches) else lambda key, step: sample(key, setting)

    def backward(params: Params, key: Key[Array, ""]) -> Any:
        made = batch(key, state.step)
        return jax.vjp(lambda params: train.value_and_metrics(loss, params, made, key)[0], params)[1]

    kept = jax.tree.leaves(jax.eval_shape(backward, state.params, state.key))
    most = memory // max(1, sum(leaf.size * leaf.dtype.itemsize for leaf in kept))
    return max(count for count in range(1, runs + 1) if runs % count == 0 and count <= max(1, most))


def _memory() -> int:
    """Bytes of a device; 0 if it does not tell them."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)


def shard(tree: PyTree, runs: int) -> PyTree:
    """Arrays with the leading axis `runs`, on the devices on which `sweep` trains them."""
    devices = _devices(runs)
    if devices.size == 1:  # uncommitted, as everything else is
        return tree
    return jax.device_put(tree, jax.sharding.NamedSharding(devices, _between_calls(runs)))


def _devices(runs: int) -> jax.sharding.Mesh:
    """The fewest of this process's devices that leave each the smallest share."""
    devices = jax.local_devices()
    share = -(-runs // len(devices))
    return jax.sharding.Mesh(np.array(devices[: -(-runs // share)]), ("runs",))


def _share(runs: int) -> int:
    """How many runs a device trains."""
    return -(-runs // _devices(runs).size)


def _between_calls(runs: int) -> jax.sharding.PartitionSpec:
    """JAX splits no axis into unequal parts: where devices do not divide the runs, each holds them all."""
    return WHOLE if runs % _devices(runs).size else RUNS


def sharded(work: Callable, runs: int, replicated: int = 0) -> Callable:
    """`work` on arrays with the leading axis `runs`, done by each device for its shard of them.

    The last runs are repeated where devices do not divide their number; what becomes of the copies is dropped.

    Args:
        replicated: how many further arguments every device is given whole.
    """
    devices = _devices(runs)
    if devices.size == 1:
        return work
    copies = devices.size * _share(runs) - runs

    def filled(leaf: Any) -> Any:
        return jnp.concatenate([leaf, leaf[-copies:]]) if copies else leaf

    def dropped(leaf: Any) -> Any:
        return place(leaf[:runs], jax.sharding.NamedSharding(devices, WHOLE)) if copies else leaf

    def call(*arguments: PyTree) -> PyTree:
        split = len(arguments) - replicated
        specs = (RUNS,) * split + (WHOLE,) * replicated
        each = jax.shard_map(work, mesh=devices, in_specs=specs, out_specs=RUNS, check_vma=False)
        return jax.tree.map(dropped, each(*jax.tree.map(filled, arguments[:split]), *arguments[split:]))

    return call
