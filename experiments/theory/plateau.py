"""How long is the plateau before gradient descent learns a long memory?

Paper     Li, Han, E & Li 2021, arXiv:2009.07799 (JMLR 23, 2022)
Figure    experiments/figures/plateau.png
Question  A sum of exponentials is fitted to e^(-t) + e^(-(t - memory)^2/2). It learns the first term and stays at a
          loss of sqrt(pi). How long is the plateau, as a function of memory, and is it due to the target or to the
          optimiser?
Expect    Exponential in memory, but by no single rate: gradient flow escapes at e^(2 memory), since all units meet at
          rate 1; gradient descent on 8 units with an exponent that rises from .5 to more than 1; Adam with about .25
          while the gradient is above its epsilon. One unit never escapes from memory 10 on. Slow units at the start
          escape at once. A second plateau follows, 1.30/memory lower, if the step is small enough for a slow unit:
          descent at rate .02 is unstable there, and from memory 12 on ends on the first plateau (1.77) again.
Answer    From memory 6 to 12 the median time on the plateau grows, for gradient descent from
          {escape optimizer=descent memory=6 start=random:,.0f} to
          {escape optimizer=descent memory=12 start=random:,.0f} steps, for Adam from
          {escape optimizer=adam memory=6 epsilon=1e-8 noise=0:,.0f} to
          {escape optimizer=adam memory=12 epsilon=1e-8 noise=0:,.0f}; if the decay rates start log-spaced, gradient
          descent leaves it after {escape memory=6 start=log-spaced:.0f} and {escape memory=12 start=log-spaced:.0f}
          steps.
Fair      Same 8 initial states for each memory and optimiser. All is float64 and the exact population loss: no data.
Differs   from the paper: its widths and learning rates are not known; an escape is a drop of 5 %.
Cost      40 s on one CPU core
Run       python experiments/theory/plateau.py
Next      python experiments/theory/plateau.py --optimizer adam --epsilon 1e-8 1e-2 --seeds 16 --out results/mine
"""

import math
from dataclasses import dataclass
from typing import Literal, assert_never

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _columns import band, columns, scores
from _descent import LONGEST, gradient_flow, log_steps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import metrics, plot, runs
from seqjax.theory import plateau

Optimizer = Literal["flow", "descent", "adam"]
Start = Literal["random", "log-spaced"]

LABEL = {"flow": "gradient flow", "descent": "gradient descent", "adam": "Adam"}
LEARNING_RATE = {"descent": 0.02, "adam": 1e-3}

DROP = 0.05
"""A run has escaped when its loss is this fraction below the plateau: the second plateau is not much lower."""


@dataclass(frozen=True)
class Config:
    """One optimiser on one memory.

    Attributes:
        optimizer: gradient flow, gradient descent or Adam.
        units: exponentials that are trained.
        memory: time of the target's second term.
        start: initial rates of the exponentials.
        epsilon: Adam's.
        noise: standard deviation of the noise added to each derivative at each step.
        learning_rate: of descent or Adam; 0: the optimiser's own.
        steps: training updates of descent and Adam.
        seeds: random seeds, trained together.
    """

    optimizer: Optimizer = "descent"
    units: int = 8
    memory: float = runs.traced(10.0)
    start: Start = "random"
    epsilon: float = runs.traced(1e-8)
    noise: float = 0.0
    learning_rate: float = 0.0
    steps: int = 150_000
    seeds: int = 8


def configs(scale: runs.Scale) -> list[Config]:
    """Every optimiser over memories; then changes that shorten the plateau, and noise."""
    if scale == "smoke":
        return [Config(memory=5.0, steps=300, seeds=2), Config("flow", 1, 6.0, seeds=2)]
    seeds = {"laptop": 8, "gpu": 64}[scale]
    longer = {"laptop": 1, "gpu": 10}[scale]
    near = [float(memory) for memory in range(5, 15)]
    far = [16.0, 20.0]
    even = [float(memory) for memory in range(6, 21, 2)]
    return [
        *[Config("flow", units, memory, seeds=seeds) for units in (1, 2) for memory in even],
        *[Config("descent", 8, memory, steps=150_000 * longer, seeds=seeds) for memory in [*near, *far]],
        *[Config("adam", 8, memory, steps=60_000 * longer, seeds=seeds) for memory in [*near, *far]],
        *[
            Config("adam", 8, memory, epsilon=epsilon, steps=60_000 * longer, seeds=seeds)
            for epsilon in (1e-3, 1e-1)
            for memory in even
        ],
        *[
            Config("adam", 8, memory, noise=noise, steps=20_000, seeds=seeds)
            for noise in (1e-3, 1e-1)
            for memory in even
        ],
        *[
            Config("descent", 8, memory, "log-spaced", learning_rate=0.005, steps=20_000, seeds=seeds)
            for memory in even
        ],
    ]


