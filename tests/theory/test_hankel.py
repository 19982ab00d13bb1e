"""Floors of linear RNNs of any width, and the published table of them beside what a search finds."""

import operator

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.optimize import minimize

from seqjax.theory import bounds, fits, targets
from seqjax.theory.hankel import central_binomials, isometric, uniform
from tests.refusals import refuses

FOUR = (0.5, 0.7, 0.85, 0.95)
KERNELS = {
    "exponential": targets.exponentials((0.9,), 64),
    "four": targets.exponentials(FOUR, 64),
    "power law": targets.power_law(1.1, 100),
    "shift 8": targets.shift(8, 32),
    "shift 16": targets.shift(16, 64),
    "two parts": targets.two_parts(64),
    "airy": targets.airy(6.0, 100),
    "bump": targets.bump(20.0, 2.0, 64),
}
PUBLISHED = """
exponential  1 0       0        2 0       0
four         1 8.3e-3  3.3e-2   2 4.1e-5  3.0e-4   3 6.4e-8  6.2e-7   4 0       0
power law    1 7.4e-3  3.4e-2   2 5.4e-5  3.8e-4   4 1.95e-9 2.4e-8   6 5.4e-14 1.0e-12
shift 8      1 .889    .955     2 .778    .879     4 .556    .689     6 .333    .561     8 .111   .216
shift 16     1 .941    .977     2 .882    .952     4 .765    .886     6 .647    .784     8 .529   .691
two parts    1 .403    .524     2 .279    .444     4 .118    .244     6 .042    .089     8 .011   .025
airy         1 .547    .799     2 .347    .506     4 5.6e-3  3.3e-2   6 2e-10   1.6e-9
bump         1 .712    .864     2 .429    .656     4 .126    .269     6 .023    .076     8 2.8e-3 1.3e-2
"""
"""Kernel; then, for several orders, floor and the best error found, both relative to the kernel's energy."""


def published(table: str, width: int):
    """Rows of a table whose names have this width: name, size, floor and error as printed."""
    for line in table.strip().splitlines():
        name, numbers = line[:width].strip(), line[width:].split()
        for size, low, high in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
            yield name, int(size), low, high


def energy(kernel) -> float:
    return float(kernel @ kernel)


def agrees(number: float, printed: str) -> bool:
    """Whether the number, rounded to the digits printed, is what is printed."""
    if float(printed) == 0:
        return abs(number) < 1e-25
    mantissa = printed.split("e")[0]
    half = 0.5 * 10.0 ** (-len(mantissa.partition(".")[2])) * float(f"1e{printed.partition('e')[2] or 0}")
    return abs(number - float(printed)) <= half * (1 + 1e-6)


def loss(kernel, W, U, c) -> float:
    error, state = 0.0, U
    for target in kernel:
        error += (target - c @ state) ** 2
        state = W @ state
    return error


@pytest.mark.parametrize(("name", "order", "low", "high"), list(published(PUBLISHED, 13)))
def test_published_floors_and_errors_are_found_again(name, order, low, high):
    """The search is a heuristic: 3 % more than printed is as good. By simulating the RNN, not by its own account."""
    kernel = KERNELS[name]
    floor = bounds.hankel(kernel, order) / energy(kernel)
    assert agrees(floor, low)
    found = loss(kernel, *fits.varpro(kernel, order)) / energy(kernel)
    assert floor * (1 - 1e-9) <= found <= 1.03 * float(high) + 1e-26


@pytest.mark.parametrize(
    ("name", "order"), [("four", 1), ("shift 8", 2), ("two parts", 1), ("two parts", 2), ("bump", 2), ("airy", 2)]
)
def test_no_optimised_linear_rnn_goes_below(name, order):
    """Quasi-Newton steps on all weights, another search than that of `fits.varpro`; W may become unstable."""
    kernel, rng = KERNELS[name], np.random.default_rng(0)
    split = (order**2, order**2 + order)

    def objective(parameters):
        W, U, c = np.split(parameters, split)
        with np.errstate(over="ignore", invalid="ignore"):
            return min(loss(kernel, W.reshape(order, order), U, c), 1e6)

    starts = rng.normal(size=(4, order**2 + 2 * order)) / np.sqrt(order)
    best = min(float(minimize(objective, start, method="BFGS", options={"maxiter": 60}).fun) for start in starts)
    floor = bounds.hankel(kernel, order)
    assert floor * (1 - 1e-9) <= best < energy(kernel)
    assert floor > 0.1 * best


@pytest.mark.parametrize("seed", range(20))
def test_floor_and_search_enclose_random_kernels(seed):
    """Any kernel, any weight that a window gives: the floor is below the error of any RNN, here the best found."""
    rng = np.random.default_rng(seed)
    length, order = int(rng.integers(5, 24)), int(rng.integers(1, 5))
    kernel = rng.normal(size=length) * rng.uniform(0.7, 1) ** np.arange(length)
    found = fits.varpro(kernel, order, restarts=2)
    error = kernel - found.kernel(length)
    assert bounds.hankel(kernel, order) <= energy(error) * (1 + 1e-9) + 1e-28
    averaged = 1 - np.arange(length) / length
    assert bounds.hankel(kernel, order, averaged) <= averaged @ error**2 * (1 + 1e-9) + 1e-28


