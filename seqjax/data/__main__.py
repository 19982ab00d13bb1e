"""Public data sets: `python -m seqjax.data` lists them, `fetch NAME …` downloads, `check` verifies what is there."""

import sys
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from seqjax.data import catalogue, download
from seqjax.data.files import DataError, data_folder, missing
from seqjax.runs import find_experiments, process, read_header
from seqjax.runs.figures import print_table
from seqjax.types import InputError

Names = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME ...]", help="as `list` shows them")
]
"""Data sets."""


def list_sets() -> None:
    """Every data set: its size, licence, the experiments that read it, and whether it is there."""
    folder, readers, rows = data_folder(), _readers(), []
    for name, data_set in catalogue.CATALOGUE.items():
        there = sum((folder / file.path).is_file() for file in data_set.files)
        of = len(data_set.files)
        row = {"name": name, "there": "yes" if there == of else f"{there} of {of} files" if there else "no"}
        row |= {"MB": f"{data_set.megabytes:.1f}", "licence": data_set.licence}
        row |= {"read by": ", ".join(readers[name])} if readers else {}
        rows.append(row | {"title": data_set.title})
    print_table(rows, ["name"])
    print(f"\nfolder: {folder}")
    notes = [f"{name}: {data_set.note}" for name, data_set in catalogue.CATALOGUE.items() if data_set.note]
    print("\n".join(notes))


def fetch(names: Names, mirror: str = "", overwrite: bool = False) -> None:
    """Download data sets into the data folder; what was interrupted goes on, what is there is left as it is.

    Args:
        mirror: the address of a copy of a data folder, to be read instead of the public addresses.
        overwrite: replace files that are there and have another content than the public ones.
    """
    if not names:
        raise InputError(f"fetch needs one or more of {', '.join(catalogue.CATALOGUE)}, got none")
    if mirror and not mirror.startswith(("http://", "https://", "file://")):
        raise InputError(f"mirror must begin with http://, https:// or file://, got {mirror!r}")
    folder, failures = data_folder(), []
    for name, data_set in catalogue.named(names).items():
        print(f"{name}: {data_set.title}; licence: {data_set.licence}", file=sys.stderr)
        with process.lock(folder / ".locks" / name):
            for file in data_set.files:
                try:
                    _fetch(folder / file.path, file, mirror, overwrite)
                except download.DownloadError as error:
                    failures.append(str(error))
    if failures:
        raise OSError("\n".join(failures))


def _fetch(path: Path, file: catalogue.File, mirror: str, overwrite: bool) -> None:
    if path.is_file() and not (wrong := _wrong(path, file)):
        print(f"{path}: is there")
        return
    if path.is_file() and not overwrite:
        cure = "it is kept; --overwrite replaces it"
        print(f"warning: {path} is not the public file: {wrong}: {cure}", file=sys.stderr)
        return
    urls = (f"{mirror.rstrip('/')}/{urllib.parse.quote(file.path)}",) if mirror else file.urls
    with _progress(path.name) as told:
        download.fetch(path, urls, file.digest, pick=None if mirror else file.pick, told=told)
    print(path)


def check(names: Names = ()) -> None:
    """Compare the data sets that are there, or those named, with the public files."""
    folder, rows, wrong, lacking = data_folder(), [], 0, []
    for name, data_set in catalogue.named(names or catalogue.CATALOGUE).items():
        for file in data_set.files:
            path = folder / file.path
            if not path.is_file():
                lacking += [path] if names else []
                continue
            fault = _wrong(path, file)
            wrong += bool(fault)
            rows.append({"name": name, "file": str(path), "state": fault or "as published"})
    if rows:
        print_table(rows, ["name"])
    elif not lacking:
        print(f"no data sets in {folder}")
    if lacking:
        raise missing(*lacking)
    if wrong:
        raise OSError(f"{wrong} of {len(rows)} files have another content than the public ones")


def _wrong(path: Path, file: catalogue.File) -> str:
    try:
        return download.difference(path, file.digest, path.name)
    except DataError as error:
        return str(error)


def _readers() -> dict[str, list[str]]:
    """The experiments of each data set, by their headers; empty where the experiments are not there."""
    folder = Path(__file__).parents[2] / "experiments"
    found = defaultdict[str, list[str]](list)
    for script in find_experiments(folder):
        for name in [name for names in catalogue.of_header(read_header(script)) for name in names]:
            found[name].append(script.stem)
    return found


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """What tells a person how far a download is: a bar in a terminal, one line elsewhere."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        print(f"downloading {name}", file=sys.stderr)
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def main() -> None:
    """The command line."""
    commands = {"list": list_sets, "fetch": fetch, "check": check}
    given = sys.argv[1:] or ["list"]
    sys.exit(
        process.exit_code(
            lambda: tyro.extras.subcommand_cli_from_dict(commands, args=given, prog="python -m seqjax.data")
        )
    )


if __name__ == "__main__":
    main()
