"""The effect of small weight perturbations on a linear memory, by the parameterisation of its decay rates.

In closed form, without training: a kernel is fitted by decaying exponentials, and the weights that parameterise their
rates are perturbed (Wang, Li & Li 2023, arXiv:2305.19190; Wang & Li 2023, arXiv:2311.14495).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from seqjax._checks import finite, integers
from seqjax.types import Params

Rates = Float64[np.ndarray, "*any"]


class Decays(NamedTuple):
    """States h <- (1 - rate) h + x, Euler's step of h' = -rate h + x, and their weighted sum: a diagonal linear RNN."""

    rates: Float64[np.ndarray, " units"]
    amplitudes: Float64[np.ndarray, " units"]

    def kernel(self, length: int) -> Float64[np.ndarray, " lags"]:
        """khat(s) = sum_i amplitudes_i (1 - rates_i)^s; infinite where float64 overflows."""
        used = self.amplitudes != 0  # the others may be infinite times 0
        with np.errstate(over="ignore"):
            return _powers(self.rates[used], length) @ self.amplitudes[used]

    def params(self) -> Params:
        """The parameters of the equal `models.DiagonalRNN(1, order, rate=lambda w: w)`."""
        read = {"kernel": np.ones((1, len(self.rates)))}
        return {"params": {"w": self.rates, "read": read, "write": {"kernel": self.amplitudes[:, None]}}}


def decays(kernel: Float64[np.ndarray, " lags"], rates: Float64[np.ndarray, " units"]) -> Decays:
    """The amplitudes >= 0 that fit a kernel best by least squares, for given rates.

    With amplitudes of any sign, close rates would need amplitudes of 1e10 that cancel, and any perturbation would break
    the fit.
    """
    finite(kernel=kernel, rates=rates)
    return Decays(rates, _nonnegative(_powers(rates, len(kernel)), kernel))


def best_decays(
    kernel: Float64[np.ndarray, " lags"], units: int, slowest: Float64[np.ndarray, " candidates"], fastest: float = 1.0
) -> Decays:
    """The best fit by log-spaced rates from one of the candidates to the fastest; at rate 1 a state is the input."""
    integers(1, units=units)
    finite(slowest=slowest)
    fits = [decays(kernel, np.geomspace(rate, fastest, units)) for rate in slowest]
    return min(fits, key=lambda fit: float(((fit.kernel(len(kernel)) - kernel) ** 2).sum()))


class Parameterisation(NamedTuple):
    """How a decay rate is computed from a trained weight.

    Attributes:
        rate: f, from the weight.
        weight: its inverse.
        slope: |f'|, from the weight.
    """

    rate: Callable[[Rates], Rates]
    weight: Callable[[Rates], Rates]
    slope: Callable[[Rates], Rates]

    def gradient_scale(self, rates: Rates) -> Rates:
        """|f'|/f^2, up to which the loss's derivative by a weight is bounded (arXiv:2311.14495, theorem 3.5).

        A unit's kernel e^(-f t) has the derivative -t e^(-f t) f', whose integral over t is f'/f^2.
        """
        return self.slope(self.weight(rates)) / rates**2


DIRECT = Parameterisation(rate=lambda w: w, weight=lambda f: f, slope=np.ones_like)
"""The rate itself: a small change makes a slow state grow."""

EXP = Parameterisation(rate=np.exp, weight=np.log, slope=np.exp)
"""Stable: a change by b multiplies the rate by e^b."""

SOFTPLUS = Parameterisation(
    rate=lambda w: np.logaddexp(0, w), weight=lambda f: f + np.log(-np.expm1(-f)), slope=lambda w: 1 / (1 + np.exp(-w))
)
"""Stable: log(1 + e^w), which is exp for slow rates and direct for fast ones."""

BEST = Parameterisation(
    rate=lambda w: 1 / (w**2 + 0.1), weight=lambda f: np.sqrt(1 / f - 0.1), slope=lambda w: 2 * w / (w**2 + 0.1) ** 2
)
"""Stable: 1/(w^2 + .1), "best" of arXiv:2311.14495, whose gradient scale is 2 |w|; for rates up to 10."""


def perturbed_errors(
    kernel: Float64[np.ndarray, " lags"],
    fit: Decays,
    parameterisation: Parameterisation,
    directions: Sequence[Float64[np.ndarray, " units"]],
    sizes: Float64[np.ndarray, " sizes"],
) -> Float64[np.ndarray, "directions sizes"]:
    """E(size) = |khat - rho|^2/|rho|^2 after moving the weights by size times a direction; its maximum so far.

    Among directions with largest entry 1, all +1 and all -1 are the worst up to a factor 2, as long as rates stay below
    1: the kernel is monotone in every rate, as amplitudes are >= 0.
    """
    weights = parameterisation.weight(fit.rates)
    errors = np.empty((len(directions), len(sizes)))
    for row, direction in enumerate(directions):
        for column, size in enumerate(sizes):
            moved = fit._replace(rates=parameterisation.rate(weights + size * direction))
            with np.errstate(over="ignore"):
                errors[row, column] = ((moved.kernel(len(kernel)) - kernel) ** 2).sum() / (kernel**2).sum()
    return np.maximum.accumulate(errors, axis=1)


def _nonnegative(
    design: Float64[np.ndarray, "equations unknowns"], target: Float64[np.ndarray, " equations"]
) -> Float64[np.ndarray, " unknowns"]:
    """The x >= 0 that minimises |design x - target|, by active sets (Lawson & Hanson 1974, chapter 23).

    Unknowns become free one by one, that with the largest gradient first; where a step would make a free one negative,
    it stops at 0 and is fixed again.

    Raises:
        ArithmeticError: it has not converged after 10 steps per unknown: the columns are too nearly dependent.
    """
    # The triangle of the QR factorisation has the same normal equations, without their squared condition number.
    triangle = np.asarray(np.linalg.qr(np.column_stack([design, target]), mode="r"))
    design, target = triangle[:, :-1], triangle[:, -1]
    unknowns = design.shape[1]
    solution, free = np.zeros(unknowns), np.zeros(unknowns, bool)
    tolerance = 10 * np.finfo(float).eps * np.abs(design).sum(axis=0).max() * max(1.0, np.abs(target).max())
    for _ in range(10 * unknowns):
        descent = np.where(free, -np.inf, design.T @ (target - design @ solution))
        if descent.max() <= tolerance:
            return solution
        free[descent.argmax()] = True
        while True:
            wanted = np.zeros(unknowns)
            wanted[free] = np.linalg.lstsq(design[:, free], target, rcond=None)[0]
            negative = free & (wanted <= 0)
            if not negative.any():
                break
            step = (solution[negative] / (solution[negative] - wanted[negative])).min()
            solution += step * (wanted - solution)
            free &= solution > tolerance
            solution[~free] = 0
        solution = wanted
    raise ArithmeticError(f"not converged after {10 * unknowns} steps: the columns are too nearly dependent")


def _powers(rates: Float64[np.ndarray, " units"], length: int) -> Float64[np.ndarray, "lags units"]:
    return (1 - rates)[None, :] ** np.arange(length)[:, None]
