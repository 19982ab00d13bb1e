"""What is expected, compared with numbers: against comparisons worked out by hand."""

import io
import math
import sys

import pytest

from seqjax.runs import Check, check, checks, every, less, ratio, select, value, values
from seqjax.types import InputError

ROWS = [
    {"model": "gru", "delay": 8, "mse": 0.25, "smooth": True},
    {"model": "gru", "delay": 32, "mse": 0.5, "smooth": False},
    {"model": "tcn", "delay": 8, "mse": 0.125, "floor": None},
]


def test_rows_are_selected_by_numbers_text_and_alternatives():
    assert values(ROWS, "mse", model="gru") == [0.25, 0.5]
    assert values(ROWS, "mse", delay="8", model=("tcn", "lstm")) == [0.125]
    assert values(ROWS, "floor") == []
    assert select(ROWS, smooth=True) == ROWS[:1]
    assert select(ROWS, smooth="False") == ROWS[1:2]
    assert select(ROWS, model=8) == []
    assert value(ROWS, "mse", delay=32) == 0.5
    assert all(math.isnan(value(ROWS, "mse", **wanted)) for wanted in ({"delay": 8}, {"delay": 9}))
    assert ratio(1.0, 4.0) == 0.25
    assert math.isnan(ratio(1.0, 0.0))


@pytest.mark.parametrize(
    ("measured", "condition", "holds"),
    [
        (0.00099, "< 1e-3", True),
        (0.001, "< 1e-3", False),
        (0.001, "<= 1e-3", True),
        ([3.0, 2.0], "> 2", False),
        ([3.0, 2.0], ">= 2", True),
        (0.9899, ">= 99 %", False),
        (0.9901, ">= 99 %", True),
        (14.84, "14.8", True),
        (14.86, "14.8", False),
        (1.4e-4, "1e-4", True),
        (1.6e-4, "1e-4", False),
        (1849.0, "1,849", True),
        (0.0235, ".024", True),
        (0.0234, ".024", False),
        (0.125, "12 %", True),
        (0.126, "12 %", False),
        ([1.5, 20.4], "2 to 20", True),
        ([1.4, 20.0], "2 to 20", False),
        ([2.0, 20.6], "2 to 20", False),
        ([0.345, 0.182], ".345, .18", True),
        ([0.182, 0.345], ".345, .18", False),
        ([0.1, 0.2], "10, 20 %", True),
        ([0.1], "10, 20 %", None),
        ([], "< 1", None),
        (math.nan, "< 1", None),
        ([0.5, math.nan], "< 1", None),
    ],
)
def test_conditions(measured, condition, holds):
    found = check("error", measured, condition)
    assert found.claim == f"error: {condition}"
    assert found.holds is holds
    assert (found.found == "not measured") == (holds is None)


@pytest.mark.parametrize("condition", ["", "about 3", "< much", "3 %%", "1 to many", "=> 3"])
def test_a_condition_that_is_none_is_refused(condition):
    with pytest.raises(InputError, match=r"condition must be like '< 1e-3'"):
        check("error", 1.0, condition)


def test_found_says_the_numbers():
    assert check("a", [0.12345, 0.5], "< 1").found == "0.1235, 0.5"
    assert check("a", [0.12345, 0.5], "< 99 %").found == "12.35, 50 %"
    assert check("a", [5.0, 1.0, 2.0, 3.0, 4.0], "< 9").found == "1 to 5"
    assert check("a", [5.0] * 9, "< 9").found == "5"


def test_orders_and_statements_of_cases():
    assert less("a", [1.0, 2.0], [2.0, 3.0]) == Check("a", "1, 2 < 2, 3", True)
    assert less("a", [1.0, 2.0], 2.0) == Check("a", "1, 2 against 2", False)
    assert less("a", 0.5, [2.0, 1.0]).holds is True
    undecided = [less("a", [], 2.0), less("a", [1.0, 2.0], [1.0, 2.0, 3.0]), less("a", math.nan, 1.0)]
    assert undecided == [Check("a", "not measured", None)] * 3
    assert every("a", [True, False]) == Check("a", "1 of 2", False)
    assert every("a", [True, True]).holds is True
    assert every("a", []).holds is None


def test_the_verdict_is_printed_with_marks(monkeypatch):
    found = [Check("a: < 1", "0.5", True), Check("b: 2", "3", False), Check("c: 1", "not measured", None)]
    assert [one.mark for one in found] == ["✓", "✗", "–"]
    assert checks.summary(found) == "1 of 2 hold, 1 not measured"
    assert checks.summary([]) == ""
    for encoding, mark in (("utf-8", "✗"), ("ascii", "?")):  # a terminal that cannot show it
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        checks.print_checks(found)
        sys.stdout.flush()
        assert f"  {mark} b: 2 (3)\n" in written.getvalue().decode(encoding)


def test_only_a_script_with_expectations_is_imported(tmp_path):
    script = tmp_path / "quiet.py"
    script.write_text("raise SystemExit('imported')\n")
    assert checks.read_expect(script) is None
    script.write_text("def expect(rows):\n    return rows[::-1]\n")
    expect = checks.read_expect(script)
    assert expect is not None
    assert expect([{"a": 1}, {"a": 2}]) == [{"a": 2}, {"a": 1}]
