"""What a row of the audit found: a claim's number, what is possible at best, and ours."""

from typing import NamedTuple

from seqjax import metrics


class Finding(NamedTuple):
    """One row.

    Attributes:
        quantity: what the numbers measure.
        ours: median and range, over seeds where something was trained.
        verdict: follows from the numbers.
        claimed: the quoted number, where the claim has one.
        corrected: of a defect, the same quantity without it; `ours` is then with it.
        floor: what nothing of the kind in question can go below.
        also: other numbers that the row computes.
        parameters: of the model that `ours` is about.
    """

    quantity: str
    ours: metrics.Band
    verdict: str
    claimed: float | None = None
    corrected: float | None = None
    floor: float | None = None
    also: dict[str, float] = {}  # noqa: RUF012 (never changed)
    parameters: int = 0


def exact(number: float) -> metrics.Band:
    """A number without a range."""
    return metrics.Band(number, number, number)
