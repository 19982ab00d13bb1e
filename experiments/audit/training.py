"""How the audit trains: networks on samples, and linear models on the loss over all inputs at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses, train

BLOCK = 32
"""Sequences of a batch, and those over which one test error is averaged."""


def networks(model, sample: Callable, settings, seeds: int, steps: int, rate: float, *, vectorise: bool = True) -> Any:
    """Parameters of a network after training, for every setting and then every seed.

    Args:
        sample: `(key, setting) -> Batch`.
        settings: an array, which `sample` is given entries of.
        vectorise: as in `train.sweep`; convolutions side by side are slow.
    """

    def loss(params, batch, key):
        return losses.squared_error(model.apply(params, batch.inputs), batch.targets, batch.weight), {}

    keys = jax.random.split(jax.random.key(0), seeds)
    shape = jax.eval_shape(sample, keys[0], settings[0]).inputs
    state, advance = train.sweep(
        lambda key: model.init(key, jnp.zeros((1, *shape.shape[1:]))),
        loss,
        lambda setting: train.adam(rate, steps),
        lambda key, step, setting: sample(jax.random.fold_in(key, step), setting),
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
