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


class Batch(NamedTuple):
    """What one step is given, in arrays of the side's framework.

    Attributes:
        inputs: arguments of the model.
        targets: numbers (batch, time, 1), or classes (batch) or (batch, time).
    """

    inputs: tuple[Any, ...]
    targets: Any


class Steps(NamedTuple):
    """Training as another library of JAX does it.

    Attributes:
        step: makes one update and returns the loss before it.
        start: the loss of the initial weights.
        parameters: their number.
    """

    step: Callable[[], Any]
    start: float
    parameters: int


def objective(outputs: Any, targets: Any) -> Any:
    """The loss of a step, as optax has it: of numbers the squared error, of classes the cross-entropy."""
    import optax

    if outputs.shape[-1] == 1:
        return optax.squared_error(outputs, targets).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets).mean()


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by PyTorch's names that depend on name and shape alone, so that both sides start from the same."""

    def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if "bias_hh" in name:  # the second bias, which some libraries lack
            return np.zeros(shape, np.float32)
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
    return convert.from_torch(named(like, layout, fill), layout, like)


def named(
    like: Any, layout: Any, fill: Callable[[dict[str, tuple[int, ...]]], dict[str, np.ndarray]] = filled
) -> dict[str, np.ndarray]:
    """The weights of the PyTorch counterpart of a model of ours, whose parameters, or their shapes, are `like`."""
    import jax

    from seqjax import convert

    shapes = jax.eval_shape(partial(convert.to_torch, layout=layout), like)
    return fill({name: leaf.shape for name, leaf in shapes.items()})


def parameter_count(params: Any) -> int:
    """Number of parameters of a model in JAX."""
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))


def training(
    params: Any, loss: Any, optimizer: Any, batches: Any, steps: int, *, calls: int = 1
) -> Callable[[], float]:
    """A function that trains for some steps, in one compiled call or in several, and returns their mean loss."""
    import jax

    from seqjax import train

    state = train.init(params, optimizer, jax.random.key(0))
    advance = jax.jit(train.scan(loss, optimizer, batches, steps // calls), donate_argnums=0)

    def run() -> float:
        nonlocal state
        losses = []
        for _ in range(calls):
            state, metrics = advance(state)
            losses.append(metrics["loss"])
        return float(np.mean(losses))

    return run


def unguarded_training(params: Any, loss: Any, optimizer: Any, steps: int) -> Callable[[], float]:
    """The same on one batch, in one compiled call, without looking whether losses and gradients are finite."""
    import jax
    import jax.numpy as jnp
    import optax

    def step(_, carry):
        params, opt_state, total = carry
        value, gradient = jax.value_and_grad(loss)(params, (), None)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, total + value

    @partial(jax.jit, donate_argnums=(0, 1))
    def advance(params, opt_state):
        params, opt_state, total = jax.lax.fori_loop(0, steps, step, (params, opt_state, jnp.zeros(())))
        return params, opt_state, total / steps

    state = jax.tree.map(jnp.copy, (params, optimizer.init(params)))

    def run() -> float:
        nonlocal state
        *state, value = advance(*state)
        return float(value)

    return run


def matmul_flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations of a function's matrix products, with those in loops counted at each iteration.

    Of what differs by platform, only this one's is counted.
    """
    import jax
    from jax.extend.core import jaxprs_in_params

    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())

    def count(jaxpr: Any) -> float:
        total = 0.0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (contracted, _), _ = equation.params["dimension_numbers"]
                left = equation.invars[0].aval.shape
                total += 2.0 * equation.outvars[0].aval.size * float(np.prod([left[axis] for axis in contracted]))
            parts = list(jaxprs_in_params(equation.params))
            if platforms := equation.params.get("branches_platforms"):
                parts = [next(part for part, names in zip(parts, platforms, strict=True) if not names or here in names)]
            total += sum(map(count, parts)) * equation.params.get("length", 1)  # of a scan
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)
