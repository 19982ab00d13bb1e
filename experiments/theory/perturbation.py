"""Does a long memory survive a small change of the weights?

Paper     Wang, Li & Li 2023, arXiv:2305.19190 (fig. 4); Wang & Li 2023, arXiv:2311.14495
Figure    experiments/figures/perturbation.png
Question  A kernel is fitted by m decaying states, and their weights are perturbed by up to beta. How large may beta
          be, does it shrink with m, and does it depend on the parameterisation of the decay rates?
Expect    Power law, rate = w: the better the fit, the slower its slowest state, and for beta above that rate the state
          grows, by e^(2 (beta - rate) T): curves cross and shift to the left with m. e^-t has no slow state and does
          not shift. Rates that are exp, softplus or 1/(w^2 + .1) of a weight: the error grows as beta^2.
Answer    A power law fitted by 8 states to {fit target="power law" weights=direct states=8 slowest=0:.0e}: when its
          weights move by up to .016, the error is {E(0.016) target="power law" weights=direct states=8 slowest=0:.0e}
          if the rates are weights themselves, {E(0.016) target="power law" weights=exp states=8 slowest=0:.0e} if they
          are exp of weights, and {E(0.016) target="power law" weights=best states=8 slowest=0:.0e} if they are 1/(w^2 +
          .1).
Fair      All is float64 and closed form: non-negative least squares for log-spaced rates. For each m, the slowest rate
          is the best of 30. Bands: 30 random directions, as in the paper; lines: the worse of all weights up and down.
Differs   from the paper: nothing is trained. Beta ends at .256: from .32 on 1/(w^2 + .1), and from log 2 on exp, turn a
          rate of 1 into one of 2, where Euler's step itself is unstable.
Cost      8 s on one CPU core
Run       python experiments/theory/perturbation.py
Next      python experiments/theory/perturbation.py --target "power law" --length 100 400 1600 --out results/my_lengths
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import _kernels
import numpy as np
from _columns import columns
from _parameterisations import LABEL, PARAMETERISATION, Weights, draw_gradient_scale
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot, runs
from seqjax.theory import perturbation, targets

Target = Literal["exponential", "power law", "shift", "two parts", "Airy"]

BETAS = tuple(1e-3 * 2 ** (i / 2) for i in range(-13, 17))
"""The paper's, which begin at 1e-3, and smaller ones, since T is longer here."""

TABLE = (1e-3, 4e-3, 1.6e-2, 6.4e-2, 0.256)
"""Those of them whose errors are columns of the result."""

DIRECTIONS = 30
"""Random directions of the perturbation."""


@dataclass(frozen=True)
class Config:
    """A fit of one target.

    Attributes:
        target: memory to be fitted.
        weights: parameterisation of the decay rates.
        states: exponentials of the fit.
        slowest: slowest rate; 0: the best one.
        length: steps of the memory.
    """

    target: Target = "power law"
    weights: Weights = "direct"
    states: int = 8
    slowest: float = 0.0
    length: int = 1_000


def configs(scale: runs.Scale) -> list[Config]:
    """The power law in all parameterisations, every target in two, and the slowest rate fixed at 2/T."""
    if scale == "smoke":
        return [Config(weights=weights, states=4, length=100) for weights in ("direct", "exp")]
    states, length = {"laptop": ((2, 4, 8, 16), 1_000), "gpu": ((2, 4, 8, 16, 32), 10_000)}[scale]
    law = [Config(weights=weights, states=m, length=length) for weights in get_args(Weights) for m in states]
    others = [target for target in get_args(Target) if target != "power law"]
    rest = [Config(t, weights, m, 0.0, length) for t in others for weights in ("direct", "exp") for m in states]
    fixed = [Config("power law", weights, m, 2 / length, length) for weights in ("direct", "exp") for m in (4, 8, 32)]
    return [*law, *rest, *fixed]


def kernel(config: Config) -> np.ndarray:
    """The target's weight at each lag."""
    match config.target:
        case "exponential":
            return targets.exponentials((math.exp(-1.0),), config.length)
        case "shift":
            return targets.shift(10, config.length)
        case _:
            return _kernels.kernel(config.target, config.length)


def measure(records: list[runs.Record]) -> None:
    """Errors relative to the target's squared norm, for the last step of white noise: the maximum up to each beta."""
    (record,) = records
    config: Config = record.config
    target = kernel(config)
    if config.slowest:
        fit = perturbation.decays(target, np.geomspace(config.slowest, 1.0, config.states))
    else:
        fit = perturbation.best_decays(target, config.states, np.geomspace(0.1 / config.length, 0.9, 30))
    betas = np.array(BETAS)
    errors = perturbation.perturbed_errors(
        target, fit, PARAMETERISATION[config.weights], _directions(config.states), betas
    )
    worst, random = errors[:2].max(axis=0), errors[2:]
    # The smallest beta with an error above the zero predictor's; the largest of all where there is none.
    tolerated = [float(betas[above.argmax()] if above.any() else betas[-1]) for above in errors > 1]
    result = {
        "parameters": 2 * config.states,
        "fit": float(((fit.kernel(config.length) - target) ** 2).sum() / (target**2).sum()),
        "slowest_used": float(fit.rates[fit.amplitudes > 0].min()),
        "beta_star": min(tolerated[:2]),
        "low": min(tolerated[2:]),
        "high": max(tolerated[2:]),
    }
    # JSON has no infinity.
    table = {f"E({beta:g})": min(float(worst[np.abs(betas - beta).argmin()]), 1e300) for beta in TABLE}
    record.finish(result | table, betas=betas, worst=worst, random=random, rates=fit.rates)


