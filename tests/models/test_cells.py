"""The derivative that cells state, against autodiff of the same steps in double precision."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax.models import GRUCell, LSTMCell, Recurrent, RNNCell
from seqjax.models.cells import recurrence
from tests import contracts

CELLS = {
    "rnn": RNNCell(),
    "relu": RNNCell(nn.relu),
    "gelu": RNNCell(nn.gelu),
    "gru": GRUCell(),
    "lstm": LSTMCell(),
}
TIME, BATCH, FEATURES = 5, 3, 2


@dataclass(frozen=True)
class StepOnly:
    """A cell as a user may write it: the same steps, with autodiff's derivative."""

    cell: RNNCell | GRUCell | LSTMCell
    gates: ClassVar[int] = 0
    biases: ClassVar[int] = 0

    def initial_state(self, batch, features):
        return self.cell.initial_state(batch, features)

    def step(self, kernel, bias, state, projected):
        return self.cell.step(kernel, bias, state, projected)


def drawn(cell, *, masked):
    """Weights, a state that is not zero, projected inputs, and a mask with an empty and a full row."""
    rng = np.random.default_rng(0)
    shapes = (FEATURES, cell.gates * FEATURES), (cell.biases * FEATURES,), (TIME, BATCH, cell.gates * FEATURES)
    kernel, bias, projected = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    state = jax.tree.map(lambda part: jnp.asarray(rng.normal(size=part.shape)), cell.initial_state(BATCH, FEATURES))
    mask = contracts.upto([TIME, 2, 0], TIME).T if masked else None
    return (kernel, bias, state, projected), mask


def objective(cell, mask):
    """A number that depends on every real output and on every part of the final state."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(TIME, BATCH, FEATURES)))

    def value(kernel, bias, state, projected):
        final, y = recurrence(cell, kernel, bias, state, projected, mask)
        y = y if mask is None else jnp.where(mask[..., None], y, 0.0)
        return (weights * y).sum() + sum(jnp.sin(part).sum() for part in jax.tree.leaves(final))

    return value


TRANSFORMED = {
    "value": lambda f: f,
    "gradient": lambda f: jax.grad(f, (0, 1, 2, 3)),
    "forward over backward": lambda f: jax.hessian(f, (0, 1)),
    "in parallel": lambda f: lambda *at: jax.vmap(jax.grad(f, (0, 3)))(*jax.tree.map(lambda x: jnp.stack([x, -x]), at)),
}


@pytest.mark.parametrize(("name", "masked"), [*((name, True) for name in CELLS), ("lstm", False)])
def test_derivatives_are_those_of_autodiff(name, masked, x64):
    cell = CELLS[name]
    at, mask = drawn(cell, masked=masked)
    found, expected = (
        jax.jit(lambda *at, cell=cell: {how: of(objective(cell, mask))(*at) for how, of in TRANSFORMED.items()})(*at)
        for cell in (cell, StepOnly(cell))
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-12), found, expected)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_the_backward_loop_keeps_no_more_than_the_factors(name):
    """And adds up no gradient of the kernel: its only products are the ones with the state's tangent."""
    cell = CELLS[name]
    at, _ = drawn(cell, masked=False)
    gradient = jax.make_jaxpr(jax.grad(objective(cell, None)))(*at)
    forward, backward = (equation for equation in gradient.eqns if equation.primitive.name == "scan")
    factors = {"rnn": 0, "gru": 5, "lstm": 6}[name]
    assert sum(kept.aval.shape[0] == TIME for kept in forward.outvars) == 1 + factors
    products = [e for e in backward.params["jaxpr"].eqns if e.primitive.name == "dot_general"]
    assert [product.outvars[0].aval.shape for product in products] == [(BATCH, FEATURES)]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_half_precision_is_near_single_precision(name, dtype, key):
    """The recurrence's kernel has half precision, its state and the sums over time have not."""
    full, half = (Recurrent(8, CELLS[name], dtype=dtype) for dtype in (None, dtype))
    params, x = contracts.parameters(full, key), contracts.inputs(key, 12)

    def gradient(model):
        return jax.jit(jax.grad(lambda params: (model.apply(params, x) ** 2).mean()))(params)

    def error(ours, theirs):
        assert ours.dtype == jnp.float32
        return jnp.abs(ours - theirs).max() / jnp.abs(theirs).max()

    errors = jax.tree.map(error, gradient(half), gradient(full))
    assert max(jax.tree.leaves(errors)) < 4 * jnp.finfo(dtype).eps
