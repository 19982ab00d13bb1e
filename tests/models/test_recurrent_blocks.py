"""What the recurrences of 2023 to 2025 have in common: contracts, options and sizes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from tests import contracts

MODELS: dict[str, Any] = {
    "MinGRU": models.MinGRU(4, layers=1),
    "MinLSTM": models.MinLSTM(4, layers=1, expansion=0, kernel_size=1),
    "SelectiveSSM": models.SelectiveSSM(4, layers=1, order=2),
    "GatedDeltaNet": models.GatedDeltaNet(4, layers=1, heads=2, expansion=0, chunk=2),
    "RGLRU": models.RGLRU(4, layers=1, expansion=0),
    "MLSTM": models.MLSTM(4, layers=1, heads=2, chunk=2),
    "SLSTM": models.SLSTM(4, layers=1, heads=2, expansion=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_contract(name, key):
    contracts.backbone(MODELS[name], key)
