"""Does long memory survive a small change of the weights?

Paper     Wang, Li & Li 2023, arXiv:2305.19190 (fig. 4); Wang & Li 2023, arXiv:2311.14495
Figure    experiments/figures/perturbation.png
Question  A kernel is fitted by m decaying states as well as they can, and their weights are moved by up to beta. How
          large may beta be, does it shrink with m, and does it depend on how a weight stands for a rate?
Expect    Power law, rates as they are: the better the fit, the slower its slowest state, and past beta = that rate the
          state grows, by e^(2 (beta - rate) T): curves cross and shift to the left with m. e^-t has no slow state and
          does not shift. Rates as exp, softplus or 1/(w^2 + .1) of a weight: the error grows as beta^2.
Fair      All is float64 and closed form: non-negative least squares for log-spaced rates. Of the slowest rate the best
          of 30 for each m. Bands: 30 random directions, as in the paper; lines: the worse of all weights up and down.
Differs   from the paper: nothing is trained. Beta ends at .256: from .32 on 1/(w^2 + .1), and from log 2 on exp, make a
          rate of 1 one of 2, where Euler's step itself is unstable.
Cost      8 s on one CPU core
Run       python experiments/theory/perturbation.py
Next      python experiments/theory/perturbation.py --target "power law" --length 100 400 1600 --out results/my_lengths
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import metrics, plot, runs
from seqjax.theory import perturbation, targets
from seqjax.theory.perturbation import Parameterisation

Target = Literal["exponential", "power law", "shift", "two parts", "Airy"]
Weights = Literal["direct", "exp", "softplus", "best"]

LABEL = {"direct": "rate = w", "exp": "rate = exp w", "softplus": "rate = log(1 + exp w)", "best": "rate = 1/(w² + .1)"}

BETAS = tuple(1e-3 * 2 ** (i / 2) for i in range(-13, 17))
"""The paper's, which begin at 1e-3, and smaller ones, since T is longer here."""

TABLE = (1e-3, 4e-3, 1.6e-2, 6.4e-2, 0.256)
"""Those of them whose errors stand in the table."""

DIRECTIONS = 30
"""Random ones."""


@dataclass(frozen=True)
class Config:
    """A fit of some states to one target, and what its weights stand for. `slowest` 0 is the best rate for it."""

    target: Target = "power law"
    weights: Weights = "direct"
    states: int = 8
    slowest: float = 0.0
    length: int = 1_000


def configs(scale: runs.Scale) -> list[Config]:
    """The power law in all parameterisations, every target in two, and the slowest rate held at 2/T."""
    if scale == "smoke":
        return [Config(weights=weights, states=4, length=100) for weights in ("direct", "exp")]
    states, length = {"laptop": ((2, 4, 8, 16), 1_000), "gpu": ((2, 4, 8, 16, 32), 10_000)}[scale]
    law = [Config(weights=weights, states=m, length=length) for weights in get_args(Weights) for m in states]
    others = [target for target in get_args(Target) if target != "power law"]
    rest = [Config(t, weights, m, 0.0, length) for t in others for weights in ("direct", "exp") for m in states]
    held = [Config("power law", weights, m, 2 / length, length) for weights in ("direct", "exp") for m in (4, 8, 32)]
    return [*law, *rest, *held]


def measure(records: list[runs.Record]) -> None:
    """Errors relative to the target's squared norm, for the last step of white noise: the maximum up to each beta."""
    group = [record.config for record in records]
    (config,), (record,) = group, records
    kernel = _kernel(config)
    if config.slowest:
        fit = perturbation.decays(kernel, np.geomspace(config.slowest, 1.0, config.states))
    else:
        fit = perturbation.best_decays(kernel, config.states, np.geomspace(0.1 / config.length, 0.9, 30))
    betas = np.array(BETAS)
    noise = np.random.default_rng(0).normal(size=(DIRECTIONS, config.states))
    noise /= np.abs(noise).max(axis=1, keepdims=True)
    all_up = np.ones(config.states)
    errors = perturbation.perturbed_errors(kernel, fit, _weights(config), [all_up, -all_up, *noise], betas)
    worst, random = errors[:2].max(axis=0), errors[2:]
    # A fit is of use as long as it is better than saying nothing; one that stays so counts as the largest beta.
    tolerated = [float(betas[beyond.argmax()] if beyond.any() else betas[-1]) for beyond in errors > 1]
    band = metrics.band(tolerated[2:])
    result = {
        "parameters": 2 * config.states,
        "fit": float(((fit.kernel(config.length) - kernel) ** 2).sum() / (kernel**2).sum()),
        "slowest_used": float(fit.rates[fit.amplitudes > 0].min()),
        "beta_star": min(tolerated[:2]),
        "low": band.low,
        "high": band.high,
    }
    # JSON has no infinity.
    table = {f"E({beta:g})": min(float(worst[np.abs(betas - beta).argmin()]), 1e300) for beta in TABLE}
    record.finish(result | table, betas=betas, worst=worst, random=random, rates=fit.rates)


