import math
import operator

import numpy as np
import pytest
from scipy.optimize import minimize

from seqjax.data import GaussianProcess
from seqjax.tasks import Shift
from seqjax.theory import bounds, fits, targets
from tests.refusals import refuses
from tests.theory.test_hankel import agrees


@pytest.mark.parametrize(
    ("floor", "loss", "standard_error"),
    [(1.0, 1 - 2e-9, 0.0), (1.0, math.nan, 0.0), (1.0, 0.9, 0.02), ([0.5, 1.0], [0.6, 0.9], [0.0, 0.02])],
)
def test_a_loss_below_its_floor_stops_the_run_with_both_numbers(floor, loss, standard_error):
    with pytest.raises(ArithmeticError, match=r"is below the floor 1\.0"):
        bounds.require_above(np.array(floor), np.array(loss), np.array(standard_error))


def test_a_loss_above_its_floor_or_within_its_error_does_not():
    bounds.require_above(1.0, 1.0)
    bounds.require_above(1.0, 1 - 1e-10)
    bounds.require_above(1.0, np.array([0.93, 2.0]), 0.02)
    bounds.require_above(0.0, 0.0)


def test_a_score_above_its_ceiling_is_refused():
    bounds.require_below(0.8, 0.8 + 1e-10)
    bounds.require_below(0.8, np.array([0.83, 0.1]), 0.01)
    with pytest.raises(ArithmeticError, match=r"score 0\.9 is above the ceiling 0\.8"):
        bounds.require_below(0.8, np.array([0.7, 0.9]))
    with pytest.raises(ArithmeticError, match=r"score 0\.85 \+- 0\.01 is above"):
        bounds.require_below(0.8, 0.85, 0.01)
    with pytest.raises(ArithmeticError, match="score nan"):
        bounds.require_below(0.8, np.nan)


def test_mean_and_error_are_over_rows():
    values = np.random.default_rng(0).normal(size=(3, 400))
    mean, error = bounds.mean_and_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=1))
    np.testing.assert_allclose(error, values.std(axis=1) / 20)


def loss(W, U, c, delay, length) -> float:
    """Exact error of a linear RNN on the shift, averaged over the steps."""
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


test_wrong_arguments_are_refused = refuses(
    operator.call,
    (lambda: bounds.shift(-1, 8, 1), "delay must be >= 0, got -1"),
    (lambda: bounds.shift(1, 8, -1), "order must be >= 0, got -1"),
    (lambda: bounds.memoryless(np.eye(4), -1), "delay must be >= 0, got -1"),
    (lambda: bounds.window(np.eye(4), -1, 1), "delay must be >= 0, got -1"),
    (lambda: bounds.window(np.eye(4), 1, -1), "window must be >= 0, got -1"),
    (lambda: bounds.truncation(np.eye(4), -1), "rank must be >= 0, got -1"),
    (lambda: bounds.logits(np.eye(4), -1), "head_dim must be >= 0, got -1"),
    (lambda: bounds.bessel(-1, 1), "targets must be >= 0, got -1"),
    (lambda: bounds.bessel(1, -1), "features must be >= 0, got -1"),
    (lambda: bounds.window(np.eye(4), 4, 1), r"covariance must span .* = 5 steps, got 4"),
)


RELATIVE = {  # what 32 x 32 targets lose through 1, 2, 4, 8, 16 numbers
    "reversal": (targets.reversal(32), (".97", ".94", ".88", ".75", ".50")),
    "delay": (targets.hankel(targets.shift(8, 63), 32), (".89", ".78", ".56", ".11", "0")),
    "gaussian": (targets.gaussian(3.0, 32), (".67", ".41", ".11", "1.8e-3")),
    "cosine": (targets.cosine(0.0375, 32), (".89", ".79", ".63", ".32", "2e-10")),
    "power law": (targets.hankel(targets.power_law(1.1, 63), 32), ("7e-3", "3e-5", "3e-10")),
}


@pytest.mark.parametrize("name", RELATIVE)
def test_what_a_context_vector_leaves_out(name):
    """Figures of independent origin, to the digits given."""
    kernel, printed = RELATIVE[name]
    for rank, expected in zip((1, 2, 4, 8, 16), printed, strict=False):
        assert agrees(bounds.truncation(kernel, rank) / (kernel**2).sum(), expected)


@pytest.mark.parametrize(
    ("exponent", "cut", "printed"),
    [
        (1.0, 8, {1: ".345", 2: ".182", 4: ".068", 6: ".024", 8: "0"}),
        (0.125, 8, {1: ".828", 2: ".684", 4: ".432", 6: ".208", 8: "0"}),
        (2.0, 32, {1: ".076", 2: ".018", 4: ".0033"}),
    ],
)
def test_what_is_left_of_targets_of_given_strengths(exponent, cut, printed):
    strengths = np.arange(1.0, cut + 1) ** -exponent
    functions = targets.orthonormal(np.linspace(0.2, 0.95, cut), 32)
    kernel = targets.low_rank(strengths, functions, functions)
    for rank, expected in printed.items():
        assert agrees(bounds.truncation(kernel, rank) / (kernel**2).sum(), expected)


