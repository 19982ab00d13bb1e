"""How the audit trains: networks on samples, and linear models on the loss over all inputs at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import evaluate, losses, sweep, train

BLOCK = 32
"""Sequences of a batch, and those over which one test error is averaged."""

ONE = np.zeros(1)
"""A single setting, for what has none."""


class Network(NamedTuple):
    """A module with a defect around it: what is trained in place of the module."""

    init: Callable
    apply: Callable


class Watch(NamedTuple):
    """The state of PyTorch's ReduceLROnPlateau.

    Attributes:
        scale: remaining fraction of the learning rate.
        best: the least mean loss of an epoch so far.
        bad: epochs since then.
        total: of this epoch's losses, relative to their number.
    """

    scale: jax.Array
    best: jax.Array
    bad: jax.Array
    total: jax.Array

    @classmethod
    def start(cls) -> "Watch":
        """Before the first step."""
        return cls(jnp.ones(()), jnp.asarray(jnp.inf), jnp.asarray(0), jnp.zeros(()))

    def after(self, loss: jax.Array, step: jax.Array, epoch: int) -> "Watch":
        """After one more step: the eleventh epoch in a row without 1e-4 of progress lowers the rate tenfold."""
        total, ends = self.total + loss / epoch, (step + 1) % epoch == 0
        better = ends & (total < self.best * (1 - 1e-4))
        bad = jnp.where(ends, jnp.where(better, 0, self.bad + 1), self.bad)
        lower = bad > 10
        scale = jnp.where(lower, jnp.maximum(self.scale / 10, 1e-5), self.scale)  # nothing below a rate of 1e-8
        best = jnp.where(better, total, self.best)
        return Watch(scale, best, jnp.where(lower, 0, bad), jnp.where(ends, 0.0, total))


class Watched(NamedTuple):
    """Runs without the scheduler and then with it, each for every seed.

    Attributes:
        params: after the last step.
        scale: remaining fraction of the learning rate, [runs].
    """

    params: Any
    scale: np.ndarray


def watched(model, sample: Callable, seeds: int, steps: int, epoch: int) -> Watched:
    """Train as the public code of `approximation`: Adam at 1e-3, without its scheduler and with it.

    Args:
        sample: `key -> Batch`.
        epoch: steps after which the scheduler compares the mean loss with the best so far.
    """
    optimizer = optax.adam(1e-3)
    keys = jax.random.split(jax.random.key(0), seeds)
    shape = jax.eval_shape(sample, keys[0]).inputs

    def loss(params, batch):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets)

    def run(case):
        key, scheduled = case
        init_key, data_key = jax.random.split(key)

        def update(carry, step):
            params, state, watch = carry
            value, gradient = jax.value_and_grad(loss)(params, sample(jax.random.fold_in(data_key, step)))
            change, state = optimizer.update(gradient, state)
            scale = jnp.where(scheduled, watch.scale, 1.0)
            params = jax.tree.map(lambda part, by: part + scale * by, params, change)
            return (params, state, watch.after(value, step, epoch)), None

        params = model.init(init_key, jnp.zeros(shape.shape))
        start = params, optimizer.init(params), Watch.start()
        (params, _, watch), _ = jax.lax.scan(update, start, jnp.arange(steps))
        return params, jnp.where(scheduled, watch.scale, 1.0)

    # One after another: each of them fills the machine.
    every = jax.jit(lambda cases: jax.lax.map(run, cases))
    params, scale = every((jnp.tile(keys, 2), jnp.repeat(jnp.array([False, True]), seeds)))
    return Watched(params, np.asarray(scale))


def networks(
    model,
    sample: Callable,
    seeds: int,
    steps: int,
    rate: float,
    *,
    settings: jax.Array | np.ndarray = ONE,
) -> Any:
    """Parameters of a network after training, for every setting and then every seed.

    Args:
        sample: `(key, setting) -> Batch`.
        settings: an array with the leading axis `settings`.
    """

    def loss(params, batch):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets, batch.weight)

    shape = jax.eval_shape(sample, jax.random.key(0), settings[0]).inputs

    def initialise(key):
        return model.init(key, jnp.zeros((1, *shape.shape[1:])))

    return fitted(initialise, loss, sample, seeds, steps, rate, settings=settings)


def fitted(
    initialise: Callable,
    loss: Callable,
    sample: Callable,
    seeds: int,
    steps: int,
    rate: float,
    *,
    settings: jax.Array | np.ndarray = ONE,
) -> Any:
    """The same for any `loss(params, batch) -> scalar`."""
    keys = jax.random.split(jax.random.key(0), seeds)
    state, advance = sweep.sweep(
        initialise,
        lambda params, batch, key: (loss(params, batch), {}),
        lambda setting: train.adam(rate, steps),
        sample,
        keys=jnp.tile(keys, len(settings)),
        settings=jnp.repeat(jnp.asarray(settings), seeds, axis=0),
        steps=max(1, steps // 20),
    )
    for now, _ in train.run(advance, state, steps):
        state = now
    return state.params


def of_setting(params, place: int, seeds: int) -> Any:
    """The runs of one setting, of what `networks` or `fitted` return."""
    return jax.tree.map(lambda leaf: leaf[place * seeds : (place + 1) * seeds], params)


def errors(model, params, batch, *, batch_size: int = 256) -> np.ndarray:
    """The mean squared error of every run on a test batch."""
    predictions = evaluate.predict(model.apply, params, batch.inputs, batch_size=batch_size)
    return np.square(predictions - batch.targets[None]).mean(axis=(1, 2, 3))


def count(params) -> int:
    """Parameters of one of the runs."""
    return sum(leaf[0].size for leaf in jax.tree.leaves(params))


def torch_count(features: int) -> int:
    """Weights of PyTorch's LSTM of two layers on one input, and of a linear readout."""
    return sum(4 * features * (width + features + 2) for width in (1, features)) + features + 1


def block_errors(squared: np.ndarray) -> np.ndarray:
    """[runs, blocks] from squared errors [runs, rows, time, 1]: `BLOCK` sequences each, whichever axis is which."""
    return squared.reshape(len(squared), -1, BLOCK * squared.shape[2]).mean(axis=2)


def noise(errors: np.ndarray) -> np.ndarray:
    """The standard error of the mean of each row."""
    return errors.std(axis=1) / errors.shape[1] ** 0.5


def population(loss: Callable, starts, cases, steps: int, rate: float) -> tuple[Any, np.ndarray]:
    """Adam on an exact loss, in float64: the weights and losses of every run.

    Args:
        loss: `(weights, case) -> scalar`.
        starts: a pytree of weights with the leading axis `runs`.
        cases: a pytree of arrays with the same leading axis: each run's target.
    """
    key, last = jax.random.key(0), np.array([steps])

    def descend(start, case):
        return train.descend(lambda weights, _: loss(weights, case), train.adam(rate, steps), start, key, last)

    weights, values = jax.jit(jax.vmap(descend))(starts, cases)
    return weights, np.asarray(values)[:, 0]
