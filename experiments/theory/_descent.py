"""What scripts of this chapter that train on a formula share: when losses are recorded, and gradient flow."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PyTree, Scalar

from seqjax.types import Params

LONGEST = 1e12
"""The end of gradient flow, in its own time, which is learning rate times steps."""


def log_steps(last: int, count: int) -> Int[np.ndarray, " times"]:
    """At most `count` numbers of steps on a geometric grid from 1 to `last`."""
    return np.unique(np.geomspace(1, last, count).round().astype(int))


def gradient_flow(
    loss: Callable[[Params], Scalar],
    start: Params,
    times: Float[np.ndarray, " times"],
    *,
    solver: Any,
    atol: float,
    observe: Callable[[Params], PyTree] = lambda params: params,
    until: Callable[[Params], Any] | None = None,
) -> PyTree:
    """Solve d(params)/d(time) = -gradient up to `LONGEST`, and return what `observe` gives at each of `times`.

    Args:
        solver: of diffrax.
        atol: the solver's absolute tolerance; the relative one is 1e-4.
        until: where it is true the flow ends; everything after it is infinite.
    """
    import diffrax

    event = None if until is None else diffrax.Event(lambda time, params, args, **more: until(params))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda time, params, args: jax.tree.map(jnp.negative, jax.grad(loss)(params))),
        solver,
        t0=0.0,
        t1=LONGEST,
        dt0=1e-3,
        y0=start,
        saveat=diffrax.SaveAt(ts=jnp.asarray(times), fn=lambda time, params, args: observe(params)),
        stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=atol),
        event=event,
        max_steps=4096,
    )
    return solution.ys