def measure(records: list[runs.Record]) -> None:
    """Memories and seeds are one program; losses are recorded on a geometric grid."""
    config: Config = records[0].config
    with jax.enable_x64(True):
        starts = _initialise(config)
        memories, epsilons = (jnp.array([getattr(r.config, name) for r in records]) for name in ("memory", "epsilon"))
        if config.optimizer == "flow":
            times, losses, refusals = _flow(starts, memories)
        else:
            times, losses, refusals = _steps(config, starts, memories, epsilons)
        losses, refusals = np.asarray(losses), np.asarray(refusals)
    if not (losses >= 0).all() or (config.optimizer == "flow" and refusals.any()):
        raise ArithmeticError(f"a loss of {losses.min()}: a rate is not > 0, and the closed form does not hold")
    for record, of_record, refused in zip(records, losses, refusals, strict=True):
        escapes = metrics.plateau_time(times, of_record, (1 - DROP) * plateau.HEIGHT)
        # A run that has not escaped counts as the last time of all; `escaped` is the number of those that have.
        # `refused` is the number of runs with a step to a rate that no plateau has, after which descent never escapes.
        bounded = np.minimum(escapes, times[-1])
        row = {"parameters": 2 * config.units} | scores("escape", bounded)
        row |= {"escaped": int(np.isfinite(escapes).sum()), "refused": int((refused > 0).sum())}
        row |= {"last_loss": float(np.median(of_record[:, -1]))}
        record.finish(row, times=times, losses=of_record, escapes=bounded)


def _initialise(config: Config) -> plateau.Exponentials:
    """The initial states of all seeds: amplitudes N(0, 1)/units; rates U(.5, 2), or slow ones among them."""
    amplitude_key, rate_key = jax.random.split(jax.random.key(0))
    shape = (config.seeds, config.units)
    amplitudes = jax.random.normal(amplitude_key, shape) / config.units
    match config.start:
        case "random":
            rates = jax.random.uniform(rate_key, shape, minval=0.5, maxval=2.0)
        case "log-spaced":
            rates = jnp.broadcast_to(jnp.geomspace(0.05, 2.0, config.units), shape)
        case _:
            assert_never(config.start)
    return plateau.Exponentials(amplitudes, rates)


def _learning_rate(config: Config) -> float:
    return config.learning_rate or LEARNING_RATE[config.optimizer]


def _flow(starts, memories):
    """Gradient flow by a stiff solver, whose steps grow as the flow slows down.

    Returns:
        Times, and for each memory and seed the losses then, and how often a rate was out of (0, memory).
    """
    import diffrax
    import optimistix

    times = np.geomspace(0.1, LONGEST, 600)
    # diffrax's own chord iteration keeps a Jacobian too long for a problem this stiff, and rejects every other step.
    solver = diffrax.Kvaerno3(root_finder=diffrax.with_stepsize_controller_tols(optimistix.Newton)())

    def solve(start, memory):
        models = gradient_flow(lambda model: plateau.loss(model, memory), start, times, solver=solver, atol=1e-4)
        return jax.vmap(plateau.loss, (0, None))(models, memory), (models.rates <= 0).sum()

    over_seeds = jax.vmap(solve, (0, None))
    return times, *jax.jit(jax.vmap(over_seeds, (None, 0)))(starts, memories)


def _steps(config: Config, starts, memories, epsilons):
    """The same for steps of an optimiser."""
    times, rate = log_steps(config.steps, 600), _learning_rate(config)

    def train(start, key, memory, epsilon):
        optimizer = optax.sgd(rate) if config.optimizer == "descent" else optax.adam(rate, eps=epsilon)

        def update(step, carry):
            model, state, refusals = carry
            gradient = jax.grad(plateau.loss)(model, memory)
            if config.noise:
                noise = jax.random.normal(jax.random.fold_in(key, step), (2, config.units))
                gradient = jax.tree.map(lambda part, more: part + config.noise * more, gradient, type(model)(*noise))
            change, state = optimizer.update(gradient, state)
            new = jax.tree.map(jnp.add, model, change)
            # A slow unit can step over 0, where the loss is infinite, or past where the closed form holds. Such a step
            # is refused, and counted.
            refused = ~((new.rates.min() > 0) & (new.rates.max() < memory))
            model = jax.tree.map(lambda new, old: jnp.where(refused, old, new), new, model)
            return model, state, refusals + refused

        def until_next(carry, interval):
            carry = jax.lax.fori_loop(interval[0], interval[1], update, carry)
            return carry, plateau.loss(carry[0], memory)

        first = (start, optimizer.init(start), jnp.zeros((), jnp.int32))
        intervals = jnp.asarray([0, *times[:-1]]), jnp.asarray(times)
        (_, _, refusals), losses = jax.lax.scan(until_next, first, intervals)
        return losses, refusals

    keys = jax.random.split(jax.random.key(1), config.seeds)
    over_seeds = jax.vmap(train, (0, 0, None, None))
    return times, *jax.jit(jax.vmap(over_seeds, (None, None, 0, 0)))(starts, keys, memories, epsilons)


