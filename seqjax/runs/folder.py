"""Run folders: one configuration's numbers, history, state and provenance on disk; a kill loses nothing.

results/<experiment>/<knobs>-<hash>/    complete, renamed into place
    config.json  result.json  history.csv  provenance.json  arrays.npz  parameters.npz  checkpoint/
results/<experiment>/<knobs>-<hash>.partial/    begun, to be resumed
"""

import csv
import dataclasses
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float64

from seqjax import metrics
from seqjax._atomic import naming, write_text
from seqjax.checkpoint import difference
from seqjax.runs.scripts import find_script, import_script

Row = dict[str, Any]


def write_json(path: Path, value: Any) -> None:
    """As `write_text`; a NaN is an error, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def run_name(config: Any, defaults: Any) -> str:
    """Readable knobs, those that differ from the defaults, and eight digits of the whole configuration's hash."""
    fields = dataclasses.asdict(config)
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]
    changed = [f"{name}={value}" for name, value in fields.items() if value != getattr(defaults, name)]
    readable = "".join(c if c.isalnum() or c in "=.-_" else "_" for c in "-".join(changed))[:80]
    return f"{readable or 'default'}-{digest}"


class Clock(NamedTuple):
    """Seconds of earlier attempts, the start of this one, and the number of runs that share its time."""

    before: float
    since: float
    runs: int


