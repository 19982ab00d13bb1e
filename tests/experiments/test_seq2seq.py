"""What the experiments of the chapter seq2seq share: every head's attention weights, and their panels."""

import importlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from seqjax import models

CHAPTER = Path(__file__).parents[2] / "experiments" / "seq2seq"


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.syspath_prepend(CHAPTER)
    return importlib.import_module("_seq2seq")


def test_every_head_has_its_panel(shared, key):
    shape: dict[str, Any] = {"heads": 2, "layers": 2, "expansion": 2}
    encoder, decoder = models.Transformer(8, causal=False, **shape), models.TransformerDecoder(8, **shape)
    model = models.EncoderDecoder(encoder, decoder, 9, 11, embedding=4)
    source, target = jnp.array([[4, 5, 6, 2]]), jnp.array([[7, 8, 4, 5, 2]])
    params = jax.jit(model.init)(key, source, target)
    maps = shared.all_weights(model, params, source, target)
    sizes = {"encoder to itself": (4, 4, 4), "decoder to itself": (4, 5, 5), "decoder to source": (4, 5, 4)}
    assert {kind: weights.shape for kind, weights in maps.items()} == sizes
    for weights in maps.values():
        np.testing.assert_allclose(weights.sum(axis=2), 1, rtol=1e-5)
    assert not np.triu(maps["decoder to itself"], 1).any(), "causal"
    assert (maps["encoder to itself"] > 0).all()
    assert len({weights.tobytes() for weights in maps["encoder to itself"]}) == 4

    # Layers are in order: those before a block do not depend on it.
    moved = jax.tree.map(lambda leaf: leaf, params)
    block = moved["params"]["encoder"]["Block_1"]
    block["query_key_value"] = jax.tree.map(lambda leaf: -leaf, block["query_key_value"])
    again = shared.all_weights(model, moved, source, target)["encoder to itself"]
    np.testing.assert_array_equal(again[:2], maps["encoder to itself"][:2])

    figure = Figure()
    tokens = {"source": np.array(["a", "b", "c", "<eos>"]), "target": np.array(["c", "b", "a", "x", "<eos>"])}
    shared.draw_heads(figure, maps, tokens)
    shown = [ax.images[0].get_array() for ax in figure.axes]
    np.testing.assert_array_equal(shown[5], maps["decoder to itself"][1])
    assert len(shown) == 12
    names = [label.get_text() for label in figure.axes[4].get_xticklabels()]
    assert names == ["<sos>", "c", "b", "a", "x"]
