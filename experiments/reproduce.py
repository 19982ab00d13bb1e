"""Runs all experiments and writes one page with their figures, numbers and expectations.

Runs that are finished are not repeated. The page, results/report.html, loads nothing from elsewhere.

Cost      the sum of the experiments' costs; a few seconds for each whose runs are all on disk
Run       python experiments/reproduce.py
Next      python experiments/reproduce.py --scale smoke --out results/smoke
"""

import ast
import base64
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from seqjax._atomic import write_text
from seqjax.data.files import read_json
from seqjax.runs import Scale, find_experiments, process, read_header
from seqjax.runs.folder import Row
from seqjax.types import InputError

FOLDER = Path(__file__).parent

SCALES: dict[Scale, str] = {
    "smoke": "a few steps of tiny runs, which only show that everything works",
    "laptop": "minutes on two CPU cores: fewer seeds and steps than at full size",
    "gpu": "the full size",
}


@dataclass(frozen=True)
class Options:
    """What is run and where the results go."""

    scale: Annotated[Scale, tyro.conf.arg(help="smoke: seconds; laptop: minutes on two cores; gpu: full")] = "laptop"
    out: Annotated[Path, tyro.conf.arg(help="where the run folders and report.html go")] = Path("results")
    only: Annotated[tuple[str, ...], tyro.conf.arg(help="run and report only these, by file name without .py")] = ()
    draw: Annotated[bool, tyro.conf.arg(help="run nothing; write the report of what is on disk")] = False


LONG = 40
"""The most characters of a cell on one line."""


class Experiment(NamedTuple):
    """One script: its header, its arguments, the path of its figure, and its exit code."""

    name: str
    chapter: str
    script: Path
    title: str
    header: dict[str, str]
    has_scale: bool
    arguments: list[str]
    drawn: Path
    code: int = 0

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
    header = read_header(script)
    drawn = (own if has_scale and options.scale == "smoke" else options.out / "figures") / f"{script.stem}.png"
    chapter = "All chapters" if script.parent == FOLDER else script.parent.name
    title = header["Title"] or script.stem
    return Experiment(script.stem, chapter, script, title, header, has_scale, arguments, drawn)


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
    """Run one after the other, continue after failures, append their exit codes to `failures`, and write the report."""
    found = find(options)
    process.require_writable(options.out)
    experiments = [e for e in found if e.has_scale or options.scale != "smoke"]
    for index, experiment in enumerate([] if options.draw else experiments):
        print(f"\n[{index + 1}/{len(experiments)}] {command(experiment)}", file=sys.stderr, flush=True)
        experiments[index] = experiment._replace(code=run(experiment))
    failures += [e.code for e in experiments if e.code]
    left_out = [e.name for e in found if not e.has_scale and options.scale == "smoke"]
    write_text(options.out / "report.html", page(experiments, options.scale, left_out))
    print("\n" + "\n".join(f"{e.name:24} {status(e)}" for e in experiments))
    print(f"\nreport {options.out / 'report.html'}")


def command(e: Experiment) -> str:
    """The command that repeats it."""
    return shlex.join(["python", f"experiments/{e.script.relative_to(FOLDER)}", *e.arguments])


def numbers_of(e: Experiment) -> Row:
    """The JSON beside the figure; empty if it is missing or damaged: no JSON, or nothing that can be shown."""
    with suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
        numbers = read_json(e.figure.with_suffix(".json"))
        found(e, numbers), measured(numbers)
        return numbers
    return {}


def status(e: Experiment) -> str:
    """Finished, missing, damaged, or failed with an exit code."""
    if e.code:
        return f"failed (exit {e.code})"
    numbers = numbers_of(e)
    if not numbers and e.figure.with_suffix(".json").exists():
        return f"damaged ({e.figure.with_suffix('.json')})"
    return "finished" if e.figure.exists() and numbers else "missing"


def page(experiments: list[Experiment], scale: Scale, left_out: list[str]) -> str:
    """The report as one file that contains its figures."""
    lines = []
    for chapter, group in groupby(experiments, key=lambda e: e.chapter):
        lines.append(f"<h3>{escape(chapter)}</h3>\n<ol>\n")
        for e in group:
            cost = numbers_of(e).get("cost")
            spent = f", {cost['seconds'] / 60:.1f} min" if cost else ""
            lines.append(f'<li><a href="#{escape(e.name)}">{escape(e.title)}</a> {mark(e, spent)}</li>\n')
        lines.append("</ol>\n")
    note = f"Scale {scale}: {SCALES[scale]}."
    note += f" Left out, as they have no such scale: {', '.join(left_out)}." if left_out else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>seqjax: the experiments</title>
