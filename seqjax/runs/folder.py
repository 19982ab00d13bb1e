"""Run folders: one configuration's numbers, history, state and provenance on disk; a kill loses nothing.

results/<experiment>/<knobs>-<hash>/            complete, renamed into place
    config.json  result.json  history.csv  provenance.json  arrays.npz  parameters.npz  checkpoint/  MANIFEST
results/<experiment>/<knobs>-<hash>.partial/    begun, to be resumed
results/<experiment>/checkpoints/<group>/       the training states of runs that train as one program
results/<experiment>/locks/                     which run a process works on
results/<experiment>/tensorboard/<run>/         event files of its history, if they were asked for
"""

import csv
import dataclasses
import hashlib
import io
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float64

from seqjax import checkpoint, early_stopping, metrics
from seqjax._atomic import flush_folder, write_bytes, write_text
from seqjax.runs import manifest
from seqjax.runs.provenance import provenance
from seqjax.runs.scripts import find_script, import_script
from seqjax.types import InputError

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


class Place(NamedTuple):
    """Where the training state of a run is on disk: the number of the run among those of a group's checkpoint."""

    group: str
    run: int
    runs: int


class Cost(NamedTuple):
    """Seconds, and those of all processors together."""

    seconds: float
    cpu_seconds: float


def _now() -> Cost:
    return Cost(time.monotonic(), time.process_time())