def _kernel(config: Config) -> np.ndarray:
    match config.target:
        case "exponential":
            return targets.exponentials((math.exp(-1.0),), config.length)
        case "power law":
            return targets.power_law(1.1, config.length)
        case "shift":
            return targets.shift(10, config.length)
        case "two parts":
            return targets.two_parts(config.length)
        case "Airy":
            return targets.airy(6.0, config.length)
        case _:
            assert_never(config.target)


def _weights(config: Config) -> Parameterisation:
    match config.weights:
        case "direct":
            return perturbation.DIRECT
        case "exp":
            return perturbation.EXP
        case "softplus":
            return perturbation.SOFTPLUS
        case "best":
            return perturbation.BEST
        case _:
            assert_never(config.weights)


def draw(records: list[runs.Record]) -> Figure:
    """Errors against beta for the power law and e^-t; the beta tolerated; the scale of gradients."""
    figure, axes = plot.figure(2, 3, width=15.0, height=8.2)
    free = [record for record in records if not record.config.slowest]
    panels = [("power law", "direct"), ("power law", "exp"), ("power law", "best"), ("exponential", "direct")]
    for ax, (target, weights) in zip(axes.flat, panels, strict=False):
        line = [r for r in free if (r.config.target, r.config.weights) == (target, weights)]
        _draw_errors(ax, line, f"{target}, {LABEL[weights]}")

    ax = axes[1, 1]
    shown = list(dict.fromkeys((record.config.target, record.config.weights) for record in free))
    shown = [kind for kind in shown if kind[1] == "direct" or kind == ("power law", "exp")]
    for style, (target, weights) in enumerate(shown):
        line = [r for r in free if (r.config.target, r.config.weights) == (target, weights)]
        star = [r.result["beta_star"] for r in line]
        plot.curve(
            ax, [r.config.states for r in line], star, star, star, label=f"{target}, {LABEL[weights]}", style=style
        )
    ax.set(xscale="log", yscale="log", title="where the error passes that of silence", xlabel="states m")
    ax.set_ylabel(f"beta ({BETAS[-1]:g} stands for more)")
    ax.set_ylim(1e-4, 0.4)
    every = sorted({record.config.states for record in free})
    ax.set_xticks(every, [str(states) for states in every])
    ax.minorticks_off()
    plot.legend(ax, loc="lower left")

    ax = axes[1, 2]
    rates = np.geomspace(1e-3, 1.0, 61)
    for style, weights in enumerate(get_args(Weights)):
        scale = _weights(Config(weights=weights)).gradient_scale(rates)
        plot.curve(ax, rates, scale, scale, scale, label=LABEL[weights], style=style, markers=False)
    ax.set(xscale="log", yscale="log", title="how steep a weight's loss can be", xlabel="rate f")
    ax.set_ylabel("gradient scale |f'|/f²")
    plot.legend(ax)
    return figure


def _draw_errors(ax: Axes, line: list[runs.Record], title: str) -> None:
    lowest = 1e-9
    for style, record in enumerate(line):
        arrays = record.arrays
        columns = [arrays["worst"], arrays["random"].min(axis=0), arrays["random"].max(axis=0)]
        clipped = [column.clip(lowest, 1e6) for column in columns]
        plot.curve(ax, arrays["betas"], *clipped, label=f"{record.config.states} states", style=style)
        if record.config.weights == "direct":
            slowest = record.result["slowest_used"]
            ax.axvline(slowest, color=plot.STYLES[style]["color"], linewidth=0.8, linestyle=":")
    ax.axhline(1.0, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label="silence")
    ax.set(xscale="log", yscale="log", xlim=(BETAS[0], BETAS[-1]), ylim=(lowest, 1e2), title=title)
    ax.set(xlabel="change of the weights, beta", ylabel="squared error / |target|²")
    plot.legend(ax, loc="lower right")


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw)
