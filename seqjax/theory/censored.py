"""How fast something grows when some measurements only say "more than this": regression with censored values.

Times until an event are cut off where a run ends. Such a time is a lower bound: left out or taken for the event itself,
it flattens the slope. Maximum likelihood uses it for what it is (Tobin 1958; Kalbfleisch & Prentice 2002, ch. 3).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from seqjax._checks import finite
from seqjax.types import InputError


class Slope(NamedTuple):
    """A slope and its 95 % interval.

    Attributes:
        value, low, high: the slope of maximum likelihood, and the slopes that the data do not reject; `high` is inf
            where the censored rows set no upper limit, `low` -inf likewise.
        spread: standard deviation of y around the line.
        observed, censored: numbers of rows.
    """

    value: float
    low: float
    high: float
    spread: float
    observed: int
    censored: int


class _Fit(NamedTuple):
    """Mean and standard deviation of maximum likelihood, and the log-likelihood there, without its constant."""

    mean: float
    spread: float
    log_likelihood: float


def slope(x: Float[np.ndarray, " rows"], y: Float[np.ndarray, " rows"], censored: Bool[np.ndarray, " rows"]) -> Slope:
    """The slope of y = a + b x + normal noise, where the y of a censored row is only known to be larger than given.

    The interval inverts the likelihood-ratio test, with the critical value that makes it Student's interval of least
    squares, exactly, where no row is censored.

    Raises:
        InputError: arrays of different lengths or with a number that is not finite, less than 3 rows observed, all of
            them at one x, or on a line without any noise.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import stdtrit

    x, y, censored = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(censored, bool)
    if not x.shape == y.shape == censored.shape == (x.size,):
        raise InputError(f"x, y and censored must be of one length, got {x.shape}, {y.shape} and {censored.shape}")
    finite(x=x, y=y)
    observed = int((~censored).sum())
    if observed < 3 or not np.ptp(x[~censored]):
        raise InputError(f"a slope needs 3 rows that are not censored, at 2 or more x, got {observed} of {x.size}")
    # Least squares on the observed rows gives the scale of the slopes to search.
    centred = x[~censored] - x[~censored].mean()
    least = float(centred @ y[~censored] / (centred @ centred))
    left = y[~censored] - least * x[~censored]
    noise = float(np.std(left))
    if not noise > 1e-12 * np.abs(y).max():
        raise InputError("a slope has no interval where the observed rows are on a line")
    unit = noise / float(np.sqrt(centred @ centred))

    def lost(steps: float) -> float:
        """Twice the log-likelihood that a slope loses, relative to that of least squares."""
        return -2 * _normal(y - (least + steps * unit) * x, censored).log_likelihood

    # The likelihood has one maximum (Olsen 1978, Econometrica 46: it is concave in 1/spread, mean/spread and
    # slope/spread), so that a search by doubling brackets the maximum and both ends.
    span = 4.0
    while min(lost(-span), lost(span)) <= lost(0.0):
        span *= 2
    search: Any = minimize_scalar(lost, bounds=(-span, span), method="bounded", options={"xatol": 1e-6})
    best = float(search.x)
    student = float(stdtrit(observed - 2, 0.975))
    critical = observed * math.log1p(student**2 / (observed - 2))
    ends = [_end(lost, best, direction, lost(best) + critical) for direction in (-1.0, 1.0)]
    low, value, high = (least + steps * unit for steps in (ends[0], best, ends[1]))
    return Slope(value, low, high, _normal(y - value * x, censored).spread, observed, int(censored.sum()))


def _end(lost, best: float, direction: float, level: float) -> float:
    """Where `lost` rises to `level`, on one side of its minimum; infinite if it never does."""
    from scipy.optimize import root_scalar

    span = 1.0
    while lost(best + direction * span) < level:
        span *= 2
        if span > 2.0**20:
            return direction * math.inf
    ends = (best, best + direction * span)
    return float(root_scalar(lambda steps: lost(steps) - level, bracket=ends, method="brentq", xtol=1e-6).root)


def _normal(z: Float64[np.ndarray, " rows"], censored: Bool[np.ndarray, " rows"]) -> _Fit:
    """Normal values, some of which are only known to be larger: Newton's method, damped, on a concave function."""
    from scipy.special import log_ndtr

    shift, scale = float(z[~censored].mean()), float(z[~censored].std()) or 1.0
    z = (z - shift) / scale
    observed = int((~censored).sum())

    def value(mean: float, inverse: float) -> float:
        if not inverse > 0:
            return -math.inf
        u = inverse * z - mean
        return float(observed * math.log(inverse) - np.square(u[~censored]).sum() / 2 + log_ndtr(-u[censored]).sum())

    mean, inverse, now = 0.0, 1.0, value(0.0, 1.0)
    for _ in range(200):
        u = inverse * z - mean
        # Of log Phi(-u): the first two derivatives by u.
        hazard = np.exp(-np.square(u) / 2 - log_ndtr(-u)) / math.sqrt(2 * math.pi)
        first = np.where(censored, -hazard, -u)
        second = np.where(censored, -hazard * (hazard - u), -1.0)
        gradient = np.array([-first.sum(), first @ z + observed / inverse])
        off = -(second @ z)
        curvature = np.array([[second.sum(), off], [off, second @ z**2 - observed / inverse**2]])
        step = -np.linalg.solve(curvature, gradient)
        if float(gradient @ step) < 1e-14:
            break
        while not (new := value(mean + step[0], inverse + step[1])) >= now:
            step = step / 2
            if np.abs(step).max() < 1e-16:
                break
        mean, inverse, now = mean + float(step[0]), inverse + float(step[1]), max(new, now)
    spread = scale / inverse
    return _Fit(shift + spread * mean, spread, now - observed * math.log(scale))
