"""Censored regression against least squares, SciPy's censored fit and synthetic data with a known slope."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from seqjax.theory import censored
from tests.refusals import refuses

X = np.repeat(np.arange(4.0), 5)


def synthetic(seed: int, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """y = 1 + .5 x plus noise of deviation .4, cut off; and where it is."""
    y = 1 + 0.5 * X + 0.4 * np.random.default_rng(seed).normal(size=X.size)
    return np.minimum(y, cut), y > cut


def test_without_censoring_it_is_least_squares_with_students_interval():
    y, _ = synthetic(0, np.inf)
    found = censored.slope(X, y, np.zeros(X.size, bool))
    line: Any = stats.linregress(X, y)
    half = stats.t.ppf(0.975, X.size - 2) * line.stderr
    assert found[:3] == pytest.approx((line.slope, line.slope - half, line.slope + half), abs=1e-5)
    assert (found.observed, found.censored) == (20, 0)


@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
def test_mean_and_spread_are_scipys(slope):
    y, hidden = synthetic(1, 2.2)
    z = y - slope * X
    mean, spread = stats.norm.fit(stats.CensoredData(uncensored=z[~hidden], right=z[hidden]))
    found = censored._normal(z, hidden)
    assert found[:2] == pytest.approx((mean, spread), abs=2e-4)
    at: Any = stats.norm(mean, spread)
    constant = (~hidden).sum() * np.log(2 * np.pi) / 2
    assert found.log_likelihood - constant == pytest.approx(
        at.logpdf(z[~hidden]).sum() + at.logsf(z[hidden]).sum(), abs=1e-6
    )


def test_the_slope_is_found_where_a_third_is_censored():
    """The true slope is .5; cut values that are taken for true ones, or left out, make it .1 too small or more."""
    found, taken, left_out, covered = [], [], [], 0
    for seed in range(20):
        y, hidden = synthetic(seed, 2.1)
        one = censored.slope(X, y, hidden)
        found.append(one.value)
        covered += one.low < 0.5 < one.high
        taken.append(np.polyfit(X, y, 1)[0])
        left_out.append(np.polyfit(X[~hidden], y[~hidden], 1)[0])
    standard_error = np.std(found, ddof=1) / len(found) ** 0.5
    assert np.mean(found) == pytest.approx(0.5, abs=3 * standard_error)
    assert max(np.mean(taken), np.mean(left_out)) < 0.4
    assert covered >= 17  # of 20, by the binomial distribution .95 gives fewer in 1 of 60


def test_units_do_not_matter():
    y, hidden = synthetic(3, 2.1)
    one, other = censored.slope(X, y, hidden), censored.slope(X / 100, 1000 * y - 7, hidden)
    assert np.array(one[:3]) * 1e5 == pytest.approx(np.array(other[:3]), rel=1e-4)


def test_an_upper_limit_may_be_missing():
    """At the larger x everything is censored but one row that is as small as those before."""
    x, y = np.array([0.0, 0, 0, 1, 1, 1]), np.array([0.0, 0.1, 0.2, 0.1, 0.3, 0.3])
    found = censored.slope(x, y, np.array([0, 0, 0, 0, 1, 1], bool))
    assert found.low < found.value < found.high
    assert found.high > 1


test_what_has_no_slope_is_refused = pytest.mark.usefixtures("unchecked")(
    refuses(
        lambda x, y, hidden: censored.slope(np.array(x, float), np.array(y, float), np.array(hidden, bool)),
        ([0, 1, 2], [0, 1], [0, 0], "one length"),
        ([0, 1, np.nan], [0, 1, 3], [0, 0, 0], "x must hold one number or more, all finite"),
        ([0, 1, 2], [0, 1, 3], [0, 0, 1], "needs 3 rows that are not censored, at 2 or more x, got 2 of 3"),
        ([1, 1, 1, 2], [0, 1, 3, 4], [0, 0, 0, 1], "at 2 or more x"),
        ([0, 1, 2, 3], [0, 1, 2, 3], [0, 0, 0, 0], "on a line"),
    )
)
