"""Filters of dilated linear networks: the published table, the proof's two sides, and known ranks."""

import itertools

import jax
import numpy as np
import pytest

from seqjax.theory import bounds, fits, targets
from tests.refusals import refuses
from tests.theory.test_hankel import agrees, energy, published

LAGS = 128
N = np.arange(float(LAGS))
KERNELS = {
    "exponential": 0.9**N,
    "shift 77": targets.shift(77, LAGS),
    "four": targets.exponentials((0.5, 0.7, 0.85, 0.95), LAGS),
    "power law": targets.power_law(1.1, LAGS),
    "three shifts": sum(targets.shift(delay, LAGS) for delay in (8, 17, 99)),
    "two parts": targets.two_parts(LAGS),
    "airy": targets.airy(6.0, LAGS),
    "bump": targets.bump(20.0, 2.0, LAGS),
}
PUBLISHED = """
exponential   1 0       0
shift 77      1 0       0
four          1 7.8e-3  1.3e-2   2 4.2e-6  6.4e-6   3 2e-10   -         4 0       0
power law     1 1.1e-2  1.9e-2   2 1.5e-5  2.8e-5   3 8e-9    -         4 2e-12   -
three shifts  1 .67     .67      2 .33     .33      3 0       0
two parts     1 .19     -        2 1.4e-4  1.4e-4   3 0       0
airy          1 .43     .54      2 8.1e-4  8.1e-4   3 9e-14   9e-14     4 0       0
bump          1 .17     -        2 8.9e-4  1.4e-3   3 1.7e-5  1.7e-5    4 5e-21   5e-21
"""
"""Kernel; then, for several numbers of channels, floor and the error of TT-SVD, relative to the kernel's energy.

-: only one number is printed, and the two differ; or (two parts, bump) another filter was, .20 where TT-SVD has less.
"""


@pytest.mark.parametrize(("name", "channels", "low", "high"), list(published(PUBLISHED, 14)))
def test_published_floors_and_filters(name, channels, low, high):
    kernel = KERNELS[name]
    floor, error = bounds.tensor_train(kernel, channels)
    assert agrees(floor / energy(kernel), low)
    assert floor <= error * (1 + 1e-9)
    if high != "-":
        assert agrees(error / energy(kernel), high)
    elif name in ("two parts", "bump"):
        assert error / energy(kernel) < 0.2


def test_kernels_without_structure_cost_what_is_published(key):
    """One published draw among eight of ours; of 16 pairs of poles less remains at every width."""
    draws = jax.random.split(key, 8)
    noise = np.array([relative(targets.noise(draw, LAGS)) for draw in draws])
    published = np.array([[0.77, 0.57, 0.39, 0.27, 0.079], [0.89, 0.73, 0.56, 0.38, 0.13]]).T
    assert (published > 0.8 * noise.min(axis=0)).all()
    assert (published < 1.25 * noise.max(axis=0)).all()
    waves = np.array([relative(targets.random_cosines(draw, 16, LAGS)) for draw in draws])
    assert (waves.mean(axis=0) < noise.mean(axis=0)).all()
    assert bounds.tensor_train(targets.random_cosines(key, 16, LAGS), 7)[0] > 0


def relative(kernel):
    return [np.array(bounds.tensor_train(kernel, channels)) / energy(kernel) for channels in (1, 2, 3, 4, 6)]


@pytest.mark.parametrize(("base", "layers", "lags"), [(2, 5, 32), (3, 3, 27), (2, 4, 21), (5, 2, 25), (4, 1, 6)])
def test_both_sides_of_the_theorem(base, layers, lags):
    """floor <= ALS <= TT-SVD <= sum of all tails, with unfoldings written out by digits; lags behind count in full."""
    rng = np.random.default_rng(lags)
    kernel = rng.normal(size=lags) * 0.95 ** np.arange(lags)
    beyond = float((kernel[base**layers :] ** 2).sum())
    for channels in (1, 2, 3):
        low, high = bounds.tensor_train(kernel, channels, base, layers)
        tails = []
        for cut in range(1, layers):
            unfolded = np.zeros((base ** (layers - cut), base**cut))
            for lag in range(base**layers):
                unfolded[divmod(lag, base**cut)] = kernel[lag]
            tails.append((np.linalg.svd(unfolded)[1][channels:] ** 2).sum())
        assert low == pytest.approx(max(tails, default=0) + beyond, rel=1e-9, abs=1e-20)
        assert low * (1 - 1e-9) <= high <= (sum(tails) + beyond) * (1 + 1e-9) + 1e-25
        start = fits.tensor_train(kernel, channels, base, layers)
        better = fits.alternating(start, kernel)
        found = energy(kernel[: base**layers] - better.kernel()) + beyond
        assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9) + 1e-25
        assert [taps.shape for taps in better.taps] == [taps.shape for taps in start.taps]


