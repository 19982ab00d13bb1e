"""Training one model as pure functions: one step, many steps in one compiled call, and the loop around them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Scalar

from seqjax import mesh
from seqjax._checks import at_least, integers
from seqjax._placing import layout, place, spans, stay
from seqjax.types import Batches, Bucketed, InputError, LossFn, Metrics, Params

SampleFn = Callable[[Key[Array, ""]], Any]
"""`key -> batch`: a task that makes its own data. `scan` gives each step a key that depends on run and step alone."""

CALL_SECONDS = 2.0
"""How long `run` lets one compiled call last, so that a signal is answered and a state can be saved soon."""


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


class Totals(NamedTuple):
    """Sums of the metrics since the last report (the largest value for `skipped`), and the number of updates summed."""

    sums: Metrics
    steps: Int[Array, "*runs"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Advance:
    """Training as a pure function, to be given to `run`, or called for `steps` updates at once:

        state, metrics = advance(state)

    A pytree, so that the arrays of a data set are arguments of compiled calls and not constants of their programs.

    Attributes:
        extend: `(state, totals, n) -> (state, totals)`: n more updates, where n may be traced; the result does not
            depend on how updates are divided among calls.
        report: `(state, totals) -> (state, metrics)`, after each `steps` updates.
        start: `state -> totals` before the first update.
        steps: updates between two reports.
    """

    extend: Callable[[TrainState, Totals, Int[Array, ""] | int], tuple[TrainState, Totals]]
    report: Callable[[TrainState, Totals], tuple[TrainState, Metrics]]
    start: Callable[[TrainState], Totals]
    steps: int = field(metadata={"static": True})

    def __call__(self, state: TrainState) -> tuple[TrainState, Metrics]:
        return self.report(*self.extend(state, self.start(state), self.steps))


def make_step(
    loss: LossFn, optimizer: optax.GradientTransformation, *, accumulate: int = 1
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """One update as a pure function of state and batch.

    An update is skipped if the loss or the gradient is not finite: parameters and optimiser state stay as they are, and
    the metric `skipped` counts the updates skipped in a row (0 after a good one). A parameter that would overflow keeps
    its value.

    The optimiser receives optax's extra arguments, which line searches, Polyak step sizes and loss-based schedules
    need: `value`, the loss of the batch, `grad`, its gradient, and `value_fn`, the loss as a function of the
    parameters. For example, to lower the rate when the mean loss of 100 batches has not improved ten times in a row:

        optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau(patience=10, accumulation_size=100))

    Args:
        accumulate: number of parts into which each batch is split, to save memory: they pass through the model one
            after the other, and their mean gradient is used. That is the whole batch's if the loss is a mean over rows.
            Each part has its own key.

    Raises:
        InputError: accumulate < 1, or, when traced, it does not divide the rows of a batch.
    """
    integers(1, accumulate=accumulate)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        state = _as_arrays(state)
        _, loss_key = jax.random.split(state.key)
        loss_key = jax.random.fold_in(loss_key, state.step)
        objective = partial(value_and_metrics, loss, batch=batch, key=loss_key)
        if accumulate == 1:
            (value, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        else:
            objective = partial(_mean_over_parts, loss, batch=batch, key=loss_key, parts=accumulate)
            (value, metrics), gradient = objective(state.params, of=partial(jax.value_and_grad, has_aux=True))
        finite = _all_finite((value, gradient))
        updates, opt_state = update(
            optimizer, gradient, state.opt_state, state.params, value, lambda at: objective(at)[0]
        )
        # Selected and not branched on: XLA then fuses it with the update.
        opt_state = jax.tree.map(partial(jax.lax.select_n, finite), state.opt_state, opt_state)
        # One by one: a condition on all of them makes XLA compute every update twice, and compile for a third longer.
        params = jax.tree.map(
            lambda new, old: jnp.where(finite & jnp.isfinite(new), new, old),
            optax.apply_updates(state.params, updates),
            state.params,
        )
        skipped = jnp.where(finite, 0, state.skipped + 1)
        metrics = {"loss": value, **metrics, "skipped": skipped}
        return TrainState(params, opt_state, state.step + 1, state.key, skipped), metrics

    return step


def update(
    optimizer: optax.GradientTransformation,
    gradient: Params,
    opt_state: Any,
    params: Params,
    value: Scalar,
    value_fn: Callable[[Params], Scalar],
) -> tuple[Params, Any]:
    """Updates and the optimiser's next state, where the optimiser may ask for any of optax's extra arguments."""
    extended = optax.with_extra_args_support(optimizer)
    return extended.update(gradient, opt_state, params, value=value, grad=gradient, value_fn=value_fn)


def scan(
    loss: LossFn,
    optimizer: optax.GradientTransformation,
    batches: SampleFn | Batches | Bucketed,
    steps: int,
    *,
    accumulate: int = 1,
    rows: jax.sharding.Mesh | None = None,
) -> Advance:
    """Many updates as one pure function; batches are made inside, so nothing crosses the host in between.

        scan(loss, optimizer, lambda key: task.sample(key, 64), steps=100)
        scan(loss, optimizer, data.Epochs(rows, batch_size=64), steps=100)

    Args:
        batches: a function of a key, new at each step, or an object with `batch(key, step)`, such as `data.Epochs`, or
            a `data.Buckets`.
        steps: updates between two reports of metrics, which are averaged over them, except for `skipped`, which is the
            largest.
        accumulate: as in `make_step`.
        rows: devices that share the rows of each batch, as `mesh.grid`; the state is to be placed by `mesh.replicated`
            or `mesh.sharded`.

    Raises:
        TypeError: `batches` is neither.
        InputError: steps < 1; or accumulate < 1; or, when traced, a batch whose number of rows is not a multiple of
            `accumulate` times the number of devices.
    """
    at_least(1, steps=steps)
    step = make_step(loss, optimizer, accumulate=accumulate)
    if rows is not None:
        step = _on_rows(step, rows, accumulate)
        batches = mesh.replicated(batches, rows) if isinstance(batches, (Batches, Bucketed)) else batches

    def one(batches: Any, state: TrainState) -> tuple[TrainState, Metrics]:
        data_key, _ = jax.random.split(state.key)
        if isinstance(batches, Bucketed):
            branches = [
                lambda state, sample=sample: step(state, sample(data_key, state.step)) for sample in batches.samples
            ]
            return jax.lax.switch(batches.choose(data_key, state.step), branches, state)
        if isinstance(batches, Batches):
            return step(state, batches.batch(data_key, state.step))
        return step(state, batches(jax.random.fold_in(data_key, state.step)))

    def extend(batches: Any, state: TrainState, totals: Totals, n: Int[Array, ""] | int) -> tuple[TrainState, Totals]:
        def body(_: Any, carry: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
            state, (sums, count) = carry
            state, metrics = one(batches, state)
            return state, Totals({name: _added(name, sums[name], metrics[name]) for name in sums}, count + 1)

        return jax.lax.fori_loop(0, n, body, (_as_arrays(state), totals))

    def start(batches: Any, state: TrainState) -> Totals:
        _, metrics = jax.eval_shape(lambda state: one(batches, state), state)
        sums = {name: jnp.zeros(metric.shape, _sum_dtype(metric.dtype)) for name, metric in metrics.items()}
        return Totals(sums, jnp.zeros((), jnp.int32))

    return Advance(with_batches(extend, batches), Partial(averaged), with_batches(start, batches), steps)


def averaged(state: TrainState, totals: Totals) -> tuple[TrainState, Metrics]:
    """The state, and its metrics since the last report: means, and the largest `skipped`."""
    count = jnp.maximum(totals.steps, 1)
    return state, {name: value if name == "skipped" else value / count for name, value in totals.sums.items()}


def with_batches(
    function: Callable[..., Any], batches: Callable[..., Any] | Batches | Bucketed, *more: PyTree
) -> Partial:
    """`function` with its first arguments filled in, as a pytree: arrays of a data set are leaves, a function is not.

    Raises:
        TypeError: `batches` is neither a function nor an object that gives a batch for a step.
    """
    if isinstance(batches, (Batches, Bucketed)):
        return Partial(function, batches, *more)
    if callable(batches):
        return Partial(partial(function, batches), *more)
    raise TypeError(f"batches must be a function `key -> batch` or have `batch(key, step)`, got {batches!r:.80}")


def run(advance: Advance, state: TrainState, steps: int) -> Iterator[tuple[TrainState, Metrics]]:
    """Train until `steps` updates are done, and yield the state and its metrics at every multiple of `advance.steps`,
    and at the end.

    Evaluating, early stopping (keep the best `state.params`) and saving are the caller's plain Python; a restored state
    continues from its own step. `advance` is compiled once, for any number of updates. Donates `state.opt_state`, which
    must not be used after the next state is requested; parameters may be.

    Raises:
        InputError: steps < 0, or no update of the whole training was finite.
    """
    at_least(0, steps=steps)
    for now, _, metrics in calls(advance, state, steps):
        state = now
        if metrics is not None:
            yield state, metrics
    if steps and np.all(np.asarray(state.skipped) >= np.asarray(state.step)):
        raise InputError(f"the loss must be finite, got NaN or infinity at each of the {_common_step(state)} steps")


def calls(
    advance: Advance, state: TrainState, steps: int, totals: Totals | None = None
) -> Iterator[tuple[TrainState, Totals, Metrics | None]]:
    """The compiled calls that `run` consists of, none of them much longer than `CALL_SECONDS`.

    Yields:
        After each call the state, the totals since the last report, and a report's metrics if there was one. A state
        saved with its totals continues as if it had not been interrupted.
    """

    # What is donated is an argument of its own, and parameters are not: callers keep the best.
    @partial(jax.jit, donate_argnums=1)
    def compiled(
        state: TrainState, opt_state: Any, totals: Totals, n: Int[Array, ""], advance: Advance
    ) -> tuple[TrainState, Totals]:
        return stay(advance.extend(state._replace(opt_state=opt_state), totals, n), laid)

    @jax.jit
    def report(state: TrainState, totals: Totals, advance: Advance) -> tuple[TrainState, Metrics]:
        state, metrics = advance.report(state, totals)
        return stay(state, laid[0]), metrics

    zeros = no_totals(advance, state)
    since = zeros if totals is None else totals
    laid, joined = layout((state, since)), spans(state)
    done, pace, first = _common_step(state), 1, True
    while done < steps:
        n = min(pace, advance.steps - done % advance.steps, steps - done)
        n = int(mesh.agreed(np.int32(n))) if joined else n  # clocks differ
        began = time.monotonic()
        state, since = compiled(state._replace(opt_state=None), state.opt_state, since, np.int32(n), advance)
        done = _common_step(state)
        if not first:  # the first call compiles
            pace = max(1, min(8 * n, int(n * CALL_SECONDS / max(time.monotonic() - began, 1e-9))))
        first, metrics = False, None
        if done == steps or done % advance.steps == 0:
            state, metrics = report(state, since, advance)
            since = zeros
        yield state, since, metrics


def no_totals(advance: Advance, state: TrainState) -> Totals:
    """The totals before the first update."""
    shapes = jax.eval_shape(advance.start, state)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    if not getattr(state.step, "committed", False):
        return zeros
    # Where a compiled call leaves them, or it would be compiled twice.
    return jax.tree.map(lambda leaf: place(leaf, state.step.sharding), zeros)


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
        InputError: no times, a negative one, or times that do not increase.
    """
    if not len(times) or times[0] < 0 or not (np.diff(times) > 0).all():
        raise InputError(f"times must increase from 0 or more, got {times}")

    def one(step: Int[Array, ""], carry: tuple[Params, Any]) -> tuple[Params, Any]:
        params, state = carry
        step_key = jax.random.fold_in(key, step)

        def objective(params: Params) -> Scalar:
            return loss(params, step_key)

        value, gradient = jax.value_and_grad(objective)(params)
        updates, state = update(optimizer, gradient, state, params, value, objective)
        return optax.apply_updates(params, updates), state

    def until_next(carry: tuple[Params, Any], interval: tuple[Array, Array]) -> tuple[tuple[Params, Any], Scalar]:
        first, last = interval
        params, state = jax.lax.fori_loop(first, last, one, carry)
        recorded = loss(params, jax.random.fold_in(key, last)) if watch is None else watch(params)
        return (params, state), recorded

    intervals = jnp.asarray([0, *times[:-1]]), jnp.asarray(times)
    (params, _), recorded = jax.lax.scan(until_next, (params, optimizer.init(params)), intervals)
    return params, recorded


