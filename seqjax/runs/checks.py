"""What an experiment expects, compared with the numbers it found.

The function `expect` of a script makes a `Check` of each statement in its header's field `Expect` that has a number or
an order. It reads the rows of the figure: configuration and result together, as they are in the JSON beside it. A
number that is not in the rows is NaN, and a statement about it is neither true nor false.
"""

import ast
import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.runs.folder import Row
from seqjax.runs.scripts import import_script
from seqjax.types import InputError

CONDITION = re.compile(r"(?:(?P<relation>[<>]=?) )?(?P<numbers>.+?)(?P<percent> %)?")

Numbers = float | int | Sequence[float | int]
"""One or several."""

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Check(NamedTuple):
    """A statement, compared with the numbers.

    Attributes:
        claim: what is expected, in a few words, with its number.
        found: what was measured.
        holds: None if it was not measured.
    """

    claim: str
    found: str
    holds: bool | None

    @property
    def mark(self) -> str:
        """✓, ✗, or – if it was not measured."""
        return "–" if self.holds is None else "✓" if self.holds else "✗"


def read_expect(script: Path) -> Callable[[list[Row]], list[Check]] | None:
    """The function `expect` of a script, which is imported only if it has one."""
    body = ast.parse(script.read_text(encoding="utf-8")).body
    found = any(isinstance(node, ast.FunctionDef) and node.name == "expect" for node in body)
    return import_script(script).expect if found else None


def select(rows: Sequence[Row], /, **wanted: Any) -> list[Row]:
    """The rows with these values; a tuple names several for one column, and text may stand for a number."""
    return [row for row in rows if all(_equal(row.get(column), value) for column, value in wanted.items())]


def values(rows: Sequence[Row], column: str, /, **wanted: Any) -> list[float]:
    """A column of the rows with these values, without those that have nothing there."""
    return [float(row[column]) for row in select(rows, **wanted) if row.get(column) is not None]


def value(rows: Sequence[Row], column: str, /, **wanted: Any) -> float:
    """A column of the only row with these values; NaN if there is none, or more than one."""
    found = values(rows, column, **wanted)
    return found[0] if len(found) == 1 else math.nan


def ratio(numerator: float | int, denominator: float | int) -> float:
    """NaN if one of them is, or if the denominator is 0."""
    return numerator / denominator if denominator else math.nan


def check(what: str, measured: Numbers, condition: str) -> Check:
    """Whether all numbers are as stated.

    Args:
        what: what is measured.
        measured: not measured, if one is NaN or if there is none.
        condition: `< 1e-3`, `<= 5`, `> 2` or `>= 99 %` compares the numbers as they are; `14.8` compares them rounded
            to the last digit that is stated, as `2 to 20` does at both ends; `.345, .182` states one for each.

    Raises:
        InputError: the condition is none of these.
    """
    parts = CONDITION.fullmatch(condition)
    numbers = _listed(measured)
    try:
        assert parts is not None
        ranges = [[_stated(end) for end in stated.split(" to ")] for stated in parts["numbers"].split(", ")]
    except (AssertionError, ValueError):
        raise InputError(f"condition must be like '< 1e-3', '14.8', '2 to 20' or '99 %', got {condition!r}") from None
    unit = 100 if parts["percent"] else 1
    if len(ranges) == 1:
        ranges *= len(numbers)
    complete = len(numbers) == len(ranges)
    if relation := parts["relation"]:
        holds = [COMPARE[relation](number * unit, ends[0][0]) for number, ends in zip(numbers, ranges, strict=False)]
    else:
        holds = [_within(number * unit, ends) for number, ends in zip(numbers, ranges, strict=False)]
    found = _text([number * unit for number in numbers], max(len(ranges), 4) if ", " in condition else 4)
    return _made(f"{what}: {condition}", found + (parts["percent"] or ""), numbers if complete else [], all(holds))


def less(claim: str, smaller: Numbers, larger: Numbers) -> Check:
    """Whether numbers are smaller than others: each than its own, or than the only one."""
    low, high = _listed(smaller), _listed(larger)
    found = f"{_text(low)} < {_text(high)}"
    size = max(len(low), len(high))
    low, high = (numbers * size if len(numbers) == 1 else numbers for numbers in (low, high))
    complete = len(low) == len(high)
    holds = complete and all(map(operator.lt, low, high))
    return _made(claim, found if holds else found.replace("<", "against"), low + high if complete else [], holds)


def every(claim: str, cases: Sequence[bool]) -> Check:
    """Whether a statement is true in all cases; not measured, if there is none."""
    return Check(claim, f"{sum(cases)} of {len(cases)}", all(cases)) if cases else Check(claim, "not measured", None)


def summary(checks: Sequence[Check]) -> str:
    """How many hold; empty if there are none."""
    decided = [check for check in checks if check.holds is not None]
    parts = [f"{sum(bool(check.holds) for check in decided)} of {len(decided)} hold"] if decided else []
    left = len(checks) - len(decided)
    return ", ".join([*parts, *([f"{left} not measured"] if left else [])])


def print_checks(checks: Sequence[Check]) -> None:
    """How many hold, and a line each."""
    print(f"\nExpected: {summary(checks)}")
    for check in checks:
        encoding = sys.stdout.encoding or "utf-8"
        print(f"  {check.mark} {check.claim} ({check.found})".encode(encoding, "replace").decode(encoding))


def _equal(found: Any, wanted: Any) -> bool:
    """Numbers are compared as numbers, all else as text."""
    if isinstance(wanted, tuple):
        return any(_equal(found, one) for one in wanted)
    if isinstance(found, int | float) and not isinstance(found, bool):
        try:
            return found == float(wanted)
        except (TypeError, ValueError):
            return False
    return str(found) == str(wanted)


def _stated(text: str) -> tuple[float, float]:
    """A number, and the unit of its last digit."""
    digits, _, exponent = text.strip().replace(",", "").lower().partition("e")
    return float(text.replace(",", "")), 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))


def _within(number: float, ends: list[tuple[float, float]]) -> bool:
    (low, low_unit), (high, high_unit) = ends[0], ends[-1]
    slack = 1 + 1e-9  # a half that the binary fraction misses
    return low - low_unit / 2 * slack <= number <= high + high_unit / 2 * slack


def _made(claim: str, found: str, measured: Sequence[float], holds: bool) -> Check:
    if not measured or any(map(math.isnan, measured)):
        return Check(claim, "not measured", None)
    return Check(claim, found, holds)


def _listed(measured: Numbers) -> list[float]:
    return [float(number) for number in (measured if isinstance(measured, Sequence) else [measured])]


def _text(numbers: Sequence[float], most: int = 4) -> str:
    """All numbers, or the range of more than `most`, unless they are equal."""
    shown = [f"{number:.4g}" for number in numbers]
    if len(shown) > most:
        shown = list(dict.fromkeys(shown))
    return ", ".join(shown) if len(shown) <= most else f"{min(numbers):.4g} to {max(numbers):.4g}"
