"""Training that can be killed and resumed: all runs of a group as one program, each saved in its own folder."""

import dataclasses
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from seqjax.runs.folder import Record, read_history, save_parameters
from seqjax.runs.process import Diverged, Stopped
from seqjax.runs.progress import Report

if TYPE_CHECKING:
    from seqjax.train import Advance, TrainState

SKIPPED_AT_MOST = 25
"""Non-finite updates in a row after which a run counts as diverged."""

SAVE_EVERY = 30.0
"""Seconds between two checkpoints of a run that is under way."""


@dataclasses.dataclass
class Session:
    """What the records of one command share: where it tells how far it is, and which signals it has received."""

    report: Report
    signals: list[int] = dataclasses.field(default_factory=list)


def fit(records: Sequence[Record], state: "TrainState", advance: "Advance", steps: int) -> "TrainState":
    """Train the runs of some records to `steps`: resumed where they were, saved on the way, with progress.

    The runs of `state` are those of the records one after the other, equally many (seeds) for each.

    Raises:
        Diverged: updates were not finite too many times in a row.
        Stopped: a signal arrived; the state is saved.
    """
    from seqjax import train

    session: Session = records[0].session
    name = _common_name(records)
    state = _restored(records, state)
    done = int(state.step[0])
    session.report.begin(name, done, steps)
    saved = time.monotonic()
    for now, metrics in train.run(advance, state, steps):
        state = now
        done = int(state.step[0])
        values = {name: [float(v) for v in value] for name, value in metrics.items()}
        _note(records, done, values)
        session.report.update(done, "loss " + " ".join(f"{loss:.2g}" for loss in values["loss"][:3]))
        for run, skipped in enumerate(values["skipped"]):
            if skipped >= SKIPPED_AT_MOST:
                seeds = len(values["skipped"]) // len(records)
                seed = run % seeds
                which = _common_name([records[run // seeds]])
                raise Diverged(f"{which}, seed {seed}: {skipped:.0f} updates in a row not finite at step {done}")
        if session.signals or done == steps or time.monotonic() - saved > SAVE_EVERY:
            _save(records, state, done)
            saved = time.monotonic()
        if session.signals:
            raise Stopped(session.signals[0])
    session.report.end()
    return state


def _restored(records: Sequence[Record], state: "TrainState") -> "TrainState":
    """The newest state that all records of the group have on disk, or `state` for a first start."""
    import jax
    import jax.numpy as jnp

    from seqjax import checkpoint, train

    def restore(index: int, step: int | None = None) -> checkpoint.Restored:
        # Warns of what is damaged, and is an error if all is: never silently a random initialisation.
        record, like = records[index], _part(state, index, len(records))
        return checkpoint.restore(record.work / "checkpoint", like, dataclasses.asdict(record.config), step=step)

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
            begun = f"{len(newest)} of {len(records)} runs had begun"
            print(
                f"starting {_common_name(records)} again at step 0: {begun}, and they train together", file=sys.stderr
            )
        return state
    for record in records:
        record.history = [row for row in read_history(record.work / "history.csv") if row["step"] <= step]
    print(f"resumed {_common_name(records)} at step {step}", file=sys.stderr)
    together = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[found.state for found in newest])
    return train.share(together, len(state.step))


def _forget_after(folder: Path, step: int) -> None:
    """Delete the checkpoints that training falls back behind, lest they be taken for its own later."""
    from seqjax import checkpoint

    later = [other for other in checkpoint.steps(folder) if other > step]
    if later:
        (folder / checkpoint.NEWEST).unlink(missing_ok=True)
    for other in later:
        (folder / f"{other:08d}" / checkpoint.MANIFEST).unlink()  # first, lest a half deleted step look complete
        shutil.rmtree(folder / f"{other:08d}")


def _save(records: Sequence[Record], state: "TrainState", step: int) -> None:
    from seqjax import checkpoint, train

    for index, record in enumerate(records):
        part = _part(state, index, len(records))
        record.write_history()
        save_parameters(record.work / "parameters.npz", train.chosen(part))
        checkpoint.save(record.work / "checkpoint", step, part, dataclasses.asdict(record.config))


def _part(state: "TrainState", index: int, parts: int) -> "TrainState":
    """The runs of one record out of those of its group."""
    import jax

    runs = len(state.step) // parts
    return jax.tree.map(lambda leaf: leaf[index * runs : (index + 1) * runs], state)


def _note(records: Sequence[Record], step: int, values: dict[str, list[float]]) -> None:
    seeds = len(values["loss"]) // len(records)
    for index, record in enumerate(records):
        for seed in range(seeds):
            row = {name: value[index * seeds + seed] for name, value in values.items()}
            record.history.append({"step": step, "seed": seed, **row})


def _common_name(records: Sequence[Record]) -> str:
    """What a person calls this group: the fields that its configurations share and that are not the default."""
    configs = [dataclasses.asdict(record.config) for record in records]
    defaults = dataclasses.asdict(type(records[0].config)())
    shared = {k: v for k, v in configs[0].items() if all(c[k] == v for c in configs) and v != defaults[k]}
    name = " ".join(f"{key}={value}" for key, value in shared.items()) or "default"
    return name if len(records) == 1 else f"{name} ({len(records)} runs)"
