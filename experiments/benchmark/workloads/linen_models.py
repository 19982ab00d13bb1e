"""The models of the benchmark as a user of Flax Linen writes them, from the library's own modules."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from workloads.weights import GATES, Pair, Weights
from workloads.work import Batch, Steps, objective, parameter_count

from seqjax.types import SOS

CELLS: dict[str, Any] = {"rnn": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}


class Recurrent(nn.Module):
    """`nn.RNN` with a cell, and a readout."""

    name_of_cell: str
    size: Any

    @nn.compact
    def __call__(self, x: Any):
        for _ in range(self.size.layers):
            x = nn.RNN(CELLS[self.name_of_cell](self.size.features))(x)
        return nn.Dense(1)(x)


class TCN(nn.Module):
    """Causal convolutions in residual blocks (Bai, Kolter & Koltun 2018, arXiv:1803.01271), and a readout."""

    size: Any

    @nn.compact
    def __call__(self, x):
        features, window = self.size.features, (self.size.kernel_size,)
        for depth in range(self.size.layers):
            conv = partial(nn.Conv, features, window, kernel_dilation=2**depth, padding="CAUSAL")
            y = nn.relu(conv()(x))
            y = nn.relu(conv()(y))
            x = nn.relu(y + (x if depth else nn.Dense(features)(x)))
        return nn.Dense(1)(x)


class Transformer(nn.Module):
    """Causal blocks with the norm first, and a readout."""

    size: Any

    @nn.compact
    def __call__(self, x):
        features = self.size.features
        mask = nn.make_causal_mask(x[..., 0])
        x = nn.Dense(features)(x)
        for _ in range(self.size.layers):
            x = x + nn.MultiHeadDotProductAttention(self.size.heads)(nn.LayerNorm()(x), mask=mask)
            y = nn.gelu(nn.Dense(4 * features)(nn.LayerNorm()(x)), approximate=False)
            x = x + nn.Dense(features)(y)
        return nn.Dense(1)(nn.LayerNorm()(x))


class CNN(nn.Module):
    """Convolution, relu, pooling, twice; then a readout."""

    size: Any

    @nn.compact
    def __call__(self, x):
        for depth in range(self.size.layers):
            x = nn.relu(nn.Conv(self.size.features * 2**depth, (self.size.kernel_size,) * 2)(x))
            x = nn.max_pool(x, window_shape=(2, 2), strides=(2, 2))
        return nn.Dense(10)(x.reshape((x.shape[0], -1)))


class DecoderCell(nn.Module):
    """Additive attention (Bahdanau et al. 2015, arXiv:1409.0473), then a GRU."""

    features: int

    @nn.compact
    def __call__(self, state, token, keys, outputs):
        query = nn.Dense(self.features, use_bias=False, name="query")(state)
        scores = nn.Dense(1, use_bias=False, name="energy")(nn.tanh(query[:, None] + keys))
        context = (nn.softmax(scores, axis=1) * outputs).sum(axis=1)
        state, _ = nn.GRUCell(self.features, name="gru")(state, jnp.concatenate([token, context], axis=-1))
        return state, (state, context)


class Translator(nn.Module):
    """A bidirectional encoder, and a decoder with attention under teacher forcing."""

    size: Any

    @nn.compact
    def __call__(self, source, target):
        words, features = self.size.words, self.size.features
        forward, backward = (nn.RNN(nn.GRUCell(features, name=name)) for name in ("forward", "backward"))
        embedded = nn.Embed(words, features // 2, name="source_embedding")(source)
        ends, outputs = nn.Bidirectional(forward, backward, return_carry=True)(embedded)
        state = nn.tanh(nn.Dense(features, name="bridge")(jnp.concatenate(ends, axis=-1)))
        keys = nn.Dense(features, name="keys")(outputs)
        before = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=SOS)
        embedded = nn.Embed(words, features // 2, name="target_embedding")(before)
        decoder: Any = nn.scan(
            DecoderCell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=(1, nn.broadcast, nn.broadcast),  # pyright: ignore[reportArgumentType]
            out_axes=1,
        )
        _, (states, contexts) = decoder(features, name="decoder")(state, embedded, keys, outputs)
        return nn.Dense(words, name="readout")(jnp.concatenate([states, contexts, embedded], axis=-1))


def training(name: str, size: Any, given: Weights, batch: Batch, optimizer: optax.GradientTransformation) -> Steps:
    """A `TrainState`, and a compiled step that returns the next one."""
    models = {"tcn": TCN, "transformer": Transformer, "cnn": CNN, "translator": Translator}
    model: Any = Recurrent(name, size) if name in CELLS else models[name](size)

    def loss_fn(params, batch):
        return objective(model.apply({"params": params}, *batch.inputs), batch.targets)

    state = TrainState.create(apply_fn=model.apply, params=weights(name, size, given), tx=optimizer)

    @jax.jit
    def train_step(state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(state.params, batch)
        return state.apply_gradients(grads=grads), loss

    def step() -> jax.Array:
        nonlocal state
        state, loss = train_step(state, batch)
        return loss

    return Steps(step, float(jax.jit(loss_fn)(state.params, batch)), parameter_count(state.params))


def weights(name: str, size: Any, given: Weights) -> dict[str, Any]:
    """By the names that Linen gives to modules without one."""
    layers = range(size.layers)
    match name:
        case "rnn" | "gru" | "lstm":
            cells = {f"{CELLS[name].__name__}_{n}": _cell(given, f"backbone.{{}}_l{n}", GATES[name]) for n in layers}
            return cells | {"Dense_0": _dense(given.linear("readout"))}
        case "tcn":
            convs = {
                f"Conv_{2 * n + i}": _dense(given.conv(f"network.{n}.conv{i + 1}")) for n in layers for i in range(2)
            }
            kernel, bias = given.conv("network.0.downsample")
            return convs | {"Dense_0": _dense((kernel[0], bias)), "Dense_1": _dense(given.linear("readout"))}
        case "transformer":
            made = {"Dense_0": _dense(given.linear("embed"))}
            for n in layers:
                at = f"backbone.layers.{n}"
                made[f"MultiHeadDotProductAttention_{n}"] = _attention(given, f"{at}.self_attn", size.heads)
                made |= {f"LayerNorm_{2 * n + i}": _norm(given.norm(f"{at}.norm{i + 1}")) for i in range(2)}
                made |= {f"Dense_{2 * n + i}": _dense(given.linear(f"{at}.linear{i}")) for i in (1, 2)}
            made[f"LayerNorm_{2 * size.layers}"] = _norm(given.norm("backbone.norm"))
            return made | {f"Dense_{2 * size.layers + 1}": _dense(given.linear("readout"))}
        case "cnn":
            convs = {f"Conv_{n}": _dense(given.conv(f"convolutions.{n}")) for n in layers}
            channels = size.features * 2 ** (size.layers - 1)
            return convs | {"Dense_0": _dense(given.image_linear("readout", channels))}
    query, keys = np.split(given["attention.attn.weight"].T, [size.features])
    decoder = {
        "query": {"kernel": query},
        "energy": {"kernel": given["attention.v.weight"].T},
        "gru": _cell(given, "decoder.{}_l0", 3),
    }
    return {
        "source_embedding": {"embedding": given["source_embedding.weight"]},
        "target_embedding": {"embedding": given["target_embedding.weight"]},
        "forward": _cell(given, "encoder.{}_l0", 3),
        "backward": _cell(given, "encoder.{}_l0_reverse", 3),
        "bridge": _dense(given.linear("bridge")),
        "keys": _dense((keys, given["attention.attn.bias"])),
        "decoder": decoder,
        "readout": _dense(given.linear("readout")),
    }


def _dense(pair: Pair) -> dict[str, Any]:
    kernel, bias = pair
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}


def _norm(pair: Pair) -> dict[str, Any]:
    scale, bias = pair
    return {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}


def _attention(given: Weights, at: str, heads: int) -> dict[str, Any]:
    """Kernels (features, heads, width) of query, key and value; (heads, width, features) of out."""
    made = {name: _dense(pair) for name, pair in given.attention(at).items()}
    for name in ("query", "key", "value"):
        made[name] = jax.tree.map(lambda x: x.reshape(*x.shape[:-1], heads, -1), made[name])
    kernel = made["out"]["kernel"]
    made["out"]["kernel"] = kernel.reshape(heads, -1, kernel.shape[-1])
    return made


def _cell(given: Weights, at: str, gates: int) -> dict[str, Any]:
    """A matrix for each gate; the bias is of the inputs, but for an LSTM's, and a second one of a GRU's n."""
    cell = given.cell(at, gates)
    names = {1: ("",), 3: "rzn", 4: "ifgo"}[gates]
    inputs, hidden, bias = (jnp.split(x, gates) for x in (cell.inputs, cell.hidden, cell.bias))
    made: dict[str, Any] = {}
    for gate, i, h, b in zip(names, inputs, hidden, bias, strict=True):
        made[f"i{gate}"], made[f"h{gate}"] = {"kernel": i.T}, {"kernel": h.T}
        made[f"{'h' if gates == 4 else 'i'}{gate}"]["bias"] = b
    if gates == 3:
        made["hn"]["bias"] = jnp.asarray(cell.bias_n)
    return made