class Record:
    """The folder of one run, from its first step to its numbers.

    Attributes:
        config: the experiment's frozen dataclass.
        folder: of the complete run.
        work: of the unfinished run.
        history: one row for each seed and each report of its training.
        learning_rate, parameters: what it is trained with, and how many of them one seed has; set by `train_group`.
    """

    def __init__(self, config: Any, folder: Path, session: Any = None):
        self.config = config
        self.folder = folder
        self.work = folder.with_name(folder.name + ".partial")
        self.session = session
        self.history: list[Row] = []
        self.learning_rate = 0.0
        self.parameters = 0
        self._clock = Clock(0.0, time.monotonic(), 1)

    @property
    def complete(self) -> bool:
        """Whether the run is finished; then nothing needs to be trained."""
        return (self.folder / "result.json").exists()

    @property
    def result(self) -> Row:
        """The numbers `finish` was given."""
        return json.loads((self.folder / "result.json").read_text())

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays `finish` was given."""
        return _load_arrays(self.folder / "arrays.npz")

    @property
    def provenance(self) -> Row:
        """Versions, commit, machine, command and cost."""
        return json.loads((self.folder / "provenance.json").read_text())

    def start_clock(self, runs: int) -> None:
        """Count 1/`runs` of the time from now on as this run's cost, on top of that of earlier attempts."""
        spent = self.work / "seconds.json"
        self._clock = Clock(json.loads(spent.read_text()) if spent.exists() else 0.0, time.monotonic(), runs)

    def seconds(self) -> float:
        """The cost of the run so far, over all attempts."""
        return self._clock.before + (time.monotonic() - self._clock.since) / self._clock.runs

    def begin(self, *, resume: bool) -> None:
        """Make the working folder, and without `resume` delete what an earlier attempt left.

        Raises:
            ValueError: it holds another configuration; names every field that differs.
        """
        if not resume:
            shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        path, config = self.work / "config.json", dataclasses.asdict(self.config)
        if path.exists() and (found := difference(json.loads(path.read_text()), config)):
            raise ValueError("\n  ".join([f"{self.work} holds another configuration:", *found]))
        write_json(path, config)

    def keep(self, name: str, text: str) -> None:
        """Write another file that a reader of the run needs, such as a vocabulary."""
        write_text(self.work / name, text)

    def keep_sizes(self, **sizes: int) -> dict[str, int]:
        """Write the sizes that the script's `build` needs besides the configuration, such as a vocabulary's."""
        self.keep("sizes.json", json.dumps(sizes) + "\n")
        return sizes

    def read(self, name: str) -> str:
        """What `keep` was given."""
        return (self.folder / name).read_bytes().decode()  # `read_text` would change line ends

    def write_history(self) -> None:
        """Write the whole history and the cost so far."""
        write_json(self.work / "seconds.json", self.seconds())
        text = io.StringIO()
        if self.history:
            writer = csv.DictWriter(text, list(self.history[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.history)
        write_text(self.work / "history.csv", text.getvalue())

    def finish(self, result: Mapping[str, Any], **arrays: np.ndarray) -> None:
        """Write the numbers and put the folder in its place.

        Args:
        result: a row of the figure's table: `parameters`, the metric under its own name, `low`, `high`, `floor`, …
        arrays: what else the figure draws.
        """
        with naming(self.work / "arrays.npz"):
            np.savez_compressed(self.work / "arrays.npz", allow_pickle=False, **arrays)
        write_json(self.work / "provenance.json", provenance(self.seconds()))
        (self.work / "seconds.json").unlink(missing_ok=True)
        write_json(self.work / "result.json", dict(result))
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.work.rename(self.folder)


class Run:
    """A finished run, read back.

    Attributes:
        config: the configuration, field by field.
        result, arrays: what `Record.finish` was given.
        history: one row for each seed and each report of its training.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.config: Row = json.loads((folder / "config.json").read_text())
        self.result: Row = json.loads((folder / "result.json").read_text())
        self.arrays = _load_arrays(folder / "arrays.npz")
        self.history = read_history(folder / "history.csv")

    @property
    def model(self) -> Any:
        """The model, from the `build` function of the script that trained it.

        Raises:
            FileNotFoundError: the script is neither where it was nor in a folder `experiments` above the run.
        """
        recorded = json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))["script"]
        script = import_script(find_script(recorded, self.folder))
        sizes = self.folder / "sizes.json"
        return script.build(script.Config(**self.config), **(json.loads(sizes.read_text()) if sizes.exists() else {}))

    def curve(self, column: str) -> tuple[list[int], Float64[np.ndarray, "bands steps"]]:
        """The steps of a column of the history, and its median, smallest and largest value over seeds at each."""
        values: dict[int, list[float]] = {}
        for row in self.history:
            values.setdefault(row["step"], []).append(row[column])
        return list(values), np.array([metrics.band(seeds) for seeds in values.values()]).T

    def params(self, seed: int = 0) -> Any:
        """The trained parameters of one of the run's seeds, as `module.apply` takes them."""
        flat = _load_arrays(self.folder / "parameters.npz")
        return unflatten_dict({name: jnp.asarray(value[seed]) for name, value in flat.items()}, sep="/")


def load(folder: str | Path) -> Run:
    """Configuration, numbers, history and parameters of a finished run.

    Raises:
        FileNotFoundError: there is no finished run in this folder.
    """
    if not (Path(folder) / "result.json").is_file():
        raise FileNotFoundError(f"no finished run in {folder}: expected a folder with result.json")
    return Run(Path(folder))


def finished(folder: str | Path, **knobs: Any) -> Iterator[Path]:
    """The finished runs below an experiment's folder whose configuration has these values, as paths to `load`."""
    for path in sorted(Path(folder).glob("*/result.json")):
        config = json.loads((path.parent / "config.json").read_text())
        if all(name in config and config[name] == value for name, value in knobs.items()):
            yield path.parent


def save_parameters(path: Path, params: Any) -> None:
    """A flat archive, one array a parameter, named by its path."""
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    with naming(path):
        np.savez(path, allow_pickle=False, **{name: np.asarray(value) for name, value in flat.items()})


def read_history(path: Path) -> list[Row]:
    """Rows of numbers; `step` and `seed` are whole."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {name: int(value) if name in ("step", "seed") else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def provenance(seconds: float) -> Row:
    """Cost, versions and machine: enough to explain why two runs differ."""
    device = jax.devices()[0]
    packages = ("seqjax", "jax", "jaxlib", "flax", "optax", "numpy", "diffrax", "orbax-checkpoint")
    return {
        "seconds": round(seconds, 1),
        "device": f"{os.cpu_count()} CPU cores" if device.platform == "cpu" else device.device_kind,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        "commit": commit(),
        "script": str(Path(sys.argv[0]).resolve()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


def provenance_summary(records: Sequence[Record]) -> Row:
    """The cost, versions and commits of a whole figure; what differs between its runs is a list."""

    def united(name: str) -> Any:
        found = list(dict.fromkeys(json.dumps(record.provenance[name]) for record in records))
        return json.loads(found[0]) if len(found) == 1 else [json.loads(value) for value in found]

    seconds = sum(record.provenance["seconds"] for record in records)
    cost = {"seconds": round(seconds, 1), "device": united("device")}
    return {"cost": cost, "versions": united("versions"), "commit": united("commit")}


def commit() -> str:
    """The commit of this source tree, with "-dirty" if it was changed, or "unknown" outside git."""
    root = Path(__file__).parents[2]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        described = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
