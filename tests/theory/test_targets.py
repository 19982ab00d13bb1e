import operator

import numpy as np
import pytest
from scipy.special import airy

from seqjax.theory import targets
from tests.refusals import refuses

LAGS = np.arange(40.0)


def test_airy_equals_scipy():
    """Relative to the size of the function where it oscillates, and at each point where it falls to 1e-132."""
    for centre in np.linspace(9, 10, 31):
        found, expected = targets.airy(centre, 70), airy(np.arange(70) - centre)[0]
        np.testing.assert_allclose(found[:10], expected[:10], rtol=0, atol=1e-13)
        np.testing.assert_allclose(found[10:], expected[10:], rtol=1e-12)


def test_exponentials_by_their_recurrence():
    """A sum of exponentials is annihilated by the product of its factors."""
    both = np.convolve([1, -0.5], [1, -0.9])
    np.testing.assert_allclose(np.convolve(targets.exponentials((0.5, 0.9), 40), both)[2:40], 0, atol=1e-15)


def test_kernels_at_single_lags():
    assert targets.exponentials((0.5, 0.9), 3).tolist() == pytest.approx([2, 1.4, 1.06])
    assert targets.power_law(1.1, 11)[10] == pytest.approx(2**-1.1)
    assert targets.power_law(0.6, 2, scale=1.0)[1] == pytest.approx(2**-0.6)
    assert targets.shift(2, 4).tolist() == [0, 0, 1, 0]
    assert targets.bump(20.0, 2.0, 40)[[20, 22]].tolist() == pytest.approx([1, np.exp(-0.5)])
    assert targets.two_parts(12)[[0, 9, 10]].tolist() == pytest.approx([1, 1, np.exp(-1)], abs=2e-4)
    assert targets.two_parts(12)[0] == pytest.approx(1 + np.exp(-81), abs=1e-15)


def test_random_kernels(key):
    noise = targets.noise(key, 4000)
    assert abs(noise.mean()) < 0.07
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert np.abs(noise[:-1] @ noise[1:] / 4000) < 0.07
    wave = targets.random_cosines(key, 3, 60)
    values = np.linalg.svd(targets.hankel(wave, 30), compute_uv=False)
    assert values[5] > 1e-6 * values[0] > 1e6 * values[6]  # three pairs of poles
    assert targets.random_cosines(key, 3, 60, (0.1, 0.2))[40:].max() < 1e-20 < np.abs(wave[40:]).max()


def test_matrices():
    t, s = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
    np.testing.assert_array_equal(targets.reversal(5), t == s)
    np.testing.assert_array_equal(targets.hankel(targets.shift(3, 9), 5), t + s == 3)
    np.testing.assert_allclose(targets.gaussian(3.0, 5), np.exp(-((t - s) ** 2) / 18))
    np.testing.assert_allclose(targets.cosine(0.3, 5), np.cos(0.3 * t * s))
    assert targets.hankel(LAGS, 3).shape == (3, 38)


def test_low_rank_has_the_singular_values_it_is_given():
    written = targets.orthonormal(np.array([0.9, 0.5, 0.2]), 12)
    seen = targets.orthonormal(np.array([0.8, 0.7, 0.6]), 9)
    kernel = targets.low_rank(np.array([3.0, 2.0, 1.0]), written, seen)
    np.testing.assert_allclose(np.linalg.svd(kernel, compute_uv=False)[:4], [3, 2, 1, 0], atol=1e-14)
    np.testing.assert_allclose(written.T @ kernel @ seen, np.diag([3, 2, 1]), atol=1e-14)
    powers = 0.9 ** np.arange(12), 0.5 ** np.arange(12)
    np.testing.assert_allclose(np.abs(written[:, 0]), powers[0] / np.linalg.norm(powers[0]), atol=1e-14)
    span = written[:, :2] @ written[:, :2].T
    np.testing.assert_allclose(span @ powers[1], powers[1], atol=1e-14)


test_wrong_arguments_are_refused = refuses(
    operator.call,
    (lambda: targets.power_law(1.0, 0), "length must be >= 1, got 0"),
    (lambda: targets.shift(4, 4), r"delay must lie in \[0, 4\), got 4"),
    (lambda: targets.shift(-1, 4), r"delay must lie in \[0, 4\), got -1"),
    (lambda: targets.hankel(np.ones(4), 5), r"rows must lie in \[1, 4\], got 5"),
)