<style>{STYLE}</style>
</head>
<body>
<header><h1>seqjax: the experiments</h1>{paragraph(note)}</header>
<nav aria-labelledby="contents"><h2 id="contents">Contents</h2>
{"".join(lines)}</nav>
<main>
{"".join(section(e, scale) for e in experiments)}</main>
</body>
</html>
"""


def section(e: Experiment, scale: Scale) -> str:
    """One experiment: question, figure, expectation, numbers, and the command that repeats it."""
    numbers, title, stated = numbers_of(e), escape(e.title), e.header.get("Cost", "not stated")
    figure = paragraph(f"There is no figure: {e.figure} does not exist.", "warning")
    if e.figure.exists():
        data = base64.b64encode(e.figure.read_bytes()).decode()
        figure = f'<figure><img src="data:image/png;base64,{data}" alt="{title}"></figure>'
    warnings = ["This is the result of an earlier run."] if e.code and numbers else []
    if numbers.get("scale", scale) != scale:
        warnings.append(f"The numbers are from scale {numbers['scale']}.")
    facts = {key: e.header[key] for key in ("Fair", "Differs") if key in e.header}
    facts |= {"Cost stated": stated} | measured(numbers)
    return f"""<section id="{escape(e.name)}" aria-labelledby="{escape(e.name)}-title">
<h2 id="{escape(e.name)}-title">{title}</h2>
<p>{mark(e)}</p>
{"".join(paragraph(text, "warning") for text in warnings)}
{definitions({key: e.header[key] for key in ("Question", "Paper") if key in e.header})}
{figure}
<div class="compare">
<div><h3>Expected</h3>{paragraph(e.header.get("Expect", "Nothing is stated."))}</div>
<div><h3>Found</h3>{found(e, numbers)}</div>
</div>
{definitions(facts)}
<pre><code>{escape(command(e))}</code></pre>
</section>
"""


def found(e: Experiment, numbers: Row) -> str:
    """The table of the numbers, or that there are none."""
    if rows := numbers.get("rows"):
        return table(rows, f"Numbers: {e.title}")
    return paragraph(f"There are no numbers: {e.figure.with_suffix('.json')} does not exist or is damaged.", "warning")


def measured(numbers: Row) -> dict[str, str]:
    """Cost, versions and commit."""
    cost = numbers.get("cost")
    text = f"{cost['seconds']:,.1f} s on {plain(cost['device'])}" if cost else "not measured"
    others = {key.capitalize(): plain(numbers[key]) for key in ("versions", "commit") if key in numbers}
    return {"Cost measured": text} | others


def table(rows: list[Row], label: str) -> str:
    """Constant columns are said once above; the metric has its range in brackets, then its floor and the ratio."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    metric = names[names.index("low") - 1] if "low" in names else ""  # every `measure` puts them in this order
    combined = {metric, "low", "high", "floor"} if metric else set()
    fixed = [n for n in names if len(rows) > 1 and n not in combined and len({str(row.get(n)) for row in rows}) == 1]
    columns = {n.replace("_", " "): [row.get(n) for row in rows] for n in names if n not in combined and n not in fixed}
    if metric:
        keys = (metric, "low", "high")
        columns[f"{metric} [low, high]"] = ["{} [{}, {}]".format(*[shown(row.get(k)) for k in keys]) for row in rows]
    if metric and "floor" in names:
        columns["floor"] = [row.get("floor") for row in rows]
        columns[f"{metric} / floor"] = [row[metric] / row["floor"] if row.get("floor") else None for row in rows]
    sides = [side(name, values) for name, values in columns.items()]

    def line(cells: Iterable[Any], first: str, other: str) -> str:
        parts = zip([first] + [other] * (len(sides) - 1), sides, cells, strict=True)
        return "<tr>" + "".join(f"<{tag}{side}>{escape(shown(c))}</{tag[:2]}>" for tag, side, c in parts) + "</tr>\n"

    column, row = 'th scope="col"', 'th scope="row"'
    body = "".join(line(cells, row, "td") for cells in zip(*columns.values(), strict=True))
    same = ", ".join(f"{name.replace('_', ' ')} {shown(rows[0][name])}" for name in fixed)
    return f"""{paragraph(f"In all rows: {same}.") if same else ""}
<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table>
<thead>
{line(columns, column, column)}</thead>
<tbody>
{body}</tbody></table></div>"""