def test_alternating_from_random_weights_never_goes_below_the_floor():
    rng, kernel = np.random.default_rng(0), KERNELS["two parts"][:32]
    for channels in (1, 2):
        low, high = bounds.tensor_train(kernel, channels)
        found = []
        for _ in range(10):
            widths = [1, *[channels] * 4, 1]
            taps = tuple(rng.normal(size=(2, a, b)) for a, b in itertools.pairwise(widths))
            found.append(energy(kernel - fits.alternating(fits.DilatedFilter(taps), kernel, 50).kernel()))
        assert low * (1 - 1e-9) <= min(found) <= high * (1 + 1e-6)


def test_alternating_gains_where_the_decomposition_is_not_best():
    kernel = KERNELS["airy"]
    low, high = bounds.tensor_train(kernel, 1)
    found = energy(kernel - fits.alternating(fits.tensor_train(kernel, 1), kernel).kernel())
    assert low < found < 0.95 * high


@pytest.mark.parametrize(
    ("kernel", "rank"),
    [
        (0.8 * (0.97**N) * np.cos(0.3 * N + 1), 2),
        (1 + 2 * N - 3 * N**2 / LAGS, 3),
        (KERNELS["four"], 4),
        (targets.shift(0, LAGS), 1),
        (targets.noise(jax.random.key(0), LAGS), 8),  # 2^floor(7/2): full
    ],
)
def test_known_ranks(kernel, rank):
    assert bounds.tensor_train(kernel, rank)[1] < 1e-24 * energy(kernel)
    assert rank == 1 or bounds.tensor_train(kernel, rank - 1)[0] > 1e-12 * energy(kernel)


@pytest.mark.parametrize(("delay", "layers", "base"), [(0, 3, 2), (5, 3, 2), (7, 3, 2), (77, 7, 2), (46, 4, 3)])
def test_digits_are_the_shift_through_one_channel(delay, layers, base):
    filter = fits.digits(delay, layers, base)
    np.testing.assert_array_equal(filter.kernel(), targets.shift(delay, base**layers))
    assert sum(taps.size for taps in filter.taps) == base * layers
    fitted = fits.tensor_train(targets.shift(delay, base**layers), 1, base)
    np.testing.assert_allclose(fitted.kernel(), filter.kernel(), atol=1e-14)


def test_a_lag_is_weighed_by_the_product_of_its_digits():
    """By definition: w_0[i_0] w_1[i_1] w_2[i_2] for n = i_0 + 3 i_1 + 9 i_2."""
    rng = np.random.default_rng(0)
    taps = rng.normal(size=(3, 1, 2)), rng.normal(size=(3, 2, 4)), rng.normal(size=(3, 4, 1))
    kernel = fits.DilatedFilter(taps).kernel()
    for lag in range(27):
        product = taps[0][lag % 3] @ taps[1][lag // 3 % 3] @ taps[2][lag // 9]
        assert kernel[lag] == pytest.approx(product[0, 0], rel=1e-12)


test_wrong_arguments_are_refused = refuses(
    lambda call: call(np.ones(9)),
    (lambda x: bounds.tensor_train(x, 0), "channels must be >= 1, got 0"),
    (lambda x: bounds.tensor_train(x, 1, 1), "base must be >= 2, got 1"),
    (lambda x: fits.tensor_train(x, 1, 2, 4), r"layers must lie in \[1, 3\], so that base\^layers <= 9 .*, got 4"),
    (lambda x: fits.tensor_train(x, 1, 10), r"layers must lie in \[1, 0\], .*, got 0"),
    (lambda x: fits.alternating(fits.tensor_train(x, 1), x, 0), "sweeps must be >= 1, got 0"),
    (lambda x: fits.alternating(fits.tensor_train(x, 1), x[:7]), r"layers must lie in \[1, 2\], .*, got 3"),
    (lambda x: fits.digits(8, 3), r"delay must lie in \[0, 8\), got 8"),
    (lambda x: fits.digits(0, 0), "layers must be >= 1, got 0"),
    (lambda x: fits.digits(0, 3, 1), "base must be >= 2, got 1"),
)
