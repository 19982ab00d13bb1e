"""Which architecture for which memory: long, or rich?

Paper     theory: Jiang, Li & Li 2021, arXiv:2107.09355; Orvieto et al. 2023, arXiv:2303.06349
Figure    experiments/figures/architecture_chart.png
Question  White noise through damped waves of p random pole pairs that begin after a delay of k steps: of what kind of
          memory does each architecture learn most, the one that is long or the one that is rich, and where does it pass
          what a linear RNN of eight states could do at best?
Expect    After 800 steps: linear networks of 4,400 parameters know every one of these memories (errors below 4e-4), and
          of those with a nonlinearity the TCN alone, .001 to .004 whatever k and p. Delays stop RNN, GRU and LSTM: at
          16 steps they have learned next to nothing (GRU with one pair: .1), at 0 and 4 at most .16 is left. The LRU
          minds delays less (.02 at 16, .2 to .4 at 48) and pairs hardly; the Transformer minds pairs (.05 to .3 with
          one or two, .5 to .9 with more). TCN and LRU pass eight linear states where those can least.
Fair      Equal parameters (within 5 %), steps, batches and targets; learning rates as usual for each kind. One seed:
          neighbouring cells are the repetition.
Differs   from the theory: all but two are nonlinear, so that the floor of eight linear states is a mark and no bound.
Cost      12 min on one CPU core
Run       python experiments/theory/architecture_chart.py
Next      python experiments/theory/architecture_chart.py --model lru tcn --steps 10000 --out results/mine
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import evaluate, losses, metrics, models, plot, runs, sweep, train
from seqjax.tasks.convolution import convolve
from seqjax.theory import bounds, targets
from seqjax.types import Batch

Model = Literal["linear_rnn", "linear_cnn", "rnn", "gru", "lstm", "lru", "tcn", "transformer"]

LABEL = {
    "linear_rnn": "linear RNN",
    "linear_cnn": "linear dilated CNN",
    "rnn": "RNN",
    "gru": "GRU",
    "lstm": "LSTM",
    "lru": "LRU",
    "tcn": "TCN",
    "transformer": "Transformer",
}

LEARNING_RATE = {
    "linear_rnn": 1e-3,
    "linear_cnn": 3e-3,
    "rnn": 3e-3,
    "gru": 1e-2,
    "lstm": 1e-2,
    "lru": 1e-2,
    "tcn": 1e-2,
    "transformer": 3e-3,
}

LENGTH, STATES = 128, 8
"""Steps of a sequence and lags of a kernel; states of the linear RNN that errors are held against."""

LINEAR_STATES = 65
"""Of the linear RNN that is trained."""

LEAST = 1e-4
"""The floor where it is less: nothing is trained far below it in so few steps."""


@dataclass(frozen=True)
class Config:
    """One architecture on one memory."""

    model: Model = "tcn"
    delay: int = runs.traced(8)
    poles: int = runs.traced(2)
    steps: int = 800
    batch_size: int = 16
    learning_rate: float = runs.traced(0.0)
    seeds: int = 1

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or LEARNING_RATE[self.model]


def configs(scale: runs.Scale) -> list[Config]:
    """Every architecture on a grid of memories."""
    if scale == "smoke":
        return [Config("linear_cnn", delay, steps=10) for delay in (1, 8)]
    steps, delays, poles, seeds = {
        "laptop": (800, (0, 4, 16, 48), (1, 2, 4, 8), 1),
        "gpu": (10_000, (0, 1, 2, 4, 8, 16, 32, 48), (1, 2, 3, 4, 6, 8, 12, 16), 3),
    }[scale]
    return [Config(model, k, p, steps, seeds=seeds) for model in get_args(Model) for p in poles for k in delays]


def build(config: Config) -> nn.Module:
    """About 4,400 parameters each; whatever is convolved sees 127 steps or more."""
    match config.model:
        case "linear_rnn":
            backbone = models.Recurrent(LINEAR_STATES, partial(models.RNN, activation=lambda x: x))
        case "linear_cnn":
            backbone = models.LinearDilatedCNN(21, layers=7)
        case "rnn":
            backbone = models.Recurrent(65, models.RNN)
        case "gru":
            backbone = models.Recurrent(37, models.GRU)
        case "lstm":
            backbone = models.Recurrent(32, models.LSTM)
        case "lru":
            backbone = models.LRU(18, layers=2, ring=(0.9, 0.999))
        case "tcn":
            backbone = models.TCN(11, kernel_size=3, dilations=(1, 2, 4, 8, 16, 32))
        case "transformer":
            backbone = models.Transformer(16, heads=2, layers=2, expansion=2, positions=models.Rotary)
        case _:
            assert_never(config.model)
    return models.Regressor(backbone)


def kernel(config: Config) -> np.ndarray:
    """The weights of all lags, scaled so that saying nothing has error 1."""
    waves = targets.random_cosines(jax.random.key(0), config.poles, LENGTH - config.delay)
    delayed = np.concatenate([np.zeros(config.delay), waves])
    return delayed / np.sqrt(_weight() @ delayed**2)


def _weight() -> np.ndarray:
    """How many steps of a sequence feel each lag, as a share."""
    return 1 - np.arange(LENGTH) / LENGTH


def measure(records: list[runs.Record]) -> None:
    """An architecture's memories are trained as one program."""
    group = [record.config for record in records]
    config = group[0]
    model = build(config)
    kernels = np.array([kernel(c) for c in group])

    def draw(key, target, rows) -> Batch:
        x = jax.random.normal(key, (rows, LENGTH))
        return Batch(x[..., None], convolve(x, target)[..., None])

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets), {}

    train_key, test_key = jax.random.split(jax.random.key(1))
    settings = jnp.asarray(kernels, jnp.float32), jnp.array([c.rate for c in group])
    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, LENGTH, 1))),
        loss,
        lambda setting: train.adam(setting[1], config.steps),
        lambda key, setting: draw(key, setting[0], config.batch_size),
        keys=jnp.tile(jax.random.split(train_key, config.seeds), len(group)),
        settings=jax.tree.map(lambda part: jnp.repeat(part, config.seeds, axis=0), settings),
        steps=max(1, config.steps // 20),
    )
    state = runs.fit(records, state, advance, config.steps)

    tests = [draw(test_key, target, 500) for target in settings[0]]
    predictions = evaluate.predict(model.apply, state.params, tests[0].inputs)
    for index, (record, test) in enumerate(zip(records, tests, strict=True)):
        found = predictions[index * config.seeds : (index + 1) * config.seeds]
        errors = ((found - np.asarray(test.targets)) ** 2).mean(axis=(2, 3))  # runs, rows
        if config.model == "linear_rnn":
            own = bounds.hankel(kernels[index], LINEAR_STATES, _weight())
            bounds.require_above(own, errors.mean(axis=1), errors.std(axis=1) / errors.shape[1] ** 0.5)
        error = metrics.band(errors.mean(axis=1))
        row = {
            "learning_rate": group[index].rate,
            "parameters": sum(leaf[0].size for leaf in jax.tree.leaves(state.params)),
            "error": error.median,
            "low": error.low,
            "high": error.high,
            "floor": bounds.hankel(kernels[index], STATES, _weight()),
        }
        record.finish(row)


