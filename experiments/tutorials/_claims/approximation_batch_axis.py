"""The tutorial's LSTM recurs over the batch: its three tasks along either axis, and the outputs that look like zero."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import training
from _claims.finding import Finding, Settings

from seqjax import evaluate, metrics, models, tasks
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.theory import bounds
from seqjax.types import Batch

NETWORK = models.Regressor(models.LSTM(256, layers=2))
"""The tutorial's network, without the tanh on its output and PyTorch's second bias vectors."""

SCALE = 5.0
"""The tutorial's inputs and targets are divided by it."""

EPOCH = 10
"""Steps between two decisions of the scheduler: these runs are shorter than the tutorial's epochs of 312 steps."""


def over_batch(model) -> training.Network:
    """The defect: a model that recurs over the first axis receives (batch, time, features)."""

    def turned(function):
        return lambda first, x: function(first, jnp.swapaxes(x, 0, 1))

    init, apply = turned(model.init), turned(model.apply)
    return training.Network(init, lambda params, x: jnp.swapaxes(apply(params, x), 0, 1))


class Axes(NamedTuple):
    """Test errors of both recurrences.

    Attributes:
        over_time, over_batch: means over blocks of sequences, [scheduler (off, on), seed, block].
        rough_over_time, rough_over_batch: roughness of the outputs (`metrics.roughness`), [scheduler (off, on), seed].
        slope: of the outputs over the present input, with recurrence over the batch, [scheduler (off, on), seed].
        scale: remaining fraction of the learning rate under the scheduler, with recurrence over the batch.
        parameters: of the network.
    """

    over_time: np.ndarray
    over_batch: np.ndarray
    rough_over_time: np.ndarray
    rough_over_batch: np.ndarray
    slope: np.ndarray
    scale: float
    parameters: int


def both(sample: Callable, test: Batch, seeds: int, steps: int) -> Axes:
    """Train over either axis, with the scheduler and without, on the same batches."""

    def trained(network) -> tuple[np.ndarray, np.ndarray, np.ndarray, training.Watched]:
        found = training.watched(network, sample, seeds, steps, EPOCH)
        # The batch is part of what the defective network computes: the test has batches of the size trained on.
        predictions = evaluate.predict(network.apply, found.params, test.inputs, batch_size=training.BLOCK)
        blocks = training.block_errors((predictions - test.targets[None]) ** 2)
        slope = (predictions * test.inputs[None]).sum(axis=(1, 2, 3)) / np.square(test.inputs).sum()
        rough = np.array([metrics.roughness(one, test.targets) for one in predictions])
        return blocks.reshape(2, seeds, -1), rough.reshape(2, seeds), np.asarray(slope).reshape(2, seeds), found

    right, smooth, *_ = trained(NETWORK)
    wrong, rough, slope, found = trained(over_batch(NETWORK))
    return Axes(right, wrong, smooth, rough, slope, float(np.median(found.scale[seeds:])), training.count(found.params))


@functools.lru_cache(maxsize=1)
def shift_8(seeds: int, steps: int) -> Axes:
    """Both recurrences on shift 8/32, which two claims are about."""
    return _shift(tasks.Shift(8, 32, GaussianProcess()), seeds, steps)


