"""Training one model as pure functions: one step, many steps in one compiled call, and the loop around them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Scalar

from seqjax._checks import integers
from seqjax.types import Batches, Bucketed, LossFn, Metrics, Params

SampleFn = Callable[[Key[Array, ""]], Any]
"""`key -> batch`: a task that makes its own data. `scan` gives each step its own key, the same whenever it is done."""

Advance = Callable[["TrainState"], tuple["TrainState", Metrics]]
"""A function that trains for some steps. Those made here are pytrees, so that the arrays of a data set are arguments of
the compiled call and not constants of its program."""


class TrainState(NamedTuple):
    """All that a run needs to resume: batch *i* is a function of (key, i), so data has no state.

    In a sweep every leaf has a leading axis `runs`. With an optimiser of your own, `TrainState(params,
    optimizer.init(params), jnp.int32(0), key)` is a valid state too.

    Attributes:
        skipped: number of consecutive updates, up to now, that were skipped because they were not finite.
    """

    params: Params
    opt_state: Any
    step: Int[Array, "*runs"]
    key: Key[Array, "*runs"]
    skipped: Int[Array | np.ndarray, "*runs"] = np.zeros((), np.int32)


def init(params: Params, optimizer: optax.GradientTransformation, key: Key[Array, ""]) -> TrainState:
    """The state before the first step; `params` are copied."""
    # An optimiser may keep parameters in its state, and `run` donates that.
    copied, kept = (jax.tree.map(jnp.copy, params) for _ in range(2))
    return TrainState(copied, optimizer.init(kept), jnp.zeros((), jnp.int32), key, jnp.zeros((), jnp.int32))


def make_step(
    loss: LossFn, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """One update as a pure function of state and batch.

    An update is skipped if the loss or the gradient is not finite: parameters and optimiser state stay as they are, and
    the metric `skipped` counts the updates skipped in a row (0 after a good one).
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        state = _as_arrays(state)
        _, loss_key = jax.random.split(state.key)
        loss_key = jax.random.fold_in(loss_key, state.step)
        (value, metrics), gradient = jax.value_and_grad(_with_metrics(loss), has_aux=True)(
            state.params, batch, loss_key
        )
        finite = _all_finite((value, gradient))
        updates, opt_state = jax.lax.cond(
            finite,
            lambda: optimizer.update(gradient, state.opt_state, state.params),
            lambda: (jax.tree.map(jnp.zeros_like, gradient), state.opt_state),
        )
        params = optax.apply_updates(state.params, updates)
        skipped = jnp.where(finite, 0, state.skipped + 1)
        metrics = {"loss": value, **metrics, "skipped": skipped}
        return TrainState(params, opt_state, state.step + 1, state.key, skipped), metrics

    return step


def scan(
    loss: LossFn, optimizer: optax.GradientTransformation, batches: SampleFn | Batches | Bucketed, steps: int
) -> Advance:
    """`steps` updates as one pure function; batches are made inside, so nothing crosses the host in between.

        scan(loss, optimizer, lambda key: task.sample(key, 64), steps=100)
        scan(loss, optimizer, data.Epochs(rows, batch_size=64), steps=100)

    Args:
        batches: a function of a key, new at each step, or an object with `batch(key, step)`, such as `data.Epochs`, or
            a `data.Buckets`.

    Returns:
        `state -> (state, metrics)`, with metrics averaged over the steps, except for `skipped`, which is the largest.

    Raises:
        TypeError: `batches` is neither.
    """
    update = make_step(loss, optimizer)

    def advance(batches: Any, state: TrainState) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            data_key, _ = jax.random.split(state.key)
            if isinstance(batches, Bucketed):
                branches = [
                    lambda state, sample=sample: update(state, sample(data_key, state.step))
                    for sample in batches.samples
                ]
                return jax.lax.switch(batches.choose(data_key, state.step), branches, state)
            if isinstance(batches, Batches):
                return update(state, batches.batch(data_key, state.step))
            return update(state, batches(jax.random.fold_in(data_key, state.step)))

        state, metrics = jax.lax.scan(body, _as_arrays(state), length=steps)
        return state, {
            name: jnp.max(value) if name == "skipped" else jnp.mean(value, axis=0) for name, value in metrics.items()
        }

    return with_batches(advance, batches)