def draw(records: list[runs.Record]) -> Figure:
    """A panel for each architecture, and one for the floor: darker is farther above it."""
    models = [model for model in get_args(Model) if any(record.config.model == model for record in records)]
    columns = min(3, len(models) + 1)
    rows = -(-(len(models) + 1) // columns)
    figure, axes = plot.figure(rows, columns, width=4.4 * columns, height=3.9 * rows)
    panels = axes.ravel()
    first = [record for record in records if record.config.model == models[0]]
    panel(panels[0], first, "floor", f"the best that {STATES} linear states can")
    for ax, model in zip(panels[1:], models, strict=False):
        mine = [record for record in records if record.config.model == model]
        panel(ax, mine, "error", f"{LABEL[model]} ({mine[0].result['parameters']:,} parameters)")
    for ax in panels[len(models) + 1 :]:
        ax.axis("off")
    scale = "log10(error / floor), white at 1/100, black at 10,000 times; *: below the floor"
    figure.suptitle(f"squared error / variance; shade: {scale}", fontsize=10)
    return figure


def panel(ax: Axes, records: list[runs.Record], name: str, title: str) -> None:
    """Numbers and shades over delay and poles; a star where the floor of eight linear states is passed."""
    delays, poles = (sorted({getattr(r.config, field) for r in records}) for field in ("delay", "poles"))
    shades = np.zeros((len(poles), len(delays)))
    for record in records:
        place = poles.index(record.config.poles), delays.index(record.config.delay)
        error, floor = record.result[name], max(record.result["floor"], LEAST)
        shades[place] = np.clip((np.log10(max(error, 1e-12) / floor) + 2) / 6, 0, 1)
        passed = name == "error" and error < record.result["floor"]
        text = f"{error:.2g}" if error >= 1e-12 else "0"
        dark = shades[place] > 0.55
        ax.text(
            place[1],
            place[0],
            text + ("*" if passed else ""),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    plot.heat_map(
        ax, shades if name == "error" else np.zeros_like(shades), [str(p) for p in poles], [str(k) for k in delays]
    )
    ax.tick_params(axis="x", rotation=0)
    ax.set(xlabel="delay k (steps)", ylabel="pole pairs p")
    ax.set_title(title, fontsize=10)


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
