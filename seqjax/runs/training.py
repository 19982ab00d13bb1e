"""Training that can be killed and resumed: all runs of a group as one program, each saved in its own folder."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree, Scalar

from seqjax import checkpoint, early_stopping, metrics, sweep, train
from seqjax.runs.folder import Record, Row, read_history, save_parameters
from seqjax.runs.process import Diverged, Stopped
from seqjax.runs.progress import Report
from seqjax.train import Advance, TrainState
from seqjax.types import Batches, Bucketed, LossFn, Metrics, Params

SKIPPED_AT_MOST = 25
"""Non-finite updates in a row after which a run counts as diverged."""

SAVE_EVERY = 30.0
"""Seconds between two checkpoints of a run that is training."""


@dataclasses.dataclass
class Session:
    """What the records of one command share: the progress it reports, and the signals it has received."""

    report: Report
    signals: list[int] = dataclasses.field(default_factory=list)


def train_group(
    records: Sequence[Record],
    initialise: Callable[[Key[Array, ""]], Params],
    loss: LossFn,
    sample: Callable[..., Any] | Batches | Bucketed,
    *,
    keys: Key[Array, " seeds"],
    rates: Mapping[str, float] | None = None,
    settings: PyTree = None,
    optimizer: Callable[[Scalar, int], optax.GradientTransformation] = train.adam,
    steps: int | None = None,
    steps_per_call: int | None = None,
    vectorise: bool = True,
    chunk: int | None = None,
    validate: Callable[[Params], tuple[Scalar, Metrics]] | None = None,
) -> TrainState:
    """Train a group of records, each with several random seeds, as one program; resumed, saved and reported by `fit`.

    Args:
        records: their configurations have `learning_rate` and `steps`, and differ in traced fields alone.
        initialise, loss, vectorise, chunk: as in `sweep.sweep`.
        sample: `key -> batch`, or a data set's batches; with `settings`, `(key, setting) -> batch`.
        keys: one for each seed, the same for every record.
        rates: the learning rate of each `config.model`, where `config.learning_rate` is 0.
        settings: what else differs between records: a pytree of arrays with the leading axis `records`.
        optimizer: from a learning rate and the number of steps.
        steps: updates; None: `config.steps`.
        steps_per_call: updates between two rows of the history; None: a twentieth of `steps`.
        validate: as in `early_stopping.keep_best`; `early_stopping.chosen` gives its parameters.

    Returns:
        The last state, with the leading axis `runs`: the seeds of the first record, then those of the second, …;
        `by_record` splits it.
    """
    seeds = len(keys)
    total: int = records[0].config.steps if steps is None else steps
    for record in records:
        record.learning_rate = record.config.learning_rate or (rates or {})[record.config.model]
    learning_rates = jnp.array([record.learning_rate for record in records])
    each_seed = jax.tree.map(lambda part: jnp.repeat(part, seeds, axis=0), (learning_rates, settings))
    batches = sample
    if not isinstance(sample, (Batches, Bucketed)):
        batches = lambda key, setting: sample(key) if settings is None else sample(key, setting[1])  # noqa: E731
    state, advance = sweep.sweep(
        initialise,
        loss,
        lambda setting: optimizer(setting[0], total),
        batches,
        keys=jnp.tile(keys, len(records)),
        settings=each_seed,
        steps=max(1, total // 20) if steps_per_call is None else steps_per_call,
        vectorise=vectorise,
        chunk=chunk,
    )
    if validate is not None:
        state, advance = early_stopping.keep_best(state, advance, validate)
    for record in records:
        record.parameters = parameter_count(jax.tree.map(lambda leaf: leaf[0], state.params))
    return fit(records, state, advance, total)


def by_record(records: Sequence[Record], runs: PyTree) -> list[PyTree]:
    """For each record, the values or parameters of its own seeds, out of arrays with the leading axis `runs`."""

    def part(leaf: Any, index: int) -> Any:
        seeds = len(leaf) // len(records)
        return leaf[index * seeds : (index + 1) * seeds]

    return [jax.tree.map(lambda leaf, index=index: part(leaf, index), runs) for index in range(len(records))]


def scores(record: Record, metric: str, values: Sequence[float] | Float[np.ndarray, " seeds"]) -> Row:
    """The first columns of a trained record's result: learning rate, parameters, and the metric's band over seeds."""
    band = metrics.band(values)
    row = {"learning_rate": record.learning_rate, "parameters": record.parameters}
    return row | {metric: band.median, "low": band.low, "high": band.high}


def parameter_count(params: Params) -> int:
    """How many numbers the parameters of one run are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def fit(records: Sequence[Record], state: TrainState, advance: Advance, steps: int) -> TrainState:
    """Train the runs of some records to `steps`: resumed where they were, saved on the way, with progress.

    The runs of `state` are those of the records one after the other, equally many (seeds) for each.

    Raises:
        Diverged: updates were not finite too many times in a row.
        Stopped: a signal arrived; the state is saved.
    """
    session: Session = records[0].session
    name = _common_name(records)
    state = _restored(records, state)
    done = int(state.step[0])
    session.report.begin(name, done, steps)
    saved = time.monotonic()
    for now, metric in train.run(advance, state, steps):
        state = now
        done = int(state.step[0])
        values = {name: [float(v) for v in value] for name, value in metric.items()}
        _note(records, done, values)
        session.report.update(done, "loss " + " ".join(f"{loss:.2g}" for loss in values["loss"][:3]))
        for run, skipped in enumerate(values["skipped"]):
            if skipped >= SKIPPED_AT_MOST:
                number, seed = divmod(run, len(values["skipped"]) // len(records))
                which = f"{_common_name([records[number]])}, seed {seed}"
                raise Diverged(f"{which}: {skipped:.0f} updates in a row not finite at step {done}")
        if session.signals or done == steps or time.monotonic() - saved > SAVE_EVERY:
            _save(records, state, done)
            saved = time.monotonic()
        if session.signals:
            raise Stopped(session.signals[0])
    session.report.end()
    return state


def _restored(records: Sequence[Record], state: TrainState) -> TrainState:
    """The newest state that all records of the group have on disk, or `state` for a first start."""
    parts = by_record(records, state)

    def restore(index: int, step: int | None = None) -> checkpoint.Restored:
        # Warns of what is damaged, and is an error if all is: never silently a random initialisation.
        folder, config = records[index].work / "checkpoint", dataclasses.asdict(records[index].config)
        return checkpoint.restore(folder, parts[index], config, step=step)

    newest: list[checkpoint.Restored] = []
    for index in range(len(records)):
        with suppress(FileNotFoundError):
            newest.append(restore(index))
    # A kill between the saves of two records leaves the first of them ahead: the others cannot follow, so it goes back.
    step = min(found.step for found in newest) if len(newest) == len(records) else 0
    if step:
        newest = [found if found.step == step else restore(index, step) for index, found in enumerate(newest)]
    for record in records:
        _forget_after(record.work / "checkpoint", step)
    if not step:
        if newest:
            begun = f"{len(newest)} of {len(records)} runs had begun, and they train together"
            print(f"starting {_common_name(records)} again at step 0: {begun}", file=sys.stderr)
        return state
    for record in records:
        record.history = [row for row in read_history(record.work / "history.csv") if row["step"] <= step]
    print(f"resumed {_common_name(records)} at step {step}", file=sys.stderr)
    together = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[found.state for found in newest])
    return sweep.shard(together, len(state.step))


