from functools import partial

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from seqjax.models import GRU, LSTM, RNN, TCN, Bidirectional, Positions, Recurrent, Regressor, Transformer
from tests import contracts

CAUSAL = [Recurrent(4, LSTM), TCN(4, 2, (1, 2)), Transformer(4, 2, 1)]
BOTH_WAYS = [Bidirectional(4, GRU), Transformer(4, 2, 1, causal=False)]


def name(model):
    return type(model).__name__


@pytest.mark.parametrize("backbone", CAUSAL, ids=name)
def test_contract(backbone, key):
    model = Regressor(backbone, targets=3)
    contracts.preserves_time(model, key)
    contracts.is_causal(model, key, reach=getattr(backbone, "receptive_field", None))
    contracts.rows_are_independent(model, key)
    contracts.ignores_padding(model, key)
    contracts.streams(model, key)


def test_contract_both_ways(key):
    model = Regressor(Bidirectional(4, GRU), targets=3)
    contracts.preserves_time(model, key)
    contracts.sees_both_ways(model, key)
    contracts.rows_are_independent(model, key)
    contracts.ignores_padding(model, key)


@pytest.mark.parametrize("backbone", [*CAUSAL, *BOTH_WAYS], ids=name)
def test_a_linear_readout_of_the_backbone(backbone, key):
    """No activation on top: tanh over unbounded targets was D4."""
    model, x = Regressor(backbone, targets=3), contracts.inputs(key, 4)
    params = contracts.parameters(model, key)["params"]
    features = contracts.forward(backbone)({"params": params["backbone"]}, x)
    expected = features @ params["readout"]["kernel"] + params["readout"]["bias"][None, None]
    np.testing.assert_allclose(contracts.forward(model)({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "inputs", "count"),
    [
        pytest.param(Recurrent(256, LSTM, layers=2), 1, 789_761, id="A13: stock LSTM"),
        pytest.param(TCN(30, 4, (1, 2, 4, 8, 16, 32, 64), weight_norm=True), 1, 47_851, id="A14: Lorenz, weight norm"),
        pytest.param(TCN(30, 4, (1, 2, 4, 8, 16, 32, 64)), 1, 47_431, id="A14: Lorenz"),
        pytest.param(TCN(10, 4, (1, 2, 4, 8, 16, 32, 64), weight_norm=True), 1, 5_551, id="A14: shift"),
        pytest.param(Transformer(64, 8, 1, expansion=32, pre_norm=False), 1, 281_345, id="A16: one layer"),
        pytest.param(Transformer(32, 8, 5, expansion=64, pre_norm=False), 1, 687_617, id="A16: five layers"),
    ],
)
def test_parameter_counts_of_the_seeds(backbone, inputs, count, key):
    params = jax.eval_shape(Regressor(backbone).init, key, jnp.zeros((1, 1, inputs)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(
    "build",
    [
        partial(Recurrent, 4, RNN, layers=2),
        partial(Bidirectional, 4, RNN, layers=2),
        partial(TCN, 4, 2, (1,)),
        partial(Transformer, 4, 2, 1, positions=Positions, activation=nn.relu),
    ],
    ids=lambda build: build.func.__name__,
)
def test_dropout_drops_in_training_only(build, key):
    model, x = Regressor(build(dropout=0.5)), contracts.inputs(key, 4)
    params = contracts.parameters(model, key)
    apply = jax.jit(model.apply, static_argnames="train")
    np.testing.assert_allclose(apply(params, x), contracts.forward(Regressor(build()))(params, x), rtol=1e-5, atol=1e-6)
    first, second = (apply(params, x, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (1, 2))
    assert not np.allclose(first, second, atol=0.01)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        model.apply(params, x, train=True)


def test_a_linen_module_becomes_an_nnx_module(key):
    """The way to NNX stays open."""
    linen, x = Regressor(Recurrent(4, GRU)), contracts.inputs(key, 4)
    module = nnx.bridge.lazy_init(nnx.bridge.ToNNX(linen, rngs=nnx.Rngs(0)), x)
    params = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == jax.tree.map(jnp.shape, dict(linen.init(key, x)))
    np.testing.assert_allclose(module(x), contracts.forward(linen)(params, x), rtol=1e-5)
