"""How the audit trains: networks on samples, and linear models on the loss over all inputs at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import losses, sweep, train

BLOCK = 32
"""Sequences of a batch, and those over which one test error is averaged."""


class Network(NamedTuple):
    """What is trained where it is no module: one with a defect around it."""

    init: Callable
    apply: Callable


class Watch(NamedTuple):
    """What PyTorch's ReduceLROnPlateau remembers, and what of the learning rate it leaves.

    Attributes:
        scale: by which every update is multiplied.
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
        """Nothing seen yet."""
        return cls(jnp.ones(()), jnp.asarray(jnp.inf), jnp.asarray(0), jnp.zeros(()))

    def after(self, loss: jax.Array, step: jax.Array, epoch: int) -> "Watch":
        """One step on: 10 epochs without 1e-4 of progress are borne, the eleventh lowers the rate tenfold."""
        total, ends = self.total + loss / epoch, (step + 1) % epoch == 0
        better = ends & (total < self.best * (1 - 1e-4))
        bad = jnp.where(ends, jnp.where(better, 0, self.bad + 1), self.bad)
        lower = bad > 10
        scale = jnp.where(lower, jnp.maximum(self.scale / 10, 1e-5), self.scale)  # nothing below a rate of 1e-8
        best = jnp.where(better, total, self.best)
        return Watch(scale, best, jnp.where(lower, 0, bad), jnp.where(ends, 0.0, total))


class Watched(NamedTuple):
    """Runs under S4's optimiser, for a rate that stays and then for one that a scheduler lowers, and every seed.

    Attributes:
        params: after the last step.
        losses: of every step, [runs, steps].
        scale: what the scheduler left of the rate, [runs].
    """

    params: Any
    losses: np.ndarray
    scale: np.ndarray


def watched(model, sample: Callable, seeds: int, steps: int, epoch: int) -> Watched:
    """Train as the public code behind S4: Adam at 1e-3, without its scheduler and with it.

    Args:
        sample: `key -> Batch`.
        epoch: steps after which the scheduler looks at the mean loss.
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
            return (params, state, watch.after(value, step, epoch)), value

        params = model.init(init_key, jnp.zeros(shape.shape))
        (params, _, watch), found = jax.lax.scan(
            update, (params, optimizer.init(params), Watch.start()), jnp.arange(steps)
        )
        return params, found, jnp.where(scheduled, watch.scale, 1.0)

    # One after the other: each of them fills the machine.
    every = jax.jit(lambda cases: jax.lax.map(run, cases))
    params, found, scale = every((jnp.tile(keys, 2), jnp.repeat(jnp.array([False, True]), seeds)))
    return Watched(params, np.asarray(found), np.asarray(scale))


def networks(model, sample: Callable, settings, seeds: int, steps: int, rate: float, *, vectorise: bool = True) -> Any:
    """Parameters of a network after training, for every setting and then every seed.

    Args:
        sample: `(key, setting) -> Batch`.
        settings: an array, which `sample` is given entries of.
        vectorise: as in `sweep.sweep`; convolutions side by side are slow.
    """

    def loss(params, batch):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets, batch.weight)

    shape = jax.eval_shape(sample, jax.random.key(0), settings[0]).inputs
    return fitted(
        lambda key: model.init(key, jnp.zeros((1, *shape.shape[1:]))),
        loss,
        sample,
        settings,
        seeds,
        steps,
        rate,
        vectorise=vectorise,
    )


def fitted(
    initialise: Callable,
    loss: Callable,
    sample: Callable,
    settings: jax.Array,
    seeds: int,
    steps: int,
    rate: float,
    *,
    vectorise: bool = True,
) -> Any:
    """The same for whatever has a loss: `(params, what was sampled) -> scalar`."""
    keys = jax.random.split(jax.random.key(0), seeds)
    state, advance = sweep.sweep(
        initialise,
        lambda params, batch, key: (loss(params, batch), {}),
        lambda setting: train.adam(rate, steps),
        lambda key, setting: sample(key, setting),
        keys=jnp.tile(keys, len(settings)),
        settings=jnp.repeat(settings, seeds, axis=0),
        steps=max(1, steps // 20),
        vectorise=vectorise,
    )
    for now, _ in train.run(advance, state, steps):
        state = now
    return state.params


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
        cases: a pytree of arrays with the same leading axis: what each run is to learn.
    """
    key, last = jax.random.key(0), np.array([steps])

    def descend(start, case):
        return train.descend(lambda weights, _: loss(weights, case), train.adam(rate, steps), start, key, last)

    weights, values = jax.jit(jax.vmap(descend))(starts, cases)
    return weights, np.asarray(values)[:, 0]
