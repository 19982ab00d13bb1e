"""The models of the benchmark as a user of Equinox writes them: for one example, from the library's own modules."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from workloads.weights import GATES, Weights
from workloads.work import Batch, Steps, objective, parameter_count


class RNNCell(eqx.Module):
    """Elman's, which Equinox does not have."""

    input: eqx.nn.Linear
    hidden: eqx.nn.Linear

    def __init__(self, inputs: int, features: int, *, key):
        input_key, hidden_key = jax.random.split(key)
        self.input = eqx.nn.Linear(inputs, features, key=input_key)
        self.hidden = eqx.nn.Linear(features, features, use_bias=False, key=hidden_key)

    def __call__(self, x, h):
        return jnp.tanh(self.input(x) + self.hidden(h))


CELLS: dict[str, Any] = {"rnn": RNNCell, "gru": eqx.nn.GRUCell, "lstm": eqx.nn.LSTMCell}


class Recurrent(eqx.Module):
    """A cell in `jax.lax.scan`, for each layer, and a readout."""

    cells: list
    readout: eqx.nn.Linear

    def __init__(self, cell: Any, size: Any, *, key):
        *keys, last = jax.random.split(key, size.layers + 1)
        widths = [1] + [size.features] * size.layers
        self.cells = [cell(widths[n], size.features, key=keys[n]) for n in range(size.layers)]
        self.readout = eqx.nn.Linear(size.features, 1, key=last)

    def __call__(self, x):
        zeros = jnp.zeros(self.readout.in_features)
        for cell in self.cells:
            with_memory = isinstance(cell, eqx.nn.LSTMCell)

            def step(state, inputs, cell=cell, with_memory=with_memory):
                state = cell(inputs, state)
                return state, state[0] if with_memory else state

            _, x = jax.lax.scan(step, (zeros, zeros) if with_memory else zeros, x)
        return jax.vmap(self.readout)(x)


class TemporalBlock(eqx.Module):
    """Two causal convolutions and a shortcut."""

    conv1: eqx.nn.Conv1d
    conv2: eqx.nn.Conv1d
    downsample: eqx.nn.Conv1d | None

    def __init__(self, inputs: int, size: Any, dilation: int, *, key):
        keys, features = jax.random.split(key, 3), size.features
        past = ((size.kernel_size - 1) * dilation, 0)
        conv = partial(eqx.nn.Conv1d, kernel_size=size.kernel_size, dilation=dilation, padding=(past,))
        self.conv1 = conv(inputs, features, key=keys[0])
        self.conv2 = conv(features, features, key=keys[1])
        self.downsample = eqx.nn.Conv1d(inputs, features, 1, key=keys[2]) if inputs != features else None

    def __call__(self, x):
        y = jax.nn.relu(self.conv2(jax.nn.relu(self.conv1(x))))
        return jax.nn.relu(y + (x if self.downsample is None else self.downsample(x)))


class TCN(eqx.Module):
    """A stack of blocks (Bai, Kolter & Koltun 2018, arXiv:1803.01271), and a readout."""

    blocks: list
    readout: eqx.nn.Linear

    def __init__(self, size: Any, *, key):
        *keys, last = jax.random.split(key, size.layers + 1)
        widths = [1] + [size.features] * size.layers
        self.blocks = [TemporalBlock(widths[n], size, 2**n, key=keys[n]) for n in range(size.layers)]
        self.readout = eqx.nn.Linear(size.features, 1, key=last)

    def __call__(self, x):
        x = x.T
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.readout)(x.T)


class Block(eqx.Module):
    """Self-attention and a feed-forward network, with the norm first."""

    norm1: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    norm2: eqx.nn.LayerNorm
    linear1: eqx.nn.Linear
    linear2: eqx.nn.Linear

    def __init__(self, size: Any, *, key):
        keys, features = jax.random.split(key, 3), size.features
        biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
        self.norm1 = eqx.nn.LayerNorm(features, eps=1e-6)
        self.attention = eqx.nn.MultiheadAttention(size.heads, features, **biases, key=keys[0])
        self.norm2 = eqx.nn.LayerNorm(features, eps=1e-6)
        self.linear1 = eqx.nn.Linear(features, 4 * features, key=keys[1])
        self.linear2 = eqx.nn.Linear(4 * features, features, key=keys[2])

    def __call__(self, x, mask):
        y = jax.vmap(self.norm1)(x)
        x = x + self.attention(y, y, y, mask=mask)
        y = jax.nn.gelu(jax.vmap(self.linear1)(jax.vmap(self.norm2)(x)), approximate=False)
        return x + jax.vmap(self.linear2)(y)