def test_the_isometric_weights():
    """a * a = 1, and the whole quadrant, every pair i + j < T, holds each lag once."""
    a = central_binomials(64)
    np.testing.assert_allclose(np.convolve(a, a)[:64], 1, rtol=1e-13)
    np.testing.assert_allclose(a[:3], [1, 1 / 2, 3 / 8])
    kernel = KERNELS["four"]
    quadrant = targets.hankel(np.concatenate([kernel, np.zeros(63)]), 64)
    assert energy((np.sqrt(np.outer(a, a)) * quadrant).reshape(-1)) == pytest.approx(energy(kernel), rel=1e-13)


@pytest.mark.parametrize(("a", "b"), [(central_binomials(17), central_binomials(16)), (np.full(5, 0.2), np.ones(28))])
def test_weights_never_count_a_lag_more_than_once(a, b):
    """Proof by definition: sum_ij a_i b_j e_{i+j}^2 <= sum_n e_n^2, however e is chosen."""
    counted = [sum(a[i] * b[n - i] for i in range(len(a)) if 0 <= n - i < len(b)) for n in range(32)]
    assert max(counted) <= 1 + 1e-12


def test_zeros_behind_the_window_are_another_target():
    """With them the number for four exponentials is larger, and no floor of the last-step loss: a fit lies below."""
    kernel = KERNELS["four"]
    window = bounds.hankel(kernel, 2) / energy(kernel)
    padded = bounds.hankel(np.concatenate([kernel, np.zeros(64)]), 2) / energy(kernel)
    assert agrees(window, "4.1e-5")
    assert agrees(isometric(np.concatenate([kernel, np.zeros(63)]), 2, np.ones(127)) / energy(kernel), "1.3e-4")
    assert padded > 3 * window


@pytest.mark.parametrize("delay", [0, 3, 8])
def test_shift_is_a_case_of_it(delay):
    """Over the last step and over a sequence; both from 2k + 1 steps on."""
    for length in (2 * delay + 1, 2 * delay + 9, 4 * delay + 3):
        kernel, averaged = targets.shift(delay, length), 1 - np.arange(length) / length
        for order in range(1, delay + 3):
            exact = max(0.0, 1 - order / (delay + 1))
            assert bounds.hankel(kernel, order) == pytest.approx(exact, abs=1e-12)
            expected = bounds.shift(delay, length, order)
            assert bounds.hankel(kernel, order, averaged) == pytest.approx(expected, abs=1e-12)


def test_which_weights_are_best():
    one = np.ones(64)
    smooth, late = KERNELS["bump"], targets.shift(16, 64)
    assert isometric(smooth, 2, one) > uniform(smooth, 2, one)
    assert isometric(late, 2, one) < uniform(late, 2, one)


def test_a_long_scan_finds_the_best_length():
    """Beyond 65 lags not every p is tried at first: for a shift the best one is known, k + 1."""
    assert uniform(targets.shift(76, 300), 10, np.ones(300)) == pytest.approx(1 - 10 / 77, rel=1e-12)


def test_floors_are_zero_or_all_at_the_ends():
    kernel = KERNELS["four"]
    assert bounds.hankel(kernel, 0) == pytest.approx(energy(kernel))
    assert bounds.hankel(kernel, 0, np.full(64, 0.5)) == pytest.approx(energy(kernel) / 2)
    assert bounds.hankel(kernel, 4) == bounds.hankel(kernel, 40) == 0
    assert bounds.hankel(3 * kernel, 2) == pytest.approx(9 * bounds.hankel(kernel, 2), rel=1e-9)


WIDTHS = [  # exponent, scale, length, least order for relative errors of 1e-2, 1e-4, 1e-6, 1e-8
    (1.1, 0.1, 64, (1, 2, 3, 4)),
    pytest.param(1.1, 0.1, 1024, (2, 3, 5, 6), marks=pytest.mark.slow),
    pytest.param(1.1, 0.1, 2048, (2, 3, 5, 7), marks=pytest.mark.slow),
    pytest.param(0.6, 1.0, 2048, (2, 4, 6, 8), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("exponent", "scale", "length", "orders"), WIDTHS)
def test_orders_forced_by_a_power_law(exponent, scale, length, orders):
    """Few, even over long windows: logarithmic in the window and in the error."""
    kernel = targets.power_law(exponent, length, scale)
    floors = [isometric(kernel, order, np.ones(length)) / energy(kernel) for order in range(max(orders) + 1)]
    forced = [next(m for m, floor in enumerate(floors) if floor <= wanted) for wanted in (1e-2, 1e-4, 1e-6, 1e-8)]
    assert tuple(forced) == orders


def test_coloured_inputs_are_outside_of_it():
    """Under a smooth input an RNN of one state does what the floor for white noise forbids."""
    kernel = targets.shift(1, 16)
    covariance = toeplitz(np.exp(-((np.arange(16) / 10) ** 2) / 2))
    error = kernel - targets.shift(0, 16)
    assert error @ covariance @ error < 0.02 < bounds.hankel(kernel, 1)


test_wrong_arguments_are_refused = refuses(
    operator.call,
    (lambda: bounds.hankel(np.ones(4), -1), "order must be >= 0, got -1"),
    (lambda: bounds.hankel(np.ones(0), 1), r"kernel must hold one number or more, all finite, got \[\]"),
    (lambda: bounds.hankel(np.array([1, np.nan]), 0), "kernel must hold one number or more, all finite, got .*nan"),
    (lambda: bounds.hankel(np.ones(4), 1, -np.ones(4)), r"weight must be >= 0 everywhere, got -1\.0"),
)
