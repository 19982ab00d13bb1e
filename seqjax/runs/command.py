"""The command line of an experiment: which runs are missing, train them, draw the figure, print the table."""

import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seqjax import mesh
from seqjax.runs import figures, process
from seqjax.runs.checks import Check, print_checks
from seqjax.runs.folder import Place, Record, Row, Run, damaged, finished, load, run_name
from seqjax.runs.options import (
    Scale,
    names_own_data,
    needs_runs,
    parse,
    require_used,
    selected,
    setting_values,
    settings,
    takes_text,
    validate,
)
from seqjax.runs.progress import Report
from seqjax.runs.provenance import commit, device
from seqjax.runs.scripts import experiments_folder, read_header, typed_path
from seqjax.runs.tensorboard import require_tensorboard
from seqjax.runs.training import Session, SomeDiverged, forget_groups, progress
from seqjax.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_PART = 256
"""Runs that one process claims at a time, so that several processes can share a larger group."""


def main(
    config_type: type,
    configs: Callable[..., list],
    measure: Callable[[list[Record]], None],
    draw: "Callable[[list[Any]], Figure]",
    expect: Callable[[list[Row]], list[Check]] | None = None,
    **uses: Callable[..., None],
) -> None:
    """Run an experiment from the command line.

    Args:
        config_type: a flat frozen dataclass; each of its fields becomes an option that holds for every run.
        configs: what the figure needs at a scale; with `own=True`, where there are fields of `own_data`, what is
            trained on files of the user's.
        measure: trains a group of equal static shapes as one program and finishes its records; never plots.
        draw: a figure from finished records; never trains.
        expect: what the header expects, compared with the rows of the whole figure.
        uses: other commands, instead of training and drawing: `translate=f` adds the option `--translate TEXT` for
            `f(records, text)`, which needs finished records unless they have a default, or a flag for `f(records)`,
            which does not. Keyword arguments of `f` are options too; one with the name of a field of the configuration
            takes the value that is given for the field, which then selects no runs. After runs on files of the user's
            the last one is proposed.
    """
    process.leave(lambda: _run(_Experiment(config_type, configs, measure, draw, expect, uses)))


def traced(default: Any) -> Any:
    """A field that may differ within a group: to the compiled program its value is data, not shape."""
    return dataclasses.field(default=default, metadata={"traced": True})


def own_data(default: Any = "") -> Any:
    """A field that names files of the user's; where it is given, the configurations are those for them."""
    return dataclasses.field(default=default, metadata={"own": True})


def settle_own(config: Any, public: str, own: str) -> None:
    """For `__post_init__`: where the field `own` names a file, the field `public` of the public data sets is "own".

    Raises:
        InputError: it is "own", and there is no file.
    """
    if getattr(config, own):
        object.__setattr__(config, public, "own")
    elif getattr(config, public) == "own":
        raise InputError(f"{own} must name a file for {public} own, got none")


class _Experiment(NamedTuple):
    """The arguments of `main`."""

    config_type: type
    configs: Callable
    measure: Callable
    draw: Callable
    expect: Callable | None
    uses: dict[str, Callable]


def _run(experiment: _Experiment) -> None:
    header = read_header(Path(sys.argv[0]))
    options, changes = parse(experiment.config_type, header, experiment.uses)
    with process.joined(options):
        _act(experiment, header, options, changes)


