"""Training as pure functions: one step, many steps in one compiled call, many whole runs as one program."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, Scalar

from seqjax.types import Batches, Bucketed, LossFn, Metrics, Params

SampleFn = Callable[[Key[Array, ""], Int[Array, ""]], Any]
"""`(key, step) -> batch`: the same batch for the same step of the same run, whenever it is asked."""


RUNS = jax.sharding.PartitionSpec("runs")

Advance = Callable[["TrainState"], tuple["TrainState", Metrics]]
"""A compiled call that trains for some steps."""


class TrainState(NamedTuple):
    """All that a run needs to go on: batch *i* is a function of (key, i), so data has no state.

    `train.sweep` gives every leaf a leading axis `runs`.
    """

    params: Params
    opt_state: Any
    step: Int[Array, "*runs"]
    key: Key[Array, "*runs"]


def init(params: Params, optimizer: optax.GradientTransformation, key: Key[Array, ""]) -> TrainState:
    """The state before the first step."""
    return TrainState(params, _skip_nonfinite(optimizer).init(params), jnp.zeros((), jnp.int32), key)


def make_step(
    loss: LossFn, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """One update as a pure function of state and batch.

    An update with a NaN or an infinity in it is skipped and counted: the metric `skipped` is the number of updates
    skipped in a row so far (0 where all is well), and parameters stay finite.
    """
    optimizer = _skip_nonfinite(optimizer)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        _, loss_key = jax.random.split(state.key)
        loss_key = jax.random.fold_in(loss_key, state.step)
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, batch, loss_key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": value, **metrics, "skipped": cast(optax.ApplyIfFiniteState, opt_state).notfinite_count}
        return TrainState(params, opt_state, state.step + 1, state.key), metrics

    return step


def scan(
    loss: LossFn, optimizer: optax.GradientTransformation, sample: SampleFn | Batches | Bucketed, steps: int
) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
    """`steps` updates as one pure function; batches are made inside, so nothing crosses the host in between.

    Metrics are averaged over the steps, but for `skipped`, which is the largest.
    """
    update = make_step(loss, optimizer)

    def advance(state: TrainState) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            data_key, _ = jax.random.split(state.key)
            if callable(sample):
                return update(state, sample(data_key, state.step))
            if isinstance(sample, Batches):
                return update(state, sample.batch(data_key, state.step))
            branches = [lambda state, make=make: update(state, make(data_key, state.step)) for make in sample.samples]
            return jax.lax.switch(sample.choose(data_key, state.step), branches, state)

        state, metrics = jax.lax.scan(body, state, length=steps)
        return state, {
            name: jnp.max(value) if name == "skipped" else jnp.mean(value, axis=0) for name, value in metrics.items()
        }

    return advance


def run(advance: Advance, state: TrainState, steps: int) -> Iterator[tuple[TrainState, Metrics]]:
    """Call `advance` until `steps` updates are done, and give the caller every state in between.

    Evaluating, stopping early and saving are the caller's plain Python; a state that was restored goes on from its
    own step. `advance` is compiled here, once, and takes over the memory of the state it is given.

    Raises:
        ValueError: `advance` overshoots: its steps per call do not divide what is left.
    """
    compiled = jax.jit(advance, donate_argnums=0)
    done = _common_step(state)
    while done < steps:
        state, metrics = compiled(state)
        done = _common_step(state)
        if done > steps:
            raise ValueError(f"steps per call must divide the steps left: asked for {steps}, reached {done}")
        yield state, metrics


def sweep(
    initialise: Callable[[Key[Array, ""]], Params],
    loss: LossFn,
    optimizer: Callable[[PyTree], optax.GradientTransformation],
    sample: Callable[[Key[Array, ""], Int[Array, ""], PyTree], Any] | Batches | Bucketed,
    *,
    keys: Key[Array, " runs"],
    settings: PyTree,
    steps: int,
    vectorise: bool = True,
    chunk: int | None = None,
) -> tuple[TrainState, Advance]:
    """Many whole runs as one program: `vmap` over seeds and over whatever `settings` holds.

    Args:
        initialise: parameters from a key.
        optimizer: from one run's settings (a learning rate, say), which are traced.
        sample: the batch of a step of the run whose settings it is given (a kernel, say), or batches of several shapes,
            which no setting changes.
        keys: one a run, for its parameters, its data and its dropout; equal keys give equal data.
        settings: a pytree of arrays with the leading axis `runs`.
        steps: updates per call of the returned function.
        vectorise: whether runs are one batched computation: many times faster for small models. Otherwise each
            waits for the one before, as models that fill the machine may; bucketed batches are then chosen between,
            where `vmap` would compute them all.
        chunk: how many runs a device batches at most; the others wait, and memory is that of so many. None: all.

    Returns:
        All runs' first state, and the function that advances it, to be given to `train.run`. Where there are several
        devices, as many of them as divide the runs train equal shares.

    Raises:
        ValueError: chunk < 1, or given where runs are not batched.
    """
    if chunk is not None and (chunk < 1 or not vectorise):
        raise ValueError(f"chunk must be >= 1, and needs vectorise=True, got {chunk} and {vectorise}")

    def first(run: tuple[Key[Array, ""], PyTree]) -> TrainState:
        key, setting = run
        init_key, train_key = jax.random.split(key)
        return init(initialise(init_key), optimizer(setting), train_key)

    def advance_one(state: TrainState, setting: PyTree) -> tuple[TrainState, Metrics]:
        def draw(key: Key[Array, ""], step: Int[Array, ""]) -> Any:
            return cast(Callable, sample)(key, step, setting)

        draws = draw if callable(sample) else sample
        return scan(loss, optimizer(setting), draws, steps)(state)

    # One after the other, not vmapped: two batched QR factorisations (orthogonal initialisers) at a time wait for each
    # other's threads for ever on a CPU of two cores (jaxlib 0.10.2, `ParallelBatchMap`).
    state = jax.jit(lambda *runs: jax.lax.map(first, runs))(keys, settings)
    if vectorise and (chunk is None or chunk >= len(keys)):
        advance = jax.vmap(advance_one)
    else:
        size = chunk if vectorise else None
        advance = lambda *runs: jax.lax.map(lambda run: advance_one(*run), runs, batch_size=size)  # noqa: E731
    advance = _each_its_share(advance, len(keys))
    state, settings = share((state, settings), len(keys))
    return state, lambda state: advance(state, settings)


def _mesh(runs: int) -> jax.sharding.Mesh:
    """As many devices as divide the runs."""
    devices = jax.devices()
    count = max(count for count in range(1, len(devices) + 1) if runs % count == 0)
    return jax.sharding.Mesh(np.array(devices[:count]), ("runs",))


def share(tree: PyTree, runs: int) -> PyTree:
    """Arrays with the leading axis `runs`, on the devices on which `sweep` trains them."""
    mesh = _mesh(runs)
    if mesh.size == 1:  # uncommitted, as everything else is
        return tree
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, RUNS))


def _each_its_share(work: Callable, runs: int) -> Callable:
    """`work` on arrays with the leading axis `runs`, done by each device for its own runs."""
    mesh = _mesh(runs)
    if mesh.size == 1:
        return work
    return jax.shard_map(work, mesh=mesh, in_specs=RUNS, out_specs=RUNS, check_vma=False)


def descend(
    loss: Callable[[Params, Key[Array, ""]], Scalar],
    optimizer: optax.GradientTransformation,
    params: Params,
    key: Key[Array, ""],
    times: Int[np.ndarray, " times"],
    watch: Callable[[Params], Scalar] | None = None,
) -> tuple[Params, Float[Array, " times"]]:
    """Train on a loss that is a formula, as those of `theory.population`, for the inside of a jit or a vmap.

    Args:
        loss: of parameters, and of a key for what is drawn at a step, if anything is.
        times: increasing numbers of steps, on a geometric grid as a rule: plateaus are seen in log time.
        watch: what is kept of the parameters at these times; `loss` with the step's key if not given.

    Returns:
        The parameters after the last step, and what was watched after `times` steps.

    Raises:
        ValueError: times that do not increase from 0 or more.
    """
    if not len(times) or times[0] < 0 or not (np.diff(times) > 0).all():
        raise ValueError(f"times must increase from 0 or more, got {times}")

    def update(step: Int[Array, ""], carry: tuple[Params, Any]) -> tuple[Params, Any]:
        params, state = carry
        gradient = jax.grad(loss)(params, jax.random.fold_in(key, step))
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    def until_seen(carry: tuple[Params, Any], interval: tuple[Array, Array]) -> tuple[tuple[Params, Any], Scalar]:
        first, last = interval
        params, state = jax.lax.fori_loop(first, last, update, carry)
        seen = loss(params, jax.random.fold_in(key, last)) if watch is None else watch(params)
        return (params, state), seen

    intervals = jnp.asarray([0, *times[:-1]]), jnp.asarray(times)
    (params, _), seen = jax.lax.scan(until_seen, (params, optimizer.init(params)), intervals)
    return params, seen


class Best(NamedTuple):
    """An optimiser's state, and the parameters that did best so far with their loss."""

    opt_state: Any
    params: Params
    loss: Scalar


