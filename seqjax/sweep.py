"""Many whole training runs as one program: over seeds and hyper-parameters, batched by `vmap` and sharded by device."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Key, PyTree, Scalar

from seqjax import train
from seqjax.train import Advance, TrainState
from seqjax.types import Batches, Bucketed, LossFn, Metrics, Params

RUNS = jax.sharding.PartitionSpec("runs")


def sweep(
    initialise: Callable[[Key[Array, ""]], Params],
    loss: LossFn,
    optimizer: Callable[[PyTree], optax.GradientTransformation],
    sample: Callable[[Key[Array, ""], PyTree], Any] | Batches | Bucketed,
    *,
    keys: Key[Array, " runs"],
    settings: PyTree,
    steps: int,
    vectorise: bool = True,
    chunk: int | None = None,
) -> tuple[TrainState, Advance]:
    """The first state of many runs, and the function that trains them all, to be given to `train.run`.

    Args:
        initialise: parameters from a key.
        optimizer: from one run's settings, such as a learning rate, which are traced.
        sample: `(key, setting) -> batch` for one run, with a new key at each step, or a data set's batches.
        keys: one for each run's parameters, data and dropout; equal keys give equal data.
        settings: a pytree of arrays with the leading axis `runs`.
        steps: updates per call of the returned function.
        vectorise: whether runs are one batched computation, many times faster for small models; otherwise they run one
            after the other, which suits large models, and buckets, all of which `vmap` would compute.
        chunk: runs that a device batches at a time, to bound memory. None: all.

    Returns:
        The state and the function. Several devices train equal shards of the runs: as many devices as divide them.

    Raises:
        ValueError: chunk < 1, or chunk without vectorise.
    """
    if chunk is not None and (chunk < 1 or not vectorise):
        raise ValueError(f"chunk must be >= 1, and needs vectorise=True, got {chunk} and {vectorise}")

    def first(run: tuple[Key[Array, ""], PyTree]) -> TrainState:
        key, setting = run
        init_key, train_key = jax.random.split(key)
        return train.init(initialise(init_key), optimizer(setting), train_key)

    def advance_one(batches: Any, state: TrainState, setting: PyTree) -> tuple[TrainState, Metrics]:
        own = batches if isinstance(batches, (Batches, Bucketed)) else lambda key: batches(key, setting)
        return train.scan(loss, optimizer(setting), own, steps)(state)

    # One after the other, not vmapped: two batched QR factorisations (orthogonal initialisers) at a time wait for each
    # other's threads forever on a CPU of two cores (jaxlib 0.10.2, `ParallelBatchMap`).
    state = jax.jit(lambda *runs: jax.lax.map(first, runs))(keys, settings)

    def advance(batches: Any, settings: PyTree, state: TrainState) -> tuple[TrainState, Metrics]:
        def runs(state: TrainState, settings: PyTree, batches: Any) -> tuple[TrainState, Metrics]:
            one = partial(advance_one, batches)
            if vectorise and (chunk is None or chunk >= len(keys)):
                return jax.vmap(one)(state, settings)
            return jax.lax.map(lambda run: one(*run), (state, settings), batch_size=chunk if vectorise else None)

        if callable(batches):
            return _sharded(partial(runs, batches=batches), len(keys))(state, settings)
        return _sharded(runs, len(keys), replicated=1)(state, settings, batches)

    state, settings = shard((state, settings), len(keys))
    return state, train.with_batches(advance, sample, settings)


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


def _sharded(work: Callable, runs: int, replicated: int = 0) -> Callable:
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


class Best(NamedTuple):
    """An optimiser's state, and the parameters that did best so far with their loss."""

    opt_state: Any
    params: Params
    loss: Scalar


def keep_best(
    state: TrainState, advance: Advance, validate: Callable[[Params], tuple[Scalar, Metrics]]
) -> tuple[TrainState, Advance]:
    """Keep the parameters with the smallest validation loss, checked after each call of `advance`, as part of the
    state.

    Args:
        state: of `sweep`, before the first step.
        advance: of `sweep`.
        validate: one run's parameters to a validation loss, which becomes the metric `validation`, and other metrics.

    Returns:
        The same with a `Best` around the optimiser's state; `chosen` gives its parameters.
    """

    def advance_and_validate(advance: Advance, state: TrainState) -> tuple[TrainState, Metrics]:
        best: Best = state.opt_state
        state, metrics = advance(state._replace(opt_state=best.opt_state))
        loss, more = _sharded(partial(jax.lax.map, validate), len(jnp.atleast_1d(state.step)))(state.params)
        better = loss < best.loss
        params = jax.tree.map(
            lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), state.params, best.params
        )
        best = Best(state.opt_state, params, jnp.where(better, loss, best.loss))
        return state._replace(opt_state=best), metrics | {"validation": loss, **more}

    worst = jnp.full(jnp.shape(state.step), jnp.inf, jnp.float32)  # a weak type would be compiled twice
    best = Best(state.opt_state, jax.tree.map(jnp.copy, state.params), worst)
    inner = advance if isinstance(advance, Partial) else Partial(advance)
    return state._replace(opt_state=best), Partial(advance_and_validate, inner)


def chosen(state: TrainState) -> Params:
    """The parameters to use: the best ones with `keep_best`, otherwise those after the last step."""
    if isinstance(state.opt_state, Best):
        return jax.tree.map(jnp.copy, state.opt_state.params)  # `train.run` donates what it is a part of
    return state.params
