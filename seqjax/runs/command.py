"""The command line of an experiment: which runs are missing, train them, draw the figure, print the table."""

import dataclasses
import inspect
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import tyro
from rich.console import Console
from rich.table import Table
from tyro.constructors import PrimitiveConstructorSpec

from seqjax.runs import process
from seqjax.runs.folder import Record, Row, provenance_summary, run_name, write_json
from seqjax.runs.progress import Report
from seqjax.runs.scripts import experiments_folder, read_header, typed_path
from seqjax.runs.training import Session

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale = Literal["smoke", "laptop", "gpu"]

# Any text, the empty one and "None" included, is a value.
Text = Annotated[
    str | None,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="TEXT",
        instance_from_str=lambda given: given[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    ),
]


def main(
    config_type: type,
    configs: Callable[[Scale], list],
    measure: Callable[[list[Record]], None],
    draw: "Callable[[list[Record]], Figure]",
    **uses: Callable[..., None],
) -> None:
    """Run an experiment from the command line.

    Args:
        config_type: a flat frozen dataclass; each of its fields becomes an option that holds for every run.
        configs: what the figure needs at a scale.
        measure: trains a group of equal static shapes as one program and finishes its records; never plots.
        draw: a figure from finished records; never trains.
        uses: other commands, instead of training and drawing: `translate=f` adds the option `--translate TEXT` for
            `f(records, text)`, which needs finished records, or a flag for `f(records)`, which does not.
    """
    sys.exit(process.exit_code(lambda: _run(config_type, configs, measure, draw, uses)))


def traced(default: Any) -> Any:
    """A field that may differ within a group: to the compiled program its value is data, not shape."""
    return dataclasses.field(default=default, metadata={"traced": True})


def _run(config_type: type, configs: Callable, measure: Callable, draw: Callable, uses: dict[str, Callable]) -> None:
    script = Path(sys.argv[0])
    header = read_header(script)
    options, changes = _arguments(config_type, script.stem, header, uses)
    chosen = list(
        dict.fromkeys(
            dataclasses.replace(config, **dict(zip(changes, values, strict=True)))
            for config in configs(options.scale)
            for values in itertools.product(*changes.values())
        )
    )
    home = options.out / script.stem
    process.require_writable(home)
    records = [Record(config, home / run_name(config, config_type())) for config in chosen]
    asked = [(name, use) for name, use in uses.items() if getattr(options, name) not in (None, False)]
    for name, use in asked:
        finished = [record for record in records if record.complete]
        process.prepare_process()
        if not _takes_text(use):
            use(finished)
        elif finished:
            use(finished, getattr(options, name))
        else:
            raise ValueError(f"--{name} needs a finished run, found none of these in {home}: train one without it")
    if asked:
        return
    if not options.draw:
        with process.lock(home / ".lock"):
            _train(records, measure, options)
    finished = [record for record in records if record.complete]
    if not finished:
        raise ValueError("nothing to draw: no run of this configuration is finished; without --draw they are trained")
    # The committed figure is only ever replaced by one of the whole experiment, at a scale that means something.
    whole = options.out == Path("results") and not changes and finished == records and options.scale != "smoke"
    experiments = experiments_folder(script)
    _publish(script.stem, options.scale, finished, draw, experiments / "figures" if whole else home)
    if whole and (gallery := experiments / "gallery.py").exists():
        subprocess.run([sys.executable, str(gallery)], check=False)
    print(f"\nWhat to try next\n  {header['Next']}")


def _train(records: list[Record], measure: Callable, options: Any) -> None:
    pending = [record for record in records if options.overwrite or not record.complete]
    if len(pending) < len(records):
        print(f"{len(records) - len(pending)} of {len(records)} runs were finished before", file=sys.stderr)
    if not pending:
        return
    session = Session(Report(len(pending)))
    for record in pending:
        record.begin(resume=options.resume)
        record.session = session
    process.prepare_process()
    with process.signals_into(session.signals), session.report:
        for group in _groups(pending):
            for record in group:
                record.start_clock(len(group))
            measure(group)
            session.report.finish(len(group))
            if session.signals:  # one that came while this group was measured
                raise process.Stopped(session.signals[0])