class Record:
    """The folder of one run, from its first step to its numbers.

    Attributes:
        config: the experiment's frozen dataclass.
        folder: of the complete run.
        work: of the unfinished run.
        history: one row for each seed and each report of its training.
        learning_rate, parameters: what it is trained with, and how many of them one seed has; set by `train_group`.
        place: where its training state is on disk; None: nowhere yet.
        extends: a finished run with fewer steps, from which training goes on; None: from the first step.
        base: the step from which the learning rate's schedule counts: the last of the run that this one extends, or 0.
        stretches: what earlier attempts did, each with its cost, machine and versions; `stretch`: what this one did.
        diverged: the seeds whose updates were not finite any more, each with its last good step.
        state: after the last step, on the host.
    """

    def __init__(self, config: Any, folder: Path, session: Any = None):
        self.config = config
        self.folder = folder
        self.work = folder.with_name(folder.name + ".partial")
        self.session = session
        self.history: list[Row] = []
        self.learning_rate = 0.0
        self.parameters = 0
        self.place: Place | None = None
        self.extends: Run | None = None
        self.base = 0
        self.stretches: list[Row] = []
        self.stretch: list[Row] = []
        self.diverged: list[Row] = []
        self.state: Any = None
        self._since, self._sharing = _now(), 1

    @property
    def complete(self) -> bool:
        """Whether the run is finished; then nothing needs to be trained. Its files may be damaged."""
        return self.folder.exists()  # renamed into place when everything is written

    @property
    def result(self) -> Row:
        """The numbers `finish` was given."""
        return json.loads((self.folder / "result.json").read_text(encoding="utf-8"))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays `finish` was given."""
        return _load_arrays(self.folder / "arrays.npz")

    @property
    def provenance(self) -> Row:
        """Versions, commit, machine, command and cost."""
        return json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))

    def curve(self, column: str) -> tuple[list[int], Float64[np.ndarray, "bands steps"]]:
        """As `Run.curve`, of the finished run."""
        return curve(read_history(self.folder / "history.csv"), column)

    def start_clock(self, runs: int) -> None:
        """Count 1/`runs` of the time from now on as this run's cost."""
        self._since, self._sharing = _now(), runs

    def cost(self) -> Cost:
        """What this attempt has cost so far."""
        return Cost(*((now - since) / self._sharing for now, since in zip(_now(), self._since, strict=True)))

    def begin(self, *, resume: bool) -> None:
        """Make the working folder, and without `resume` delete what an earlier attempt left.

        Raises:
            InputError: it holds another configuration (names every field that differs), or is damaged (names the file).
        """
        if not resume:
            shutil.rmtree(self.work, ignore_errors=True)
        config = dataclasses.asdict(self.config)
        if self.work.exists():
            self._check(json.loads(json.dumps(config)))
            found = manifest.read(self.work)
            self.place, self.base = found["place"] and Place(*found["place"]), found["base"]
            return
        # Made under another name, so that a working folder always has its manifest.
        new = self.folder.with_name(self.folder.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        write_json(new / "config.json", config)
        self.place, self.base = None, 0
        if self.extends:
            self.base, self.stretches = self.extends.steps, self.extends.provenance["stretches"]
        manifest.write(new, place=None, base=self.base)
        new.rename(self.work)
        flush_folder(self.work.parent)

    def _check(self, config: Row) -> None:
        path, cure = self.work / "config.json", "with --no-resume it is started again"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, FileNotFoundError):
            saved = None
        if isinstance(saved, dict):
            checkpoint.refuse(f"{path} holds another configuration", checkpoint.difference(saved, config))
        if wrong := manifest.faults(self.work):
            raise InputError(f"{self.work} is damaged: {'; '.join(wrong)}; {cure}")

    def keep(self, name: str, text: str) -> None:
        """Write another file that a reader of the run needs, such as a vocabulary."""
        write_text(self.work / name, text)
        self.move_to(self.place)

    def keep_sizes(self, **sizes: int) -> dict[str, int]:
        """Write the sizes that the script's `build` needs besides the configuration, such as a vocabulary's."""
        self.keep("sizes.json", json.dumps(sizes) + "\n")
        return sizes

    def read(self, name: str) -> str:
        """What `keep` was given."""
        return (self.folder / name).read_bytes().decode()  # `read_text` would change line ends

    def kept(self) -> dict[str, str]:
        """All that `keep` was given, by name."""
        own = {"config.json", "result.json", "provenance.json", "history.csv", "arrays.npz", "parameters.npz"}
        files = manifest.read(self.folder)["files"]
        return {name: self.read(name) for name in files if name not in own and "/" not in name}

    def move_to(self, place: Place | None) -> None:
        """Remember where the training state is from now on."""
        self.place = place
        manifest.write(self.work, place=place, base=self.base)

    def finish(self, result: Mapping[str, Any], **arrays: np.ndarray) -> None:
        """Write the numbers and put the folder in its place.

        Args:
            result: a row of the figure's table: `parameters`, the metric under its own name, `low`, `high`, `floor`, …
            arrays: what else the figure draws.
        """
        archive = io.BytesIO()
        np.savez_compressed(archive, allow_pickle=False, **arrays)
        write_bytes(self.work / "arrays.npz", archive.getvalue())
        write_text(self.work / "history.csv", _csv(self.history))
        if self.state is not None:
            shutil.rmtree(self.work / "checkpoint", ignore_errors=True)
            save_parameters(self.work / "parameters.npz", early_stopping.chosen(self.state))
            done = int(np.max(self.state.step))
            checkpoint.save(self.work / "checkpoint", done, self.state, dataclasses.asdict(self.config))
        earlier = self.stretches  # whose cost includes that of the runs that this one extends
        cost = {
            name: round(now + sum(stretch[name] for stretch in earlier), 2)
            for name, now in self.cost()._asdict().items()
        }
        write_json(self.work / "provenance.json", cost | provenance() | {"stretches": earlier + self.stretch})
        write_json(self.work / "result.json", dict(result))
        manifest.write(self.work)
        self._replace()
        self.state = None  # a command may finish thousands of runs

    def finish_diverged(self) -> None:
        """Write what there is of a run whose updates are not finite any more: no numbers, but its last good state."""
        if isinstance(self.state.opt_state, early_stopping.Best):  # perhaps no validation loss was finite
            self.state = self.state._replace(opt_state=self.state.opt_state.opt_state)
        self.finish({"diverged": self.diverged})

    def _replace(self) -> None:
        """Put the working folder in the place of the finished one, which is deleted last."""
        old = self.folder.with_name(self.folder.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(old)
        self.work.rename(self.folder)
        flush_folder(self.folder.parent)
        shutil.rmtree(old, ignore_errors=True)

    def abandon(self) -> None:
        """Delete the working folder if no training state was saved for it: nothing in it would be read again."""
        if self.place is None and not self.stretches:
            shutil.rmtree(self.work, ignore_errors=True)

    def recover(self) -> None:
        """Undo what a kill in `finish` left: the old run comes back, unless the new one is there."""
        old = self.folder.with_name(self.folder.name + ".old")
        if old.exists() and not self.folder.exists():
            old.rename(self.folder)
        shutil.rmtree(old, ignore_errors=True)


class Run:
    """A finished run, read back.

    Attributes:
        config: the configuration, field by field.
        result, arrays: what `Record.finish` was given.
        history: one row for each seed and each report of its training.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.config: Row = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.result: Row = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        self.arrays = _load_arrays(folder / "arrays.npz")
        self.history = read_history(folder / "history.csv")

    @property
    def provenance(self) -> Row:
        """Versions, commit, machine, command and cost."""
        return json.loads((self.folder / "provenance.json").read_text(encoding="utf-8"))

    @property
    def steps(self) -> int:
        """The updates it was trained for; 0 if it was not trained by `fit`."""
        return max((stretch["to"] for stretch in self.provenance["stretches"]), default=0)

    @property
    def model(self) -> Any:
        """The model, from the `build` function of the script that trained it.

        Raises:
            FileNotFoundError: the script is neither where it was nor in a folder `experiments` above the run.
        """
        script = import_script(find_script(self.provenance["script"], self.folder))
        sizes = self.folder / "sizes.json"
        given = json.loads(sizes.read_text(encoding="utf-8")) if sizes.exists() else {}
        return script.build(script.Config(**self.config), **given)

    def curve(self, column: str) -> tuple[list[int], Float64[np.ndarray, "bands steps"]]:
        """The steps of a column of the history, and its median, smallest and largest value over seeds at each."""
        return curve(self.history, column)

    def params(self, seed: int = 0) -> Any:
        """The trained parameters of one of the run's seeds, as `module.apply` takes them."""
        flat = _load_arrays(self.folder / "parameters.npz")
        return unflatten_dict({name: jnp.asarray(value[seed]) for name, value in flat.items()}, sep="/")


def load(folder: str | Path) -> Run:
    """Configuration, numbers, history and parameters of a finished run.

    Raises:
        FileNotFoundError: there is no finished run in this folder.
        InputError: a file of it is damaged; names the file.
    """
    folder = Path(folder)
    if not (folder / "result.json").is_file():
        raise FileNotFoundError(f"no finished run in {folder}: expected a folder with result.json")
    if wrong := manifest.faults(folder):
        raise InputError(f"{folder} is damaged: {'; '.join(wrong)}; train it again with --overwrite")
    return Run(folder)


def finished(folder: str | Path, **knobs: Any) -> list[Path]:
    """The finished runs below an experiment's folder whose configuration has these values, as paths to `load`.

    A damaged run is left out, with a warning on standard error.

    Raises:
        FileNotFoundError: there are none; says what to run.
    """
    folder, found = Path(folder), []
    for path in sorted(folder.glob("*/result.json")):
        if _is_damaged(path.parent):
            continue
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        result = json.loads(path.read_text(encoding="utf-8"))
        if "diverged" not in result and all(name in config and config[name] == value for name, value in knobs.items()):
            found.append(path.parent)
    if not found:
        wanted = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in knobs.items())
        command = f"the script {folder.name}.py{' with ' + wanted if wanted else ''}"
        raise FileNotFoundError(f"no finished run of {knobs or 'any configuration'} in {folder}: run {command} first")
    return found


