"""Modules of the tutorial: an output that saturates, biases twice, a start without effect, a cell that cannot run."""

from collections.abc import Callable, Mapping
from math import erf, exp, pi, sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from _claims.approximation_batch_axis import NETWORK
from _claims.finding import Finding, Settings, exact

from seqjax import evaluate, metrics, models, tasks
from seqjax.models.causal_conv import CausalConv
from seqjax.theory import bounds


def beyond_tanh(deviation: float) -> float:
    """The least error of outputs within [-1, 1] on a Gaussian target x: 2 E[(x - 1)^2; x > 1]."""
    edge = 1 / deviation
    tail, density = (1 - erf(edge / sqrt(2))) / 2, exp(-(edge**2) / 2) / sqrt(2 * pi)
    return 2 * deviation**2 * ((1 + edge**2) * tail - edge * density)


def squashed(model) -> training.Network:
    """The defect: tanh on the output, as in the tutorial's public code."""
    return training.Network(model.init, lambda params, x: jnp.tanh(model.apply(params, x)))


def saturates(settings: Settings) -> Finding:
    """D4: targets of unit variance, with a tanh on the output and without."""
    task = tasks.Shift(2, 16)
    model = models.Regressor(models.LSTM(32))
    test = task.sample(jax.random.key(1), 8192)
    found = {}

    def sample(key, _):
        return task.sample(key, training.BLOCK)

    for name, network in (("tanh", squashed(model)), ("linear", model)):
        params = training.networks(network, sample, settings.seeds, settings.steps, rate=1e-2)
        predictions = evaluate.predict(network.apply, params, test.inputs)
        found[name] = training.block_errors((predictions - test.targets[None]) ** 2)
    floor = task.zero_loss() * beyond_tanh(1.0)
    bounds.require_above(floor, found["tanh"].mean(axis=1), training.noise(found["tanh"]))
    ours, fixed = (metrics.band(blocks.mean(axis=1)) for blocks in found.values())
    return Finding(
        quantity="error, shift 2/16, tanh on the output",
        ours=ours,
        verdict=f"targets beyond 1 are out of reach; with a linear output {ours.median / fixed.median:.0f} x lower"
        if ours.median < 1.1 * floor and fixed.median < floor / 10
        else "not explained by the tanh",
        corrected=fixed.median,
        floor=floor,
        also={
            "floor of a step with a target": beyond_tanh(1.0),
            "same for targets divided by 5": beyond_tanh(1 / 5),
        },
        parameters=training.count(params),
    )


def twice_biased(model) -> training.Network:
    """The defect: every bias of a cell is the sum of two, which have the same gradient."""

    def is_bias(path) -> bool:
        return "backbone" in jax.tree_util.keystr(path) and path[-1].key == "bias"

    def init(key, x):
        params = model.init(key, x)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return params | {
            "twins": {jax.tree_util.keystr(path): jnp.zeros_like(b) for path, b in leaves if is_bias(path)}
        }

    def merged(weights):
        params = {"params": weights["params"]}
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf + weights["twins"][jax.tree_util.keystr(path)] if is_bias(path) else leaf, params
        )

    return training.Network(init, lambda weights, x: model.apply(merged(weights), x))


def moves_twice(settings: Settings) -> Finding:
    """D9: PyTorch's two bias vectors: how many weights they are, and how far their sum moves under Adam."""
    task, steps = tasks.Shift(2, 16), settings.steps
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 32, 1)))
    single = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    double = training.torch_count(256)
    model = models.Regressor(models.LSTM(32))

    def moved(network) -> np.ndarray:
        """Mean distance of the biases from their start, which is 0, for each seed."""
        found = training.watched(network, lambda key: task.sample(key, training.BLOCK), settings.seeds, steps, 1)
        params = found.params
        (layer,) = params["params"]["backbone"].values()
        return np.abs(layer["bias"] + sum(params.get("twins", {}).values())).mean(axis=1)[: settings.seeds]

    ours = metrics.band(moved(twice_biased(model)) / moved(model))
    return Finding(
        quantity=f"distance of double biases after {steps} steps / of single",
        ours=ours,
        verdict=f"{double - single:,} of {double:,} weights are redundant; biases move {ours.median:.1f} x as fast"
        if ours.low > 1.5
        else "no effect on learning",
        corrected=1.0,
        also={"parameters, two vectors": double, "parameters, one": single, "redundant": double - single},
        parameters=double,
    )


