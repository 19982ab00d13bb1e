"""The history of runs as event files, for TensorBoard to show while they are trained."""

import importlib.util
import shutil
import struct
import time
from collections.abc import Sequence
from pathlib import Path

from seqjax._atomic import naming
from seqjax.runs.folder import Record, Row
from seqjax.types import InputError


def events_folder(run: Path) -> Path:
    """Where the event files of a run are: outside its folder, which changes its name and is checked for damage."""
    return run.parent / "tensorboard" / run.name


def require_tensorboard() -> None:
    """Find out before anything is trained.

    Raises:
        InputError: tensorboardX is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        raise InputError("--tensorboard needs tensorboardX: pip install 'seqjax[tensorboard]'")


class Events:
    """Event files of some records; each begins with the rows that its record has from earlier attempts.

    A column of the history is a chart, a seed of a record is a line in it.
    """

    def __init__(self, records: Sequence[Record]):
        self.written = dict.fromkeys(records, 0)
        for record in records:
            shutil.rmtree(events_folder(record.folder), ignore_errors=True)
        self.write()

    def write(self) -> None:
        """Write the rows that came since the last call; they are on the disk when it returns."""
        for record, before in self.written.items():
            rows = record.history[before:]
            self.written[record] = len(record.history)
            for seed in dict.fromkeys(row["seed"] for row in rows):
                file = events_folder(record.folder) / f"seed_{seed}" / "events.out.tfevents.0"
                _append(file, [row for row in rows if row["seed"] == seed])


def _append(path: Path, rows: Sequence[Row]) -> None:
    # Opened for this only: a group may have more runs and seeds than a process may have open files.
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

    now = time.time()
    events = [] if path.exists() else [Event(wall_time=now, file_version="brain.Event:2")]
    for row in rows:
        values = [Summary.Value(tag=name, simple_value=row[name]) for name in row if name not in ("step", "seed")]
        events.append(Event(wall_time=now, step=row["step"], summary=Summary(value=values)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("ab") as file:
        file.write(b"".join(_framed(event.SerializeToString()) for event in events))


def _framed(message: bytes) -> bytes:
    """A record of a TFRecord file: length and message, each followed by its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    parts = (struct.pack("<Q", len(message)), message)
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in parts)
