"""What an audited claim is given, and what its row reports."""

from typing import NamedTuple

from seqjax import metrics


class Settings(NamedTuple):
    """What the measurement of a claim is given.

    Attributes:
        claimed: the quoted number, 0 where there is none.
        seeds: random seeds, each of which trains its own network.
        steps: of training.
    """

    claimed: float = 0.0
    seeds: int = 3
    steps: int = 0


class Finding(NamedTuple):
    """One row of the audit.

    Attributes:
        quantity: what the numbers measure.
        ours: median and range, over random seeds where something was trained.
        verdict: follows from the numbers by a rule.
        claimed: the quoted number, where the claim has one.
        corrected: of a defect, the same quantity without it; `ours` is then with it.
        floor: a lower bound on `ours`; with a defect, for every model that has the defect.
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


def ratio(above: metrics.Band, below: metrics.Band) -> metrics.Band:
    """Ratio of the medians, and the widest range that both ranges allow."""
    return metrics.Band(above.median / below.median, above.low / below.high, above.high / below.low)
