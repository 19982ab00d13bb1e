"""No recurrence explodes from its default start: values and gradients after ten thousand steps.

Convolutions and attention have no state that could grow with the length.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from tests import contracts

STEPS, SEEDS = 10_000, 4
BACKBONES: dict[str, Any] = {
    "RNN": models.RNN(4),
    "LSTM": models.LSTM(4),
    "both ways": models.Bidirectional(4),
    "LRU": models.LRU(4, layers=1),
    "DiagonalRNN": models.DiagonalRNN(4, 4),
    "MinGRU": models.MinGRU(4, layers=1),
    "MinLSTM": models.MinLSTM(4, layers=1, bare=True),
    "SelectiveSSM": models.SelectiveSSM(4, layers=1, order=4, bare=True),
    "GatedDeltaNet": models.GatedDeltaNet(4, layers=1, heads=2, negative_eigenvalues=True, bare=True),
    "RGLRU": models.RGLRU(4, layers=1, bare=True),
    "MLSTM": models.MLSTM(4, layers=1, heads=2, bare=True),
    "SLSTM": models.SLSTM(4, layers=1, heads=2, bare=True),
}


QUICK = ("LSTM", "both ways", "LRU", "GatedDeltaNet")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in BACKBONES]
)
def test_long_sequences(name, key):
    """The last of 10,000 outputs, and its gradients by all parameters and inputs."""
    model, x = BACKBONES[name], contracts.inputs(key, STEPS, rows=1)

    def last(params, x):
        y = model.apply(params, x)
        return jnp.sum(y[:, -1]), jnp.max(jnp.abs(y))

    @contracts.compiled
    def seed(key):
        return jax.value_and_grad(last, argnums=(0, 1), has_aux=True)(model.init(key, x[:, :1]), x)

    for found in map(seed, jax.random.split(key, SEEDS)):
        for leaf in jax.tree.leaves(found):
            assert np.abs(leaf).max() < 1e3, name
