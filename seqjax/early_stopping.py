"""Keep the parameters with the smallest validation loss while training goes on."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Scalar

from seqjax import mesh, sweep
from seqjax._checks import known
from seqjax._placing import layout, place
from seqjax.train import Advance, Totals, TrainState
from seqjax.types import InputError, Metrics, Params


class Best(NamedTuple):
    """An optimiser's state, and the parameters that did best so far with their loss."""

    opt_state: Any
    params: Params
    loss: Scalar


def keep_best(
    state: TrainState, advance: Advance, validate: Callable[[Params], tuple[Scalar, Metrics]]
) -> tuple[TrainState, Advance]:
    """Keep the parameters with the smallest validation loss, checked at each report of `advance`, as part of the state.

    Args:
        state: of `sweep`, before the first step.
        advance: of `sweep`.
        validate: one run's parameters to a validation loss, which becomes the metric `validation`, and other metrics.

    Returns:
        The same with a `Best` around the optimiser's state; `chosen` gives its parameters.
    """
    laid = layout(state.step)
    on_rows = laid is not None and mesh.ROWS in laid.mesh.axis_names
    runs, each = len(jnp.atleast_1d(state.step)), partial(jax.lax.map, validate)
    validate_all = each if on_rows else sweep.sharded(each, runs)

    def extend(advance: Advance, state: TrainState, totals: Totals, n: Any) -> tuple[TrainState, Totals]:
        best: Best = state.opt_state
        state, totals = advance.extend(state._replace(opt_state=best.opt_state), totals, n)
        return state._replace(opt_state=best._replace(opt_state=state.opt_state)), totals

    def report(advance: Advance, state: TrainState, totals: Totals) -> tuple[TrainState, Metrics]:
        best: Best = state.opt_state
        _, metrics = advance.report(state, totals)
        loss, more = validate_all(state.params)
        better = loss < best.loss
        params = jax.tree.map(
            lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), state.params, best.params
        )
        best = Best(best.opt_state, params, jnp.where(better, loss, best.loss))
        return state._replace(opt_state=best), metrics | {"validation": loss, **more}

    def start(advance: Advance, state: TrainState) -> Totals:
        return advance.start(state._replace(opt_state=state.opt_state.opt_state))

    worst = jnp.full(jnp.shape(state.step), jnp.inf, jnp.float32)  # a weak type would be compiled twice
    worst = worst if laid is None else place(worst, laid)
    best = Best(state.opt_state, jax.tree.map(jnp.copy, state.params), worst)
    inner = Partial(extend, advance), Partial(report, advance), Partial(start, advance)
    return state._replace(opt_state=best), Advance(*inner, steps=advance.steps)


def chosen(state: TrainState) -> Params:
    """The parameters to use: the best ones with `keep_best`, otherwise those after the last step.

    Raises:
        InputError: the validation loss of a run has never been finite.
    """
    if not isinstance(state.opt_state, Best):
        return state.params
    if known(losses := state.opt_state.loss) and not np.isfinite(losses).all():
        run = int(np.argmin(np.isfinite(losses)))
        raise InputError(f"validation losses must be finite at one report at least, got none of run {run}")
    return jax.tree.map(jnp.copy, state.opt_state.params)  # `train.run` donates what it is a part of
