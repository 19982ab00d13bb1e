"""Training that can be killed and resumed: all runs of a group as one program, each saved in its own folder."""

import dataclasses
import hashlib
import math
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, PyTree, Scalar

from seqjax import checkpoint, early_stopping, mesh, metrics, sweep, train
from seqjax._placing import is_key, layout, spans, whole
from seqjax.early_stopping import Best
from seqjax.runs import manifest
from seqjax.runs.folder import Place, Record, Row
from seqjax.runs.process import Stopped, told
from seqjax.runs.progress import Report
from seqjax.runs.provenance import provenance, versions
from seqjax.runs.tensorboard import Events
from seqjax.train import Advance, Totals, TrainState
from seqjax.types import Batches, Bucketed, InputError, LossFn, Metrics, Params

SKIPPED_AT_MOST = 25
"""Non-finite updates in a row after which a run counts as diverged; half of the steps, if these are fewer."""

SAVE_EVERY = 30.0
"""Seconds between two checkpoints of runs that are training."""

PAUSE = 19
"""How many times longer than the last save training goes on before the next one: saving takes a twentieth at most."""


class SomeDiverged(Exception):
    """Some records of a group diverged and are finished; the others are to be measured as a group of their own."""


@dataclasses.dataclass
class Session:
    """What the records of one command share.

    Attributes:
        report: the progress it reports.
        tensorboard: whether the history is written as event files, too.
        signals: those it has received.
        unsaved: whether training has gone on since the last checkpoint.
        grid: the devices that share the rows of every batch, of all processes, which then make the same calls; None:
            devices share the runs.
    """

    report: Report
    tensorboard: bool = False
    signals: list[int] = dataclasses.field(default_factory=list)
    unsaved: bool = False
    grid: jax.sharding.Mesh | None = None

    def signal(self) -> int:
        """The signal that this process received, or any of those that train with it; 0: none."""
        received = max(self.signals, default=0)
        return received if self.grid is None else mesh.greatest(received)

    def told(self, value: Any) -> Any:
        """What process 0 knows, as JSON, where processes train together."""
        return value if self.grid is None else told(value)

    def placed(self, runs: PyTree, like: TrainState) -> PyTree:
        """Arrays with the leading axis `runs` on the devices that train them."""
        return sweep.shard(runs, len(like.step)) if self.grid is None else mesh.replicated(runs, self.grid)


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
    steps_per_report: int | None = None,
    chunk: int | None = None,
    validate: Callable[[Params], tuple[Scalar, Metrics]] | None = None,
) -> TrainState:
    """Train a group of records, each with several random seeds, as one program; resumed, saved and reported by `fit`.

    Args:
        records: their configurations have `learning_rate` and `steps`, and differ in traced fields alone.
        initialise, loss, chunk: as in `sweep.sweep`.
        sample: `key -> batch`, or a data set's batches; with `settings`, `(key, setting) -> batch`.
        keys: one for each seed, the same for every record.
        rates: the learning rate of each `config.model`, where `config.learning_rate` is 0.
        settings: what else differs between records: a pytree of arrays with the leading axis `records`.
        optimizer: from a learning rate and the number of steps.
        steps: updates; None: `config.steps`.
        steps_per_report: updates between two rows of the history; None: a twentieth of `steps`.
        validate: as in `early_stopping.keep_best`; `early_stopping.chosen` gives its parameters.

    Returns:
        The last state, with the leading axis `runs`: the seeds of the first record, then those of the second, …;
        `by_record` splits it.
    """
    seeds, base = len(keys), records[0].base
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
        lambda setting: optimizer(setting[0], total - base),
        batches,
        keys=jnp.tile(keys, len(records)),
        settings=each_seed,
        steps=max(1, total // 20 if steps_per_report is None else steps_per_report),
        chunk=chunk,
        rows=records[0].session.grid,
    )
    if validate is not None:
        state, advance = early_stopping.keep_best(state, advance, validate)
    for record in records:
        record.parameters = parameter_count(state.params) // len(state.step)
    if base and records[0].place is None:
        state = _extended(records, state, lambda steps: optimizer(learning_rates[0], steps), total)
    return fit(records, state, advance, total)


