"""Keep the parameters with the smallest validation loss while training goes on."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Scalar

from seqjax import sweep
from seqjax.train import Advance, TrainState
from seqjax.types import Metrics, Params


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
        loss, more = sweep.sharded(partial(jax.lax.map, validate), len(jnp.atleast_1d(state.step)))(state.params)
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
