"""Training as pure functions: one step, many steps in one compiled call, many whole runs as one program."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree, Scalar

from seqjax.types import Batch, LossFn, Metrics, Params

SampleFn = Callable[[Key[Array, ""], Int[Array, ""]], Batch]
"""`(key, step) -> batch`: the same batch for the same step of the same run, whenever it is asked."""

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
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """One update as a pure function of state and batch.

    An update with a NaN or an infinity in it is skipped and counted: the metric `skipped` is the number of updates
    skipped in a row so far (0 where all is well), and parameters stay finite.
    """
    optimizer = _skip_nonfinite(optimizer)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        _, loss_key = jax.random.split(state.key)
        loss_key = jax.random.fold_in(loss_key, state.step)
        (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(state.params, batch, loss_key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": value, **metrics, "skipped": cast(optax.ApplyIfFiniteState, opt_state).notfinite_count}
        return TrainState(params, opt_state, state.step + 1, state.key), metrics

    return step


def scan(
    loss: LossFn, optimizer: optax.GradientTransformation, sample: SampleFn, steps: int
) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
    """`steps` updates as one pure function; batches are made inside, so nothing crosses the host in between.

    Metrics are averaged over the steps, but for `skipped`, which is the largest.
    """
    update = make_step(loss, optimizer)

    def advance(state: TrainState) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            data_key, _ = jax.random.split(state.key)
            return update(state, sample(data_key, state.step))

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
    sample: Callable[[Key[Array, ""], Int[Array, ""], PyTree], Batch],
    *,
    keys: Key[Array, " runs"],
    settings: PyTree,
    steps: int,
) -> tuple[TrainState, Advance]:
    """Many whole runs as one program: `vmap` over seeds and over whatever `settings` holds.

    Args:
        initialise: parameters from a key.
        optimizer: from one run's settings (a learning rate, say), which are traced.
        sample: the batch of a step of the run whose settings it is given (a kernel, say).
        keys: one a run, for its parameters, its data and its dropout; equal keys give equal data.
        settings: a pytree of arrays with the leading axis `runs`.
        steps: updates per call of the returned function.

    Returns:
        All runs' first state, and the function that advances it, to be given to `train.run`.
    """

    def first(run: tuple[Key[Array, ""], PyTree]) -> TrainState:
        key, setting = run
        init_key, train_key = jax.random.split(key)
        return init(initialise(init_key), optimizer(setting), train_key)

    def advance_one(state: TrainState, setting: PyTree) -> tuple[TrainState, Metrics]:
        return scan(loss, optimizer(setting), lambda key, step: sample(key, step, setting), steps)(state)

    # One after the other, not vmapped: two batched QR factorisations (orthogonal initialisers) at a time wait for each
    # other's threads for ever on a CPU of two cores (jaxlib 0.10.2, `ParallelBatchMap`).
    state = jax.jit(lambda *runs: jax.lax.map(first, runs))(keys, settings)
    return state, lambda state: jax.vmap(advance_one)(state, settings)


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
