"""The page of all results: one file, which loads nothing from elsewhere."""

import base64
import io
import os
import re
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image  # not a dependency of our own: matplotlib cannot be without it

from seqjax.data.files import read_json
from seqjax.runs import Check, Scale, read_header
from seqjax.runs.checks import read_expect, summary
from seqjax.runs.folder import Row
from seqjax.runs.scripts import chapter_title, experiments_folder

SCALES: dict[Scale, str] = {
    "smoke": "a few steps of tiny runs, which only show that everything works",
    "laptop": "minutes on two CPU cores: fewer seeds and steps than at full size",
    "gpu": "the full size",
}

IMAGE_BYTES = 80_000
"""The most of a picture."""

ENCODINGS = ((1240, 128), (1240, 64), (1240, 32), (1000, 64), (1000, 32), (800, 32), (640, 16), (480, 8), (240, 4))
"""Width in pixels and number of colours, the best first."""

MANY_ROWS = 30
"""The most of a table that is open at first."""

LONG = 40
"""The most characters of a cell on one line."""

PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5})|doi:(10\.[^\s;,)]+)")
"""What is a link in the header's `Paper`."""


class Result:
    """A script, how it ended, and what there is of its results: each is read once, and what is damaged is said.

    Attributes:
        command: what repeats it.
        code: with which it ended; None: it was not run.
        numbers, checks, image: empty if there are none, or none that can be shown.
        table: of the numbers.
        faults: what is missing or damaged.
    """

    def __init__(self, script: Path, figure: Path, command: str, scale: Scale, code: int | None):
        self.script, self.figure, self.command, self.scale, self.code = script, figure, command, scale, code
        self.name, self.header = script.stem, read_header(script)
        self.title = self.header["Title"] or self.name
        beside = script.parent.resolve() == experiments_folder(script).resolve()
        self.chapter = "All chapters" if beside else chapter_title(script.parent)
        self.faults: list[str] = []
        self.numbers, self.table = self._read()
        self.checks = self._compare()
        self.image = self._encode()

    @property
    def json(self) -> Path:
        return self.figure.with_suffix(".json")

    @property
    def status(self) -> str:
        """Finished, missing, damaged, stopped, not run, or failed with an exit code."""
        if self.code is None:
            return "not run"
        if self.code > 128:
            return f"stopped (exit {self.code})"
        if self.code:
            return f"failed (exit {self.code})"
        damaged = [path for path, shown in ((self.json, self.numbers), (self.figure, self.image)) if not shown]
        if any(path.exists() for path in damaged):
            return f"damaged ({', '.join(str(path) for path in damaged if path.exists())})"
        return "missing" if damaged else "finished"

    def _read(self) -> tuple[Row, str]:
        try:
            numbers = read_json(self.json)
            shown = table(numbers["rows"], f"Numbers: {self.title}")
            measured(numbers)
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            self.faults.append(f"There are no numbers: {self.json} does not exist or is damaged.")
            return {}, ""
        return numbers, shown

    def _compare(self) -> list[Check]:
        if not self.numbers or self.numbers.get("scale") == "smoke":
            return []
        try:
            expect = read_expect(self.script)
            return expect(self.numbers["rows"]) if expect else []
        except (Exception, SystemExit) as error:
            self.faults.append(f"The expectations were not compared: {type(error).__name__}: {error}")
            return []

    def _encode(self) -> bytes:
        try:
            return encoded(self.figure)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # of a file that is no picture
            self.faults.append(f"There is no figure: {self.figure} does not exist or is damaged.")
            return b""


def encoded(path: Path) -> bytes:
    """A picture as PNG of at most `IMAGE_BYTES`, if one of `ENCODINGS` is so small; unchanged, if it is so already."""
    original = path.read_bytes()
    with Image.open(io.BytesIO(original)) as opened:
        picture = opened.convert("RGB")
    if len(original) <= IMAGE_BYTES:
        return original
    made = io.BytesIO()
    for width, colours in ENCODINGS:
        size = (min(width, picture.width), max(1, round(picture.height * min(1, width / picture.width))))
        made = io.BytesIO()
        small = picture.resize(size, Image.Resampling.LANCZOS)
        small.quantize(colours, dither=Image.Dither.NONE).save(made, "png", optimize=True)
        if made.tell() <= IMAGE_BYTES:
            break
    return made.getvalue()