def with_batches(
    advance: Callable[..., Any], batches: Callable[..., Any] | Batches | Bucketed, *more: PyTree
) -> Partial:
    """`advance` with its first arguments filled in, as a pytree: arrays of a data set are leaves, a function is not.

    Raises:
        TypeError: `batches` is neither a function nor an object that gives a batch for a step.
    """
    if isinstance(batches, (Batches, Bucketed)):
        return Partial(advance, batches, *more)
    if callable(batches):
        return Partial(partial(advance, batches), *more)
    raise TypeError(f"batches must be a function `key -> batch` or have `batch(key, step)`, got {batches!r:.80}")


def run(advance: Advance, state: TrainState, steps: int) -> Iterator[tuple[TrainState, Metrics]]:
    """Call `advance` until `steps` updates are done, and yield every state in between.

    Evaluating, early stopping (keep the best `state.params`) and saving are the caller's plain Python; a restored state
    continues from its own step. `advance` is compiled once. Donates `state.opt_state`, which must not be used after the
    next state is requested; parameters may be.

    Raises:
        ValueError: `advance` overshoots: its steps per call do not divide the steps left.
    """

    # What is donated is an argument of its own, and parameters are not: callers keep the best.
    @partial(jax.jit, donate_argnums=1)
    def compiled(state: TrainState, opt_state: Any, advance: Advance) -> tuple[TrainState, Metrics]:
        return advance(state._replace(opt_state=opt_state))

    if not isinstance(advance, Partial):
        advance = Partial(advance)
    done = _common_step(state)
    while done < steps:
        state, metrics = compiled(state._replace(opt_state=None), state.opt_state, advance)
        done = _common_step(state)
        if done > steps:
            raise ValueError(f"steps per call must divide the steps left: wanted {steps}, reached {done}")
        yield state, metrics


def descend(
    loss: Callable[[Params, Key[Array, ""]], Scalar],
    optimizer: optax.GradientTransformation,
    params: Params,
    key: Key[Array, ""],
    times: Int[np.ndarray, " times"],
    watch: Callable[[Params], Scalar] | None = None,
) -> tuple[Params, Float[Array, " times"]]:
    """Train on a loss that is a formula, as those of `theory.population`, inside a jit or a vmap.

    Args:
        loss: of parameters, and of a key for randomness.
        times: increasing numbers of steps, usually on a geometric grid, as plateaus are seen in log time.
        watch: what is recorded of the parameters at these times; None: `loss` with the step's key.

    Returns:
        The parameters after the last step, and what was recorded after `times` steps.

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

    def until_next(carry: tuple[Params, Any], interval: tuple[Array, Array]) -> tuple[tuple[Params, Any], Scalar]:
        first, last = interval
        params, state = jax.lax.fori_loop(first, last, update, carry)
        recorded = loss(params, jax.random.fold_in(key, last)) if watch is None else watch(params)
        return (params, state), recorded

    intervals = jnp.asarray([0, *times[:-1]]), jnp.asarray(times)
    (params, _), recorded = jax.lax.scan(until_next, (params, optimizer.init(params)), intervals)
    return params, recorded


def adam(learning_rate: Scalar | float, steps: int) -> optax.GradientTransformation:
    """Adam as all experiments here use it: norms clipped at 1, linear warm-up over 5 % of `steps`, half a cosine to 0.

    Args:
        learning_rate: at its peak; may be traced, so that a sweep can hold several.
        steps: at least 1. A single one has no warm-up, in which it would not move.
    """
    integers(1, steps=steps)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, min(max(1, steps // 20), steps - 1), steps)
    descent = optax.scale_by_learning_rate(lambda step: learning_rate * schedule(step))
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), descent)


def _as_arrays(state: TrainState) -> TrainState:
    """Counters that a caller wrote as Python integers get the type that a loop needs."""
    return state._replace(step=jnp.asarray(state.step, jnp.int32), skipped=jnp.asarray(state.skipped, jnp.int32))


def _with_metrics(loss: LossFn) -> Callable[..., tuple[Scalar, Metrics]]:
    def of(params: Params, batch: Any, key: Key[Array, ""]) -> tuple[Scalar, Metrics]:
        result = loss(params, batch, key)
        return result if isinstance(result, tuple) else (result, {})

    return of


def _all_finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _common_step(state: TrainState) -> int:
    return int(jnp.max(state.step))
