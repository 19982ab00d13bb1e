"""The models of the benchmark as a user of Haiku writes them, from the library's own modules."""

# pyright: reportMissingImports=false

from functools import partial
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads.weights import Pair, Weights
from workloads.work import Batch, Steps, objective, parameter_count

CORES: dict[str, Any] = {"rnn": partial(hk.VanillaRNN, double_bias=False), "gru": hk.GRU, "lstm": hk.LSTM}


def recurrent(core: Any, size: Any, x: jax.Array) -> jax.Array:
    """`hk.dynamic_unroll` of each layer, with time first, and a readout."""
    x = jnp.swapaxes(x, 0, 1)
    for _ in range(size.layers):
        layer = core(size.features)
        x, _ = hk.dynamic_unroll(layer, x, layer.initial_state(x.shape[1]))
    return jnp.swapaxes(hk.Linear(1)(x), 0, 1)


def tcn(size: Any, x: jax.Array) -> jax.Array:
    """Causal convolutions in residual blocks (Bai, Kolter & Koltun 2018, arXiv:1803.01271), and a readout."""
    for depth in range(size.layers):
        conv = partial(hk.Conv1D, size.features, size.kernel_size, rate=2**depth, padding=hk.pad.causal)
        y = jax.nn.relu(conv()(x))
        y = jax.nn.relu(conv()(y))
        x = jax.nn.relu(y + (x if depth else hk.Linear(size.features)(x)))
    return hk.Linear(1)(x)


def transformer(size: Any, x: jax.Array) -> jax.Array:
    """Causal blocks with the norm first, and a readout."""
    time, features = x.shape[1], size.features
    mask = jnp.tril(jnp.ones((1, 1, time, time)))
    norm = partial(hk.LayerNorm, axis=-1, create_scale=True, create_offset=True, eps=1e-6)
    x = hk.Linear(features)(x)
    for _ in range(size.layers):
        y, w_init = norm()(x), hk.initializers.VarianceScaling()
        x = x + hk.MultiHeadAttention(size.heads, features // size.heads, w_init=w_init)(y, y, y, mask)
        y = jax.nn.gelu(hk.Linear(4 * features)(norm()(x)), approximate=False)
        x = x + hk.Linear(features)(y)
    return hk.Linear(1)(norm()(x))


def cnn(size: Any, x: jax.Array) -> jax.Array:
    """Convolution, relu, pooling, twice; then a readout."""
    for depth in range(size.layers):
        x = jax.nn.relu(hk.Conv2D(size.features * 2**depth, size.kernel_size)(x))
        x = hk.MaxPool((2, 2, 1), (2, 2, 1), padding="VALID")(x)
    return hk.Linear(10)(hk.Flatten()(x))


def training(name: str, size: Any, given: Weights, batch: Batch, optimizer: optax.GradientTransformation) -> Steps:
    """A transformed function, and a compiled step that returns the next parameters."""
    functions = {"tcn": tcn, "transformer": transformer, "cnn": cnn}
    function = partial(recurrent, CORES[name]) if name in CORES else functions[name]
    network = hk.without_apply_rng(hk.transform(partial(function, size)))
    # Haiku's RNN has relu, and its GRU resets before the product: the same weights would be other functions.
    params = network.init(jax.random.key(0), *batch.inputs) if name in ("rnn", "gru") else weights(name, size, given)
    opt_state = optimizer.init(params)

    def loss_fn(params, batch):
        return objective(network.apply(params, *batch.inputs), batch.targets)

    @jax.jit
    def update(params, opt_state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    def step() -> jax.Array:
        nonlocal params, opt_state
        params, opt_state, loss = update(params, opt_state, batch)
        return loss

    return Steps(step, float(jax.jit(loss_fn)(params, batch)), parameter_count(params))


def weights(name: str, size: Any, given: Weights) -> dict[str, dict[str, Any]]:
    """By the names that Haiku gives to modules without one."""
    made: list[tuple[str, Pair]] = []
    match name:
        case "lstm":
            for n in range(size.layers):
                cell = given.cell(f"backbone.{{}}_l{n}", 4)
                kernel = np.concatenate([cell.inputs, cell.hidden], axis=1)
                # Its gates are i g f o, and it adds 1 to f.
                (i, f, g, o), (bi, bf, bg, bo) = np.split(kernel, 4), np.split(cell.bias, 4)
                pair = np.concatenate([i, g, f, o]).T, np.concatenate([bi, bg, bf - 1, bo])
                made.append((f"{_numbered('lstm', n)}/linear", pair))
            made.append(("linear", given.linear("readout")))
        case "tcn":
            for n in range(size.layers):
                for i in range(2):
                    made.append((_numbered("conv1_d", 2 * n + i), given.conv(f"network.{n}.conv{i + 1}")))
            kernel, bias = given.conv("network.0.downsample")
            made += [("linear", (kernel[0], bias)), ("linear_1", given.linear("readout"))]
        case "transformer":
            made.append(("linear", given.linear("embed")))
            norms = [given.norm("backbone.norm")]
            for n in range(size.layers):
                at = f"backbone.layers.{n}"
                attention = given.attention(f"{at}.self_attn")
                attention["linear"] = attention.pop("out")
                made += [(f"{_numbered('multi_head_attention', n)}/{part}", p) for part, p in attention.items()]
                made += [(_numbered("linear", 2 * n + i), given.linear(f"{at}.linear{i}")) for i in (1, 2)]
                norms[-1:-1] = [given.norm(f"{at}.norm1"), given.norm(f"{at}.norm2")]
            made.append((_numbered("linear", 2 * size.layers + 1), given.linear("readout")))
            scales = {
                _numbered("layer_norm", n): {"scale": jnp.asarray(scale), "offset": jnp.asarray(offset)}
                for n, (scale, offset) in enumerate(norms)
            }
            return _linears(made) | scales
        case "cnn":
            made += [(_numbered("conv2_d", n), given.conv(f"convolutions.{n}")) for n in range(size.layers)]
            channels = size.features * 2 ** (size.layers - 1)
            made.append(("linear", given.image_linear("readout", channels)))
    return _linears(made)


def _linears(pairs: list[tuple[str, Pair]]) -> dict[str, dict[str, Any]]:
    return {name: {"w": jnp.asarray(kernel), "b": jnp.asarray(bias)} for name, (kernel, bias) in pairs}


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