class WeightNormed:
    """A convolution under PyTorch's weight norm: every use first recomputes `weight` from `v` and `g`."""

    def __init__(self, key, taps: int, inputs: int, features: int):
        reach = (taps * inputs) ** -0.5
        self.v = jax.random.uniform(key, (taps, inputs, features), minval=-reach, maxval=reach)
        self.g = jnp.linalg.norm(self.v.reshape(-1, features), axis=0)
        self.weight = self.v

    def used(self) -> jax.Array:
        """The kernel of a forward pass."""
        self.weight = self.v * (self.g / jnp.linalg.norm(self.v.reshape(-1, len(self.g)), axis=0))[None, None]
        return self.weight


def starts_elsewhere(settings: Settings) -> Finding:
    """D10: kernels of the tutorial's TCN for Lorenz96, drawn after weight norm, and as set in models.TCN."""
    taps, features, quoted = 4, 30, settings.claimed
    conv = CausalConv(features, taps, weight_norm=True, use_bias=False)
    impulses = jnp.eye(features)[:, None] * jnp.eye(1, taps)[0][None, :, None]

    def deviations(key) -> tuple[float, float]:
        start_key, wanted_key = jax.random.split(key)
        wanted = quoted * jax.random.normal(wanted_key, (taps, features, features))
        normed = WeightNormed(start_key, taps, features, features)
        normed.weight = wanted  # all that the tutorial's `init_weights` does
        params = {"kernel": wanted, "gain": jnp.linalg.norm(wanted.reshape(-1, features), axis=0)}
        taken: Any = conv.apply({"params": params}, conv.empty(features, features), impulses.T, method="convolve")[1]
        return float(normed.used().std()), float(jnp.std(taken))

    keys = jax.random.split(jax.random.key(0), settings.seeds)
    theirs, ours = (metrics.band(found) for found in zip(*map(deviations, keys), strict=True))
    without_effect = theirs.low > 2 * quoted and abs(ours.median / quoted - 1) < 0.05
    return Finding(
        quantity="deviation of the first weights, TCN of 30 x 4",
        ours=theirs,
        verdict=f"no effect: {theirs.median / quoted:.1f} x the size; setting v and g: {ours.median / quoted:.2f} x"
        if without_effect
        else "has an effect",
        claimed=quoted,
        corrected=ours.median,
        also={
            "PyTorch's own start": (3 * taps * features) ** -0.5,
            "signal of two such layers / as intended": (theirs.median / quoted) ** 2,
        },
        parameters=(taps * features + 1) * features,
    )


class Printed:
    """The tutorial's RNN in NumPy: its constructor takes `activation` and does not store it.

    Attributes:
        projections: number of inputs multiplied by U.
    """

    activation: Callable

    def __init__(self, params: Mapping, activation: Callable = np.tanh):
        self.U, self.W, self.b = (np.asarray(params[n]) for n in ("input_kernel", "recurrent_kernel", "bias"))
        self.projections = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        hidden = [np.zeros(len(self.b))]
        for step in range(len(x)):
            projected = x @ self.U + self.b  # all steps, of which one is used
            self.projections += len(x)
            hidden.append(self.activation(hidden[-1] @ self.W + projected[step]))
        return np.array(hidden[1:])


def cannot_run(settings: Settings) -> Finding:
    """D14: the printed cell as it is, then with its activation; and ours, all steps at once and step by step."""
    length, model = 32, models.RNN(16)
    fault, apart, streamed, projections = "", [], [], 0
    for key in jax.random.split(jax.random.key(0), settings.seeds):
        x = jax.random.normal(key, (1, length, 1))
        params = model.init(key, x)
        printed = Printed(params["params"]["layer_0"])
        try:
            printed(np.asarray(x[0]))
        except AttributeError as error:
            fault = str(error)
        printed.activation, printed.projections = np.tanh, 0
        whole = jnp.asarray(model.apply(params, x))
        apart.append(float(np.abs(printed(np.asarray(x[0])) - whole[0]).max()))
        carry, outputs = model.start(1, 1, length), []
        for step in range(length):
            carry, y = model.apply(params, carry, x[:, step : step + 1], method="extend")
            outputs.append(y)
        streamed.append(float(jnp.abs(jnp.concatenate(outputs, axis=1) - whole).max()))
        projections = printed.projections
    same = max(apart + streamed) < 1e-5
    return Finding(
        quantity=f"inputs projected for {length} steps",
        ours=exact(projections),
        verdict=f"cannot run: {fault}; with it, {projections // length} x the work; ours: step by step = at once"
        if fault and same
        else "runs"
        if not fault
        else "ours differs",
        corrected=length,
        also={
            "ours against the printed one, corrected": max(apart),
            "step by step against at once": max(streamed),
        },
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
    )
