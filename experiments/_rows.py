"""Tables of what is asked for: where it is, and which test proves it. Both must exist."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax.data.files import DataError


class Row(NamedTuple):
    """What is asked for.

    Attributes:
        section, name: as in the file, `[section.name]`.
        row: in a few words.
        where: files of the repository.
        test: `file::function`.
        pending: what is missing; empty: nothing.
    """

    section: str
    name: str
    row: str
    where: list[str]
    test: list[str]
    pending: str = ""


def read(path: Path, top: Path) -> list[Row]:
    """The rows of a TOML file.

    Args:
        top: of the repository.

    Raises:
        DataError: the file is no such TOML, or names a file or a test that does not exist; all faults.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        rows = [Row(section, name, **entry) for section, named in found.items() for name, entry in named.items()]
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError([f"{path}: expected tables [section.name] with row, where and test, found {error}"]) from None
    faults = []
    for row in rows:
        for field, names in (("where", row.where), ("test", row.test)):
            faults += [f"{path}: [{row.section}.{row.name}] {field}: {fault}" for fault in _faults(field, names, top)]
    if faults:
        raise DataError(faults)
    return rows


def _faults(field: str, names: Sequence[str], top: Path) -> list[str]:
    """What is wrong with the files or tests of a row."""
    if not names or isinstance(names, str):
        return [f"expected a list of one or more, found {names!r}"]
    faults = []
    for name in names:
        file, _, function = name.partition("::")
        if not (top / file).is_file():
            faults.append(f"expected a file of the repository, found {file}")
        elif field == "test":
            text = (top / file).read_text(encoding="utf-8")
            if not re.search(rf"^(def {re.escape(function)}\(|{re.escape(function)} = )", text, re.MULTILINE):
                faults.append(f"expected a test of {file}, found {function!r}")
    return faults


def table(path: Path, top: Path) -> str:
    """All rows as Markdown, a table a section."""
    rows = read(path, top)
    up = "../" * len(path.parent.relative_to(top).parts)
    pending = [row.name for row in rows if row.pending]
    lines = [f"{len(rows)} rows, {len(pending)} partial{': ' if pending else ''}{', '.join(pending)}."]
    for section in dict.fromkeys(row.section for row in rows):
        lines += ["", f"**{section.capitalize()}**", "", "| | what | where | test |", "|---|---|---|---|"]
        for row in rows:
            if row.section == section:
                where = ", ".join(f"[{file}]({up}{file})" for file in row.where)
                tests = ", ".join(f"[{name.partition('::')[2]}]({up}{name.partition('::')[0]})" for name in row.test)
                missing = f"; **partial**: {row.pending}" if row.pending else ""
                lines.append(f"| {row.name} | {row.row}{missing} | {where} | {tests} |")
    return "\n".join(lines)