def page(results: Sequence[Result], scale: Scale, out: Path, notes: Sequence[str]) -> str:
    """The report.

    Args:
        out: the folder that it is written to, from which its links lead.
        notes: sentences for its head.
    """
    lines = []
    for chapter, group in groupby(results, key=lambda result: result.chapter):
        items = "".join(f'<li><a href="#{escape(r.name)}">{escape(r.title)}</a> {mark(r)}</li>\n' for r in group)
        lines.append(f"<h3>{escape(chapter)}</h3>\n<ol>\n{items}</ol>\n")
    checks = [check for result in results for check in result.checks]
    today = date.today().isoformat()
    said = [
        f"Scale {scale}: {SCALES[scale]}.",
        *notes,
        *([f"Of all expectations, {summary(checks)}."] if checks else []),
    ]
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
<header><h1>seqjax: the experiments</h1>
<p>Written on <time datetime="{today}">{today}</time>.</p>
{"".join(paragraph(text) for text in said)}</header>
<nav aria-labelledby="contents"><h2 id="contents">Contents</h2>
{"".join(lines)}</nav>
<main>
{"".join(section(result, out) for result in results)}</main>
</body>
</html>
"""


def section(result: Result, out: Path) -> str:
    """One experiment: question, figure, expectation with its verdict, numbers, and the command that repeats it."""
    name, title, header, numbers = escape(result.name), escape(result.title), result.header, result.numbers
    warnings = [*result.faults, *(["This is the result of an earlier run."] if result.code != 0 and numbers else [])]
    if numbers.get("scale", result.scale) != result.scale:
        warnings.append(f"The numbers are from scale {numbers['scale']}.")
    facts = {key: header[key] for key in ("Fair", "Differs") if key in header}
    facts |= {"Cost stated": header.get("Cost", "not stated")} | measured(numbers)
    found = f"<h3>Found</h3>\n{result.table}" if result.table else ""
    return f"""<section id="{name}" aria-labelledby="{name}-title">
<h2 id="{name}-title">{title}</h2>
<p class="links">{mark(result)}{links(result, out)}</p>
{"".join(paragraph(text, "warning") for text in warnings)}
{definitions({key: header[key] for key in ("Question", "Paper") if key in header})}
{picture(result)}
<h3>Expected{": " * bool(result.checks)}{escape(summary(result.checks))}</h3>
{paragraph(header.get("Expect", "Nothing is stated."))}
{verdict(result.checks)}
{found}
{definitions(facts)}
<pre><code>{escape(result.command)}</code></pre>
</section>
"""


def links(result: Result, out: Path) -> str:
    """To script, numbers and figure, and back to the contents."""
    files = {"script": result.script, "numbers": result.json, "figure": result.figure}
    there = {text: address(path, out) for text, path in files.items() if path.exists()} | {"contents": "#contents"}
    return "".join(f' <a href="{escape(target)}">{text}</a>' for text, target in there.items())


def address(path: Path, out: Path) -> str:
    """Of a file, from a page in another folder."""
    try:
        return quote(Path(os.path.relpath(path.resolve(), out.resolve())).as_posix())
    except ValueError:  # another drive
        return path.resolve().as_uri()


def picture(result: Result) -> str:
    if not result.image:
        return ""
    data = base64.b64encode(result.image).decode()
    with Image.open(io.BytesIO(result.image)) as opened:
        width, height = opened.size
    size = f'width="{width}" height="{height}"'
    return f'<figure><img src="data:image/png;base64,{data}" {size} alt="{escape(result.title)}"></figure>'


def verdict(checks: Sequence[Check]) -> str:
    """One line a check."""
    kind = {True: "holds", False: "fails", None: "open"}
    lines = ""
    for check in checks:
        found = f"{escape(check.claim)} <small>({escape(check.found)})</small>"
        lines += f'<li class="{kind[check.holds]}"><b>{check.mark}</b>{found}</li>\n'
    return f'<ul class="verdict">\n{lines}</ul>' if checks else ""


def measured(numbers: Row) -> dict[str, str]:
    """Cost, versions and commit."""
    cost = numbers.get("cost")
    text = f"{cost['seconds']:,.1f} s on {plain(cost['device'])}" if cost else "not measured"
    others = {key.capitalize(): plain(numbers[key]) for key in ("versions", "commit") if key in numbers}
    return {"Cost measured": text} | others


def table(rows: list[Row], label: str) -> str:
    """Constant columns are said once above; the metric has its range in brackets, then its floor and the ratio.

    Several numbers under one name are a line of their own below their row.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    metric = names[names.index("low") - 1] if "low" in names else ""  # every `measure` puts them in this order
    combined = {metric, "low", "high", "floor"} if metric else set()
    several = [name for name in names if any(isinstance(row.get(name), dict) for row in rows)]
    fixed = [n for n in names if len(rows) > 1 and n not in combined and len({str(row.get(n)) for row in rows}) == 1]
    left = [name for name in names if name not in {*combined, *several, *fixed}]
    columns = {name.replace("_", " "): [row.get(name) for row in rows] for name in left}
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

    def below(row: Row) -> str:
        cells = (f"{name}: {shown(row[name])}" for name in several if row.get(name) and name not in fixed)
        return "".join(f'<tr><td class="several" colspan="{len(sides)}">{escape(cell)}</td></tr>\n' for cell in cells)

    column, head = 'th scope="col"', 'th scope="row"'
    lines = zip(rows, zip(*columns.values(), strict=True), strict=True)
    body = "".join(line(cells, head, "td") + below(row) for row, cells in lines)
    same = ", ".join(f"{name.replace('_', ' ')} {shown(rows[0][name])}" for name in fixed)
    before, after = f"<details><summary>All {len(rows)} rows</summary>\n", "</details>"
    if len(rows) <= MANY_ROWS:
        before = after = ""
    return f"""{paragraph(f"In all rows: {same}.") if same else ""}
{before}<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}"><table>
<thead>
{line(columns, column, column)}</thead>
<tbody>
{body}</tbody></table></div>{after}"""


