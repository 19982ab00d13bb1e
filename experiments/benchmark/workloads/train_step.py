"""Training steps: forward, backward and Adam on one batch, from the same weights on every side."""

# pyright: reportMissingImports=false

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from workloads import work
from workloads.weights import Weights
from workloads.work import Work, matmul_flops

STEPS = 5
"""Steps of one run."""

RATE = 1e-3

CLASSES = 10


class Sizes(NamedTuple):
    """Shape of a batch, and width of the model; for images `time` is height and width."""

    batch: int
    time: int
    features: int
    layers: int
    kernel_size: int = 4
    heads: int = 8
    words: int = 10_000


SIZES = {
    "rnn": Sizes(128, 32, 256, 2), "gru": Sizes(128, 32, 256, 2), "lstm": Sizes(128, 32, 256, 2),
    "tcn": Sizes(128, 128, 32, 8), "transformer": Sizes(64, 128, 128, 4), "cnn": Sizes(128, 28, 16, 2, kernel_size=3),
    "translator": Sizes(64, 20, 512, 1),
}  # fmt: skip


def sizes(name: str, smoke: bool) -> Sizes:
    """The sizes of a workload; at smoke scale it only shows that it runs."""
    size = SIZES[name]
    return size._replace(batch=2, time=8, features=16, layers=2) if smoke else size