@pytest.mark.parametrize("last", [31, 8])
def test_a_permutation_loses_one_step_for_each_number_that_is_missing(last):
    kernel = targets.hankel(targets.shift(last, 63), 32)
    for kept in range(33):
        assert bounds.truncation(kernel, kept) == pytest.approx(max(0, last + 1 - kept), abs=1e-9)


def test_memory_of_a_network_of_tanh_is_below_bessels_sum():
    """R^2 of all delays of white noise: at most one a feature, less the more it saturates; published 14.4, 7.3, 4.6."""
    rng, features, delays, steps = np.random.default_rng(0), 16, 60, 6000
    W = rng.normal(size=(features, features))
    W *= 0.95 / np.abs(np.linalg.eigvals(W)).max()
    U, x = rng.uniform(-1, 1, features), rng.normal(size=steps)
    total = []
    for scale in (0.01, 0.3, 1.0):
        h, states = np.zeros(features), np.zeros((steps, features))
        for t in range(steps):
            h = states[t] = np.tanh(W @ h + scale * U * x[t])
        past = np.stack([x[delays - k : steps - k] for k in range(delays + 1)], axis=1)
        left, values, _ = np.linalg.svd(states[delays:], full_matrices=False)
        basis = left[:, values > 1e-12 * values[0]]
        explained = ((basis.T @ past) ** 2).sum(axis=0) / (past**2).sum(axis=0)
        chance = basis.shape[1] / len(past)  # what any basis explains of noise
        total.append((explained - chance).sum())
    mse = delays + 1 - np.array(total)
    assert (mse > bounds.bessel(delays + 1, features) - 0.3).all()
    np.testing.assert_allclose(total, [14.4, 7.3, 4.6], rtol=0.25)


def test_bessel_is_reached_by_a_delay_line():
    assert bounds.bessel(9, 4) == 5
    assert bounds.bessel(4, 9) == 0


def reordered() -> np.ndarray:
    """y_t = sum_s e^-s x_{t-s} over 32 steps, the first ten outputs exchanged with the last ten (arXiv:2305.18475)."""
    t, s = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    response = np.where(s <= t, np.exp(-(t - s).astype(float)), 0)
    return response[np.r_[22:32, 10:22, 0:10]]


def test_published_floor_of_causal_models_on_a_reordered_target():
    """For inputs uniform on [0, 1]; then of models that are linear and the same at all times."""
    assert agrees(bounds.causal(reordered(), 1 / 12), ".0301")
    assert agrees(bounds.homogeneous(reordered(), 1 / 12), ".0526")
    assert agrees((reordered() ** 2).sum() / 32 / 12, ".0959")


def test_causal_floor_is_reached_by_regression_on_the_past():
    rng, response = np.random.default_rng(0), reordered()[:, ::4][::4]
    x = rng.uniform(size=(20_000, 8))
    y, errors = x @ response.T, []
    for t in range(8):
        seen = np.column_stack([np.ones(len(x)), x[:, : t + 1]])
        errors.append(((y[:, t] - seen @ np.linalg.lstsq(seen, y[:, t])[0]) ** 2).mean())
    assert np.mean(errors) == pytest.approx(bounds.causal(response, 1 / 12), rel=0.03)


def test_homogeneous_floor_is_reached_by_least_squares_over_kernels():
    response = np.random.default_rng(0).normal(size=(6, 6))
    lag = np.arange(6)[:, None] - np.arange(6)[None, :]
    design = np.stack([(lag == k).ravel() for k in range(6)], axis=1).astype(float)
    left = response.ravel() - design @ np.linalg.lstsq(design, response.ravel())[0]
    assert bounds.homogeneous(response, 2.0) == pytest.approx(2 * (left**2).sum() / 6, rel=1e-12)
    toeplitz = np.tril(0.5 ** lag.clip(0))
    assert bounds.homogeneous(toeplitz) == pytest.approx(0, abs=1e-15)


def test_logits_are_free_of_a_constant_in_each_row():
    """The floor is what least squares over constants and factors, one after the other, comes to."""
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(7, 9))
    offset, low = np.zeros((7, 1)), np.zeros((7, 9))
    for _ in range(300):
        left, values, right = np.linalg.svd(wanted - offset, full_matrices=False)
        low = (left[:, :2] * values[:2]) @ right[:2]
        offset = (wanted - low).mean(axis=1, keepdims=True)
    assert ((wanted - low - offset) ** 2).sum() == pytest.approx(bounds.logits(wanted, 2), rel=1e-6)
    assert bounds.logits(wanted + rng.normal(size=(7, 1)), 2) == pytest.approx(bounds.logits(wanted, 2))
    assert bounds.logits(np.tile(rng.normal(size=(7, 1)), 9), 0) == pytest.approx(0, abs=1e-25)


def test_a_shift_by_position_needs_logits_of_rank_two():
    t, s = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    wanted = np.cos(2 * np.pi * (t - s - 3) / 16)
    assert bounds.logits(wanted, 2) == pytest.approx(0, abs=1e-25)
    assert bounds.logits(wanted, 1) == pytest.approx((wanted**2).sum() / 2)


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
