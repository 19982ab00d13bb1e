import numpy as np
import pytest
from scipy.optimize import minimize

from seqjax.data import GaussianProcess
from seqjax.tasks import Shift
from seqjax.theory import bounds, fits


def loss(W, U, c, delay, length) -> float:
    """Exact error of a linear RNN on the shift, averaged over the steps (L2)."""
    error, state = 0.0, U
    for lag in range(length):
        error += (1 - lag / length) * (float(lag == delay) - c @ state) ** 2
        state = W @ state
    return error


def best_found(delay, length, order, restarts=6) -> float:
    rng = np.random.default_rng(0)
    split = (order**2, order**2 + order)

    def objective(parameters):
        W, U, c = np.split(parameters, split)
        with np.errstate(over="ignore", invalid="ignore"):
            return min(loss(W.reshape(order, order), U, c, delay, length), 1e6)

    starts = rng.normal(size=(restarts, order**2 + 2 * order)) / np.sqrt(order)
    return min(float(minimize(objective, start, method="BFGS", options={"maxiter": 150}).fun) for start in starts)


@pytest.mark.parametrize(
    ("delay", "length", "order"), [(1, 3, 1), (2, 5, 1), (2, 5, 2), (3, 7, 1), (3, 7, 2), (3, 7, 3), (3, 12, 2)]
)
def test_no_optimised_linear_rnn_goes_below_the_shift_floor(delay, length, order):
    floor = bounds.shift(delay, length, order)
    best = best_found(delay, length, order)
    assert floor * (1 - 1e-9) <= best < 1 - delay / length  # better than zero, so the search did search
    assert floor > 0.3 * best  # and the floor says something


def test_below_the_window_rule_an_unstable_rnn_beats_the_formula():
    """k = 1, T = 2: growing by 1000 a step, it reaches the last lag and is nearly silent before."""
    assert loss(np.array([[1e3]]), np.array([1.0]), np.array([1e-3]), 1, 2) < 1e-5 < (1 - 1 / 2) * (1 - 1 / 2)
    with pytest.raises(ValueError, match=r"length must be >= 2 delay \+ 1 = 3, got 2"):
        bounds.shift(1, 2, 1)


@pytest.mark.parametrize("delay", [0, 1, 5, 8])
def test_delay_line_reaches_zero_where_the_floor_does(delay):
    length = 2 * delay + 1
    assert loss(*fits.delay_line(delay + 1), delay, length) == bounds.shift(delay, length, delay + 1) == 0
    assert bounds.shift(delay, length, delay + 7) == 0
    one_too_few = (1 - delay / length) / (delay + 1)
    assert bounds.shift(delay, length, delay) == pytest.approx(one_too_few, rel=1e-12)


def test_published_shift_floors():
    assert bounds.shift(8, 32, 0) == 0.75
    assert [round(bounds.shift(8, 32, order) / 0.75, 3) for order in (1, 2, 4, 8)] == [0.889, 0.778, 0.556, 0.111]


@pytest.mark.parametrize(
    ("delay", "window", "expected", "half_a_digit"),
    [
        *[(8, 1, 0.473, 5e-4), (8, 2, 0.109, 5e-4), (8, 3, 0.0131, 5e-5), (8, 4, 8.4e-4, 5e-6)],
        *[(16, 4, 0.16, 5e-3), (16, 8, 4e-3, 5e-4)],
        *[(32, 8, 0.80, 5e-3), (32, 12, 0.46, 5e-3), (32, 16, 0.16, 5e-3), (32, 24, 1.6e-3, 5e-5)],
    ],
)
def test_published_window_floors(delay, window, expected, half_a_digit):
    covariance = GaussianProcess(length_scale=10.0, jitter=1e-10).covariance(64)
    assert bounds.window(covariance, delay, window) == pytest.approx(expected, abs=half_a_digit)


def test_window_floor_depends_on_the_jitter():
    floors = {jitter: bounds.window(GaussianProcess(jitter=jitter).covariance(9), 8, 4) for jitter in (1e-6, 1e-10)}
    assert floors[1e-6] == pytest.approx(0.0069, abs=5e-5)
    assert floors[1e-10] == pytest.approx(8.4e-4, abs=5e-6)
    assert bounds.window(GaussianProcess(jitter=0.0).covariance(9), 8, 5) == pytest.approx(2.8e-5, abs=5e-7)


