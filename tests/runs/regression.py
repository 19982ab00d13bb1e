"""Which line runs through the noise? A tiny experiment, so that the life of one costs seconds.

Question  Do weights come back that white noise was multiplied with?
Expect    The error falls.
Cost      a second
Run       python regression.py
Next      python regression.py --features 8
"""

import os
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, types
from seqjax.runs import training


@dataclass(frozen=True)
class Config:
    """`heads` other than 0 puts a Transformer before the line; `fault` is what goes wrong on the way."""

    features: int = 4
    heads: int = 0
    steps: int = 100
    seeds: int = 2
    learning_rate: float = runs.traced(0.05)
    fault: Literal["none", "nan", "refused", "library"] = "none"


STEPS_PER_CALL = 5
NAN_FROM = 30
"""From this step on the last seed sees NaN, if that is the fault."""

WEIGHTS = (1.0, -2.0, 0.5, 3.0)


def configs(scale: runs.Scale) -> list[Config]:
    """Two that differ in a traced field: one program."""
    steps = {"smoke": 20, "laptop": 100, "gpu": 4000}[scale]
    return [Config(learning_rate=rate, steps=steps) for rate in (0.05, 0.2)]


def build(config: Config) -> nn.Module:
    """A line, or a line behind a Transformer."""
    if config.heads:
        return models.Regressor(models.Transformer(config.features, heads=config.heads))
    return nn.Dense(1)


def measure(records: list[runs.Record]) -> None:
    """The error on fresh noise, and the predictions for it."""
    group = [record.config for record in records]
    if group[0].fault == "refused":
        raise types.InputError("this experiment refuses a fault of 'refused'")
    if group[0].fault == "library":
        jax.vmap(lambda x, y: x + y)(np.ones(3), np.ones(4))
    state = runs.fit(records, *program(group, records[0].session.grid), group[0].steps)
    inputs, targets = map(np.asarray, sample(jax.random.key(1), group[0], 64))
    apply: Any = build(group[0]).apply
    outputs = evaluate.predict(apply, state.params, inputs)
    for index, record in enumerate(records):
        seeds = slice(index * record.config.seeds, (index + 1) * record.config.seeds)
        error = metrics.band(((outputs[seeds] - targets[None]) ** 2).mean(axis=(1, 2, 3)).tolist())
        row = {"parameters": group[0].features + 1, "mse": error.median, "low": error.low, "high": error.high}
        record.finish(row, inputs=inputs, outputs=outputs[seeds])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Noise:
    """Batches of white noise; with the fault, those of the last seed are NaN from a step on.

    Attributes:
        last: the key, as numbers, of the last seed's data.
    """

    last: jax.Array
    config: Config = field(metadata={"static": True})

    def batch(self, key, step):
        inputs, targets = sample(jax.random.fold_in(key, step), self.config, 8)
        bad = (jax.random.key_data(key) == self.last).all() & (step >= NAN_FROM) & (self.config.fault == "nan")
        return types.Batch(jnp.where(bad, jnp.nan, inputs), targets)


def program(group: list[Config], rows: jax.sharding.Mesh | None = None):
    """The first state of a group, and what trains it for a few steps."""
    config, model = group[0], build(group[0])
    apply: Any = model.apply

    def loss(params, batch, key):
        return losses.squared_error(apply(params, batch.inputs), batch.targets), {}

    keys = jax.random.split(jax.random.key(0), config.seeds)
    _, train_key = jax.random.split(keys[-1])
    data_key, _ = jax.random.split(train_key)
    return sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, 5, config.features))),
        loss,
        optax.adam,
        Noise(jax.random.key_data(data_key), config),
        keys=jnp.tile(keys, len(group)),
        settings=jnp.repeat(jnp.array([c.learning_rate for c in group]), config.seeds),
        steps=STEPS_PER_CALL,
        rows=rows,
    )


def sample(key, config: Config, rows: int):
    """White noise, and a weighted sum of its channels."""
    inputs = jax.random.normal(key, (rows, 5, config.features))
    weights = jnp.resize(jnp.array(WEIGHTS), (config.features,))
    return inputs, (inputs @ weights)[..., None]


def draw(records: list[runs.Record]) -> Figure:
    """Error against learning rate."""
    figure, axes = plot.figure()
    rates, rows = [record.config.learning_rate for record in records], [record.result for record in records]
    columns = ([row[name] for row in rows] for name in ("mse", "low", "high"))
    plot.curve(axes[0, 0], rates, *columns, label="line", style=0)
    return figure


if __name__ == "__main__":
    training.SAVE_EVERY = float(os.environ.get("SAVE_EVERY", "30"))
    training.PAUSE = 0
    runs.main(Config, configs, measure, draw)
