from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models import TCN
from tests import contracts

TAPS_AND_DILATIONS = [(1, (1, 2)), (2, (1, 2)), (3, (1, 1)), (3, (4, 1, 2)), (4, tuple(2**i for i in range(7)))]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(TCN(4, kernel_size=2, dilations=(1, 2)), id="2 taps"),
        pytest.param(TCN(4, kernel_size=3, dilations=(1,), weight_norm=True), id="weight norm"),
        pytest.param(TCN(4, kernel_size=1, dilations=(1,)), id="1 tap", marks=pytest.mark.slow),
        pytest.param(TCN(2, kernel_size=2, dilations=(1,)), id="no projection"),
    ],
)
def test_contract(model, key):
    contracts.backbone(model, key)


@pytest.mark.parametrize("weight_norm", [False, True])
def test_learns(weight_norm, key):
    contracts.learns(TCN(8, 2, (1, 2), weight_norm=weight_norm), key)


def test_blocks_as_in_the_paper(key):
    """relu(shortcut + relu(conv(relu(conv(x))))), in loops over NumPy."""
    model, x = TCN(4, kernel_size=2, dilations=(1, 3)), contracts.inputs(key, 9)
    params = contracts.parameters(model, key)

    def conv(x, weights, dilation):
        kernel, y = np.asarray(weights["kernel"]), np.tile(np.asarray(weights["bias"]), (*x.shape[:2], 1))
        for t, tap in np.ndindex(9, 2):
            if t >= tap * dilation:
                y[:, t] += x[:, t - tap * dilation] @ kernel[tap]
        return y

    y = np.asarray(x)
    for depth, dilation in enumerate(model.dilations):
        block = params["params"][f"Block_{depth}"]
        z = np.maximum(conv(y, block["CausalConv_0"], dilation), 0)
        z = np.maximum(conv(z, block["CausalConv_1"], dilation), 0)
        if depth == 0:
            y = y @ np.asarray(block["shortcut"]["kernel"]) + np.asarray(block["shortcut"]["bias"])
        y = np.maximum(y + z, 0)
    np.testing.assert_allclose(contracts.forward(model)(params, x), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel_size", "dilations"), TAPS_AND_DILATIONS)
def test_receptive_field_is_what_gradients_measure(kernel_size, dilations, key):
    """With all weights positive no relu is shut: the last output feels exactly the last `receptive_field` inputs."""
    model: Any = TCN(2, kernel_size, dilations)
    x = jnp.ones((1, model.receptive_field + 3, 1))
    params = jax.tree.map(lambda leaf: jnp.full_like(leaf, 0.2), contracts.parameters(model, key, 1))
    slope = jax.jit(jax.grad(lambda x: jnp.sum(model.apply(params, x)[0, -1])))(x)[0, :, 0]
    np.testing.assert_array_equal(slope[:3], 0)
    assert (slope[3:] > 0).all()


def test_one_streamed_step_costs_the_same_at_any_dilation(key):
    def flops(kernel_size, dilation):
        model = TCN(4, kernel_size, (dilation,))
        params, carry = contracts.parameters(model, key), model.start(3, 2, 1000)
        return contracts.extend(model).lower(params, carry, contracts.inputs(key, 1)).compile().cost_analysis()["flops"]

    # Not equal to the last one: a remainder by 128 compiles to fewer operations than one by 1000.
    few = [flops(3, dilation) for dilation in (2, 64, 500)]
    assert max(few) < 1.3 * min(few)
    assert flops(9, 2) > 2 * max(few)
