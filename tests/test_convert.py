import functools
import importlib.util
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax import convert, models
from seqjax.models.cnn import Conv
from tests.contracts import compiled

GOLDEN = Path(__file__).parent / "golden"
"""What `golden/make.py` recorded of PyTorch."""

MASK = jnp.arange(5)[None, :] < jnp.array([5, 1, 3])[:, None]

exact_gelu = partial(nn.gelu, approximate=False)


class Alternating(models.Positions):
    """Sine and cosine in turn, as PyTorch's tutorial and seed S4 have them."""

    def embed(self, x, index):
        angle = index[..., None] * (10_000.0 ** (-jnp.arange(0, x.shape[-1], 2) / x.shape[-1]))[None, None, :]
        return x + jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(x.shape)


class Case(NamedTuple):
    """A model that is the same function as a PyTorch module, how it is called, and how its weights are laid out."""

    model: nn.Module
    layout: convert.Layout
    call: Callable[..., Any]
    tolerance: float = 1e-5


def masked(model, x):
    return model(x, mask=MASK)


def reader(backbone) -> Case:
    layout = {"backbone": convert.recurrent("rnn"), "readout": convert.linear("fc")}
    return Case(models.Regressor(backbone, 2), layout, masked)


def images(model, x):
    return model(jnp.transpose(x, (0, 2, 3, 1)))


def written(model, x, source):
    memory = models.Memory(source, MASK, ())
    return model.extend(model.start(memory, x.shape[1]), x).features


def translated(model, source, fed):
    logits = model.extend(model.begin(source, MASK, fed.shape[1]), fed).logits
    return jnp.where(jnp.isfinite(logits), logits, 0.0)  # two tokens are never written


def simple_cnn(channels: tuple[int, ...], classes: int, grid: tuple[int, int, int]) -> tuple[nn.Module, Any]:
    backbone = {"Conv_0": convert.conv("conv1"), "Conv_1": convert.conv("conv2")}
    layout = {"backbone": backbone, "readout": convert.grid_linear("fc", grid)}
    return models.ImageClassifier(models.CNN(channels), classes), layout


def translator(vocabs: tuple[int, int], embedding: int, encoder: int, decoder: int) -> tuple[nn.Module, Any]:
    """Seed S3."""
    writer = models.BahdanauDecoder(decoder, attention=partial(models.Additive, decoder))
    model = models.EncoderDecoder(models.Bidirectional(encoder), writer, *vocabs, embedding)
    return model, {
        "source_embedding": convert.embedding("encoder.embedding"),
        "encoder": convert.recurrent("encoder.rnn"),
        "decoder": {
            "first": {"Dense_0": convert.linear("encoder.fc")},
            "attend": convert.additive("decoder.attention"),
            "stack": convert.recurrent("decoder.rnn"),
        },
        "target_embedding": convert.embedding("decoder.embedding"),
        "readout": convert.linear("decoder.fc_out"),
    }


INP = convert.linear("embed")
CASES = {
    "rnn": reader(models.Recurrent(4, models.RNN, 2)),
    "gru": reader(models.Recurrent(4, models.GRU, 2)),
    "lstm": reader(models.Recurrent(4, models.LSTM, 2)),
    "bidirectional_gru": reader(models.Bidirectional(8, models.GRU, 2)),
    "bidirectional_lstm": reader(models.Bidirectional(8, models.LSTM)),
    "cnn": Case(*simple_cnn((4, 5), 4, (2, 3, 5)), images),
    "tcn": Case(models.TCN(4, 2, (1, 2), weight_norm=True), convert.tcn(), lambda model, x: model(x), 1e-4),
    "transformer": Case(
        models.Transformer(8, 2, 2, 2, pre_norm=False, positions=Alternating, activation=nn.relu),
        convert.transformer("encoder", embed=INP),
        masked,
        1e-4,
    ),
    "transformer_pre_norm": Case(
        models.Transformer(8, 2, 2, 2, causal=False, positions=partial(models.Learned, 7), activation=exact_gelu),
        convert.transformer("encoder", embed=INP, Learned_0=convert.embedding("positions")),
        masked,
        1e-4,
    ),
    "transformer_decoder": Case(
        models.TransformerDecoder(8, 2, 2, 2, pre_norm=False, positions=models.Positions, activation=nn.relu),
        convert.transformer_decoder("decoder", embed=INP),
        written,
        1e-4,
    ),
    "translator": Case(*translator((6, 7), 3, 8, 5), translated),
}

# 0 is the recorded one; others are drawn by PyTorch itself where it is installed.
SEEDS = (0, 1, 2) if importlib.util.find_spec("torch") else (0,)


def recorded(name: str, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Weights, gradients and inputs by their names; the output and the probe have none."""
    if seed:
        from tests.golden import make

        flat = make.record(name, seed)
    else:
        flat = convert.load(GOLDEN / f"{name}.safetensors")
    record: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        group, _, inside = key.partition("/")
        record.setdefault(group, {})[inside] = value
    return record


@functools.cache
def shapes_of(name: str) -> Any:
    """The model's parameters, nothing computed."""
    case = CASES[name]
    inputs = [jnp.asarray(x) for x in recorded(name)["inputs"].values()]
    return jax.eval_shape(partial(case.model.init, method=case.call), jax.random.key(0), *inputs)


def filled(shapes: Any) -> Any:
    """Random numbers in their place."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_pytorch(name: str, seed: int):
    case, record = CASES[name], recorded(name, seed)
    inputs = [jnp.asarray(x) for x in record["inputs"].values()]

    def weighed(state):
        params = convert.from_torch(state, case.layout, shapes_of(name))
        output = case.model.apply(params, *inputs, method=case.call)
        return jnp.sum(output * record["probe"][""]), output

    # Gradients are of parameters, of which a state may have several names.
    state = {name: record["weights"][name] for name in record["gradients"]}
    gradients, output = compiled(jax.grad(weighed, has_aux=True))(state)
    close: Any = {"rtol": case.tolerance, "atol": case.tolerance}
    np.testing.assert_allclose(output, record["output"][""], **close)
    for name, expected in record["gradients"].items():
        np.testing.assert_allclose(gradients[name], expected, err_msg=name, **close)


@pytest.mark.parametrize("name", CASES)
def test_there_and_back_again(name: str, tmp_path: Path):
    layout, params = CASES[name].layout, filled(shapes_of(name))
    convert.save(tmp_path / "weights.safetensors", convert.to_torch(params, layout))
    back = convert.from_torch(convert.load(tmp_path / "weights.safetensors"), layout, shapes_of(name))
    jax.tree.map(np.testing.assert_array_equal, back, params)
    assert jax.tree.structure(back) == jax.tree.structure(params)
