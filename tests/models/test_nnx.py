"""Every architecture is also one of Flax's other API, through its bridge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from seqjax import models

X, TOKENS, IMAGE = jnp.ones((2, 3, 4)), jnp.full((2, 3), 5), jnp.ones((2, 4, 4, 3))
ARCHITECTURES = {
    "RNN": (models.RNN(4), [X]),
    "GRU": (models.GRU(4), [X]),
    "LSTM": (models.LSTM(4), [X]),
    "Bidirectional": (models.Bidirectional(4), [X]),
    "TCN": (models.TCN(4, dilations=(1,)), [X]),
    "LinearDilatedCNN": (models.LinearDilatedCNN(2, 2), [X]),
    "Transformer": (models.Transformer(4, layers=1), [X]),
    "SingleHeadTransformer": (models.SingleHeadTransformer(4, 2, 4, 4, 2), [X]),
    "LRU": (models.LRU(4, layers=1), [X]),
    "DiagonalRNN": (models.DiagonalRNN(4, 3), [X]),
    "MinGRU": (models.MinGRU(4, layers=1), [X]),
    "MinLSTM": (models.MinLSTM(4, layers=1), [X]),
    "SelectiveSSM": (models.SelectiveSSM(4, layers=1), [X]),
    "GatedDeltaNet": (models.GatedDeltaNet(4, layers=1), [X]),
    "RGLRU": (models.RGLRU(4, layers=1), [X]),
    "MLSTM": (models.MLSTM(4, layers=1), [X]),
    "SLSTM": (models.SLSTM(4, layers=1), [X]),
    "Regressor": (models.Regressor(models.GRU(4)), [X]),
    "LanguageModel": (models.LanguageModel(models.GRU(4), 9, 4), [TOKENS]),
    "EncoderDecoder": (models.EncoderDecoder(models.GRU(4), models.BahdanauDecoder(4), 9, 9, 4), [TOKENS, TOKENS]),
    "CNN": (models.CNN((4,)), [IMAGE]),
}


QUICK = ("GRU", "TCN", "Bidirectional", "LanguageModel", "CNN")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_an_architecture_is_the_same_function_in_nnx(name):
    model, inputs = ARCHITECTURES[name]
    bridged = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0))
    nnx.bridge.lazy_init(bridged, *inputs)
    params = {"params": nnx.to_pure_dict(nnx.state(bridged, nnx.Param))}
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(model.init, jax.random.key(0), *inputs))
    assert jax.tree.map(jnp.shape, params) == shapes
    found = nnx.jit(lambda module, *inputs: module(*inputs))(bridged, *inputs)
    np.testing.assert_allclose(found, jax.jit(model.apply)(params, *inputs), rtol=1e-5, atol=1e-6)
