"""Language models on running text: training on random windows, and the cross-entropy of a whole held-out text."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from seqjax import evaluate, losses, models, runs
from seqjax.tasks.text_generation import Stretch, TextGeneration, Windows
from seqjax.train import TrainState
from seqjax.types import Params

VALIDATED = 192
"""Windows for validation, spread over the whole validation text, which would take a quarter of the training time."""

CHUNK = 24
"""Windows that are evaluated at a time."""


def fit(
    record: runs.Record, task: TextGeneration, model: models.Module, rates: Mapping[str, float] | None = None
) -> TrainState:
    """Train on windows that start anywhere; keep the parameters with the best validation loss."""
    config = record.config
    windows = task.windows(task.validation, stride=task.length)
    rows = np.linspace(0, len(windows.inputs) - 1, min(VALIDATED, len(windows.inputs))).astype(int)
    few = jax.tree.map(lambda array: jnp.asarray(array[rows, None]), windows)

    def loss(params, batch, key):
        logits = model.apply(params, batch.inputs, train=True, rngs={"dropout": key})
        return losses.cross_entropy(logits, batch.labels)

    def validate(params):
        total = jax.lax.map(functools.partial(nats, model, params), few, batch_size=12).sum()
        value = total / few.counted.sum()
        return value, {"validation_bits": value * task.validation.bits(1.0)}

    return runs.train_group(
        [record],
        lambda key: model.init(key, jnp.zeros((1, task.length), jnp.int32)),
        loss,
        lambda key: task.sample(key, config.batch_size),
        keys=jax.random.split(jax.random.key(0), config.seeds),
        rates=rates,
        chunk=1,
        validate=validate,
    )


def nats(model: models.Module, params: Params, windows: Windows) -> Float[Array, " rows"]:
    """The cross-entropy of each window, summed over its counted tokens."""
    logits = model.apply(params, windows.inputs)
    costs = optax.softmax_cross_entropy_with_integer_labels(logits, windows.labels)
    return jnp.where(windows.counted, costs, 0.0).sum(axis=1)


def nats_per_token(
    model: models.Module, params: Params, task: TextGeneration, stretch: Stretch, stride: int
) -> Float[np.ndarray, " seeds"]:
    """The mean cross-entropy of a stretch's tokens, for each of the parameters along the leading axis of `params`."""

    @jax.jit
    def of_seeds(windows):
        return jax.lax.map(lambda params: nats(model, params, windows), params).T

    windows = task.windows(stretch, stride=stride)
    return evaluate.in_chunks(of_seeds, windows, batch_size=CHUNK).sum(axis=0) / windows.counted.sum()