def _directions(states: int) -> list[np.ndarray]:
    """All weights up, all down, and random directions, each with a largest entry of 1."""
    noise = np.random.default_rng(0).normal(size=(DIRECTIONS, states))
    noise /= np.abs(noise).max(axis=1, keepdims=True)
    return [np.ones(states), -np.ones(states), *noise]


def draw(records: list[runs.Record]) -> Figure:
    """Errors against beta for the power law and e^-t; the beta tolerated; the scale of gradients."""
    figure, axes = plot.figure(2, 3, width=15.0, height=8.2)
    free = [record for record in records if not record.config.slowest]
    lines: dict[tuple[Target, Weights], list[runs.Record]] = {}
    for record in free:
        lines.setdefault((record.config.target, record.config.weights), []).append(record)
    panels: list[tuple[Target, Weights]] = [
        ("power law", "direct"),
        ("power law", "exp"),
        ("power law", "best"),
        ("exponential", "direct"),
    ]
    for ax, (target, weights) in zip(axes.flat, panels, strict=False):
        _draw_errors(ax, lines.get((target, weights), []), f"{target}, {LABEL[weights]}")

    ax = axes[1, 1]
    shown = {kind: line for kind, line in lines.items() if kind[1] == "direct" or kind == ("power law", "exp")}
    for style, ((target, weights), line) in enumerate(shown.items()):
        star = columns(line, "beta_star")
        plot.curve(ax, [r.config.states for r in line], star[0], label=f"{target}, {LABEL[weights]}", style=style)
    ax.set(xscale="log", yscale="log", title="where the error exceeds the zero predictor's", xlabel="states m")
    ax.set_ylabel(f"beta ({BETAS[-1]:g}: that or more)")
    ax.set_ylim(1e-4, 0.4)
    every = sorted({record.config.states for record in free})
    ax.set_xticks(every, [str(states) for states in every])
    ax.minorticks_off()
    plot.legend(ax, loc="lower left")
    draw_gradient_scale(axes[1, 2], np.geomspace(1e-3, 1.0, 61))
    return figure


def _draw_errors(ax: Axes, line: list[runs.Record], title: str) -> None:
    lowest = 1e-9
    words = {"line": "worst perturbation", "band": "range of random ones"}
    for style, record in enumerate(line):
        arrays = record.arrays
        band = [arrays["worst"], arrays["random"].min(axis=0), arrays["random"].max(axis=0)]
        clipped = [errors.clip(lowest, 1e6) for errors in band]
        plot.curve(ax, arrays["betas"], *clipped, label=f"{record.config.states} states", style=style)
        if record.config.weights == "direct":
            slowest = record.result["slowest_used"]
            ax.axvline(slowest, color=plot.look(style)["color"], linewidth=0.8, linestyle=":")
            words["dotted"] = "slowest rate"
    ax.axhline(1.0, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label="zero predictor")
    ax.set(xscale="log", yscale="log", xlim=(BETAS[0], BETAS[-1]), ylim=(lowest, 1e2))
    ax.set_title(f"{title}\n{'; '.join(f'{mark}: {meaning}' for mark, meaning in words.items())}", fontsize=8)
    ax.set(xlabel="perturbation of the weights, beta", ylabel="squared error / |target|²")
    plot.legend(ax, loc="lower right")


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""
    direct = runs.select(rows, target="power law", weights="direct", slowest=0)
    slowest, limit = ([runs.value(direct, c, states=m) for m in (2, 4, 8, 16)] for c in ("slowest_used", "beta_star"))
    faded = runs.values(rows, "beta_star", target="exponential", weights="direct", slowest=0)
    stable = runs.select(rows, target="power law", weights=("exp", "softplus", "best"), states=16)
    growth = [math.log(runs.ratio(row["E(0.064)"], row["E(0.016)"])) / math.log(4) for row in stable]
    return [
        runs.less("power law, rate = w: a better fit has a slower state", slowest[1:], slowest[:-1]),
        runs.less("power law, rate = w: 16 states bear less than 2", limit[-1], limit[0]),
        runs.every("e^-t, rate = w: all bear the same", [found == faded[0] for found in faded[1:]]),
        runs.check("exp, softplus, 1/(w^2 + .1): the error grows as beta to the power of", growth, "2"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