def batch(name: str, size: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets."""
    random = np.random.default_rng(0)
    if name == "translator":
        source, target = random.integers(4, size.words, (2, size.batch, size.time))
        return source, target
    if name == "cnn":
        images = random.normal(size=(size.batch, size.time, size.time, 1)).astype(np.float32)
        return images, random.integers(0, CLASSES, size.batch)
    x = random.normal(size=(size.batch, size.time, 1)).astype(np.float32)
    return x, np.roll(x, size.time // 4, axis=1)


def seqjax(name: str, smoke: bool) -> Work:
    """As our experiments train: several steps are one compiled call."""
    return _seqjax(name, smoke, partial(work.training, batches=lambda key: (), steps=STEPS))


def step_by_step(name: str, smoke: bool) -> Work:
    """The same with one compiled call a step, as all peers do it."""
    return _seqjax(name, smoke, partial(work.training, batches=lambda key: (), steps=STEPS, calls=STEPS))


def guard_off(name: str, smoke: bool) -> Work:
    """The same without the finite guard, which the peers do not have."""
    return _seqjax(name, smoke, partial(work.unguarded_training, steps=STEPS))


def _seqjax(name: str, smoke: bool, prepare: Callable[[Any, Any, Any], Callable[[], float]]) -> Work:
    import jax
    import jax.numpy as jnp
    import optax

    from seqjax import losses

    size = sizes(name, smoke)
    model, layout = build(name, size)
    x, y = (jnp.asarray(array) for array in batch(name, size))
    inputs = (x, y) if name == "translator" else (x,)

    def loss(params, batch, key):
        outputs = model.apply(params, *inputs)
        if outputs.shape[-1] == 1:
            return losses.squared_error(outputs, y)
        targets = y.reshape(len(y), -1)  # one class an image is a sequence of one
        return losses.cross_entropy(outputs.reshape(*targets.shape, -1), targets)

    params = work.parameters(model, layout, *inputs)
    run = prepare(params, loss, optax.adam(RATE))
    start = float(jax.jit(loss)(params, (), None))
    flops = STEPS * matmul_flops(jax.grad(lambda params: loss(params, (), None)), params)
    return Work(run, STEPS, work.parameter_count(params), flops, start)


def linen(name: str, smoke: bool) -> Work:
    """Flax Linen with a `TrainState`."""
    from workloads import linen_models

    return _library(name, smoke, linen_models.training)


def nnx(name: str, smoke: bool) -> Work:
    """Flax NNX with its optimizer."""
    from workloads import nnx_models

    return _library(name, smoke, nnx_models.training)


def equinox(name: str, smoke: bool) -> Work:
    """Equinox and optax."""
    from workloads import equinox_models

    return _library(name, smoke, equinox_models.training)


def haiku(name: str, smoke: bool) -> Work:
    """Haiku and optax."""
    from workloads import haiku_models

    return _library(name, smoke, haiku_models.training)


def _library(name: str, smoke: bool, training: Callable[..., work.Steps]) -> Work:
    """Another library of JAX, with our weights as far as it has a place for them, and a compiled call for each step."""
    import jax
    import jax.numpy as jnp
    import optax

    size = sizes(name, smoke)
    model, layout = build(name, size)
    x, y = (jnp.asarray(array) for array in batch(name, size))
    given = work.Batch((x, y) if name == "translator" else (x,), y)
    like = jax.eval_shape(model.init, jax.random.key(0), *given.inputs)
    made = training(name, size, Weights(work.named(like, layout)), given, optax.adam(RATE))

    def run() -> float:
        return float(np.mean([made.step() for _ in range(STEPS)]))

    return Work(run, STEPS, made.parameters, start=made.start)


def build(name: str, size: Sizes) -> tuple[Any, Any]:
    """Our model, and the layout of its weights in PyTorch."""
    import jax

    from seqjax import convert, models

    readout: dict[str, Any] = {"readout": convert.linear("readout")}
    match name:
        case "rnn" | "gru" | "lstm":
            layers = {"rnn": models.RNN, "gru": models.GRU, "lstm": models.LSTM}[name]
            backbone = layers(size.features, size.layers)
            return models.Regressor(backbone), {"backbone": convert.recurrent("backbone")} | readout
        case "tcn":
            dilations = tuple(2**depth for depth in range(size.layers))
            backbone = models.TCN(size.features, size.kernel_size, dilations)
            return models.Regressor(backbone), {"backbone": convert.tcn()} | readout
        case "transformer":
            gelu = partial(jax.nn.gelu, approximate=False)
            form: Any = {"positions": models.Positions(), "activation": gelu}
            backbone = models.Transformer(size.features, size.heads, size.layers, **form)
            layout = convert.transformer("backbone", embed=convert.linear("embed"))
            return models.Regressor(backbone), {"backbone": layout} | readout
        case "cnn":
            channels = tuple(size.features * 2**depth for depth in range(size.layers))
            layout = {f"Conv_{depth}": convert.conv(f"convolutions.{depth}") for depth in range(size.layers)}
            classifier = models.ImageClassifier(models.CNN(channels, size.kernel_size), CLASSES)
            return classifier, {"backbone": layout, "readout": convert.grid_linear("readout", channels[-1])}
        case "translator":
            attention = models.AdditiveAttention(size.features)
            decoder = models.BahdanauDecoder(size.features, attention=attention)
            encoder = models.Bidirectional(2 * size.features)
            return models.EncoderDecoder(encoder, decoder, size.words, size.words, size.features // 2), {
                "source_embedding": convert.embedding("source_embedding"),
                "encoder": convert.recurrent("encoder"),
                "decoder": {
                    "bridge": {"Dense_0": convert.linear("bridge")},
                    "attention": convert.additive("attention"),
                    "stack": convert.recurrent("decoder"),
                },
                "target_embedding": convert.embedding("target_embedding"),
            } | readout
    raise ValueError(f"workload must be one of {sorted(SIZES)}, got {name}")


def torch(name: str, smoke: bool) -> Work:
    """Eager PyTorch with its fused Adam."""
    return _torch(name, smoke, lambda module: module)


def torch_compiled(name: str, smoke: bool) -> Work:
    """The same after `torch.compile`."""
    import torch

    return _torch(name, smoke, torch.compile)


def _torch(name: str, smoke: bool, prepare: Callable[[Any], Any]) -> Work:
    import torch
    from torch.nn import functional as F
    from workloads import torch_models

    size = sizes(name, smoke)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = torch_models.with_weights(torch_models.PEERS[name](size)).to(device)
    x, y = (torch.from_numpy(array).to(device) for array in batch(name, size))
    inputs = (x, y) if name == "translator" else (x,)
    forward = prepare(module)
    optimizer = torch.optim.Adam(module.parameters(), RATE, fused=True)

    def loss() -> Any:
        outputs = forward(*inputs)
        if outputs.shape[-1] == 1:
            return F.mse_loss(outputs, y)
        return F.cross_entropy(outputs.flatten(0, -2), y.flatten())

    def run() -> float:
        total = 0.0
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            value = loss()
            value.backward()
            optimizer.step()
            total += value.detach()
        return float(total) / STEPS

    return Work(run, STEPS, sum(p.numel() for p in module.parameters()), start=loss().item())
