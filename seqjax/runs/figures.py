"""An experiment's figure: the picture, the numbers in it, and all that is needed to draw it again."""

import dataclasses
import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from seqjax._atomic import write_bytes
from seqjax.runs.folder import Record, Row, curve, load, write_json
from seqjax.runs.provenance import summary

ARRAYS_BYTES = 200_000
"""The most that the arrays of a published figure may take, as they are committed."""


def save(name: str, scale: str, records: Sequence[Record], draw: Callable, folder: Path, *, arrays: bool) -> None:
    """Write the picture, and the numbers in it beside it.

    Args:
        arrays: also write what else the figure draws, so that `published` gives it back without the runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture = io.BytesIO()
    draw(records).savefig(picture, dpi=150, format="png")
    write_bytes(folder / f"{name}.png", picture.getvalue())
    numbers = {"experiment": name, "scale": scale, "rows": rows_of(records)} | summary(
        [record.provenance for record in records]
    )
    write_json(folder / f"{name}.json", numbers)
    if arrays:
        _save_arrays(folder / f"{name}.npz", records, [dataclasses.asdict(record.config) for record in records])


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Configuration and result together, as they are in the JSON beside a figure."""
    return [dataclasses.asdict(record.config) | record.result for record in records]


def print_numbers(records: Sequence[Record], diverged: Mapping[Any, str]) -> None:
    """The numbers of a figure as a table, and the configurations that diverged, with their seeds."""
    rows = rows_of(records)
    rows += [dataclasses.asdict(config) | {"diverged": seeds} for config, seeds in diverged.items()]
    knobs = [field.name for field in dataclasses.fields(records[0].config)]
    # What is equal in all configurations is left out; whatever differs is the key of a row.
    configs = [record.config for record in records] + list(diverged)
    keys = [knob for knob in knobs if len({getattr(config, knob) for config in configs}) > 1]
    left_out = set(knobs) - set(keys)
    print_table([{name: value for name, value in row.items() if name not in left_out} for row in rows], keys)


class Published:
    """A run as a committed figure has it: what `Record` gives to a function that draws."""

    def __init__(self, config: Any, result: Row, files: dict[str, np.ndarray]):
        self.config = config
        self.result = result
        self.arrays = {name.removeprefix("arrays/"): x for name, x in files.items() if name.startswith("arrays/")}
        self._files = files

    def read(self, name: str) -> str:
        """What `Record.keep` was given."""
        return self._files[f"files/{name}"].tobytes().decode()

    def curve(self, column: str) -> tuple[list[int], Float64[np.ndarray, "bands steps"]]:
        """As `Run.curve`."""
        steps, values = (self._files[f"history/{name}"].tolist() for name in ("step", column))
        return curve([{"step": step, column: value} for step, value in zip(steps, values, strict=True)], column)


def published(figure: Path, config_type: type) -> list[Published]:
    """The runs of a committed figure, from the files beside it; empty if its arrays are not there."""
    if not figure.with_suffix(".npz").exists():
        return []
    rows = json.loads(figure.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    with np.load(figure.with_suffix(".npz"), allow_pickle=False) as archive:
        files = dict(archive)
    made = []
    for number, row in enumerate(rows):
        config = config_type(**json.loads(files[f"{number}/config"].tobytes()))
        own = {name.removeprefix(f"{number}/"): x for name, x in files.items() if name.startswith(f"{number}/")}
        made.append(Published(config, row, own))
    return made


def _save_arrays(path: Path, records: Sequence[Record], configs: Sequence[Row]) -> None:
    files: dict[str, Any] = {}
    for number, (record, config) in enumerate(zip(records, configs, strict=True)):
        run = load(record.folder)
        files[f"{number}/config"] = _text(json.dumps(config))
        files |= {f"{number}/arrays/{name}": value for name, value in run.arrays.items()}
        columns = {name: [row[name] for row in run.history] for name in (run.history[0] if run.history else ())}
        files |= {f"{number}/history/{name}": np.array(values) for name, values in columns.items()}
        files |= {f"{number}/files/{name}": _text(text) for name, text in record.kept().items()}
    archive = io.BytesIO()
    np.savez_compressed(archive, allow_pickle=False, **files)
    if archive.tell() > ARRAYS_BYTES:
        print(f"warning: {path.name} would have {archive.tell()} bytes, more than {ARRAYS_BYTES}: not written, so that"
              " --draw needs the runs", file=sys.stderr)  # fmt: skip
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, archive.getvalue())


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def print_table(rows: Sequence[Row], keys: Sequence[str] = ()) -> None:
    """Rows as aligned columns; in a terminal too narrow for all, as several tables that each begin with the keys."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    keys = [name for name in names if name in keys]
    cells = {name: [name, *(_cell(row.get(name, "")) for row in rows)] for name in names}
    widths = {name: max(map(len, column)) for name, column in cells.items()}
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**9
    tables, room = [list(keys)], 0
    for name in (name for name in names if name not in keys):
        if tables[-1] != keys and room + widths[name] + 2 > limit:
            tables.append(list(keys))
        tables[-1].append(name)
        room = sum(widths[other] + 2 for other in tables[-1])
    for table in tables:
        for line in range(len(rows) + 1):
            print("  ".join(cells[name][line].ljust(widths[name]) for name in table).rstrip())
        if table is not tables[-1]:
            print()


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
