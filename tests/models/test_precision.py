"""Mixed precision: products in half, parameters, memories of recurrences and outputs in single."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from tests import contracts

HALF = jnp.bfloat16
MODELS: dict[str, Any] = {
    "RNN": models.RNN(6),
    "GRU": models.GRU(6, layers=2),
    "LSTM": models.LSTM(6),
    "both ways": models.Bidirectional(6, models.GRUCell()),
    "TCN": models.TCN(6, 2, (1, 2), weight_norm=True),
    "Transformer": models.Transformer(6, 3, layers=1),
    "rotary, post-norm": models.Transformer(6, 3, layers=1, pre_norm=False, positions=models.Rotary()),
    "MinGRU": models.MinGRU(6, layers=1),
    "SelectiveSSM": models.SelectiveSSM(6, layers=1, bare=True),
    "GatedDeltaNet": models.GatedDeltaNet(6, layers=1, heads=2, bare=True),
    "RGLRU": models.RGLRU(6, layers=1),
    "MLSTM": models.MLSTM(6, layers=1, heads=2, bare=True),
    "SLSTM": models.SLSTM(6, layers=1, heads=2),
    "window": models.Transformer(6, 3, layers=1, positions=models.ALiBi(), window=3),
    "learned, both ways": models.Transformer(6, 3, layers=1, causal=False, positions=models.Learned()),
}
MEMORY = dict.fromkeys(
    ("RNN", "GRU", "LSTM", "SelectiveSSM", "GatedDeltaNet", "MLSTM"), (jnp.float32,)
) | dict.fromkeys(("MinGRU", "RGLRU", "SLSTM"), (HALF, jnp.float32))
"""Those that hold more than what is only read again; the second ones have a short convolution as well."""
SLOW = ("rotary, post-norm", "SelectiveSSM", "RGLRU", "MLSTM", "SLSTM", "window", "learned, both ways")
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in MODELS]
CAUSAL = [name for name in NAMES if "both ways" not in str(name.values[0])]


@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name, key):
    """Outputs and gradients as in single precision but for rounding, which is there; all of them in single precision.

    One row of three has no real step.
    """
    single = MODELS[name]
    params, x, mask = contracts.parameters(single, key), contracts.inputs(key, 7), contracts.upto((0, 4, 7), 7)

    def graded(model):
        def loss(params, x):
            y = model.apply(params, x, mask=mask)
            return jnp.sum(y**2), y

        return contracts.compiled(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)

    half = single.clone(dtype=HALF)
    assert jax.eval_shape(half.init, key, x) == jax.eval_shape(lambda: params)
    close(graded(half), graded(single), least=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_streaming_in_half_precision(name, key):
    """The memory keeps its types, as a scan demands, and steps say what the whole sequence does.

    What is only read again is held in half precision, what adds up over many steps in single.
    """
    model = MODELS[name].clone(dtype=HALF)
    params, x = contracts.parameters(model, key), contracts.inputs(key, 7)
    memory = {leaf.dtype for leaf in jax.tree.leaves(model.start(1, 2, 7)) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert memory == {jnp.dtype(kind) for kind in MEMORY.get(name, (HALF,))}

    @contracts.compiled
    def one_by_one(x):
        def step(carry, now):
            carry, y = model.apply(params, carry, now[:, None], method="extend")
            return carry, y[:, 0]

        return jax.lax.scan(step, model.start(contracts.BATCH, 2, 7), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    close(one_by_one(x), contracts.forward(model)(params, x))


@pytest.mark.parametrize("name", NAMES)
def test_double_precision(name, key):
    """Without a choice, all is as wide as inputs and parameters; states may be wider than both."""
    model = MODELS[name]
    params, x = contracts.parameters(model, key), contracts.inputs(key, 3)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (params, x))
        found = contracts.compiled(model.apply)(*wide)
        assert found.dtype == jnp.float64
        if isinstance(model, models.Recurrent):
            assert jax.eval_shape(model.apply, params, x).dtype == jnp.float64
    np.testing.assert_allclose(contracts.forward(model)(params, x), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [False, True])
def test_logits(tied, key):
    """Embedding and readout in half precision; logits in single, and PAD and SOS never follow."""
    tokens = jnp.asarray(np.random.default_rng(0).integers(3, 9, (2, 5)), jnp.int32)
    pair = [models.LanguageModel(models.Recurrent(6, dtype=d), 9, 4, tied=tied, dtype=d) for d in (None, HALF)]
    params = contracts.filled(jax.eval_shape(pair[0].init, key, tokens), key)
    single, half = (np.asarray(contracts.forward(model)(params, tokens)) for model in pair)
    np.testing.assert_array_equal(np.isneginf(half), np.isneginf(single))
    close(half[np.isfinite(half)], single[np.isfinite(single)], least=1e-4)


def close(found, expected, *, least=0.0):
    """Equal within 4 % of the largest number, all in single precision; somewhere different by `least` of it."""
    differences = []
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        size = np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0, atol=0.04 * size + 1e-30)
        differences.append(np.abs(a - b).max() / size)
    assert max(differences) >= least, differences