def draw(records: list[runs.Record]) -> Figure:
    """Losses in log time; escapes against memory, and their exponents; changed training; the second plateau."""
    lines: dict[str, list[runs.Record]] = {}
    for record in sorted(records, key=lambda record: record.config.memory):
        lines.setdefault(_label(record.config), []).append(record)
    figure, axes = plot.figure(2, 4, width=20.0, height=8.2)
    _draw_losses(axes[0, 0], [r for r in records if _is_plain(r.config) and r.config.optimizer == "descent"])
    _draw_losses(axes[1, 0], [r for r in records if r.config.optimizer == "flow" and r.config.units == 2])
    plain = {label: line for label, line in lines.items() if _is_plain(line[0].config)}
    flow = {label: line for label, line in plain.items() if line[0].config.optimizer == "flow"}
    stepped = {label: line for label, line in plain.items() if label not in flow}
    _draw_escapes(axes[0, 1], stepped, "steps")
    _draw_escapes(axes[1, 1], flow, "time")
    _draw_slopes(axes[0, 2], plain)
    changed = {label: line for label, line in lines.items() if label not in plain}
    adam = {label: line for label, line in plain.items() if line[0].config.optimizer == "adam"}
    other_epsilon = {k: line for k, line in changed.items() if line[0].config.epsilon != Config.epsilon}
    _draw_escapes(axes[0, 3], adam | other_epsilon, "steps")
    _draw_escapes(axes[1, 3], {k: line for k, line in changed.items() if k not in other_epsilon}, "steps")

    ax = axes[1, 2]
    memories = sorted({record.config.memory for record in records})
    for label, line in flow.items():
        ends = [[last / plateau.HEIGHT for last in _ends(record)] for record in line]
        style = _style(line[0].config)
        plot.curve(ax, [r.config.memory for r in line], *zip(*ends, strict=True), label=label, style=style)
    theory = [plateau.second_plateau(memory) / plateau.HEIGHT for memory in memories]
    plot.baseline(ax, memories, theory, label="one free unit: 1 - 1.30/memory")
    seeds = plot.over_seeds(line[0].config.seeds for line in flow.values()) if flow else ""
    ax.set_title(f"the second plateau: {seeds}", fontsize=10)
    ax.set(xlabel="memory", ylabel=f"loss at time {LONGEST:.0e} / plateau", ylim=(0, 1.05))
    plot.legend(ax)
    return figure


def _is_plain(config: Config) -> bool:
    return config.start == "random" and config.epsilon == Config.epsilon and not config.noise


def _label(config: Config) -> str:
    units = "1 unit" if config.units == 1 else f"{config.units} units"
    label = f"{LABEL[config.optimizer]}, {units}"
    if config.start != "random":
        label += f", {config.start} rates at the start"
    if config.epsilon != Config.epsilon:
        label += f", epsilon {config.epsilon:g}"
    if config.noise:
        label += f", noise {config.noise:g}"
    return label


def _style(config: Config) -> int:
    """The number of the series, the same in every panel."""
    if _is_plain(config):
        return {"descent": 0, "adam": 1, "flow": 1 + config.units}[config.optimizer]
    return 4 + (config.epsilon > 0.01 or config.noise > 0.01) if config.start == "random" else 6


def _ends(record: runs.Record) -> tuple[float, float, float]:
    """The last losses of the seeds."""
    return metrics.band(record.arrays["losses"][:, -1])


