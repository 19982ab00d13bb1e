"""The work that a side of the benchmark times, and what workloads share.

Frameworks are imported inside functions here and in all workloads: a side's process loads its own framework alone.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np


class Work(NamedTuple):
    """Prepared work, the same on all sides of a row.

    Attributes:
        run: does all of it once, waits for the end, and returns a number that must agree between the sides.
        units: how much one run does: steps, tokens, trajectories.
        parameters: number of the model's parameters, as its own framework counts; 0 where there is no model.
        flops: floating-point operations of the matrix products of one run; 0 where they are not counted.
        start: a number that must agree before any work is done, such as the loss of the initial weights.
    """

    run: Callable[[], float]
    units: float
    parameters: int = 0
    flops: float = 0.0
    start: float = 0.0


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by PyTorch's names that depend on name and shape alone, so that both sides start from the same."""

    def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if "norm" in name:
            return np.full(shape, float(name.endswith("weight")), np.float32)
        noise = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 100
        return (noise * fan_in**-0.5).astype(np.float32)

    return {name: fill(name, shape) for name, shape in shapes.items()}


def parameters(
    model: Any, layout: Any, *inputs: Any, fill: Callable[[dict[str, tuple[int, ...]]], dict[str, np.ndarray]] = filled
) -> Any:
    """Parameters of a model of ours with the weights that its PyTorch counterpart gets by `fill`."""
    import jax

    from seqjax import convert

    like = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    named = jax.eval_shape(partial(convert.to_torch, layout=layout), like)
    return convert.from_torch(fill({name: leaf.shape for name, leaf in named.items()}), layout, like)


def parameter_count(params: Any) -> int:
    """Number of parameters of a model of ours."""
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))


def training(params: Any, loss: Any, optimizer: Any, batches: Any, steps: int) -> Callable[[], float]:
    """A function that trains for some steps in one compiled call and returns their mean loss."""
    import jax

    from seqjax import train

    state = train.init(params, optimizer, jax.random.key(0))
    advance = jax.jit(train.scan(loss, optimizer, batches, steps), donate_argnums=0)

    def run() -> float:
        nonlocal state
        state, metrics = advance(state)
        return float(metrics["loss"])

    return run


def matmul_flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations of a function's matrix products, with those in loops counted at each iteration."""
    import jax
    from jax.extend.core import jaxprs_in_params

    def count(jaxpr: Any) -> float:
        total = 0.0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                left = equation.invars[0].aval.shape
                total += 2.0 * equation.outvars[0].aval.size * float(np.prod([left[axis] for axis in contracted]))
            inner = sum(count(sub) for sub in jaxprs_in_params(equation.params))
            total += inner * equation.params.get("length", 1)  # of a scan
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)