def side(name: str, values: list[Any]) -> str:
    """The class of a column: numbers are aligned to the right, long texts get a minimum width."""
    if not isinstance(values[0], str) or "[" in name:
        return ' class="number"'
    return ' class="long"' if max(len(shown(value)) for value in values) > LONG else ""


def definitions(texts: dict[str, str]) -> str:
    """Papers that have a number are links."""
    pairs = "".join(f"<dt>{escape(key)}</dt><dd>{cited(text)}</dd>\n" for key, text in texts.items())
    return f"<dl>\n{pairs}</dl>" if texts else ""


def cited(text: str) -> str:
    def link(match: re.Match[str]) -> str:
        target = f"https://arxiv.org/abs/{match[1]}" if match[1] else f"https://doi.org/{match[2]}"
        return f'<a href="{target}">{match[0]}</a>'

    return PAPER.sub(link, escape(" ".join(text.split())))


def paragraph(text: str, kind: str = "text") -> str:
    return f'<p class="{kind}">{escape(" ".join(text.split()))}</p>'


def mark(result: Result) -> str:
    """How it ended, what it took, and how many expectations hold."""
    cost = result.numbers.get("cost")
    parts = [result.status, *([f"{cost['seconds'] / 60:.1f} min"] if cost else []), summary(result.checks)]
    kind = "not-run" if result.code is None else result.status.split()[0]
    return f'<span class="{kind}">{escape(result.name)}: {escape(", ".join(filter(None, parts)))}</span>'


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
h3 { margin: 1.5rem 0 .4rem; font-size: 1rem; }
a { color: var(--link); }
section { margin-top: 3.5rem; padding-top: .5rem; border-top: 1px solid var(--line); }
figure { margin: 1.5rem 0; }
img { display: block; max-width: 100%; height: auto; margin: auto; background: #fff; border-radius: 4px; }
dl { display: grid; grid-template-columns: 7.5rem 1fr; gap: .35rem 1rem; }
dt { color: var(--soft); font-style: italic; }
dd { margin: 0; overflow-wrap: anywhere; }
.verdict { list-style: none; padding: 0; }
.verdict li { padding-left: 1.6rem; text-indent: -1.6rem; }
.verdict b { display: inline-block; width: 1.6rem; text-indent: 0; }
.verdict small { color: var(--soft); font-size: inherit; }
.holds b { color: var(--good); }
.fails b { color: var(--bad); }
.links a { margin-left: .8rem; }
.wide { width: max-content; min-width: 100%; max-width: 96vw; position: relative; left: 50%;
  transform: translateX(-50%); overflow-x: auto; }
.wide table { margin: auto; }
summary { cursor: pointer; color: var(--link); }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: lining-nums tabular-nums;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink); }
th, td { padding: .18rem .6rem; text-align: left; white-space: nowrap; }
thead th { border-bottom: 1px solid var(--ink); white-space: normal; vertical-align: bottom; }
tbody th { font-weight: normal; }
.number { text-align: right; }
td.long { min-width: 7.5rem; }
td.several { white-space: normal; color: var(--soft); padding: 0 .6rem .6rem 2rem; max-width: 0; }
tr:has(.long) > * { vertical-align: top; white-space: normal; }
pre { padding: .7rem 1rem; background: var(--tint); overflow-x: auto; font-size: .88rem; }
.finished { color: var(--good); }
.failed, .stopped, .missing, .damaged, .warning { color: var(--bad); }
@media (max-width: 48rem) { dl { grid-template-columns: minmax(0, 1fr); } }
@media print { ::details-content { content-visibility: visible; block-size: auto; }
  body { max-width: none; margin: 0; } section { break-before: page; } .wide { overflow: visible; } }
"""
