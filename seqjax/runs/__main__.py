"""What is in a folder of results: `python -m seqjax.runs list`, `watch`, `show`, `compare` and `remove`."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from seqjax import checkpoint
from seqjax._checks import at_least
from seqjax.runs import manifest, process, watching
from seqjax.runs.figures import print_table
from seqjax.runs.folder import Row, load
from seqjax.runs.tensorboard import events_folder
from seqjax.runs.training import forget_groups
from seqjax.types import InputError

RESULTS = Path("results")

Runs = Annotated[tuple[Path, ...], tyro.conf.Positional]
"""Folders of runs."""


def list_runs(results: Annotated[Path, tyro.conf.Positional] = RESULTS) -> None:
    """Every run in a folder of results, or of one experiment: its state, steps, size and age."""
    folders = _runs(results)
    if not folders:
        raise InputError(f"no runs in {results}: expected folders <experiment>/<run> as the experiments make them")
    print_table([_summary(folder) for folder in folders], ["experiment", "run"])


def watch(
    results: Annotated[Path, tyro.conf.Positional] = RESULTS,
    png: Path | None = None,
    every: int = 5,
    last: int = 7,
) -> None:
    """Loss curves of the runs that are under way, and of those finished last, drawn again and again until Ctrl-C.

    What is drawn is what is on the disk: a run that is under way saves about every 30 seconds.

    Args:
        results: a folder of results, or of one experiment.
        png: draw to this file, with the range over random seeds, and not to the terminal.
        every: seconds from one drawing to the next.
        last: number of runs.
    """
    if not results.is_dir():
        raise InputError(f"results must be a folder, got {results}")
    at_least(1, every=every, last=last)
    watching.watch(lambda: watching.newest(_runs(results), last), png, every)


def show(run: Annotated[Path, tyro.conf.Positional]) -> None:
    """Configuration, numbers, cost and stretches of one run."""
    told = {"run": str(run)} | _summary(run) | {"config": _read(run / "config.json")}
    if run.suffix != ".partial":
        told |= {"result": load(run).result, "provenance": load(run).provenance}
    print(json.dumps(told, indent=1, ensure_ascii=False))


def compare(runs: Runs) -> None:
    """The numbers of finished runs side by side, and the fields in which their configurations differ."""
    if len(runs) < 2:
        raise InputError(f"compare needs two or more runs, got {len(runs)}")
    found = [load(run) for run in runs]
    configs, results = [run.config for run in found], [run.result for run in found]
    differ = [name for name in configs[0] if any(config.get(name) != configs[0][name] for config in configs)]
    for title, tables, names in (
        ("field", configs, differ),
        ("number", results, list(dict.fromkeys(name for result in results for name in result))),
    ):
        columns = list(enumerate(tables))
        print_table(
            [{title: name} | {f"run {k}": table.get(name, "") for k, table in columns} for name in names], [title]
        )
        print()
    for number, run in enumerate(runs):
        print(f"run {number}: {run}")


def remove(runs: Runs) -> None:
    """Delete runs, finished or not, and the checkpoints that no other run needs; what another process uses is kept."""
    for run in runs:
        if not (run / "config.json").is_file():
            raise InputError(f"{run} is no run: expected a folder with config.json")
    for run in runs:
        name = run.name.removesuffix(".partial")
        with process.lock(run.parent / "locks" / name):
            place = manifest.place(run)
            shutil.rmtree(run)
            shutil.rmtree(events_folder(run.with_name(name)), ignore_errors=True)
            forget_groups(run.parent / "checkpoints", {place[0]} if place else set())
        print(f"removed {run}")


def _runs(results: Path) -> list[Path]:
    """Folders of runs, of one experiment or of all."""
    found = [path.parent for depth in ("*", "*/*") for path in results.glob(f"{depth}/config.json")]
    return sorted(found)


def _summary(run: Path) -> Row:
    files = [path for path in run.rglob("*") if path.is_file()]
    age = (time.time() - max((path.stat().st_mtime for path in files), default=time.time())) / 86_400
    row = {"experiment": run.parent.name, "run": run.name.removesuffix(".partial")}
    row |= _state(run) | {"MB": round(sum(path.stat().st_size for path in files) / 1e6, 2), "days old": round(age, 1)}
    return row


def _state(run: Path) -> Row:
    if wrong := manifest.faults(run):
        return {"state": f"damaged ({wrong[0]})", "steps": ""}
    if run.suffix == ".partial":
        place = manifest.place(run)
        steps = checkpoint.steps(run.parent / "checkpoints" / place[0]) if place else []
        return {"state": "interrupted", "steps": max(steps, default=0)}
    stretches = _read(run / "provenance.json")["stretches"]
    state = "diverged" if "diverged" in _read(run / "result.json") else "finished"
    return {"state": state, "steps": max((stretch["to"] for stretch in stretches), default=0)}


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """The command line."""
    commands = {"list": list_runs, "watch": watch, "show": show, "compare": compare, "remove": remove}
    sys.exit(process.exit_code(lambda: tyro.extras.subcommand_cli_from_dict(commands, prog="python -m seqjax.runs")))


if __name__ == "__main__":
    main()
