"""Against loops in NumPy, written from the equations."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from tests import contracts

LENGTHS, READ = (4, 2), (5, 3)
"""Real steps of the two sources, and of what is read of the two targets."""


@pytest.fixture
def memory():
    """What an encoder with a state of 3 and outputs of 4 leaves."""
    rng = np.random.default_rng(0)
    mask = contracts.upto(LENGTHS, 4)
    outputs = np.where(np.asarray(mask)[..., None], rng.normal(size=(2, 4, 4)), 0)
    return models.Memory(jnp.asarray(outputs, jnp.float32), mask, (jnp.asarray(rng.normal(size=(2, 3)), jnp.float32),))


def write(decoder, memory, x, mask, first: int) -> Any:
    """The target in two pieces, `first` steps and the others."""
    begin = decoder.extend(decoder.start(memory, 3, x.shape[1]), x[:, :first], mask=mask[:, :first])
    return begin, decoder.extend(begin.carry, x[:, first:], mask=mask[:, first:])


def run(decoder, key, memory) -> Any:
    """Its parameters in float64, embedded tokens, and what it makes of them."""
    x, mask = contracts.inputs(key, 5, width=3, rows=2), contracts.upto(READ, 5)
    arguments = memory, x, mask
    write_all = partial(write, first=2)
    shapes = jax.eval_shape(partial(decoder.init, method=write_all), key, *arguments)
    params = contracts.filled(shapes, key)
    begin, end = contracts.compiled(partial(decoder.apply, method=write_all))(params, *arguments)
    features = np.concatenate([begin.features, end.features], axis=1)
    weights = np.concatenate([begin.weights, end.weights], axis=2)
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    return double, np.asarray(x, np.float64), features, weights, end.carry


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def gru(layer, h, x):
    """Cho et al. 2014 with the reset gate after the product."""
    n = len(h)
    a, b, bias = x @ layer["input_kernel"], h @ layer["recurrent_kernel"], layer["bias"]
    r, z = sigmoid(a[:n] + b[:n] + bias[:n]), sigmoid(a[n : 2 * n] + b[n : 2 * n] + bias[n : 2 * n])
    candidate = np.tanh(a[2 * n :] + bias[2 * n : 3 * n] + r * (b[2 * n :] + bias[3 * n :]))
    return (1 - z) * candidate + z * h


def bridged(params, state):
    return np.tanh(state @ params["bridge"]["Dense_0"]["kernel"] + params["bridge"]["Dense_0"]["bias"])


@pytest.mark.parametrize("input_feeding", [False, True])
def test_luong(input_feeding, memory, key):
    """Eq. 5 and sec. 3.3, with the scores q' W k."""
    decoder = models.LuongDecoder(3, attention=models.GeneralAttention(3), input_feeding=input_feeding)
    params, x, features, weights, carry = run(decoder, key, memory)
    for row, (length, read) in enumerate(zip(LENGTHS, READ, strict=True)):
        source = np.asarray(memory.outputs[row, :length], np.float64)
        h, fed, attended = bridged(params, memory.state[0][row]), np.zeros(3), np.zeros(length)
        for t in range(read):
            h = gru(params["stack"]["layer_0"], h, np.concatenate([x[row, t], fed]) if input_feeding else x[row, t])
            weight = softmax(source @ params["attention"]["key"]["kernel"] @ h)
            y = np.tanh(np.concatenate([weight @ source, h]) @ params["combine"]["kernel"])
            fed, attended = y if input_feeding else fed, attended + weight
            np.testing.assert_allclose(features[row, t], y, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(weights[row, 0, t, :length], weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(carry.state[0][row], h, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carry.fed[row], fed, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carry.attended[row, :length], attended, rtol=1e-4)
        np.testing.assert_array_equal(carry.attended[row, length:], 0)


def test_bahdanau(memory, key):
    """Attention from the state before; the readout gets [h; c; x]."""
    params, x, features, weights, carry = run(
        models.BahdanauDecoder(3, models.GRUCell(), attention=models.AdditiveAttention(5)), key, memory
    )
    attention = params["attention"]
    for row, (length, read) in enumerate(zip(LENGTHS, READ, strict=True)):
        source = np.asarray(memory.outputs[row, :length], np.float64)
        h, attended = bridged(params, memory.state[0][row]), np.zeros(length)
        for t in range(read):
            hidden = np.tanh(
                [
                    h @ attention["query"]["kernel"] + k @ attention["key"]["kernel"] + attention["key"]["bias"]
                    for k in source
                ]
            )
            weight = softmax(hidden @ attention["energy"][:, 0])
            context = weight @ source
            h, attended = gru(params["stack"]["layer_0"], h, np.concatenate([x[row, t], context])), attended + weight
            np.testing.assert_allclose(features[row, t], np.concatenate([h, context, x[row, t]]), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(weights[row, 0, t, :length], weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(carry.state[0][row], h, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(carry.attended[row, :length], attended, rtol=1e-4)


def normal(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


def test_bridge_by_hand(key):
    """From two layers read both ways to three of LSTM: the third starts from the last; each part has its own W."""
    rng = np.random.default_rng(0)
    given = tuple((normal(rng, 2, 3), normal(rng, 2, 3)) for _ in range(2))
    wanted = models.LSTM(5, layers=3).start(2, 0, 0)
    params = contracts.filled(jax.eval_shape(models.Bridge().init, key, given, wanted), key)
    made = contracts.compiled(models.Bridge().apply)(params, given, wanted)
    assert jax.tree.structure(made) == jax.tree.structure(wanted)
    for number, part in enumerate(jax.tree.leaves(made)):
        dense = jax.tree.map(np.asarray, params["params"][f"Dense_{number}"])
        summary = np.concatenate(given[min(number // 2, 1)], axis=1)
        np.testing.assert_allclose(part, np.tanh(summary @ dense["kernel"] + dense["bias"][None]), rtol=1e-4, atol=1e-5)


def test_copy_state_gives_the_state_as_it_is_or_says_what_does_not_fit(key):
    rng = np.random.default_rng(0)
    given = tuple((normal(rng, 2, 5), normal(rng, 2, 5)) for _ in range(2))
    assert models.CopyState().apply({}, given, models.LSTM(5, layers=2).start(2, 0, 0)) is given
    for misfit in (models.LSTM(5), models.GRU(5, layers=2), models.LSTM(4, layers=2)):
        with pytest.raises(ValueError, match=r"CopyState needs an encoder that ends in states .*, got .*: use Bridge"):
            models.CopyState().apply({}, given, misfit.start(2, 0, 0))


def test_bad_arguments(memory, key):
    dot = models.BahdanauDecoder(3, attention=models.DotAttention())
    for decoder in (models.LuongDecoder(3), dot, models.LuongDecoder(3, input_feeding=True)):
        with pytest.raises(ValueError, match="dot attention needs one width, got 3 and 4"):
            run(decoder, key, memory)
    with pytest.raises(ValueError, match=r"CopyState needs .*: use Bridge"):
        run(models.RecurrentDecoder(4, bridge=models.CopyState()), key, memory)


def test_a_transformer_writes_no_more_than_it_was_told(memory, key):
    decoder = models.TransformerDecoder(4, 2, layers=1)
    x = contracts.inputs(key, 3, width=3, rows=2)

    def write_three(decoder, memory, x):
        return decoder.extend(decoder.start(memory, 3, 2), x)

    with pytest.raises(ValueError, match="the cache holds 2 steps: 0 are used and 3 more were given"):
        decoder.init(key, memory, x, method=write_three)


WIDE = 12
LEARN = {
    "context": (models.LSTM(WIDE), models.RecurrentDecoder(WIDE, models.LSTMCell(), bridge=models.CopyState())),
    "luong": (models.Bidirectional(WIDE), models.LuongDecoder(WIDE)),
    "input feeding": (models.Bidirectional(WIDE), models.LuongDecoder(WIDE, input_feeding=True)),
    "bahdanau": (models.Bidirectional(WIDE), models.BahdanauDecoder(WIDE, attention=models.AdditiveAttention(WIDE))),
    "transformer": (models.Transformer(WIDE, 2, 1, causal=False), models.TransformerDecoder(WIDE, 2, layers=1)),
}


SLOW = ("context", "luong")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in LEARN])
def test_learns(name, key):
    encoder, decoder = LEARN[name]
    model = models.EncoderDecoder(encoder, decoder, 8, 8, embedding=8, tied=name != "context")
    # At twice the rate, Adam's gradient has spikes for the Transformer, and rounding decides when.
    contracts.learns_pairs(model, key, rate=1e-2 if name == "transformer" else 2e-2)
