"""Runs all experiments and writes one page with their figures, numbers and expectations, and whether these hold.

Runs that are finished are not repeated. The page, results/report.html, loads nothing from elsewhere. It is also written
when a run is stopped.

Cost      the sum of the experiments' costs; a few seconds for each whose runs are all on disk
Run       python experiments/reproduce.py
Next      python experiments/reproduce.py --scale smoke --out results/smoke
"""

import ast
import os
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import _report
import tyro

from seqjax._atomic import write_text
from seqjax.runs import Scale, find_experiments, process
from seqjax.types import InputError

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    """What is run and where the results go."""

    scale: Annotated[Scale, tyro.conf.arg(help="smoke: seconds; laptop: minutes on two cores; gpu: full")] = "laptop"
    out: Annotated[Path, tyro.conf.arg(help="where the run folders and report.html go")] = Path("results")
    only: Annotated[tuple[str, ...], tyro.conf.arg(help="run and report only these, by file name without .py")] = ()
    draw: Annotated[bool, tyro.conf.arg(help="run nothing; write the report of what is on disk")] = False


class Experiment(NamedTuple):
    """One script: its arguments, the path of its figure, and its exit code, None as long as it was not run."""

    script: Path
    has_scale: bool
    arguments: list[str]
    drawn: Path
    code: int | None

    @property
    def name(self) -> str:
        return self.script.stem

    @property
    def figure(self) -> Path:
        """Where the script has drawn it (as in seqjax.runs.command), or else the committed one."""
        return self.drawn if self.drawn.exists() else FOLDER / "figures" / self.drawn.name


def find(options: Options) -> list[Experiment]:
    """All experiments, or those that `only` names, chapter by chapter."""
    scripts = {script.stem: script for script in find_experiments(FOLDER)}
    for name in options.only:
        if name not in scripts:
            raise InputError(f"only must name experiments of {FOLDER} ({', '.join(scripts)}), got {name!r}")
    return [describe(script, options) for script in scripts.values() if script.stem in (options.only or scripts)]


def describe(script: Path, options: Options) -> Experiment:
    """Read from the source: a script with a `Config` has the options of `runs.main`; others have no `--scale`."""
    has_scale = any(
        isinstance(n, ast.ClassDef) and n.name == "Config" for n in ast.parse(script.read_text(encoding="utf-8")).body
    )
    own = options.out / script.stem
    arguments = ["--scale", options.scale] if has_scale and options.scale != Options.scale else []
    if options.out != Options.out:
        arguments += ["--out", str(options.out if has_scale else own)]
    drawn = (own if has_scale and options.scale == "smoke" else options.out / "figures") / f"{script.stem}.png"
    return Experiment(script, has_scale, arguments, drawn, 0 if options.draw else None)


def run(experiment: Experiment) -> int:
    """The exit code of an experiment. SIGINT and SIGTERM are passed on to it, then stop this process as well."""
    received: list[int] = []
    children: list[subprocess.Popen] = []

    def forward(signum: int, _: Any = None) -> None:
        received.append(signum)
        for child in children:
            with suppress(ProcessLookupError):
                if sys.platform == "win32":
                    child.terminate()
                else:
                    os.killpg(child.pid, signum)

    before = {signum: signal.signal(signum, forward) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        # In its own process group, so that the terminal's Ctrl-C reaches it once, through `forward`. Windows has none.
        arguments = [sys.executable, str(experiment.script), *experiment.arguments]
        children.append(subprocess.Popen(arguments, process_group=None if sys.platform == "win32" else 0))
        if received:
            forward(received.pop())
        code = children[0].wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if received:
        raise process.Stopped(received[0])
    return code if code >= 0 else 128 - code


def reproduce(options: Options, failures: list[int]) -> None:
    """Run one after the other, continue after failures, append their exit codes to `failures`, and write the report.

    Raises:
        Stopped: by a signal, after the report of what there is.
    """
    found = find(options)
    process.require_writable(options.out)
    experiments = [e for e in found if e.has_scale or options.scale != "smoke"]
    stopped: process.Stopped | None = None
    for index, experiment in enumerate([] if options.draw else experiments):
        print(f"\n[{index + 1}/{len(experiments)}] {command(experiment)}", file=sys.stderr, flush=True)
        try:
            experiments[index] = experiment._replace(code=run(experiment))
        except process.Stopped as signalled:
            stopped = signalled
            experiments[index] = experiment._replace(code=128 + stopped.signum)
            break
    failures += [e.code for e in experiments if e.code]
    report(options, experiments, [e.name for e in found if not e.has_scale and options.scale == "smoke"], stopped)
    if stopped:
        raise stopped


def report(options: Options, experiments: list[Experiment], left_out: list[str], stopped: Exception | None) -> None:
    """Write the page, and print how each experiment ended."""
    results = [_report.Result(e.script, e.figure, command(e), options.scale, e.code) for e in experiments]
    not_run = [e.name for e in experiments if e.code is None]
    notes = [f"Left out, as they have no such scale: {', '.join(left_out)}."] if left_out else []
    notes += ["The run was stopped; the same command goes on from there."] if stopped else []
    notes += [f"Not run: {', '.join(not_run)}."] if not_run else []
    write_text(options.out / "report.html", _report.page(results, options.scale, options.out, notes))
    print("\n" + "\n".join(f"{result.name:24} {result.status}" for result in results))
    print(f"\nreport {options.out / 'report.html'}")


def command(e: Experiment) -> str:
    """The command that repeats it."""
    return shlex.join(["python", f"experiments/{e.script.relative_to(FOLDER)}", *e.arguments])


def main() -> None:
    options = tyro.cli(Options, prog="python experiments/reproduce.py", description=__doc__)
    failures: list[int] = []
    code = process.exit_code(lambda: reproduce(options, failures))
    sys.exit(code or next(iter(failures), 0))


if __name__ == "__main__":
    main()