class Transformer(eqx.Module):
    """Causal blocks, and a readout."""

    embed: eqx.nn.Linear
    blocks: list
    norm: eqx.nn.LayerNorm
    readout: eqx.nn.Linear

    def __init__(self, size: Any, *, key):
        first, last, *keys = jax.random.split(key, size.layers + 2)
        self.embed = eqx.nn.Linear(1, size.features, key=first)
        self.blocks = [Block(size, key=key) for key in keys]
        self.norm = eqx.nn.LayerNorm(size.features, eps=1e-6)
        self.readout = eqx.nn.Linear(size.features, 1, key=last)

    def __call__(self, x):
        mask = jnp.tril(jnp.ones((len(x), len(x)), bool))
        x = jax.vmap(self.embed)(x)
        for block in self.blocks:
            x = block(x, mask)
        return jax.vmap(self.readout)(jax.vmap(self.norm)(x))


class CNN(eqx.Module):
    """Convolution, relu, pooling, twice; then a readout."""

    convolutions: list
    pool: eqx.nn.MaxPool2d
    readout: eqx.nn.Linear

    def __init__(self, size: Any, *, key):
        *keys, last = jax.random.split(key, size.layers + 1)
        widths = [1] + [size.features * 2**n for n in range(size.layers)]
        conv = partial(eqx.nn.Conv2d, kernel_size=size.kernel_size, padding=size.kernel_size // 2)
        self.convolutions = [conv(widths[n], widths[n + 1], key=keys[n]) for n in range(size.layers)]
        self.pool = eqx.nn.MaxPool2d(kernel_size=2, stride=2)
        self.readout = eqx.nn.Linear(widths[-1] * (size.time // 2**size.layers) ** 2, 10, key=last)

    def __call__(self, x):
        x = x.transpose(2, 0, 1)
        for convolution in self.convolutions:
            x = self.pool(jax.nn.relu(convolution(x)))
        return self.readout(x.reshape(-1))


def training(name: str, size: Any, given: Weights, batch: Batch, optimizer: optax.GradientTransformation) -> Steps:
    """A model, and a compiled step that returns the next one."""
    key = jax.random.key(0)
    models = {"tcn": TCN, "transformer": Transformer, "cnn": CNN}
    model: Any = Recurrent(CELLS[name], size, key=key) if name in CELLS else models[name](size, key=key)
    model = with_weights(name, model, given)
    opt_state = optimizer.init(eqx.filter(model, eqx.is_array))

    def loss_fn(model, batch):
        return objective(jax.vmap(model)(*batch.inputs), batch.targets)

    @eqx.filter_jit
    def make_step(model, opt_state, batch):
        loss, grads = eqx.filter_value_and_grad(loss_fn)(model, batch)
        updates, opt_state = optimizer.update(grads, opt_state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), opt_state, loss

    def step() -> jax.Array:
        nonlocal model, opt_state
        model, opt_state, loss = make_step(model, opt_state, batch)
        return loss

    start = float(eqx.filter_jit(loss_fn)(model, batch))
    return Steps(step, start, parameter_count(eqx.filter(model, eqx.is_array)))


def with_weights(name: str, model: Any, given: Weights) -> Any:
    """The model with these; its layers have PyTorch's layout."""

    def layer(old: Any, at: str) -> list[tuple[Any, Any]]:
        return [(old.weight, given[f"{at}.weight"]), (old.bias, given[f"{at}.bias"])]

    changes = layer(model.readout, "readout")
    match name:
        case "rnn" | "gru" | "lstm":
            for n, cell in enumerate(model.cells):
                changes += zip(_arrays(cell), given.cell(f"backbone.{{}}_l{n}", GATES[name]), strict=False)
        case "tcn":
            for n, block in enumerate(model.blocks):
                for at in ("conv1", "conv2") if n else ("conv1", "conv2", "downsample"):
                    changes += layer(getattr(block, at), f"network.{n}.{at}")
        case "transformer":
            changes += layer(model.embed, "embed") + layer(model.norm, "backbone.norm")
            for n, block in enumerate(model.blocks):
                at = f"backbone.layers.{n}"
                for part in ("norm1", "norm2", "linear1", "linear2"):
                    changes += layer(getattr(block, part), f"{at}.{part}")
                attention = block.attention
                projections = (attention.query_proj, attention.key_proj, attention.value_proj, attention.output_proj)
                pairs = given.attention(f"{at}.self_attn").values()
                for projection, (kernel, bias) in zip(projections, pairs, strict=True):
                    changes += [(projection.weight, kernel.T), (projection.bias, bias)]
        case "cnn":
            for n, convolution in enumerate(model.convolutions):
                changes += layer(convolution, f"convolutions.{n}")
    new = {id(old): jnp.reshape(value, old.shape) for old, value in changes}
    return jax.tree.map(lambda leaf: new.get(id(leaf), leaf), model)


def _arrays(cell: Any) -> tuple[Any, ...]:
    """Those of a cell, in the order of `weights.Cell`."""
    if isinstance(cell, RNNCell):
        return cell.input.weight, cell.hidden.weight, cell.input.bias
    arrays = cell.weight_ih, cell.weight_hh, cell.bias
    return (*arrays, cell.bias_n) if isinstance(cell, eqx.nn.GRUCell) else arrays