def _groups(records: list[Record]) -> list[list[Record]]:
    """Records whose configurations differ in traced fields alone: each group is one compiled program."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        fields = dataclasses.fields(record.config)
        shape = tuple(getattr(record.config, f.name) for f in fields if not f.metadata.get("traced"))
        groups.setdefault(shape, []).append(record)
    return list(groups.values())


def _publish(name: str, scale: Scale, records: list[Record], draw: Callable, folder: Path) -> None:
    """The picture, the numbers in it beside it, and the same numbers as a table on standard output."""
    configs, results = [dataclasses.asdict(record.config) for record in records], [r.result for r in records]
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(records)
    figure.savefig(folder / f"{name}.png", dpi=150)
    rows = [config | result for config, result in zip(configs, results, strict=True)]
    numbers = {"experiment": name, "scale": scale, "rows": rows} | provenance_summary(records)
    write_json(folder / f"{name}.json", numbers)
    same = {knob for knob, value in configs[0].items() if all(config[knob] == value for config in configs)}
    _print_table([{name: value for name, value in row.items() if name not in same} for row in rows])
    print(f"\nfigure {folder / name}.png, numbers beside it in {name}.json, runs in {records[0].folder.parent}")


def _print_table(rows: list[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*names, box=None)
    for row in rows:
        values = [row.get(name, "") for name in names]
        table.add_row(*[f"{value:.4g}" if isinstance(value, float) else str(value) for value in values])
    console = Console(width=None if sys.stdout.isatty() else 200)
    with console.capture() as text:  # rich itself would exit with 1 when nobody reads
        console.print(table)
    print(text.get(), end="")


def _takes_text(use: Callable) -> bool:
    return len(inspect.signature(use).parameters) > 1


def _arguments(
    config_type: type, name: str, header: dict[str, str], uses: dict[str, Callable]
) -> tuple[Any, dict[str, tuple]]:
    """The options, and the fields of the configuration that were named, each with the values it is to take."""

    def option(kind: Any, text: str, default: Any) -> tuple:
        return Annotated[kind, tyro.conf.arg(help=text)], dataclasses.field(default=default)

    options = {
        "scale": option(Scale, "smoke: seconds; laptop: minutes on two cores; gpu: the full size", "laptop"),
        "out": option(Path, "where the run folders go", Path("results")),
        "draw": option(bool, "only draw what is finished", False),
        "resume": option(bool, "go on with runs that were interrupted, instead of starting them again", True),
        "overwrite": option(bool, "also do finished runs again", False),
    }
    for use, function in uses.items():
        text = (function.__doc__ or "").strip()
        options[use] = option(Text, text, None) if _takes_text(function) else option(bool, text, False)
    kinds, text = get_type_hints(config_type), "one or more values instead of the scale's own"
    fields = {
        field.name: option(tuple[kinds[field.name], ...] | None, text, None)
        for field in dataclasses.fields(config_type)
    }
    arguments = dataclasses.make_dataclass(
        "Arguments", [(key, kind, default) for key, (kind, default) in (options | fields).items()]
    )
    shown = {key: text for key, text in header.items() if key != "Answer"}  # its numbers are placeholders
    description = "\n\n".join(f"{key}: {text}" if key != "Title" else text for key, text in shown.items())
    given = tyro.cli(arguments, prog=f"python {typed_path(Path(sys.argv[0]))}", description=description)
    changes = {key: getattr(given, key) for key in fields if getattr(given, key) is not None}
    for key, values in changes.items():
        if not values:
            raise ValueError(f"--{key.replace('_', '-')} must be given one or more values, got none")
    return given, changes
