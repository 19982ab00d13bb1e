"""What each header expects is compared with the committed numbers, and with numbers that are not there."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from seqjax import runs
from seqjax.runs.checks import read_expect

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "experiments" / "figures"
SCRIPTS = {script.stem: script for script in runs.find_experiments(ROOT / "experiments")}
NUMBER = re.compile(r"(?:\d[\d,]*\.?\d*|\.\d+)(?:e-?\d+)?")
CONDITION = re.compile(rf"(?:[<>]=? )?{NUMBER.pattern}(?:(?:, | to ){NUMBER.pattern})*(?: %)?")


def rows_of(name: str) -> list[Any]:
    return json.loads((FIGURES / f"{name}.json").read_text())["rows"]


@pytest.fixture(scope="module")
def expectations() -> dict[str, Any]:
    return {name: read_expect(script) for name, script in SCRIPTS.items()}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_committed_numbers_decide_every_expectation(name, expectations):
    checks = expectations[name](rows_of(name))
    assert all(check.holds is not None and check.found for check in checks)
    assert len(checks) > 1
    assert len({check.claim for check in checks}) == len(checks)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_states_the_numbers_of_the_conditions(name, expectations):
    stated = {number.rstrip(",.") for number in NUMBER.findall(runs.read_header(SCRIPTS[name])["Expect"])}
    for check in expectations[name](rows_of(name)):
        condition = check.claim.rpartition(": ")[2]
        if CONDITION.fullmatch(condition):
            numbers = {number for part in condition.split(", ") for number in NUMBER.findall(part)}
            assert numbers <= stated, check


@pytest.mark.parametrize("name", SCRIPTS)
def test_numbers_that_are_missing_decide_nothing_and_raise_nothing(name, expectations):
    rows, expect = rows_of(name), expectations[name]
    assert {check.holds for check in expect([])} == {None}
    claims = [check.claim for check in expect(rows)]
    for part in (rows[:1], rows[-1:], rows[::7]):
        assert [check.claim for check in expect(part)] == claims


@pytest.mark.parametrize(
    ("name", "column", "wanted", "changed", "claim"),
    [
        ("shift_memory", "mse", {"model": "tcn", "delay": 32}, 0.002, "TCN, every delay"),
        ("reversal", "exact", {"model": "context"}, 0.99, "exact, without attention"),
        ("bottleneck", "mse", {"model": "linear", "width": 8}, 0.49, "no linear encoder-decoder"),
        (
            "translation",
            "last_bleu",
            {"dropout": 0, "smoothing": 0, "weight_decay": 0},
            9.0,
            "2,000 pairs: early stopping",
        ),
        ("agreement", "high", {"model": "forward_gru", "distance": 4}, 0.7245, "causal: 72.5 %"),
        ("encoder_decoder_rank", "error", {"model": "gru", "code": 4}, 0.43, "n^-1/8: GRU below"),
        ("diagrams", "receptive_field", {"model": "TCN"}, 14, "read off gradients"),
    ],
)
def test_a_number_that_is_worse_is_a_verdict_against(name, column, wanted, changed, claim, expectations):
    def verdict(rows: list[Any]) -> bool | None:
        (found,) = (check for check in expectations[name](rows) if check.claim.startswith(claim))
        return found.holds

    rows = copy.deepcopy(rows_of(name))
    assert verdict(rows) is True
    (row,) = runs.select(rows, **wanted)
    row[column] = changed
    assert verdict(rows) is False
