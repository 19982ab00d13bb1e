"""Which learning rates keep a linear memory stable, and how does that depend on the parameterisation?

Paper     Wang & Li 2023, arXiv:2311.14495; Wang, Li & Li 2023, arXiv:2305.19190
Figure    experiments/figures/parameterisation.png
Question  The states of a linear RNN decay, each at a rate that is a weight w itself, exp or softplus of it, or
          1/(w^2 + .1). At which learning rates of gradient descent and of Adam does training end with less than the
          error of predicting zero? And if rate = w starts on the unstable side, as in the released code of the paper?
Expect    Gradient descent: rate = w diverges at a learning rate 2 to 6 times smaller than the others, which are stable
          up to about 3. Adam: rate = w gets worse from .1 on and diverges at 1; exp w, though stable for every w,
          diverges earlier, at .5, since Euler's steps are not stable past a rate of 2/step = 20, which exp reaches at
          w = 3; softplus and 1/(w^2 + .1) are stable up to 3. Below all that the four learn alike. Initialised as
          growing states, rate = w does not learn at any of these (experiments/tutorials/audit.py has a gentler such
          initialisation).
Answer    The largest learning rate of gradient descent at which all runs on a power law end below the error of
          predicting zero is {max learning_rate target="power law" weights=direct optimizer=descent stable=8:.2g} if
          rates are weights themselves,
          {max learning_rate target="power law" weights=exp optimizer=descent stable=8:.2g} with exp,
          {max learning_rate target="power law" weights=softplus optimizer=descent stable=8:.2g} with softplus and
          {max learning_rate target="power law" weights=best optimizer=descent stable=8:.2g} with 1/(w^2 + .1); of Adam
          {max learning_rate target="power law" weights=direct optimizer=adam stable=8:.2g},
          {max learning_rate target="power law" weights=exp optimizer=adam stable=8:.2g},
          {max learning_rate target="power law" weights=softplus optimizer=adam stable=8:.2g} and
          {max learning_rate target="power law" weights=best optimizer=adam stable=8:.2g}.
Fair      All have the same initial rates (but for the growing ones, which have the other sign), the same input and
          output weights, and equally many steps. All is float64 and the exact loss: no data.
Differs   from the paper: one layer of 32 states without nonlinearity, steps instead of epochs.
Cost      3 min on one CPU core
Run       python experiments/theory/parameterisation.py
Next      python experiments/theory/parameterisation.py --optimizer descent --learning-rate .02 .05 .1 .2
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import _parameterisations
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _columns import band, scores
from _descent import log_steps
from _parameterisations import PARAMETERISATION
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import models, plot, runs, train
from seqjax.theory import population, targets

Target = Literal["exponential", "power law"]
Weights = Literal[_parameterisations.Weights, "growing"]
Optimizer = Literal["descent", "adam"]

LABEL = {
    **_parameterisations.LABEL, "growing": "rate = w, initialised at -rate", "descent": "gradient descent",
    "adam": "Adam",
}  # fmt: skip

LOOK: dict[str, int] = {**_parameterisations.LOOK, "growing": 1}

RATE = {"exp": jnp.exp, "softplus": jax.nn.softplus, "best": models.reciprocal}
"""Rates of weights, for JAX to differentiate; the others are weights themselves."""

OPTIMIZER = {"descent": optax.sgd, "adam": optax.adam}

LENGTH, STEP = 100, 0.1
"""Steps of a sequence, and the time that each takes."""

LEARNING_RATES = (*(5 * 10 ** (-i / 4) for i in range(7)), *(5 * 10 ** (-i / 2) for i in range(4, 13)))
"""The paper's, and some between them where training becomes unstable."""

WORST = 2.0
"""Errors that are larger or not finite count as this, twice the error of the zero predictor."""


@dataclass(frozen=True)
class Config:
    """One learning rate.

    Attributes:
        target: memory to be learned.
        weights: parameterisation of the decay rates.
        optimizer: gradient descent or Adam.
        learning_rate: of the optimiser, constant.
        states: exponentials of the memory.
        steps: training updates.
        seeds: random seeds, trained together.
    """

    target: Target = runs.traced("power law")  # noqa: RUF009
    weights: Weights = "direct"
    optimizer: Optimizer = "descent"
    learning_rate: float = runs.traced(0.05)
    states: int = 32
    steps: int = 1_000
    seeds: int = 8


def configs(scale: runs.Scale) -> list[Config]:
    """Every parameterisation, optimiser, target and learning rate."""
    if scale == "smoke":
        return [Config(weights=weights, states=4, steps=20, seeds=2) for weights in ("direct", "exp")]
    steps = {"laptop": 1_000, "gpu": 100_000}[scale]
    return [
        Config(target, weights, optimizer, rate, steps=steps)
        for optimizer in get_args(Optimizer)
        for weights in get_args(Weights)
        for target in get_args(Target)
        for rate in LEARNING_RATES
    ]


def kernel(target: Target) -> np.ndarray:
    """The target's weight at each lag."""
    match target:
        case "exponential":
            return targets.exponentials((math.exp(-STEP),), LENGTH)
        case "power law":
            return targets.power_law(1.1, LENGTH, scale=STEP)
        case _:
            assert_never(target)


def initialise(config: Config, key) -> tuple[np.ndarray, ...]:
    """Weights of rates from .1 to 10 per unit of time, and input and output weights."""
    rate_key, read_key, write_key = jax.random.split(key, 3)
    rates = 0.1 * 100 ** np.asarray(jax.random.uniform(rate_key, (config.states,), float), np.float64)
    read, write = (np.asarray(jax.random.normal(key, (config.states,), float)) for key in (read_key, write_key))
    w = -rates if config.weights == "growing" else PARAMETERISATION[config.weights].weight(np.minimum(rates, 9.99))
    return w, read, write / config.states**0.5


