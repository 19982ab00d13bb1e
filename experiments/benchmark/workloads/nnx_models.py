"""The models of the benchmark as a user of Flax NNX writes them, from the library's own modules."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx
from workloads.weights import GATES, Pair, Weights
from workloads.work import Batch, Steps, objective, parameter_count

CELLS: dict[str, Any] = {"rnn": nnx.SimpleCell, "gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


class Recurrent(nnx.Module):
    """`nnx.RNN` with a cell, and a readout."""

    def __init__(self, cell: Any, size: Any, rngs: nnx.Rngs):
        widths = [1] + [size.features] * size.layers
        self.layers = nnx.List([nnx.RNN(cell(widths[n], size.features, rngs=rngs)) for n in range(size.layers)])
        self.readout = nnx.Linear(size.features, 1, rngs=rngs)

    def __call__(self, x: Any):
        for layer in self.layers:
            x = layer(x)
        return self.readout(x)


class TemporalBlock(nnx.Module):
    """Two causal convolutions and a shortcut."""

    def __init__(self, inputs: int, size: Any, dilation: int, rngs: nnx.Rngs):
        conv = partial(nnx.Conv, kernel_size=(size.kernel_size,), kernel_dilation=dilation, padding="CAUSAL", rngs=rngs)
        self.conv1 = conv(inputs, size.features)
        self.conv2 = conv(size.features, size.features)
        self.downsample = nnx.Linear(inputs, size.features, rngs=rngs) if inputs != size.features else None

    def __call__(self, x):
        y = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
        return nnx.relu(y + (x if self.downsample is None else self.downsample(x)))


class TCN(nnx.Module):
    """A stack of blocks (Bai, Kolter & Koltun 2018, arXiv:1803.01271), and a readout."""

    def __init__(self, size: Any, rngs: nnx.Rngs):
        widths = [1] + [size.features] * size.layers
        self.blocks = nnx.List([TemporalBlock(widths[n], size, 2**n, rngs) for n in range(size.layers)])
        self.readout = nnx.Linear(size.features, 1, rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.readout(x)


class Block(nnx.Module):
    """Self-attention and a feed-forward network, with the norm first."""

    def __init__(self, size: Any, rngs: nnx.Rngs):
        features = size.features
        self.norm1 = nnx.LayerNorm(features, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(size.heads, features, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(features, rngs=rngs)
        self.linear1 = nnx.Linear(features, 4 * features, rngs=rngs)
        self.linear2 = nnx.Linear(4 * features, features, rngs=rngs)

    def __call__(self, x, mask):
        x = x + self.attention(self.norm1(x), mask=mask)
        return x + self.linear2(nnx.gelu(self.linear1(self.norm2(x)), approximate=False))


class Transformer(nnx.Module):
    """Causal blocks, and a readout."""

    def __init__(self, size: Any, rngs: nnx.Rngs):
        self.embed = nnx.Linear(1, size.features, rngs=rngs)
        self.blocks = nnx.List([Block(size, rngs) for _ in range(size.layers)])
        self.norm = nnx.LayerNorm(size.features, rngs=rngs)
        self.readout = nnx.Linear(size.features, 1, rngs=rngs)

    def __call__(self, x):
        mask = nnx.make_causal_mask(x[..., 0])
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, mask)
        return self.readout(self.norm(x))


class CNN(nnx.Module):
    """Convolution, relu, pooling, twice; then a readout."""

    def __init__(self, size: Any, rngs: nnx.Rngs):
        widths = [1] + [size.features * 2**n for n in range(size.layers)]
        window = (size.kernel_size, size.kernel_size)
        self.convolutions = nnx.List(
            [nnx.Conv(widths[n], widths[n + 1], window, rngs=rngs) for n in range(size.layers)]
        )
        self.readout = nnx.Linear(widths[-1] * (size.time // 2**size.layers) ** 2, 10, rngs=rngs)

    def __call__(self, x):
        for convolution in self.convolutions:
            x = nnx.max_pool(nnx.relu(convolution(x)), window_shape=(2, 2), strides=(2, 2))
        return self.readout(x.reshape(x.shape[0], -1))


def training(name: str, size: Any, given: Weights, batch: Batch, optimizer: optax.GradientTransformation) -> Steps:
    """A model and an `nnx.Optimizer`, which a compiled step changes in place."""
    rngs = nnx.Rngs(0)
    models = {"tcn": TCN, "transformer": Transformer, "cnn": CNN}
    model: Any = Recurrent(CELLS[name], size, rngs) if name in CELLS else models[name](size, rngs)
    set_weights(name, model, given)
    state = nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    def loss_fn(model, batch):
        return objective(model(*batch.inputs), batch.targets)

    @nnx.jit
    def train_step(model, optimizer, batch):
        loss, grads = nnx.value_and_grad(loss_fn)(model, batch)
        optimizer.update(model, grads)
        return loss

    start = float(nnx.jit(loss_fn)(model, batch))
    return Steps(lambda: train_step(model, state, batch), start, parameter_count(nnx.state(model, nnx.Param)))


def set_weights(name: str, model: Any, given: Weights) -> None:
    """In place. A GRU of NNX has no second bias."""
    _set(model.readout, given.linear("readout"))
    match name:
        case "rnn" | "gru" | "lstm":
            for n, layer in enumerate(model.layers):
                weights, cell = given.cell(f"backbone.{{}}_l{n}", GATES[name]), layer.cell
                cell.dense_i.kernel[...], cell.dense_h.kernel[...] = weights.inputs.T, weights.hidden.T
                (cell.dense_h if name == "lstm" else cell.dense_i).bias[...] = weights.bias
        case "tcn":
            for n, block in enumerate(model.blocks):
                _set(block.conv1, given.conv(f"network.{n}.conv1"))
                _set(block.conv2, given.conv(f"network.{n}.conv2"))
            kernel, bias = given.conv("network.0.downsample")
            _set(model.blocks[0].downsample, (kernel[0], bias))
        case "transformer":
            _set(model.embed, given.linear("embed"))
            model.norm.scale[...], model.norm.bias[...] = given.norm("backbone.norm")
            for n, block in enumerate(model.blocks):
                at = f"backbone.layers.{n}"
                for part, pair in given.attention(f"{at}.self_attn").items():
                    _set(getattr(block.attention, part), pair)
                for norm in ("norm1", "norm2"):
                    getattr(block, norm).scale[...], getattr(block, norm).bias[...] = given.norm(f"{at}.{norm}")
                for linear in ("linear1", "linear2"):
                    _set(getattr(block, linear), given.linear(f"{at}.{linear}"))
        case "cnn":
            for n, convolution in enumerate(model.convolutions):
                _set(convolution, given.conv(f"convolutions.{n}"))
            _set(model.readout, given.image_linear("readout", model.convolutions[-1].bias.shape[0]))


def _set(layer: Any, pair: Pair) -> None:
    """Kernel and bias of a layer, whatever axes it has for heads."""
    kernel, bias = pair
    layer.kernel[...] = jnp.asarray(kernel).reshape(layer.kernel.shape)
    layer.bias[...] = jnp.asarray(bias).reshape(layer.bias.shape)