def side(name: str, values: list[Any]) -> str:
    """The class of a column: numbers are aligned to the right, long texts get a minimum width."""
    if not isinstance(values[0], str | dict) or "[" in name:
        return ' class="number"'
    return ' class="long"' if max(len(shown(value)) for value in values) > LONG else ""


def definitions(texts: dict[str, str]) -> str:
    pairs = "".join(f"<dt>{escape(key)}</dt><dd>{escape(' '.join(text.split()))}</dd>\n" for key, text in texts.items())
    return f"<dl>\n{pairs}</dl>" if texts else ""


def paragraph(text: str, kind: str = "text") -> str:
    return f'<p class="{kind}">{escape(" ".join(text.split()))}</p>'


def mark(e: Experiment, more: str = "") -> str:
    return f'<span class="{status(e).split()[0]}">{escape(e.name)}: {status(e)}{more}</span>'


def shown(value: Any) -> str:
    """A value of a table: four digits of a float; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return "; ".join(f"{name} {shown(item)}" for name, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)


def plain(value: Any) -> str:
    """Versions, commits and devices; a list where the runs of a figure differ."""
    if isinstance(value, list):
        return "; ".join(plain(item) for item in value)
    return ", ".join(f"{name} {item}" for name, item in value.items()) if isinstance(value, dict) else str(value)


STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #555; --line: #bbb; --paper: #fff; --tint: #f4f2ee;
  --good: #1f6b33; --bad: #a32020; --link: #1a4f8b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e2dd; --soft: #aaa69e; --line: #55524c; --paper: #191816;
  --tint: #24231f; --good: #7fc78f; --bad: #ff9a8f; --link: #8ebbf0; } }
body { max-width: 62rem; margin: 3rem auto; padding: 0 1.2rem; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.5 Palatino, "Palatino Linotype", "Book Antiqua", Georgia, "Liberation Serif", serif; }
h1, h2, h3 { line-height: 1.2; font-weight: 600; }
h3 { margin: 0 0 .4rem; font-size: 1rem; }
a { color: var(--link); }
section { margin-top: 3.5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
figure { margin: 1.5rem 0; }
img { display: block; max-width: 100%; margin: auto; background: #fff; border-radius: 4px; }
dl { display: grid; grid-template-columns: 7.5rem 1fr; gap: .35rem 1rem; }
dt { color: var(--soft); font-style: italic; }
dd { margin: 0; overflow-wrap: anywhere; }
.compare { display: grid; grid-template-columns: minmax(0, 15rem) minmax(0, 1fr); gap: 2rem; margin: 1.5rem 0; }
.compare p { margin-top: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: lining-nums tabular-nums;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
th, td { padding: .18rem .6rem; text-align: left; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--ink); white-space: normal; vertical-align: bottom; }
tbody th { font-weight: normal; }
.number { text-align: right; }
td.long { min-width: 7.5rem; }
tr:has(.long) > * { vertical-align: top; white-space: normal; }
.compare:has(.long) { grid-template-columns: minmax(0, 1fr); }
.scroll:has(.long) { margin: 0 calc(50% - 48vw); }
pre { padding: .7rem 1rem; background: var(--tint); overflow-x: auto; font-size: .88rem; }
.finished { color: var(--good); }
.failed, .missing, .damaged, .warning { color: var(--bad); }
@media (max-width: 48rem) { .compare, dl { grid-template-columns: minmax(0, 1fr); } }
@media print { body { max-width: none; margin: 0; } section { break-before: page; } .scroll { overflow: visible; } }
"""


def main() -> None:
    options = tyro.cli(Options, prog="python experiments/reproduce.py", description=__doc__)
    failures: list[int] = []
    code = process.exit_code(lambda: reproduce(options, failures))
    sys.exit(code or next(iter(failures), 0))


if __name__ == "__main__":
    main()