def _act(experiment: _Experiment, header: dict[str, str], options: Any, changes: dict[str, tuple]) -> None:
    config_type, uses = experiment.config_type, experiment.uses
    asked = [(name, use) for name, use in uses.items() if getattr(options, name) not in (None, False)]
    require_used(options, uses, [name for name, _ in asked], config_type)
    sharing = process.sharing(options.share, options.devices == "rows")
    given = {name: setting_values(name, use, config_type, options, changes) for name, use in asked}
    taken = {key for _, use in asked for key in settings(use, config_type, fields=True)}
    changes = {key: values for key, values in changes.items() if key not in taken}
    own = names_own_data(config_type, changes)
    whole = not changes and not options.only and options.scale != "smoke"
    home = options.out / Path(sys.argv[0]).stem
    records = _intact(_chosen(experiment, options, changes, own, home), options)
    joins_in = options.devices == "rows" and not mesh.first()  # trains with the process that writes and draws
    if joins_in and (asked or options.draw):
        return
    if asked:
        process.require_writable(home)
        process.prepare_process()
        for name, use in asked:
            found = [record for record in records if record.complete and "diverged" not in record.result]
            if not found and not changes and not options.only:
                found = _others(home, config_type)
            _use(name, partial(use, **given[name]), getattr(options, name), found, home)
        return
    target = _target(options, whole, home)
    if options.tensorboard:
        require_tensorboard()
    if not options.draw:
        _train(records, experiment.measure, options, sharing)
        left = sum(not record.complete for record in records)
        if left and sharing.processes > 1:
            said = f"{left} of {len(records)} runs are left to the other processes"
            print(f"{said}; the one that finishes the last of them draws", file=sys.stderr)
            return
    if joins_in:
        return
    _draw(experiment, records, options, whole, target)
    command = ["python", typed_path(Path(sys.argv[0])), *sys.argv[1:]]
    print(f"\nWhat to try next\n  {shlex.join([*command, f'--{[*uses][-1]}', 'TEXT']) if own else header['Next']}")


def _chosen(experiment: _Experiment, options: Any, changes: dict[str, tuple], own: bool, home: Path) -> list[Record]:
    """A record for each configuration that the options name, with what an interrupted move left behind put right."""
    config_type, configs = experiment.config_type, experiment.configs
    of_scale = configs(options.scale, own=True) if own else configs(options.scale)
    chosen = selected(of_scale, options.only, changes)
    validate(chosen, config_type, configs)
    records = [Record(config, home / run_name(config, config_type())) for config in chosen]
    for record in records:
        record.recover()
    return records


def _intact(records: list[Record], options: Any) -> list[Record]:
    """Those that are not damaged, or are to be overwritten; processes that train together agree on them."""
    spoilt = [] if options.overwrite else damaged(records)
    kept = [record not in spoilt for record in records]
    if options.devices == "rows":
        kept = process.told(kept)
    return [record for record, intact in zip(records, kept, strict=True) if intact]


def _committed() -> Path:
    """Where the figures of the repository lie."""
    return experiments_folder(Path(sys.argv[0])) / "figures"


def _target(options: Any, whole: bool, home: Path) -> Path:
    """Where figure and numbers go, tried before anything is trained.

    Raises:
        InputError: `--publish` of a part, or of code that is not committed.
    """
    if options.publish:
        require_publishable(whole, options.scale)
    target = _committed() if options.publish else options.out / "figures" if whole else home
    process.require_replaceable(*(target / f"{home.name}.{ending}" for ending in ("png", "json")))
    return target


def _draw(experiment: _Experiment, records: list[Record], options: Any, whole: bool, target: Path) -> None:
    """Figure, numbers, and what the header expects; without runs the figure from the committed numbers.

    Raises:
        InputError: nothing is finished.
        Diverged: some runs did, once the others are drawn.
    """
    home = options.out / Path(sys.argv[0]).stem
    spoilt = damaged(records) if options.overwrite else []  # those that another process was to repeat
    complete = [record for record in records if record.complete and record not in spoilt]
    diverged = [record for record in complete if "diverged" in record.result]
    drawn = [record for record in complete if record not in diverged]
    if not drawn and whole and options.draw:
        published = figures.published(_committed() / home.name, experiment.config_type)
        if published:
            figures.save_picture(experiment.draw(published), target / f"{home.name}.png")
            print(f"figure {target / home.name}.png, drawn from what is committed beside it")
            return
    if drawn:
        if options.publish:
            _require_clean(drawn)
        figures.save(home.name, options.scale, drawn, experiment.draw, target, arrays=options.publish)
        figures.print_numbers(drawn, {record.config: _told(record.result["diverged"]) for record in diverged})
        if experiment.expect and whole:
            print_checks(experiment.expect(figures.rows_of(drawn)))
        print(f"\nfigure {target / home.name}.png, numbers beside it in {home.name}.json, runs in {home}")
    elif not diverged:
        raise InputError("nothing to draw: no run of this configuration is finished; without --draw they are trained")
    if options.publish and (gallery := _committed().parent / "gallery.py").exists():
        subprocess.run([sys.executable, str(gallery)], check=False)
    if diverged:
        told = "\n  ".join(f"{record.folder.name}: {_told(record.result['diverged'])}" for record in diverged)
        raise process.Diverged(f"{len(diverged)} of {len(complete)} runs, which are not drawn:\n  {told}")