def _shift(task: tasks.Shift, seeds: int, steps: int) -> Axes:
    """Both recurrences on a shift, inputs and targets divided by 5, no error below the floor without memory."""

    def sample(key, rows=training.BLOCK):
        return jax.tree.map(lambda part: part / SCALE, task.sample(key, rows))

    found = both(sample, sample(jax.random.key(1), 8192 * training.BLOCK // task.length), seeds, steps)
    errors = found.over_batch.reshape(2 * seeds, -1)
    bounds.require_above(task.memoryless_floor() / SCALE**2, errors.mean(axis=1), training.noise(errors))
    return found


def on_shift_8(settings: Settings) -> Finding:
    """D1: shift 8 of 32 steps, and how far the recorded run is from the floor without memory."""
    task = tasks.Shift(8, 32, GaussianProcess())
    floor = task.memoryless_floor() / SCALE**2
    also = {
        "zero predictor": task.zero_loss() / SCALE**2,
        "recorded run, from the floor": abs(settings.claimed / floor - 1),
    }
    found = judge("error, shift 8/32, batch axis", shift_8(settings.seeds, settings.steps), floor, also)
    return found._replace(claimed=settings.claimed)


def on_shift_32(settings: Settings) -> Finding:
    """D1b: shift 32 of 128 steps."""
    task = tasks.Shift(32, 128, GaussianProcess())
    found = _shift(task, settings.seeds, settings.steps)
    floor, zero = task.memoryless_floor() / SCALE**2, task.zero_loss() / SCALE**2
    return judge("error, shift 32/128, batch axis", found, floor, {"zero predictor": zero})


def judge(quantity: str, found: Axes, floor: float, also: dict[str, float]) -> Finding:
    """A row from the errors of both recurrences, with the scheduler on, as the tutorial trained."""
    off, on = 0, 1
    ours, plain = (metrics.band(found.over_batch[case].mean(axis=1)) for case in (on, off))
    fixed, best = (metrics.band(found.over_time[case].mean(axis=1)) for case in (on, off))
    near, lower = abs(ours.median / floor - 1), ours.median / fixed.median
    distance = f"{near:.1%} from the floor without memory"
    return Finding(
        quantity=quantity,
        ours=ours,
        verdict=f"a bug, not long memory: {distance}; over time {lower:.0f} x lower"
        if near < 0.02 and lower > 10
        else f"not the axis alone: {distance}; over time {lower:.2g} x lower",
        corrected=fixed.median,
        floor=floor,
        also={
            "batch axis, no scheduler": plain.median,
            "over time, no scheduler": best.median,
            "over time, worst seed": max(fixed.high, best.high),
            "batch axis, from the floor": near,
            "learning rate left, batch axis": 1e-3 * found.scale,
            **also,
        },
        parameters=found.parameters,
    )


def looks_like_zero(settings: Settings) -> Finding:
    """C5: what minimises the squared error without memory, in closed form and trained (the network of D1)."""
    found = shift_8(settings.seeds, settings.steps)
    short, long = tasks.Shift(8, 32, GaussianProcess()), tasks.Shift(32, 128, GaussianProcess())
    named = {"8/32": short, "32/128": long}
    best = {name: task.memoryless_floor() / task.zero_loss() for name, task in named.items()}
    zero = short.zero_loss() / SCALE**2
    blind, memory = (metrics.band(errors[1].mean(axis=1) / zero) for errors in (found.over_batch, found.over_time))
    slope = metrics.band(found.slope[1])
    return Finding(
        quantity="error without memory / zero predictor's, 8/32",
        ours=blind,
        verdict=near_zero(best, blind.median, slope.median),
        floor=best["8/32"],
        also={
            "slope over the present input": slope.median,
            "size of the outputs / of the targets, 8/32": abs(slope.median) / short.zero_loss() ** 0.5,
            "best without memory, 32/128": best["32/128"],
            "with memory, 8/32": memory.median,
            "floor at 32/128": long.memoryless_floor(),
            "zero predictor at 32/128": long.zero_loss(),
        }
        | {f"same of the best, {name}": size(fraction) for name, fraction in best.items()},
        parameters=found.parameters,
    )


def size(best: float) -> float:
    """Root mean square of the best outputs over that of the targets, from their error over the zero predictor's."""
    return (1 - best) ** 0.5


def near_zero(best: dict[str, float], blind: float, slope: float) -> str:
    """The verdict of C5 from errors over the zero predictor's: the best without memory, and a trained network's."""
    if abs(blind / best["8/32"] - 1) > 0.02:
        return f"open: the network's {blind:.2g} of zero's error is not the best without memory, {best['8/32']:.2g}"
    gain = 1 - best["32/128"]
    if best["8/32"] > 0.99:
        return f"true: zero is within {gain:.0e} of the best"
    found = f"at 8/32 the output is {slope:.2g} x_t, the mean given x_t, with {blind:.2g} of zero's error"
    if gain >= 1e-3:
        return f"false: {found}"
    return f"partly true: {found}; at 32/128 the best is {size(best['32/128']):.1%} of the targets' size"