def _forget_after(folder: Path, step: int) -> None:
    """Delete the checkpoints after the step that training goes back to: it will make its own."""
    later = [other for other in checkpoint.steps(folder) if other > step]
    if later:
        (folder / checkpoint.NEWEST).unlink(missing_ok=True)
    for other in later:
        (folder / f"{other:08d}" / checkpoint.MANIFEST).unlink()  # first, so that a half deleted step is not complete
        shutil.rmtree(folder / f"{other:08d}")


def _save(records: Sequence[Record], state: TrainState, step: int) -> None:
    for record, part in zip(records, by_record(records, state), strict=True):
        record.write_history()
        save_parameters(record.work / "parameters.npz", early_stopping.chosen(part))
        checkpoint.save(record.work / "checkpoint", step, part, dataclasses.asdict(record.config))


def _note(records: Sequence[Record], step: int, values: dict[str, list[float]]) -> None:
    seeds = len(values["loss"]) // len(records)
    for index, record in enumerate(records):
        for seed in range(seeds):
            row = {name: value[index * seeds + seed] for name, value in values.items()}
            record.history.append({"step": step, "seed": seed, **row})


def _common_name(records: Sequence[Record]) -> str:
    """A group's name in messages: the fields that its configurations share and that are not the default."""
    configs = [dataclasses.asdict(record.config) for record in records]
    defaults = dataclasses.asdict(type(records[0].config)())
    shared = {k: v for k, v in configs[0].items() if all(c[k] == v for c in configs) and v != defaults[k]}
    name = " ".join(f"{key}={value}" for key, value in shared.items()) or "default"
    return name if len(records) == 1 else f"{name} ({len(records)} runs)"