def _told(diverged: Sequence[dict[str, int]]) -> str:
    places = sorted((found["seed"], found["last_good_step"]) for found in diverged)
    return ", ".join(f"seed {seed} after step {step}" for seed, step in places)


def _use(name: str, use: Callable, text: Any, found: list[Record], home: Path) -> None:
    """One of the other commands: with the finished runs of the configurations named, or else with all there are."""
    option = f"--{name.replace('_', '-')}"
    if not takes_text(use):
        use(found)
    elif found:
        folders = "\n  ".join(record.folder.name for record in found)
        print(f"{option} chooses from the finished runs in {home}:\n  {folders}", file=sys.stderr)
        use(found, text)
    elif not needs_runs(use):
        use([], text)
    else:
        raise InputError(f"{option} needs a finished run, found none of these in {home}: train one without it")


def _others(home: Path, config_type: type) -> list[Record]:
    """All finished runs there are, whatever their configuration, the newest first."""
    try:
        runs = [load(folder) for folder in sorted(finished(home), key=lambda run: -run.stat().st_mtime)]
    except FileNotFoundError:
        return []
    names = {field.name for field in dataclasses.fields(config_type)}
    return [Record(config_type(**run.config), run.folder) for run in runs if run.config.keys() == names]


def require_publishable(whole: bool, scale: Scale) -> None:
    """A committed figure is only ever replaced by one of the whole experiment, made by code that is committed."""
    if not whole:
        raise InputError(
            f"--publish is for the whole experiment at scale laptop or gpu, got --scale {scale} with changes"
        )
    if (now := commit()) == "unknown" or now.endswith("-dirty"):
        raise InputError(f"--publish needs a clean commit, got {now}: commit or undo your changes first")


def _require_clean(records: Sequence[Record]) -> None:
    for record in records:
        if (made := record.provenance["commit"]).endswith("-dirty"):
            raise InputError(
                f"--publish needs runs of clean commits, got {record.folder} of {made}: repeat it with --overwrite"
            )


def _train(records: list[Record], measure: Callable, options: Any, sharing: process.Sharing) -> None:
    """Train what is missing, part by part; runs that another process trains are left to it, and taken if it ends.

    Raises:
        Busy: every missing run is held by another process, and this one is not of those that share them; or some are,
            and the figure is to be published.
        InputError: runs that several processes share are to be overwritten: each would do so.
    """
    if options.overwrite and sharing.processes > 1:
        raise InputError("--overwrite is for one process, got --share: `python -m seqjax.runs remove` removes runs")
    grid = mesh.grid() if options.devices == "rows" else None
    session = Session(Report(0), options.tensorboard, grid=grid)
    complete = session.told([record.complete and not options.overwrite for record in records])
    missing = [record for record, done in zip(records, complete, strict=True) if not done]
    if len(missing) < len(records):
        print(f"{len(records) - len(missing)} of {len(records)} runs were finished before", file=sys.stderr)
    if not missing:
        return
    process.require_writable(missing[0].folder.parent)
    process.prepare_process()
    session.report = Report(len(missing), device())
    waiting = [[record for record in part if record in missing] for part in _parts(records, sharing.processes)]
    waiting = waiting if sharing.number is None else waiting[sharing.number :: sharing.processes]
    waiting = [part for part in waiting if part]
    trained, overwrite, holders = 0, options.overwrite, []
    with process.signals_into(session.signals, lambda: session.unsaved), session.report:
        while waiting:
            done = [_train_free(part, measure, options, session, overwrite=overwrite) for part in waiting]
            trained += sum(part.trained for part in done)
            holders = [holder for part in done for holder in part.holders]
            before = sum(map(len, waiting))
            # The others have had time to finish, or to end without it.
            waiting, overwrite = [part.held for part in done if part.held], False
            if sum(map(len, waiting)) == before:
                break
    left = [record for part in waiting for record in part if options.overwrite or not record.complete]
    if not left or sharing.processes > 1:
        return
    if not trained or options.publish:
        raise process.Busy("; ".join(dict.fromkeys(holders)))
    said = f"{len(left)} of {len(records)} runs are left to other processes: {holders[0]}"
    print(f"{said}; when they are finished, --draw draws all", file=sys.stderr)