def _extended(
    records: Sequence[Record], state: TrainState, optimizer: Callable[[int], optax.GradientTransformation], total: int
) -> TrainState:
    """The last states of the finished runs that the records extend.

    The optimiser's state continues where the learning rate does not depend on the number of steps; otherwise the
    schedule begins again, and with it the optimiser's state, from the finished parameters.
    """
    saved = []
    for record in records:
        assert record.extends is not None
        saved.append(checkpoint.read(record.extends.folder / "checkpoint"))
        record.history = list(record.extends.history)
    extended: TrainState = checkpoint.place(saved, state, [slice(None)] * len(saved))
    ones = jax.tree.map(lambda leaf: jnp.ones_like(leaf[0]), extended.params)
    best = isinstance(extended.opt_state, Best)
    inner = extended.opt_state.opt_state if best else extended.opt_state
    first = jax.tree.map(lambda leaf: leaf[0], inner)
    one = jnp.ones(())
    moves = [
        train.update(optimizer(steps), ones, first, ones, one, lambda _: one)[0] for steps in (records[0].base, total)
    ]
    if not all(np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, moves), strict=True)):
        inner = state.opt_state.opt_state if isinstance(state.opt_state, Best) else state.opt_state
    extended = extended._replace(opt_state=extended.opt_state._replace(opt_state=inner) if best else inner)
    return records[0].session.placed(extended, extended)


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

    The runs of `state` are those of the records one after the other, equally many (seeds) for each. A run that diverges
    is finished as such and the others are measured without it.

    Raises:
        InputError: records that extend finished runs, which `train_group` alone can do.
        SomeDiverged: some runs did; their records are finished, and the others are to be measured without them.
        Stopped: a signal arrived; the state is saved.
    """
    if records[0].base and records[0].place is None and not int(np.max(state.step)):
        raise InputError("--extend is for experiments that train by runs.train_group: this one does not")
    session: Session = records[0].session
    session.unsaved = False
    laid = layout(state.step)
    if session.grid is not None and (laid is None or laid.mesh != session.grid):
        raise InputError("--devices rows is for experiments that train by runs.train_group: this one does not")
    group = Group(records)
    state, totals = group.restored(state, train.no_totals(advance, state))
    began = done = int(np.max(state.step))
    start = None if done else jax.tree.map(whole, state.params)
    session.report.begin(_common_name(records), done, steps)
    watch = _Watch()
    events = Events(records if session.tensorboard else [])
    for now, so_far, reported in train.calls(advance, state, steps, totals):
        state, totals = now, so_far
        done = int(np.max(state.step))
        session.unsaved = True
        if reported is None:
            losses = whole(totals.sums["loss"]) / whole(totals.steps)
        else:
            reported = jax.tree.map(whole, reported)
            losses = reported["loss"]
        session.report.update(done, "loss " + " ".join(f"{float(loss):.2g}" for loss in losses[:3]))
        if reported is not None:
            values = {name: [float(v) for v in value] for name, value in reported.items()}
            still = _unmoved(start, state.params) if start is not None and done == steps else None
            _note(records, done, values, np.asarray(state.skipped), steps, still)
            events.write()
        lost = sum(len(record.diverged) for record in records) == len(state.step)
        signal, due = session.signal(), session.told(watch.due())
        if signal or done == steps or lost or due:
            with watch:
                group.save({"state": state, "totals": totals}, began, done)
            session.unsaved = spans(state)  # the others are to hear of a signal
        if signal:
            raise Stopped(signal)
        if lost:
            break
    session.report.end()
    state = state if session.grid is None else mesh.local(state)
    host = jax.tree.map(lambda leaf: leaf if is_key(leaf) else np.asarray(leaf), state)
    for record, part in zip(records, by_record(records, host), strict=True):
        record.state = part
        record.stretch = group.stretch(record, began, done)
    if diverged := [record for record in records if record.diverged]:
        for record in diverged:
            record.finish_diverged()
        raise SomeDiverged
    return state


class _Watch:
    """When to save: after `SAVE_EVERY` seconds, and for no more than a twentieth of the time."""

    def __init__(self) -> None:
        self.saved, self.took = time.monotonic(), 0.0

    def due(self) -> bool:
        return time.monotonic() - self.saved > max(SAVE_EVERY, PAUSE * self.took)

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.saved = time.monotonic()
        self.took = self.saved - self.began


class Group:
    """The checkpoint of records that train as one program, from which any of them can go on, in any other group.

    Attributes:
        name: a hash of the records' names.
        folder: one file a step.
    """

    def __init__(self, records: Sequence[Record]):
        self.records = records
        names = "\n".join(record.folder.name for record in records)
        self.name = hashlib.sha256(names.encode()).hexdigest()[:12]
        self.folder = _checkpoints(records[0]) / self.name

    def restored(self, state: TrainState, totals: Totals) -> tuple[TrainState, Totals]:
        """The states that the records have on disk, all at one step, or the given ones for a first start."""
        session: Session = self.records[0].session
        places = [record.place for record in self.records]
        if session.grid is None or mesh.first():
            checkpoint.forget(self.folder, after=_saved_step(self.records[0]))  # leftovers of a kill before `move_to`
        if None in places:
            return state, totals
        if session.grid is None:
            return session.placed(self._read(places, (state, totals)), state)
        # One process reads, and the others need not even see the folder.
        found = self._read(places, mesh.local((state, totals))) if mesh.first() else mesh.local((state, totals))
        for record in self.records:
            record.history, record.stretches, record.diverged = session.told(
                [record.history, record.stretches, record.diverged]
            )
        return session.placed(mesh.agreed(found), state)

    def _read(self, places: Sequence[Place | None], like: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
        saved = {place.group: checkpoint.read(_checkpoints(self.records[0]) / place.group) for place in places if place}
        parts, rows = [], []
        for record, place in zip(self.records, places, strict=True):
            assert place is not None
            part = saved[place.group]
            seeds = len(part.arrays["['state'].step"]) // place.runs
            parts.append(part)
            rows.append(slice(place.run * seeds, (place.run + 1) * seeds))
            told = part.manifest["config"][record.folder.name]
            record.history = [dict(zip(told["columns"], row, strict=True)) for row in told["history"]]
            record.stretches, record.diverged = told["stretches"], told["diverged"]
            _warn_of_other_versions(record)
        together = checkpoint.place(parts, dict(zip(("state", "totals"), like, strict=True)), rows)
        print(f"resumed {_common_name(self.records)} at step {parts[0].step}", file=sys.stderr)
        return together["state"], together["totals"]

    def save(self, state: Any, began: int, done: int) -> None:
        """One file for all; then the records point to it, and files that no record points to any more are deleted."""
        told = {
            record.folder.name: {
                "columns": list(record.history[0]) if record.history else [],
                "history": [list(row.values()) for row in record.history],
                "stretches": record.stretches + self.stretch(record, began, done),
                "diverged": record.diverged,
            }
            for record in self.records
        }
        checkpoint.save(self.folder, done, state, told)
        left = set()
        for number, record in enumerate(self.records):
            place = Place(self.name, number, len(self.records))
            if record.place != place:
                left |= {record.place.group} if record.place else set()
                record.move_to(place)
        forget_groups(self.folder.parent, left - {self.name})

    def stretch(self, record: Record, began: int, done: int) -> list[Row]:
        """What this attempt has done for a record so far, for its provenance."""
        if began == done:
            return []
        cost = {name: round(value, 3) for name, value in record.cost()._asdict().items()}
        return [{"from": began, "to": done, "group": self.name, "runs": len(self.records)} | cost | provenance()]


def forget_groups(folder: Path, names: Collection[str]) -> None:
    """Delete the checkpoints of these groups, except for those that a working folder points to."""
    if not names:
        return
    needed = set()
    for work in folder.parent.glob("*.partial"):
        try:
            place = manifest.read(work)["place"]
        except InputError:  # unknown: it may be any of them
            return
        needed |= {place[0]} if place else set()
    for name in set(names) - needed:
        shutil.rmtree(folder / name, ignore_errors=True)


def progress(record: Record) -> int:
    """The step from which a record goes on: 0 for a first start.

    Raises:
        InputError: its state is damaged or gone: never silently from the start.
    """
    return _saved_step(record) if record.place else record.base


def _saved_step(record: Record) -> int:
    if record.place is None:
        return 0
    folder = _checkpoints(record) / record.place.group
    try:
        return checkpoint.read(folder).step
    except (FileNotFoundError, InputError) as error:
        raise InputError(f"{error}; with --no-resume {record.folder.name} is started again") from error


def _checkpoints(record: Record) -> Path:
    return record.folder.parent / "checkpoints"


def warn_of_reach(model: Any, task: Any) -> None:
    """Say on standard error that a model sees too few steps to learn a task, if so.

    Args:
        model: any; those with a `receptive_field`, or a backbone that has one, are compared.
        task: its `reach` is the number of steps that a target depends on.
    """
    backbone = getattr(model, "backbone", model)
    field = getattr(backbone, "receptive_field", None)
    if field is not None and field < task.reach:
        print(
            f"warning: {type(backbone).__name__} sees {field} steps, and {task} needs {task.reach}: "
            "more dilations or a larger kernel would reach it",
            file=sys.stderr,
        )


def _warn_of_other_versions(record: Record) -> None:
    """Say so if the run goes on under other versions than it began with: it will not be equal to the last bit."""
    before, now = record.stretches[-1]["versions"], versions()
    changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        print(f"warning: {record.folder.name} was begun under other versions: {', '.join(changed)}", file=sys.stderr)


def _note(
    records: Sequence[Record],
    step: int,
    values: dict[str, list[float]],
    skipped: np.ndarray,
    steps: int,
    still: np.ndarray | None,
) -> None:
    """Add the rows of a report, and find the seeds that diverged.

    Not finite for too long, never in validation, or none of their updates could be taken, as parameters overflowed.
    """
    seeds = len(skipped) // len(records)
    limit = min(SKIPPED_AT_MOST, max(1, steps // 2))
    for run in range(len(skipped)):
        record, seed = records[run // seeds], run % seeds
        row = {"step": step, "seed": seed} | {name: value[run] for name, value in values.items()}
        record.history.append(row)
        never = (
            step == steps
            and "validation" in row
            and not any(math.isfinite(other["validation"]) for other in record.history if other["seed"] == seed)
        )
        lost = row["skipped"] >= limit or never or (still is not None and still[run])
        if lost and all(other["seed"] != seed for other in record.diverged):
            record.diverged.append({"seed": seed, "last_good_step": int(step - skipped[run])})


def _unmoved(start: Params, now: Params) -> np.ndarray:
    """Which runs have the parameters of their start."""
    same = [
        (np.asarray(b) == a).reshape(len(a), -1).all(axis=1)
        for a, b in zip(*map(jax.tree.leaves, (start, now)), strict=True)
    ]
    return np.all(same, axis=0)


def _common_name(records: Sequence[Record]) -> str:
    """A group's name in messages: the fields that its configurations share and that are not the default."""
    configs = [dataclasses.asdict(record.config) for record in records]
    defaults = dataclasses.asdict(type(records[0].config)())
    shared = {k: v for k, v in configs[0].items() if all(c[k] == v for c in configs) and v != defaults[k]}
    name = " ".join(f"{key}={value}" for key, value in shared.items()) or "default"
    return name if len(records) == 1 else f"{name} ({len(records)} runs)"
