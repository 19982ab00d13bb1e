"""Writes the README of each chapter from the headers of its scripts and the numbers beside their figures.

An experiment has an entry once its numbers are in experiments/figures; what its function `expect` finds there is listed
with ✓ or ✗. The sentence in its header field `Answer` has placeholders, which are filled in from the rows of those
numbers:

    {mse model=lstm delay=8:.1e}     the column `mse` of the only row with these values, with a format
    {mse model="a b"}                a value with a space
    {max mse model=lstm:.1e}         min, max, median or count over all rows with these values

A folder may hold two hand-written texts, which its README begins and ends with: `_intro.md`, whose first line is the
title, and `_notes.md`. A line `{table NAME COLUMN ...}` in them becomes a table of the numbers of an experiment, with
COLUMN=VALUE only of the rows with that value, a line `{architectures}` the table of all causal backbones, and a line
`{rows}` the table of `rows.toml` beside it: what is asked for, where it is and which test proves it.
The top README's entries, between the lines `<!-- gallery NAME ... -->` and `<!-- end -->`, are written as well.

Run       python experiments/gallery.py
Check     python experiments/gallery.py --check
"""

import re
import shlex
import statistics
import sys
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import _architectures
import _rows
import tyro

from seqjax._atomic import write_text
from seqjax.data.catalogue import of_header
from seqjax.data.files import DataError, read_json
from seqjax.runs import Check, find_experiments, read_header, select
from seqjax.runs.checks import read_expect, summary
from seqjax.runs.folder import Row
from seqjax.runs.scripts import chapter_title, typed_path
from seqjax.types import InputError

FOLDER = Path(__file__).parent

STATISTICS = {"min": min, "max": max, "median": statistics.median, "count": len}

FETCH = "python -m seqjax.data fetch"


@dataclass(frozen=True)
class Options:
    """What is done with the README files."""

    check: Annotated[bool, tyro.conf.arg(help="write nothing; exit 1 if a file is out of date")] = False


class Experiment(NamedTuple):
    """A script whose numbers are in the folder `figures`."""

    script: Path
    header: dict[str, str]
    numbers: dict[str, Any]
    checks: list[Check]

    @property
    def name(self) -> str:
        return self.script.stem

    @property
    def answer(self) -> str:
        """The sentence with its numbers.

        Raises:
            InputError: a placeholder does not name one number; says which script and placeholder.
        """
        text = " ".join(self.header.get("Answer", "").split())
        try:
            return re.sub(r"\{([^{}]+)\}", lambda match: resolve(match[1], self.numbers["rows"]), text)
        except ValueError as error:
            raise InputError(f"{typed_path(self.script)}: Answer: {error}") from None

    @property
    def cost(self) -> str:
        """As measured; if it was not, as the header states it."""
        cost = self.numbers.get("cost")
        measured = f"{duration(cost['seconds'])}, {', '.join(listed(cost['device']))}" if cost else self.header["Cost"]
        if cost and "cpu_seconds" in cost:  # what counts where others used the machine too
            measured = f"{duration(cost['cpu_seconds'])} of CPU time; {measured}"
        return measured + (", data" if "Data" in self.header else "")

    @property
    def commands(self) -> list[str]:
        """What draws the figure, after what downloads its data sets if it reads any."""
        needed, _ = of_header(self.header)
        return [*([f"{FETCH} {' '.join(needed)}"] if needed else []), self.header["Run"]]