def test_window_floor_is_reached_by_the_fitted_filter(key):
    """An independent road to the same number: regression on samples, over the steps that see a full window."""
    process = GaussianProcess(jitter=1e-6)
    x, y = (np.asarray(part, np.float64) for part in Shift(8, 32, process).sample(key, 2_000)[:2])
    midstream = np.broadcast_to(np.arange(32) >= 8, (2_000, 32)).astype(float)
    error = fits.fir(x, y, 4, midstream).predict(x) - y
    floor = bounds.window(process.covariance(32), 8, 4)
    assert np.mean(error[:, 8:] ** 2) == pytest.approx(floor, rel=0.03)


def test_window_floor_at_its_ends():
    covariance = GaussianProcess(jitter=0.0).covariance(12)
    assert bounds.window(covariance, 3, 0) == 1
    assert bounds.window(covariance, 3, 4) == 0
    assert bounds.window(np.eye(12), 3, 3) == 1


def test_memoryless_is_the_best_line_for_any_variance():
    """Minimum over the slope a of the average of E (x_{t-k} - a x_t)^2, with the zeros at the start counted."""
    covariance, delay, length = 4 * GaussianProcess(length_scale=3.0).covariance(12), 2, 12
    slopes = np.linspace(-1, 1, 20_001)
    kept = (length - delay) * (covariance[0, 0] - 2 * slopes * covariance[0, delay]) / length
    best = np.min(kept + slopes**2 * covariance[0, 0])
    assert bounds.memoryless(covariance, delay) == pytest.approx(best, rel=1e-7)
    assert bounds.memoryless(covariance, 0) == pytest.approx(0, abs=1e-12)
    assert bounds.memoryless(covariance, 12) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bounds.shift(-1, 8, 1), "delay must be >= 0, got -1"),
        (lambda: bounds.shift(1, 8, -1), "order must be >= 0, got -1"),
        (lambda: bounds.memoryless(np.eye(4), -1), "delay must be >= 0, got -1"),
        (lambda: bounds.window(np.eye(4), -1, 1), "delay must be >= 0, got -1"),
        (lambda: bounds.window(np.eye(4), 1, -1), "window must be >= 0, got -1"),
        (lambda: bounds.truncation(np.eye(4), -1), "rank must be >= 0, got -1"),
        (lambda: bounds.window(np.eye(4), 4, 1), r"covariance must span .* = 5 steps, got 4"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


T, S = np.meshgrid(np.arange(32.0), np.arange(32.0), indexing="ij")


@pytest.mark.parametrize(("last", "rank"), [(31, 32), (8, 9)])
def test_a_permutation_loses_one_step_for_each_number_that_is_missing(last, rank):
    kernel = (last == T + S).astype(float)
    for kept in range(33):
        assert bounds.truncation(kernel, kept) == pytest.approx(max(0, rank - kept), abs=1e-9)


@pytest.mark.parametrize(
    ("kernel", "relative"),
    [
        (np.exp(-((T - S) ** 2) / 18), {1: 0.67, 2: 0.41, 4: 0.11, 8: 0.0018}),
        (np.cos(0.0375 * T * S), {1: 0.89, 2: 0.79, 4: 0.63, 8: 0.32}),
    ],
)
def test_what_a_context_vector_leaves_out(kernel, relative):
    """Figures of independent origin, given to two digits."""
    for rank, expected in relative.items():
        assert float(f"{bounds.truncation(kernel, rank) / (kernel**2).sum():.2g}") == expected


def test_no_product_through_few_numbers_comes_nearer_and_one_is_as_near():
    """Alternating least squares from many starts: the error over white noise of y = B A x, A with `rank` rows."""
    rng = np.random.default_rng(0)
    kernel, rank = rng.normal(size=(6, 9)), 2
    errors = []
    for _ in range(20):
        encoder = rng.normal(size=(rank, 9))
        for _ in range(200):
            decoder = kernel @ np.linalg.pinv(encoder)
            encoder = np.linalg.pinv(decoder) @ kernel
            errors.append(((kernel - decoder @ encoder) ** 2).sum())
    assert min(errors) == pytest.approx(bounds.truncation(kernel, rank), rel=1e-9)
    assert bounds.truncation(kernel, 0) == pytest.approx((kernel**2).sum())