def adam(learning_rate: Scalar | float, steps: int, *, weight_decay: float = 0.0) -> optax.GradientTransformation:
    """Adam with the gradient's norm clipped at 1, linear warm-up over 5 % of `steps`, and cosine decay to 0.

    Args:
        learning_rate: at its peak; may be traced, so that a sweep can hold several.
        steps: at least 1. A single one has no warm-up, in which it would not move.
        weight_decay: times the learning rate, the fraction of each parameter subtracted per step, decoupled from the
            gradient (AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101).

    Raises:
        InputError: steps < 1, or weight_decay negative or not finite.
    """
    integers(1, steps=steps)
    at_least(0, weight_decay=weight_decay)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, min(max(1, steps // 20), steps - 1), steps)
    descent = optax.scale_by_learning_rate(lambda step: learning_rate * schedule(step))
    decay = [optax.add_decayed_weights(weight_decay)] if weight_decay else []
    return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), *decay, descent)


def _as_arrays(state: TrainState) -> TrainState:
    """Counters that a caller wrote as Python integers get the type that a loop needs."""
    return state._replace(step=jnp.asarray(state.step, jnp.int32), skipped=jnp.asarray(state.skipped, jnp.int32))


def value_and_metrics(loss: LossFn, params: Params, batch: Any, key: Key[Array, ""]) -> tuple[Scalar, Metrics]:
    """A loss and its metrics, also of a function that has none."""
    result = loss(params, batch, key)
    return result if isinstance(result, tuple) else (result, {})