def measure(records: list[runs.Record]) -> None:
    """Errors are relative to the target's squared norm."""
    config: Config = records[0].config
    times = log_steps(config.steps, 50)
    for record, losses in zip(records, _train([record.config for record in records], times), strict=True):
        losses = np.where(losses < WORST, losses, WORST)
        row = {"parameters": 3 * config.states} | scores("error", losses[:, -1])
        record.finish(row | {"stable": int((losses[:, -1] < 1).sum())}, times=times, losses=losses)


def _train(configs: list[Config], times: np.ndarray) -> np.ndarray:
    """Losses of each configuration and seed at these times; targets, learning rates and seeds are one program."""
    config, rate = configs[0], RATE.get(configs[0].weights, lambda w: w)

    def train_one(start, target, learning_rate):
        def loss(weights, key):
            w, read, write = weights
            error = target - population.decaying(1 - STEP * rate(w), STEP * read * write, LENGTH)
            return population.last_step(error) / population.last_step(target)

        optimizer = OPTIMIZER[config.optimizer](learning_rate)
        return train.descend(loss, optimizer, start, jax.random.key(0), times)[1]

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), config.seeds)
        starts = jax.tree.map(lambda *seeds: jnp.stack(seeds), *[initialise(config, key) for key in keys])
        kernels, rates = jnp.array([kernel(c.target) for c in configs]), jnp.array([c.learning_rate for c in configs])
        over_seeds = jax.vmap(train_one, (0, None, None))
        return np.asarray(jax.jit(jax.vmap(over_seeds, (None, 0, 0)))(starts, kernels, rates))


def draw(records: list[runs.Record]) -> Figure:
    """The final error against the learning rate, and the gradient scale of each parameterisation."""
    optimizers = [name for name in get_args(Optimizer) if any(r.config.optimizer == name for r in records)]
    targets = [name for name in get_args(Target) if any(r.config.target == name for r in records)]
    figure, axes = plot.figure(len(targets), len(optimizers) + 1, width=4.9 * (len(optimizers) + 1), height=7.6)
    for row, target in zip(axes, targets, strict=True):
        for ax, optimizer in zip(row, optimizers, strict=False):
            panel(ax, [r for r in records if (r.config.target, r.config.optimizer) == (target, optimizer)])
            ax.set_title(f"{target}, {LABEL[optimizer]}")
    _parameterisations.draw_gradient_scale(axes[0, -1], np.geomspace(0.01, 9, 60))
    for ax in axes[1:, -1]:
        ax.axis("off")
    key = axes[-1, -1] if len(axes) > 1 else axes[0, 0]
    seeds = plot.over_seeds(record.config.seeds for record in records)
    handles = axes[0, 0].get_legend_handles_labels()
    key.legend(*handles, loc="center left", frameon=False, title=f"panels on the left: {seeds}")
    return figure


def panel(ax: Axes, records: list[runs.Record]) -> None:
    """One target and optimiser."""
    for weights in get_args(Weights):
        line = sorted((r for r in records if r.config.weights == weights), key=lambda r: r.config.learning_rate)
        plot.curve(ax, [r.config.learning_rate for r in line], *band(line), label=LABEL[weights], style=LOOK[weights])
    ends = [min(r.config.learning_rate for r in records), max(r.config.learning_rate for r in records)]
    plot.baseline(ax, ends, [1, 1], label="zero predictor")
    ax.set(xscale="log", yscale="log", xlabel="learning rate")
    ax.set_ylabel(f"final error / |target|²\n(more is drawn at {WORST:g})")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    others, targets = ("exp", "softplus", "best"), ("power law", "exponential")

    def largest(optimizer: str, weights: str, target: str) -> float:
        """The largest learning rate at which all runs end well."""
        good = [row["learning_rate"] for row in select(optimizer, weights, target) if row["stable"] == row["seeds"]]
        return max(good, default=math.nan)

    def select(optimizer: str, weights: object, target: object = targets) -> list[runs.Row]:
        return runs.select(rows, optimizer=optimizer, weights=weights, target=target)

    def first_bad(weights: str, target: str) -> float:
        """The smallest learning rate of Adam above those at which all runs end well, where some do not."""
        limit = largest("adam", weights, target)
        return min(
            (r for r in runs.values(select("adam", weights, target), "learning_rate") if r > limit), default=math.nan
        )

    stable = {w: [largest("descent", w, target) for target in targets] for w in ("direct", *others)}
    lead = [runs.ratio(rate, direct) for w in others for rate, direct in zip(stable[w], stable["direct"], strict=True)]
    # At smaller rates the steps are too few to end well, whatever the parameterisation.
    adam = [row for row in select("adam", ("softplus", "best")) if 1e-3 < row["learning_rate"] < 3]
    return [
        runs.check("descent: largest stable rate / that of rate = w", lead, "2 to 6"),
        runs.check("descent: largest stable rate of the others", [rate for w in others for rate in stable[w]], "3"),
        runs.check("Adam: rate = w diverges at", [first_bad("direct", target) for target in targets], "1"),
        runs.check("Adam: exp w diverges at", [first_bad("exp", target) for target in targets], ".5"),
        runs.every(
            "Adam: softplus and 1/(w^2 + .1) are stable up to 3", [row["stable"] == row["seeds"] for row in adam]
        ),
        runs.every(
            "growing states learn at no rate", [row["stable"] == 0 for row in runs.select(rows, weights="growing")]
        ),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