def damaged(records: Sequence[Record]) -> list[Record]:
    """The finished records with a damaged file; each is reported on standard error."""
    return [record for record in records if record.complete and _is_damaged(record.folder)]


def _is_damaged(folder: Path) -> bool:
    wrong = manifest.faults(folder)
    if wrong:
        what = f"{folder} is damaged and left out: {'; '.join(wrong)}"
        print(f"warning: {what}; train it again with --overwrite", file=sys.stderr)
    return bool(wrong)


def curve(history: Sequence[Row], column: str) -> tuple[list[int], Float64[np.ndarray, "bands steps"]]:
    """The steps of a column of a history, and its median, smallest and largest value over seeds at each."""
    values: dict[int, list[float]] = {}
    for row in history:
        values.setdefault(row["step"], []).append(row[column])
    return list(values), np.array([metrics.band(seeds) for seeds in values.values()]).T


def save_parameters(path: Path, params: Any) -> None:
    """A flat archive, one array a parameter, named by its path."""
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **{name: np.asarray(value) for name, value in flat.items()})
    write_bytes(path, archive.getvalue())


def read_history(path: Path) -> list[Row]:
    """Rows of numbers; `step` and `seed` are whole."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: int(value) if name in ("step", "seed") else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _csv(history: Sequence[Row]) -> str:
    text = io.StringIO()
    if history:
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
    return text.getvalue()


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