def listed(value: str | list[str]) -> list[str]:
    """What differed between the runs of a figure comes as a list."""
    return [value] if isinstance(value, str) else value


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def resolve(placeholder: str, rows: list[Row]) -> str:
    """The text for a placeholder, given without its braces.

    Raises:
        InputError: the column is in no row, not exactly one row has the values, or the format does not fit.
    """
    expression, _, form = placeholder.partition(":")
    words = shlex.split(expression)
    name = words.pop(0) if len(words) > 1 and "=" not in words[1] and words[0] in STATISTICS else ""
    column, *conditions = words
    wanted = {key: text for key, _, text in (condition.partition("=") for condition in conditions)}
    columns = {key for row in rows for key in row}
    for key in (column, *wanted):
        if key not in columns:
            raise InputError(f"{{{placeholder}}} names {key!r}; the rows have {', '.join(sorted(columns))}")
    found = [row for row in select(rows, **wanted) if row.get(column) is not None]
    if not found or (len(found) > 1 and not name):
        raise InputError(f"{{{placeholder}}} must match one row, or rows with min, max, median or count: {len(found)}")
    values = [row[column] for row in found]
    try:
        return format(STATISTICS[name](values) if name else values[0], form)
    except (TypeError, ValueError) as error:
        raise InputError(f"{{{placeholder}}}: {error}") from None


def published(folder: Path) -> list[Experiment]:
    """The experiments whose numbers are in `figures`, chapter by chapter.

    Raises:
        DataError: files that hold no numbers, all of them.
    """
    found, faults = list[Experiment](), list[str]()
    for script in find_experiments(folder):
        numbers = folder / "figures" / f"{script.stem}.json"
        if numbers.exists():
            try:
                e = Experiment(script, read_header(script), read_json(numbers), [])
                sound = bool(e.cost) and all(isinstance(row, dict) for row in e.numbers["rows"])
            except DataError as error:
                faults.append(str(error))
                continue
            except (TypeError, LookupError, AttributeError, ValueError):
                sound = False
            if sound:
                found.append(e._replace(checks=checked(script, e.numbers["rows"])))
            else:
                faults.append(f"{numbers}: expected rows and what they cost, found something else")
    if faults:
        raise DataError(faults)
    return found


def checked(script: Path, rows: list[Row]) -> list[Check]:
    """What the script expects, compared with its numbers.

    Raises:
        InputError: its function `expect` fails; says which script.
    """
    try:
        return expect(rows) if (expect := read_expect(script)) else []
    except Exception as error:
        raise InputError(f"{typed_path(script)}: expect: {type(error).__name__}: {error}") from error


def pages(folder: Path) -> dict[Path, str]:
    """Every README that is written, with its text: one a chapter, one for all chapters, and the top one."""
    experiments = published(folder)
    by_name = {experiment.name: experiment for experiment in experiments}
    written, sections = {}, []
    for chapter, group in groupby(experiments, key=lambda experiment: experiment.script.parent):
        members = list(group)
        if chapter == folder:
            sections.append(f"\n## All chapters\n\n{index(members, folder)}")
            continue
        title, intro = chapter_title(chapter), introduction(chapter, by_name)
        entries = "".join(entry(experiment, chapter) for experiment in members)
        written[chapter / "README.md"] = f"# {title}\n{intro}{entries}{notes(chapter, by_name)}"
        sections.append(f"\n## [{title}]({chapter.name}/README.md)\n\n{index(members, folder)}")
    title, intro = chapter_title(folder), introduction(folder, by_name)
    written[folder / "README.md"] = f"# {title}\n{intro}{''.join(sections)}{notes(folder, by_name)}"
    top = folder.parent / "README.md"
    if top.exists():
        written[top] = front(top.read_text(encoding="utf-8"), by_name)
    return written


def index(experiments: list[Experiment], folder: Path) -> str:
    """A table with one row an experiment."""
    lines = ["| script | question | expected | cost |", "|---|---|---|---|"]
    for e in experiments:
        link = f"[{e.name}]({e.script.relative_to(folder).as_posix()})"
        lines.append(f"| {link} | {cell(e.header['Title'])} | {summary(e.checks)} | {cell(e.cost)} |")
    return "\n".join(lines) + "\n"