def _draw_losses(ax: Axes, line: list[runs.Record]) -> None:
    """The loss of every seed at a few memories."""
    line = sorted(line, key=lambda record: record.config.memory)[::-1][:: max(1, len(line) // 4)][::-1]
    for style, record in enumerate(line):
        look = plot.look(style)
        times, losses = record.arrays["times"], record.arrays["losses"]
        label = f"memory {record.config.memory:g}"
        for seed, (curve, escape) in enumerate(zip(losses, record.arrays["escapes"], strict=True)):
            dash = {"color": look["color"], "linestyle": look["linestyle"]}
            # Later the step is too large for a slow unit, and the loss oscillates.
            shown = (times < 3 * escape) | (record.config.optimizer == "flow")
            ax.plot(times[shown], curve[shown], linewidth=0.8, label=label if seed == 0 else None, **dash)
    ax.axhline(plateau.HEIGHT, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label="plateau, sqrt(pi)")
    ax.set(xscale="log", ylim=(0, 2.6), ylabel="loss (each line a seed)")
    ends = " until 3 times its escape" if line and line[0].config.optimizer != "flow" else ""
    if line:
        config = line[0].config
        ax.set_title(_label(config) + ends)
        ax.set_xlabel("time" if config.optimizer == "flow" else f"step (learning rate {_learning_rate(config):g})")
    plot.legend(ax, loc="lower left")


def _escaped(line: list[runs.Record]) -> list[runs.Record]:
    """Those of which more than half of the seeds have escaped, so that the median is a time of escape."""
    return [record for record in line if 2 * record.result["escaped"] > record.config.seeds]


def _draw_escapes(ax: Axes, lines: dict[str, list[runs.Record]], unit: str) -> None:
    """When the loss is 5 % below the plateau, against memory."""
    for label, line in lines.items():
        found = _escaped(line)
        if len(found) < len(line):
            label += f" (not beyond {found[-1].config.memory:g})" if found else " (never)"
        style = _style(line[0].config)
        plot.curve(ax, [record.config.memory for record in found], *band(found, "escape"), label=label, style=style)
    ax.set(yscale="log", xlabel="memory", ylabel=f"{unit} until 5 % below the plateau")
    if lines:
        seeds = plot.over_seeds(line[0].config.seeds for line in lines.values())
        ax.set_title(f"escape: {seeds}", fontsize=10)
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top * (top / bottom) ** 0.4)  # room for the legend
        plot.legend(ax, loc="upper left")
    else:
        ax.axis("off")


def _draw_slopes(ax: Axes, lines: dict[str, list[runs.Record]]) -> None:
    """The exponent between two neighbouring memories."""
    for label, line in lines.items():
        found = _escaped(line)
        if len(found) > 1:
            memories = np.array([record.config.memory for record in found])
            slopes = np.diff(np.log(columns(found, "escape")[0])) / np.diff(memories)
            middles = (memories[1:] + memories[:-1]) / 2
            plot.curve(ax, middles, slopes, label=label, style=_style(line[0].config))
    ax.axhline(2.0, color="black", linewidth=0.9, linestyle=(0, (4, 3)), label="2: all units at rate 1")
    ax.set(ylim=(0, 3), title="local exponent", xlabel="memory", ylabel="d log(escape) / d memory")
    plot.legend(ax)


def expect(rows: list[runs.Row]) -> list[runs.Check]:
    """What the header expects, compared with the rows of the figure."""

    def waits(optimizer: str, **wanted: object) -> dict[int, float]:
        """Steps, or time, by memory."""
        plain = {"optimizer": optimizer, "start": "random", "epsilon": 1e-8, "noise": 0} | wanted
        return {row["memory"]: row["escape"] for row in runs.select(rows, **plain)}

    def exponent(found: dict[int, float], start: int, end: int) -> float:
        return math.log(runs.ratio(found.get(end, math.nan), found.get(start, math.nan))) / (end - start)

    flow, descent, adam = waits("flow", units=2), waits("descent"), waits("adam")
    spaced = waits("descent", start="log-spaced")
    rising = [exponent(descent, memory, memory + 1) for memory in range(5, 14)]
    alone = [row["escaped"] for row in runs.select(rows, optimizer="flow", units=1) if row["memory"] >= 10]
    common = sorted(spaced.keys() & descent.keys())
    late = [row["last_loss"] for row in runs.select(rows, optimizer="descent", start="random") if row["memory"] >= 12]
    return [
        runs.check("gradient flow, exponent from memory 12 to 20", exponent(flow, 12, 20), "2"),
        runs.check("descent, least exponent", min(rising), ".5"),
        runs.check("descent, largest exponent", max(rising), "> 1"),
        runs.check("Adam, exponent from memory 6 to 12", exponent(adam, 6, 12), ".25"),
        runs.every("one unit never escapes from memory 10 on", [escaped == 0 for escaped in alone]),
        runs.less("slow units at the start escape sooner", [spaced[m] for m in common], [descent[m] for m in common]),
        runs.check("descent, last loss from memory 12 on", late, "1.77"),
    ]


if __name__ == "__main__":
    runs.main(Config, configs, measure, draw, expect)