def _mean_over_parts(
    loss: LossFn, params: Params, batch: Any, key: Key[Array, ""], parts: int, of: Callable = lambda function: function
) -> Any:
    """The mean, over parts of a batch, of `of` of the loss and its metrics as a function of the parameters."""

    def split(leaf: Any) -> Any:
        if np.ndim(leaf) == 0:
            return leaf
        if len(leaf) % parts:
            raise InputError(f"accumulate must divide the rows of a batch, {len(leaf)}, got {parts}")
        # Rows number i, i + parts, …: where devices share the rows, each has as many of every part.
        return jnp.moveaxis(leaf.reshape(-1, parts, *leaf.shape[1:]), 1, 0)

    batches = jax.tree.map(split, batch)

    def one(number: Any) -> Any:
        rows = jax.tree.map(lambda leaf: leaf if np.ndim(leaf) == 0 else leaf[number], batches)
        objective = partial(value_and_metrics, loss, batch=rows, key=jax.random.fold_in(key, number))
        return of(objective)(params)

    def add(total: Any, number: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda sum, now: sum + now / parts, total, one(number)), None

    shapes = jax.eval_shape(one, 0)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)), shapes)
    total, _ = jax.lax.scan(add, zeros, jnp.arange(parts))
    return jax.tree.map(
        lambda sum, like: sum.astype(like.dtype) if jnp.issubdtype(like.dtype, jnp.inexact) else sum, total, shapes
    )


def _on_rows(step: Callable, rows: jax.sharding.Mesh, parts: int) -> Callable:
    def spread(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        return step(state, mesh.by_rows(lambda: batch, rows, parts)())

    return spread


def _all_finite(tree: PyTree) -> Bool[Array, ""]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _sum_dtype(dtype: Any) -> Any:
    """Sums of half-precision metrics and of counts are in single precision at least."""
    return dtype if dtype == jnp.int32 else jnp.promote_types(dtype, jnp.float32)


def _added(name: str, total: Array, value: Array) -> Array:
    return jnp.maximum(total, value) if name == "skipped" else total + value.astype(total.dtype)


def _common_step(state: TrainState) -> int:
    return int(jnp.max(state.step))