class _Part(NamedTuple):
    """What became of a part: how many runs were trained, which others hold, and who they are."""

    trained: int
    held: list[Record]
    holders: list[str]


def _train_free(part: list[Record], measure: Callable, options: Any, session: Session, *, overwrite: bool) -> _Part:
    """Train those runs of a part that no other process holds."""
    trained = 0
    with process.claim(part) as (claimed, others):
        free = session.told([[part.index(record), overwrite or not record.complete] for record in claimed])
        holders = session.told(others)
        for group in _begun([part[number] for number, needed in free if needed], options, session):
            _train_part(group, measure, session)
            trained += len(group)
    return _Part(trained, [record for number, record in enumerate(part) if number not in dict(free)], holders)


def _begun(records: list[Record], options: Any, session: Session) -> list[list[Record]]:
    """The records with their working folders, in groups of equal progress: none waits for others or starts again."""
    for record in records:
        record.session = session
        record.extends = _shorter(record) if options.extend else None
        record.begin(resume=options.resume)
    begun = session.told([[progress(record), record.base, record.place] for record in records])
    groups: dict[tuple[int, int, bool], list[Record]] = {}
    for record, (step, base, place) in zip(records, begun, strict=True):
        record.base, record.place = base, place and Place(*place)
        groups.setdefault((step, base, place is None), []).append(record)
    return [groups[key] for key in sorted(groups)]


def _train_part(records: list[Record], measure: Callable, session: Session) -> None:
    for record in records:
        record.start_clock(len(records))
    try:
        with suppress(SomeDiverged):
            measure(records)
    except Exception:
        for record in records:
            record.abandon()
        raise
    forget_groups(records[0].folder.parent / "checkpoints", {record.place.group for record in records if record.place})
    left = [record for record in records if record.work.exists()]
    session.report.finish(len(records) - len(left))
    if signal := session.signal():  # one that came while this group was measured
        raise process.Stopped(signal)
    if len(left) == len(records):
        raise RuntimeError(f"measure finished none of {len(records)} records")
    if left:  # some diverged: the others are measured without them
        _train_part(left, measure, session)


def _shorter(record: Record) -> Run | None:
    """The finished run with the most steps or epochs of those that differ from a record in having fewer of them.

    Raises:
        InputError: there is none, and the record is not finished either.
    """
    config = dataclasses.asdict(record.config)
    found = []
    for name in ("steps", "epochs"):
        same = {other: value for other, value in config.items() if other != name}
        if name not in config or len(same) == len(config):
            continue
        with_fewer = []
        try:
            with_fewer = [load(folder) for folder in finished(record.folder.parent, **same)]
        except FileNotFoundError:
            continue
        found += [(run.config[name], run) for run in with_fewer if run.config[name] < config[name]]
    if not found:
        raise InputError(
            f"--extend needs a finished run like {record.folder.name} with fewer steps or epochs, found none"
        )
    return max(found, key=lambda pair: pair[0])[1]


def _parts(records: list[Record], processes: int) -> Iterator[list[Record]]:
    """Records whose configurations differ in traced fields alone: each part is one compiled program.

    Parts are the same for all of the processes that share the records, whatever is finished.
    """
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        fields = dataclasses.fields(record.config)
        shape = tuple(getattr(record.config, f.name) for f in fields if not f.metadata.get("traced"))
        groups.setdefault(shape, []).append(record)
    size = min(LARGEST_PART, -(-len(records) // processes))
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]
