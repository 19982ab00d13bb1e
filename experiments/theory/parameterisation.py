"""Which learning rates does a linear memory stand, and does it depend on how a weight stands for a rate?

Paper     Wang & Li 2023, arXiv:2311.14495; Wang, Li & Li 2023, arXiv:2305.19190
Figure    experiments/figures/parameterisation.png
Question  Decaying states learn a memory by gradient descent or by Adam, with rates that are a weight itself, exp or
          softplus of it, or 1/(w^2 + .1). Over which learning rates does training end well? And what if rates that
          are weights themselves begin on the unstable side, as in the released code of the paper?
Expect    Gradient descent: rate = w comes apart a factor 2 to 6 before the others, which hold up to a learning rate of
          about 3. Adam: rate = w gets worse from .1 on and is lost at 1; exp w, though stable for every w, is lost
          earlier, at .5, since Euler's steps are not stable past a rate of 2/step = 20, which exp reaches at w = 3;
          softplus and 1/(w^2 + .1) hold up to 3. Below all that the four learn alike. Begun growing, rates that are
          weights do not learn at any of these (for a gentler such start see AU8 of seed_audit).
Fair      All begin at the same rates (but for the growing ones, which have the other sign), read and write the same
          way, and take equally many steps. All is float64 and the exact loss: no data.
Differs   from the paper: one layer of 32 states without nonlinearity, steps instead of epochs.
Cost      3 min on one CPU core
Run       python experiments/theory/parameterisation.py
Next      python experiments/theory/parameterisation.py --optimizer descent --learning-rate .02 .05 .1 .2
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import metrics, models, plot, runs, train
from seqjax.theory import perturbation, population, targets
from seqjax.theory.perturbation import Parameterisation

Target = Literal["exponential", "power law"]
Weights = Literal["direct", "growing", "exp", "softplus", "best"]
Optimizer = Literal["descent", "adam"]

LABEL = {
    "direct": "rate = w",
    "growing": "rate = w, begun at -rate",
    "exp": "rate = exp w",
    "softplus": "rate = log(1 + exp w)",
    "best": "rate = 1/(w² + .1)",
    "descent": "gradient descent",
    "adam": "Adam",
}

LENGTH, STEP = 100, 0.1
"""Steps of a sequence, and the time that each takes."""

RATES = (*(5 * 10 ** (-i / 4) for i in range(7)), *(5 * 10 ** (-i / 2) for i in range(4, 13)))
"""The paper's, and some between them where training comes apart."""


@dataclass(frozen=True)
class Config:
    """One learning rate. A loss that is infinite, or above twice that of saying nothing, counts as that."""

    target: Target = runs.traced("power law")  # noqa: RUF009
    weights: Weights = "direct"
    optimizer: Optimizer = "descent"
    learning_rate: float = runs.traced(0.05)
    states: int = 32
    steps: int = 1_000
    seeds: int = 8


def configs(scale: runs.Scale) -> list[Config]:
    """Everything with everything."""
    if scale == "smoke":
        return [Config(weights=weights, states=4, steps=20, seeds=2) for weights in ("direct", "exp")]
    steps = {"laptop": 1_000, "gpu": 100_000}[scale]
    return [
        Config(target, weights, optimizer, rate, steps=steps)
        for optimizer in get_args(Optimizer)
        for weights in get_args(Weights)
        for target in get_args(Target)
        for rate in RATES
    ]


