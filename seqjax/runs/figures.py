"""An experiment's figure: the picture, the numbers in it, and all that is needed to draw it again."""

import dataclasses
import io
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from seqjax._atomic import write_bytes
from seqjax.runs.folder import Record, Row, curve, load, write_json
from seqjax.runs.provenance import summary
from seqjax.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARRAYS_BYTES = 200_000
"""The most that the arrays of a published figure may take, as they are committed."""


ROWS = 20
"""Of a longer table than twice this, as many rows are printed at each end."""


def save(name: str, scale: str, records: Sequence[Record], draw: Callable, folder: Path, *, arrays: bool) -> None:
    """Write the picture, and the numbers in it beside it.

    Args:
        arrays: also write what else the figure draws, so that `published` gives all of it back without the runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(draw(records), folder / f"{name}.png")
    numbers = {"experiment": name, "scale": scale, "rows": rows_of(records)} | summary(
        [record.provenance for record in records]
    )
    write_json(folder / f"{name}.json", numbers)
    if arrays:
        _save_arrays(folder / f"{name}.npz", records, [dataclasses.asdict(record.config) for record in records])


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Configuration and result together, as they are in the JSON beside a figure."""
    return [dataclasses.asdict(record.config) | record.result for record in records]


def save_picture(figure: "Figure", path: Path) -> None:
    """The picture whole or not at all, as with all files of a run."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, format="png")
    write_bytes(path, picture.getvalue())


def print_numbers(records: Sequence[Record], diverged: Mapping[Any, str]) -> None:
    """The numbers of a figure as a table, and the configurations that diverged, with their seeds.

    Of many rows only the first and last `ROWS`: all of them are in the JSON beside the figure.
    """
    rows = rows_of(records)
    rows += [dataclasses.asdict(config) | {"diverged": seeds} for config, seeds in diverged.items()]
    knobs = [field.name for field in dataclasses.fields(records[0].config)]
    # What is equal in all configurations is left out; whatever differs is the key of a row.
    configs = [record.config for record in records] + list(diverged)
    keys = [knob for knob in knobs if len({getattr(config, knob) for config in configs}) > 1]
    left_out = set(knobs) - set(keys)
    print_table([{name: value for name, value in row.items() if name not in left_out} for row in rows], keys, ROWS)


class Published:
    """A run as a committed figure has it: what `Record` gives to a function that draws.

    Attributes:
        config: the experiment's frozen dataclass.
        result: its row in the figure's numbers.
    """

    def __init__(self, figure: Path, config: Any, result: Row, files: dict[str, np.ndarray]):
        self.config = config
        self.result = _PublishedRow(result)
        self._figure = self.result.figure = figure.name
        self._files = files

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """As `Record.arrays`.

        Raises:
            InputError: the figure has none.
        """
        found = {name.removeprefix("arrays/"): x for name, x in self._files.items() if name.startswith("arrays/")}
        if not found:
            raise _lacks(self._figure, "arrays")
        return found

    @property
    def folder(self) -> Path:
        """A committed figure has no folder of a run, and no parameters: always an `InputError`."""
        raise _lacks(self._figure, "parameters")

    def read(self, name: str) -> str:
        """What `Record.keep` was given.

        Raises:
            InputError: the figure has no such file.
        """
        if (file := self._files.get(f"files/{name}")) is None:
            raise _lacks(self._figure, name)
        return file.tobytes().decode()

    def curve(self, column: str) -> tuple[list[int], Float64[np.ndarray, "bands steps"]]:
        """As `Run.curve`.

        Raises:
            InputError: the figure has no such column.
        """
        if f"history/{column}" not in self._files:
            raise _lacks(self._figure, f"history of {column}")
        steps, values = (self._files[f"history/{name}"].tolist() for name in ("step", column))
        return curve([{"step": step, column: value} for step, value in zip(steps, values, strict=True)], column)


class _PublishedRow(dict[str, Any]):
    """Numbers of a committed figure, which an older version of the experiment may have written.

    Attributes:
        figure: its name.
    """

    figure = ""

    def __missing__(self, name: str) -> Any:
        raise _lacks(self.figure, name)


def _lacks(figure: str, what: str) -> InputError:
    return InputError(
        f"drawing needs the runs: the committed figure {figure} has no {what}; without --draw they are trained"
    )


def published(figure: Path, config_type: type) -> list[Published]:
    """The runs of a committed figure, from the files beside it; empty if there is none.

    Where its arrays are not committed, the configurations are read from the numbers: fields that these lack have their
    defaults, and what has a default of the configuration's own, such as 0 for a learning rate, is what it stood for.
    """
    if not figure.with_suffix(".json").exists():
        return []
    rows = json.loads(figure.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    files: dict[str, np.ndarray] = {}
    if figure.with_suffix(".npz").exists():
        with np.load(figure.with_suffix(".npz"), allow_pickle=False) as archive:
            files = dict(archive)
    made = []
    for number, row in enumerate(rows):
        own = {name.removeprefix(f"{number}/"): x for name, x in files.items() if name.startswith(f"{number}/")}
        config = json.loads(own["config"].tobytes()) if "config" in own else row
        fields = {field.name for field in dataclasses.fields(config_type)} & config.keys()
        # JSON has no tuples.
        values = {name: tuple(config[name]) if isinstance(config[name], list) else config[name] for name in fields}
        made.append(Published(figure, config_type(**values), row, own))
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


def print_table(rows: Sequence[Row], keys: Sequence[str] = (), ends: int = 0) -> None:
    """Rows as aligned columns; in a terminal too narrow for all, as several tables that each begin with the keys.

    Args:
        ends: rows that are printed at each end, with a line for those between; 0: all are.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    keys = [name for name in names if name in keys]
    between = len(rows) - 2 * ends if ends else 0
    shown = [*rows[:ends], *rows[-ends:]] if between > 0 else rows
    cells = {name: [name, *(_cell(row.get(name, "")) for row in shown)] for name in names}
    widths = {name: max(map(len, column)) for name, column in cells.items()}
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**9
    tables, room = [list(keys)], 0
    for name in (name for name in names if name not in keys):
        if tables[-1] != keys and room + widths[name] + 2 > limit:
            tables.append(list(keys))
        tables[-1].append(name)
        room = sum(widths[other] + 2 for other in tables[-1])
    for table in tables:
        for line in range(len(shown) + 1):
            if between > 0 and line == ends + 1:
                print(f"... {between:,} rows between, in the JSON beside the figure")
            print("  ".join(cells[name][line].ljust(widths[name]) for name in table).rstrip())
        if table is not tables[-1]:
            print()


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
