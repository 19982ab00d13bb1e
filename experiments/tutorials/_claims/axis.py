"""D1: S4's network as its code ran it, recurring over the batch, and over time, on all three of S4's tasks."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _claims import lorenz, shift, training
from _claims.finding import Finding

from seqjax import evaluate, metrics, models, tasks
from seqjax.data.gaussian_process import GaussianProcess
from seqjax.theory import bounds
from seqjax.types import Batch

NETWORK = models.Regressor(models.LSTM(256, layers=2))
"""S4's, but for the tanh on its output (D4) and second biases (D9)."""

EPOCH = 10
"""Steps after which the scheduler looks at the mean loss: runs are shorter than S4's, whose epochs have 312 steps."""


def over_batch(model) -> training.Network:
    """The defect: what recurs over the first axis is given (batch, time, features)."""

    def turned(function):
        return lambda first, x: function(first, jnp.swapaxes(x, 0, 1))

    init, apply = turned(model.init), turned(model.apply)
    return training.Network(init, lambda params, x: jnp.swapaxes(apply(params, x), 0, 1))


class Axes(NamedTuple):
    """Test errors of both recurrences.

    Attributes:
        over_time, over_batch: means over blocks of sequences, [scheduler (off, on), seed, block].
        scale: what the scheduler left of the learning rate, over the batch.
        parameters: of the network.
    """

    over_time: np.ndarray
    over_batch: np.ndarray
    scale: float
    parameters: int


def both(sample: Callable, test: Batch, seeds: int, steps: int) -> Axes:
    """Train over either axis, with the scheduler and without, on the same batches."""

    def trained(network) -> tuple[np.ndarray, training.Watched]:
        found = training.watched(network, sample, seeds, steps, EPOCH)
        # The batch is part of what the defective network computes: it is tested on batches of the size trained on.
        predictions = evaluate.predict(network.apply, found.params, test.inputs, batch_size=training.BLOCK)
        blocks = training.block_errors((predictions - test.targets[None]) ** 2)
        return blocks.reshape(2, seeds, -1), found

    (right, _), (wrong, found) = trained(NETWORK), trained(over_batch(NETWORK))
    return Axes(right, wrong, float(np.median(found.scale[seeds:])), training.count(found.params))


def on_shift(delay: int, length: int, quoted: float, seeds: int, steps: int) -> Finding:
    """D1: shifts of S4's smooth process, inputs and targets divided by 5."""
    task = tasks.Shift(delay, length, GaussianProcess())

    def sample(key, rows=training.BLOCK):
        return jax.tree.map(lambda part: part / shift.SCALE, task.sample(key, rows))

    test = sample(jax.random.key(1), 8192 * training.BLOCK // length)
    floor = task.memoryless_floor() / shift.SCALE**2
    found = both(sample, test, seeds, steps)
    over_batch = found.over_batch.reshape(2 * seeds, -1)
    bounds.require_above(floor, over_batch.mean(axis=1), training.noise(over_batch))
    baseline = {"zero predictor": task.zero_loss() / shift.SCALE**2}
    return _finding(f"error, shift {delay}/{length}, batch axis", found, floor, quoted or None, baseline)


def on_lorenz(seeds: int, steps: int) -> Finding:
    """D1: the seed's Lorenz96, K = 1, J = 10, in units of the outputs' variance."""
    train, test = lorenz.split()

    def sample(key):
        rows = jax.random.randint(key, (training.BLOCK,), 0, len(train.inputs))
        return Batch(train.inputs[rows], train.targets[rows])

    found = both(sample, test, seeds, steps)
    floor = lorenz.without_time(test, degree=5)
    return _finding("error / variance, Lorenz96 1/10/32, batch axis", found, floor, None, {})


def _finding(quantity: str, found: Axes, floor: float, quoted: float | None, baseline: dict[str, float]) -> Finding:
    """What follows from the errors of both recurrences, S4's scheduler on: that is how S4 trained."""
    off, on = 0, 1
    ours, plain = (metrics.band(found.over_batch[case].mean(axis=1)) for case in (on, off))
    fixed, best = (metrics.band(found.over_time[case].mean(axis=1)) for case in (on, off))
    near, lower = abs(ours.median / floor - 1), ours.median / fixed.median
    sits = f"{near:.1%} from the floor of what sees the present only"
    return Finding(
        quantity=quantity,
        ours=ours,
        verdict=f"the axis: {sits}; over time {lower:.0f} x lower"
        if near < 0.02 and lower > 10
        else f"not the axis alone: {sits}; over time {lower:.2g} x lower",
        claimed=quoted,
        corrected=fixed.median,
        floor=floor,
        also={
            "batch axis, no scheduler": plain.median,
            "over time, no scheduler": best.median,
            "over time, worst seed": max(fixed.high, best.high),
            "batch axis, from the floor": near,
            "learning rate left, batch axis": 1e-3 * found.scale,
            **baseline,
        },
        parameters=found.parameters,
    )