def measure(records: list[runs.Record]) -> None:
    """Targets, learning rates and seeds are one program; errors are relative to the target's squared norm."""
    group = [record.config for record in records]
    config = group[0]
    rate = {"exp": jnp.exp, "softplus": jax.nn.softplus, "best": models.reciprocal}.get(config.weights, lambda w: w)
    times = np.unique(np.geomspace(1, config.steps, 50).round().astype(int))

    def train_one(start, target, learning_rate):
        def loss(weights, key):
            w, read, write = weights
            error = target - population.decaying(1 - STEP * rate(w), STEP * read * write, LENGTH)
            return population.last_step(error) / population.last_step(target)

        optimizer = {"descent": optax.sgd, "adam": optax.adam}[config.optimizer](learning_rate)
        return train.descend(loss, optimizer, start, jax.random.key(0), times)[1]

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), config.seeds)
        starts = jax.tree.map(jnp.asarray, [begin(config, key) for key in keys])
        starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        kernels, rates = jnp.array([kernel(c.target) for c in group]), jnp.array([c.learning_rate for c in group])
        over_seeds = jax.vmap(train_one, (0, None, None))
        losses = np.asarray(jax.jit(jax.vmap(over_seeds, (None, 0, 0)))(starts, kernels, rates))
    losses = np.where(losses < WORST, losses, WORST)
    for index, record in enumerate(records):
        error = metrics.band(losses[index, :, -1])
        row = {
            "parameters": 3 * config.states,
            "error": error.median,
            "low": error.low,
            "high": error.high,
            "stable": int((losses[index, :, -1] < 1).sum()),
        }
        record.finish(row, times=times, losses=losses[index])


WORST = 2.0


def begin(config: Config, key) -> tuple[np.ndarray, ...]:
    """Rates from .1 to 10 per unit of time, and weights that read and write."""
    rate_key, read_key, write_key = jax.random.split(key, 3)
    rates = 0.1 * 100 ** np.asarray(jax.random.uniform(rate_key, (config.states,), float), np.float64)
    read, write = (np.asarray(jax.random.normal(key, (config.states,), float)) for key in (read_key, write_key))
    w = -rates if config.weights == "growing" else parameterisation(config.weights).weight(np.minimum(rates, 9.99))
    return w, read, write / config.states**0.5


def parameterisation(weights: Weights) -> Parameterisation:
    """What turns a rate into a weight, and back."""
    match weights:
        case "direct" | "growing":
            return perturbation.DIRECT
        case "exp":
            return perturbation.EXP
        case "softplus":
            return perturbation.SOFTPLUS
        case "best":
            return perturbation.BEST
        case _:
            assert_never(weights)


def kernel(target: Target) -> np.ndarray:
    """The weights of all lags."""
    match target:
        case "exponential":
            return targets.exponentials((math.exp(-STEP),), LENGTH)
        case "power law":
            return targets.power_law(1.1, LENGTH, scale=STEP)
        case _:
            assert_never(target)


def draw(records: list[runs.Record]) -> Figure:
    """The last error against the learning rate, and how steep each parameterisation makes the loss."""
    optimizers = [name for name in get_args(Optimizer) if any(r.config.optimizer == name for r in records)]
    targets = [name for name in get_args(Target) if any(r.config.target == name for r in records)]
    figure, axes = plot.figure(len(targets), len(optimizers) + 1, width=4.9 * (len(optimizers) + 1), height=7.6)
    for row, target in zip(axes, targets, strict=True):
        for ax, optimizer in zip(row, optimizers, strict=False):
            chosen = [r for r in records if (r.config.target, r.config.optimizer) == (target, optimizer)]
            panel(ax, chosen)
            ax.set_title(f"{target}, {LABEL[optimizer]}")
        row[-1].axis("off")
    plot.legend(axes[0, 0], loc="lower left")

    ax = axes[0, -1]
    ax.axis("on")
    rates = np.geomspace(0.01, 9, 60)
    for style, weights in enumerate(get_args(Weights)):
        if weights != "growing":
            scale = parameterisation(weights).gradient_scale(rates)
            plot.curve(ax, rates, scale, scale, scale, label=LABEL[weights], style=style, markers=False)
    ax.set(xscale="log", yscale="log", xlabel="rate f(w)", ylabel="|f'|/f²", title="how steep the loss can be in w")
    return figure


def panel(ax: Axes, records: list[runs.Record]) -> None:
    """One target and optimiser."""
    for style, weights in enumerate(get_args(Weights)):
        line = sorted((r for r in records if r.config.weights == weights), key=lambda r: r.config.learning_rate)
        columns = [[record.result[name] for record in line] for name in ("error", "low", "high")]
        plot.curve(ax, [r.config.learning_rate for r in line], *columns, label=LABEL[weights], style=style)
    ends = [min(r.config.learning_rate for r in records), max(r.config.learning_rate for r in records)]
    plot.baseline(ax, ends, [1, 1], label="saying nothing")
    ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="last error / energy of the target")


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
