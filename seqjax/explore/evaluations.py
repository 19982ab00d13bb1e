"""Trained models on their task: predictions and errors on new sequences, beside baselines."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from seqjax import metrics, plot
from seqjax.explore.explorer import WIDTH, Explorer, legend_above, line, title
from seqjax.explore.trained import predict, require_fit, resolve, trained_on
from seqjax.runs.training import parameter_count
from seqjax.tasks.lorenz96 import Lorenz96
from seqjax.tasks.shift import Shift
from seqjax.theory import fits
from seqjax.types import Batch, InputError, Params

TAPS = 32
"""Of the linear filter, the baseline on Lorenz96."""


@dataclass(frozen=True, eq=False)
class _Evaluation(Explorer):
    """A trained model on new sequences of its task.

    Attributes:
        model: [batch, time, inputs] -> [batch, time, targets].
        params: of one seed; or the path of a safetensors file (`pretrained.write_params`), or of a finished run.
        task: on Lorenz96 with the `target_scale` that the model was trained with (`Lorenz96.calibrated`).
        rows: sequences over which the error is averaged.

    Raises:
        InputError: the file is damaged, the parameters, the model and the task do not fit together, or the parameters
            are known to be of a model of another task: by their file, by their run, or as those of the package.
    """

    experiment: ClassVar[str]
    """Whose runs are trained on the task."""

    model: Any
    params: Params | Path | str
    task: Any
    rows: int = 256

    def __post_init__(self) -> None:
        given, kinds = self.params, [kind.__name__ for kind in type(self.task).__mro__]
        trained = trained_on(given)
        if trained not in ("", self.experiment, *kinds):
            source = f"{given}, " if isinstance(given, Path | str) else "those "
            raise InputError(f"params must be those of a model of {kinds[0]}, got {source}of a model of {trained}")
        object.__setattr__(self, "params", resolve(given))
        width, dtype = getattr(self.task, "K", 1), getattr(self.task, "dtype", jnp.float32)
        require_fit(self.model, self.params, (1, self.task.length, width), dtype, outputs=width)


@dataclass(frozen=True, eq=False)
class ShiftEvaluation(_Evaluation):
    """A target of `tasks.Shift`, a model's prediction, and its error beside the floor without memory.

    run = runs.load(next(runs.finished("results/shift_memory", model="gru", delay=8)))
    task = tasks.Shift(run.config["delay"], run.config["length"])
    explore.ShiftEvaluation(run.model, run.params(seed=0), task).plot()

    explore.ShiftEvaluation(*pretrained.load("shift_tcn_32_128")).plot()
    """

    task: Shift
    experiment = "shift_memory"

    def figure(self) -> Figure:
        batch = self.task.sample(jax.random.key(self.seed), self.rows)
        predictions = np.asarray(predict(self.model, self.params, batch.inputs))
        references = {"zero predictor": self.task.zero_loss(), "floor without memory": self.task.memoryless_floor()}
        figure, (left, right) = _beside(np.arange(self.task.length, dtype=float), batch, predictions, references)
        left.set(xlabel="time (steps)", ylabel="standard deviations of x")
        right.set(xlabel="time (steps)", ylabel="squared error (input variance 1)")
        task = f"Shift by {self.task.delay} of {self.task.length} steps"
        size = f"{parameter_count(self.params):,} parameters, {self.rows} sequences"
        title(figure, f"{task}; {size}{_doubt(predictions, batch)}")
        return figure


@dataclass(frozen=True, eq=False)
class LorenzEvaluation(_Evaluation):
    """A target of `tasks.Lorenz96`, a model's prediction, and its error beside that of a linear filter.

    The filter has `TAPS` taps and is fitted by least squares to as many other trajectories.
    """

    task: Lorenz96
    experiment = "lorenz96_response"

    def figure(self) -> Figure:
        task = self.task
        test_key, fit_key = jax.random.split(jax.random.key(self.seed))
        batch, others = (_sample(task, key, self.rows) for key in (test_key, fit_key))
        predictions = np.asarray(predict(self.model, self.params, batch.inputs))
        linear = fits.fir(others.inputs, others.targets, TAPS, others.weight).predict(batch.inputs)
        references = {
            "zero predictor": metrics.mse(np.zeros_like(linear), batch.targets, batch.weight),
            f"linear filter, {TAPS} taps": metrics.mse(linear, batch.targets, batch.weight),
        }
        time = task.sample_step * np.arange(1, task.length + 1)
        figure, (left, right) = _beside(time, batch, predictions, references)
        left.set(xlabel="time (units of the slow equation)", ylabel="$y_1$ (units of the targets)")
        right.set(xlabel="time (units of the slow equation)", ylabel="squared error (units of the targets)")
        r2 = metrics.r2(predictions, batch.targets, batch.weight)
        settings = f"Lorenz96, K = {task.K}, J = {task.J}, amplitude {task.amplitude:g}"
        size = f"{parameter_count(self.params):,} parameters, {self.rows} trajectories"
        title(figure, f"{settings}; {size}, R² {r2:.5f}{_doubt(predictions, batch)}")
        return figure


@partial(jax.jit, static_argnums=(0, 2))
def _sample(task: Lorenz96, key: Key[Array, ""], rows: int) -> Batch:
    return task.sample(key, rows)


def _doubt(predictions: Float[np.ndarray, "batch time targets"], batch: Batch) -> str:
    """A warning for the title where parameters that name no task are hardly those of a model of this one."""
    error, zero = (metrics.mse(y, batch.targets, batch.weight) for y in (predictions, np.zeros_like(predictions)))
    return "\nworse than predicting zero: was the model trained on this task?" if error > 1.1 * zero else ""


def _beside(
    time: Float[np.ndarray, " time"],
    batch: Batch,
    predictions: Float[np.ndarray, "batch time targets"],
    references: Mapping[str, float],
) -> tuple[Figure, np.ndarray]:
    """Left: one target and its prediction. Right: the error at each step over all rows, beside the references."""
    targets = np.asarray(batch.targets)
    weight = np.ones(targets.shape[:2]) if batch.weight is None else np.asarray(batch.weight)
    usable, counted = weight.any(axis=1), weight.any(axis=0)
    figure, axes = plot.figure(1, 2, width=WIDTH, height=4.0)
    left, right = axes[0]
    left.get_gridspec().set_width_ratios([1.4, 1])
    shown = usable.argmax()
    left.plot(time, targets[shown, :, 0], color="black", linewidth=2.2, label="target")
    line(left, time, predictions[shown, :, 0], label="prediction", style=1)
    errors = np.square(predictions - targets)[usable].mean(axis=(0, 2))
    line(right, time, errors, label=f"prediction: {metrics.mse(predictions, targets, weight):.2g}", style=1)
    for (name, error), dashes in zip(references.items(), ("--", ":"), strict=True):
        right.axhline(error, color="black", linewidth=1.2, linestyle=dashes, label=f"{name}: {error:.2g}")
    legend_above(right, ncols=1, title="averages over time", alignment="left", title_fontsize=8)
    right.set(yscale="log")
    for ax in (left, right):
        ax.margins(x=0.01)
        if not counted.all():
            ax.axvspan(time[0], time[counted][0], color="0.92", linewidth=0, label="washout, not counted")
    legend_above(left)
    return figure, axes[0]
