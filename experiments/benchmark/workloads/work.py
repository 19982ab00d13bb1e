"""What a side of the benchmark gives to be timed."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Work(NamedTuple):
    """A piece of work, made ready: the same on all sides of a row.

    Attributes:
        run: does all of it once, waits for the end, and returns a number in which the sides must agree.
        units: how much of it one run is: steps, tokens, trajectories.
        parameters: of the model, as its own framework counts; 0 where there is none.
        flops: of the matrix products of one run; 0 where nobody counted.
        start: what must agree before any work is done, the loss of given weights, say.
    """

    run: Callable[[], float]
    units: float
    parameters: int = 0
    flops: float = 0.0
    start: float = 0.0


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by PyTorch's names that depend on name and shape alone, so that both sides begin with the same."""

    def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if "norm" in name:
            return np.full(shape, float(name.endswith("weight")), np.float32)
        noise = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 100
        return (noise * fan_in**-0.5).astype(np.float32)

    return {name: fill(name, shape) for name, shape in shapes.items()}


def matmul_flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations of the matrix products that a function does, those in loops as often as they run."""
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