def keep_best(
    state: TrainState, advance: Advance, validate: Callable[[Params], tuple[Scalar, Metrics]]
) -> tuple[TrainState, Advance]:
    """Early stopping that does not stop: after each call the parameters that `validate` likes best are remembered.

    They are part of the state, so that a resumed run remembers them too.

    Args:
        state: of `sweep`, before the first step.
        advance: of `sweep`.
        validate: what one run's parameters are judged by on examples held out of training, the less the better, which
            becomes the metric `validation`, and other metrics; compiled with the training.

    Returns:
        The same with a `Best` around the optimiser's state.
    """

    def advance_and_validate(state: TrainState) -> tuple[TrainState, dict[str, Array]]:
        best: Best = state.opt_state
        state, metrics = advance(state._replace(opt_state=best.opt_state))
        loss, more = _each_its_share(partial(jax.lax.map, validate), len(state.step))(state.params)
        better = loss < best.loss
        params = jax.tree.map(
            lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), state.params, best.params
        )
        best = Best(state.opt_state, params, jnp.where(better, loss, best.loss))
        return state._replace(opt_state=best), metrics | {"validation": loss, **more}

    worst = jnp.full(state.step.shape, jnp.inf, jnp.float32)  # a weak type would be compiled twice
    # A copy: `run` takes over the memory of the state, and may not be given one array twice.
    return state._replace(
        opt_state=Best(state.opt_state, jax.tree.map(jnp.copy, state.params), worst)
    ), advance_and_validate


def chosen(state: TrainState) -> Params:
    """The parameters to use: those that did best if they were remembered, else those after the last step."""
    return state.opt_state.params if isinstance(state.opt_state, Best) else state.params


def adam(learning_rate: Scalar | float, steps: int) -> optax.GradientTransformation:
    """Adam as all experiments here use it: norms clipped at 1, linear warm-up over 5 % of `steps`, half a cosine to 0.

    Args:
        learning_rate: at its peak; may be traced, so that a sweep can hold several.
    """
    shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, max(1, steps // 20), steps)
    descend = optax.scale_by_learning_rate(lambda step: learning_rate * shape(step))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), descend)


def _skip_nonfinite(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    # The limit after which optax would let the bad update through is never reached: the caller stops long before.
    return optax.apply_if_finite(optimizer, max_consecutive_errors=2**31 - 1)


def _common_step(state: TrainState) -> int:
    return int(jnp.max(state.step))
