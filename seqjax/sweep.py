"""Many whole training runs as one program: over seeds and hyper-parameters, batched by `vmap` and sharded by device."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Int, Key, PyTree

from seqjax import train
from seqjax._checks import integers
from seqjax.train import Advance, Totals, TrainState
from seqjax.types import Batches, Bucketed, LossFn, Params

RUNS = jax.sharding.PartitionSpec("runs")

CACHE_BYTES = 2**20
"""A core's cache. On a CPU, runs are batched only while what they keep for the gradient fits into it together: then the
overhead of each operation is shared. Larger ones are faster one after the other."""


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
) -> tuple[TrainState, Advance]:
    """The first state of many runs, and the function that trains them all, to be given to `train.run`.

    Args:
        initialise: parameters from a key.
        optimizer: from one run's settings, such as a learning rate, which are traced.
        sample: `(key, setting) -> batch` for one run, with a new key at each step, or a data set's batches.
        keys: one for each run's parameters, data and dropout; equal keys give equal data.
        settings: a pytree of arrays with the leading axis `runs`.
        steps: updates between two reports.
        chunk: runs that a device batches at a time; 1: one after the other. None: on an accelerator all, on a CPU as
            many as fit into a core's cache, and 1 for buckets, all of which `vmap` would compute.

    Returns:
        The state and the function. Several devices train equal shards of the runs: as many devices as divide them.

    Raises:
        InputError: chunk < 1.
    """
    if chunk is not None:
        integers(1, chunk=chunk)

    def first(run: tuple[Key[Array, ""], PyTree]) -> TrainState:
        key, setting = run
        init_key, train_key = jax.random.split(key)
        return train.init(initialise(init_key), optimizer(setting), train_key)

    def of_one(batches: Any, setting: PyTree) -> Advance:
        own = batches if isinstance(batches, (Batches, Bucketed)) else lambda key: batches(key, setting)
        return train.scan(loss, optimizer(setting), own, steps)

    # One after the other, not vmapped: two batched QR factorisations (orthogonal initialisers) at a time wait for each
    # other's threads forever on a CPU of two cores (jaxlib 0.10.2, `ParallelBatchMap`).
    state = jax.jit(lambda *runs: jax.lax.map(first, runs))(keys, settings)
    local = len(keys) // _mesh(len(keys)).size
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

        if callable(batches):
            return sharded(partial(runs, batches=batches), len(keys), replicated=1)(state, totals, settings, n)
        return sharded(runs, len(keys), replicated=2)(state, totals, settings, n, batches)

    def start(batches: Any, settings: PyTree, state: TrainState) -> Totals:
        return jax.vmap(lambda state, setting: of_one(batches, setting).start(state))(state, settings)

    state, settings = shard((state, settings), len(keys))
    extend, start = (train.with_batches(function, sample, settings) for function in (extend, start))
    return state, Advance(extend, Partial(train.averaged), start, steps)


def _chunk(loss: LossFn, sample: Any, run: tuple[TrainState, PyTree], runs: int) -> int:
    """Runs that a device batches by default, of `runs` such as this one: a divisor, or the last fewer would be another
    program.
    """
    if isinstance(sample, Bucketed):
        return 1
    if jax.default_backend() != "cpu":
        return runs
    state, setting = run
    batch = sample.batch if isinstance(sample, Batches) else lambda key, step: sample(key, setting)

    def backward(params: Params, key: Key[Array, ""]) -> Any:
        made = batch(key, state.step)
        return jax.vjp(lambda params: train.value_and_metrics(loss, params, made, key)[0], params)[1]

    kept = jax.tree.leaves(jax.eval_shape(backward, state.params, state.key))
    most = CACHE_BYTES // max(1, sum(leaf.size * leaf.dtype.itemsize for leaf in kept))
    return max(count for count in range(1, runs + 1) if runs % count == 0 and count <= max(1, most))


def shard(tree: PyTree, runs: int) -> PyTree:
    """Arrays with the leading axis `runs`, on the devices on which `sweep` trains them."""
    mesh = _mesh(runs)
    if mesh.size == 1:  # uncommitted, as everything else is
        return tree
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, RUNS))


def _mesh(runs: int) -> jax.sharding.Mesh:
    """As many devices as divide the runs."""
    devices = jax.devices()
    count = max(count for count in range(1, len(devices) + 1) if runs % count == 0)
    return jax.sharding.Mesh(np.array(devices[:count]), ("runs",))


def sharded(work: Callable, runs: int, replicated: int = 0) -> Callable:
    """`work` on arrays with the leading axis `runs`, done by each device for its shard of them.

    Args:
        replicated: how many further arguments every device is given whole.
    """
    mesh = _mesh(runs)
    if mesh.size == 1:
        return work
    whole = jax.sharding.PartitionSpec()

    def call(*arguments: PyTree) -> PyTree:
        specs = (RUNS,) * (len(arguments) - replicated) + (whole,) * replicated
        return jax.shard_map(work, mesh=mesh, in_specs=specs, out_specs=RUNS, check_vma=False)(*arguments)

    return call