def entry(e: Experiment, chapter: Path) -> str:
    """Question, figure, answer, verdict and command."""
    figure = Path("..", "figures", f"{e.name}.png").as_posix()
    parts = [f"## {e.name}", plain(e.header["Title"]), plain(e.header["Question"])]
    if (chapter / figure).exists():
        parts.append(f"![{e.name}]({figure})")
    if e.answer:
        parts.append(f"**Answer.** {plain(e.answer)}")
    if e.checks:
        lines = [f"* {check.mark} {plain(check.claim)} ({plain(check.found)})" for check in e.checks]
        parts.append("\n".join([f"**Expected.** {summary(e.checks)}:\n", *lines]))
    parts.append("```\n" + "\n".join(e.commands) + "\n```")
    parts.append(f"{e.cost}; [script]({e.script.name}), [numbers](../figures/{e.name}.json)")
    return "\n" + "\n\n".join(parts) + "\n"


def front(text: str, by_name: dict[str, Experiment]) -> str:
    """The top README with its entries written anew."""

    def block(match: re.Match[str]) -> str:
        items = []
        for name in match[1].split():
            if name not in by_name:
                raise InputError(f"README.md: gallery must name experiments with numbers in figures, got {name!r}")
            e = by_name[name]
            place = typed_path(e.script)
            chapter = f"{place.rpartition('/')[0]}/README.md#{name}"
            items.append(
                f"* **[{plain(e.header['Title'])}]({chapter})** {plain(e.answer)} `{' && '.join(e.commands)}`\n"
            )
        return f"<!-- gallery {match[1]} -->\n{''.join(items)}<!-- end -->"

    return re.sub(r"<!-- gallery ([\w ]+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)


def introduction(folder: Path, by_name: dict[str, Experiment]) -> str:
    """The text below the title."""
    return fragment(folder / "_intro.md", by_name).partition("\n")[2]


def notes(folder: Path, by_name: dict[str, Experiment]) -> str:
    text = fragment(folder / "_notes.md", by_name)
    return "\n" + text if text else ""


def fragment(path: Path, by_name: dict[str, Experiment]) -> str:
    """A hand-written text with its tables; empty if there is no such file."""
    if not path.exists():
        return ""

    def table(match: re.Match[str]) -> str:
        name, *words = match[1].split()
        if name not in by_name:
            raise InputError(f"{path}: a table must name an experiment with numbers in figures, got {name!r}")
        columns = [word for word in words if "=" not in word]
        rows = select(by_name[name].numbers["rows"], **dict(word.split("=", 1) for word in words if "=" in word))
        lines = [columns, ["---"] * len(columns)]
        lines += [[cell(shown(row.get(column))) for column in columns] for row in rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    text = re.sub(r"^\{table ([\w .=]+)\}$", table, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    listed = partial(_rows.table, path.parent / "rows.toml", FOLDER.parent)
    text = re.sub(r"^\{architectures\}$", lambda _: _architectures.table(), text, flags=re.MULTILINE)
    return re.sub(r"^\{rows\}$", lambda _: listed(), text, flags=re.MULTILINE)


def shown(value: Any) -> str:
    """A value of a table; nothing for None and 0."""
    return f"{value:.3g}" if isinstance(value, float) and value else str(value or "")


def plain(text: str) -> str:
    """A header's text as Markdown that shows it."""
    return re.sub(r"([*<])", r"\\\1", " ".join(text.split()))


def cell(text: str) -> str:
    return plain(text).replace("|", "\\|")


def update(options: Options) -> int:
    """Write what has changed, or say so; the number to exit with."""
    try:
        written = pages(FOLDER)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    changed = [
        (path, text) for path, text in written.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in changed:
        if not options.check:
            write_text(path, text)
        print(f"{'out of date' if options.check else 'written'}: {path.relative_to(FOLDER.parent)}")
    if changed and options.check:
        print("python experiments/gallery.py writes them", file=sys.stderr)
    return int(bool(changed) and options.check)


if __name__ == "__main__":
    sys.exit(update(tyro.cli(Options, prog="python experiments/gallery.py", description=__doc__)))
