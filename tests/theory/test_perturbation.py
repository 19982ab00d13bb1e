import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.theory import perturbation, targets

LENGTH = 1000
LAW = targets.power_law(1.1, LENGTH)
PARAMETERISATIONS = [perturbation.DIRECT, perturbation.EXP, perturbation.SOFTPLUS, perturbation.BEST]
RATES = np.geomspace(1e-3, 2.0, 7)


@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(0, 12))
@settings(max_examples=60)
def test_amplitudes_are_scipy_s_nonnegative_least_squares(seed, units, more):
    """Of rates on both sides of 1, so that powers of either sign meet a kernel of either sign."""
    rng = np.random.default_rng(seed)
    rates = 1 + np.linspace(-0.95, 0.95, units) * rng.uniform(0.9, 1.0)
    kernel = rng.normal(size=units + more)
    powers = (1 - rates)[None, :] ** np.arange(len(kernel))[:, None]
    expected, norm = scipy.optimize.nnls(powers, kernel)
    found = perturbation.decays(kernel, rates).amplitudes
    assert (found >= 0).all()
    assert np.linalg.norm(powers @ found - kernel) == pytest.approx(norm, abs=1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("states", [4, 8, 16])
def test_nearly_dependent_columns_are_no_harder(states):
    fit = perturbation.decays(LAW, np.geomspace(2 / LENGTH, 1.0, states))
    powers = (1 - fit.rates)[None, :] ** np.arange(LENGTH)[:, None]
    _, norm = scipy.optimize.nnls(powers, LAW, maxiter=10_000)
    assert np.linalg.norm(fit.kernel(LENGTH) - LAW) == pytest.approx(norm, rel=1e-6)


def test_a_negative_kernel_has_no_amplitudes():
    found = perturbation.decays(-LAW, np.array([0.1, 0.5]))
    np.testing.assert_array_equal(found.amplitudes, [0, 0])


def test_kernel_is_the_recurrence():
    fit = perturbation.Decays(np.array([0.1, 0.5, 1.0]), np.array([0.3, 2.0, 1.5]))
    states, said = np.zeros(3), []
    for x in [1.0, *[0.0] * 9]:
        states = (1 - fit.rates) * states + x
        said.append(fit.amplitudes @ states)
    np.testing.assert_allclose(fit.kernel(10), said, rtol=1e-12)


@pytest.mark.parametrize(
    ("states", "fit_error", "direct", "stable"),
    [
        (4, 2.8e-3, (8.9e-3, 1.4, 5e9, 1e49), (2.8e-3, 2.9e-3, 3.0e-3, 4.5e-3, 2.7e-2)),
        (8, 3.1e-5, (7.9e-3, 1.8, 6e9, 2e49), (3.2e-5, 3.7e-5, 1.2e-4, 1.5e-3, 2.5e-2)),
        (32, 2.8e-5, (8.0e-3, 1.8, 6e9, 2e49), (2.8e-5, 3.4e-5, 1.2e-4, 1.5e-3, 2.5e-2)),
    ],
)
def test_published_errors(states, fit_error, direct, stable):
    """Errors of this power law, to the digits given, except for those from 5.2e9 to 1.7e49."""
    fit = perturbation.decays(LAW, np.geomspace(2 / LENGTH, 1.0, states))
    square = (LAW**2).sum()
    assert float(f"{((fit.kernel(LENGTH) - LAW) ** 2).sum() / square:.2g}") == fit_error
    betas = np.array([1e-3, 4e-3, 1.6e-2, 6.4e-2, 0.256])
    both = [np.ones(states), -np.ones(states)]
    for parameterisation, published in ((perturbation.DIRECT, direct), (perturbation.EXP, stable)):
        errors = perturbation.perturbed_errors(LAW, fit, parameterisation, both, betas).max(axis=0)
        for found, expected in zip(errors, published, strict=False):
            if expected < 10:
                assert float(f"{found:.2g}") == expected
            else:
                assert np.log10(found) == pytest.approx(np.log10(expected), abs=0.25)


def test_direct_rates_blow_up_as_the_slowest_state_grows():
    """E ~ e^{2 (beta - slowest) T}, discretely (1 + beta - slowest)^{2T}; exp leaves beta^2."""
    fit = perturbation.decays(LAW, np.geomspace(2 / LENGTH, 1.0, 8))
    down, betas = [-np.ones(8)], np.array([0.05, 0.1])
    errors = perturbation.perturbed_errors(LAW, fit, perturbation.DIRECT, down, betas)[0]
    growth = 2 * LENGTH * np.diff(np.log1p(betas - 2 / LENGTH))[0]
    assert np.log(errors[1] / errors[0]) == pytest.approx(growth, rel=0.02)
    exact = perturbation.Decays(fit.rates, fit.amplitudes)
    small = np.array([1e-3, 2e-3, 4e-3])
    errors = perturbation.perturbed_errors(exact.kernel(LENGTH), exact, perturbation.EXP, down, small)[0]
    np.testing.assert_allclose(errors[1:] / errors[:-1], 4, rtol=0.02)


def test_the_two_ends_are_the_worst_direction_within_a_factor_of_two():
    fit = perturbation.best_decays(LAW, 6, np.array([1e-3, 3e-3, 1e-2]), fastest=0.6)
    rng, betas = np.random.default_rng(0), np.array([1e-4, 1e-3, 1e-2, 0.1])
    ends = [np.ones(6), -np.ones(6)]
    corners = [np.where(rng.random(6) < 0.5, 1.0, -1.0) for _ in range(64)]
    for parameterisation in (perturbation.DIRECT, perturbation.EXP):
        worst = perturbation.perturbed_errors(LAW, fit, parameterisation, ends, betas).sum(axis=0)
        assert (perturbation.perturbed_errors(LAW, fit, parameterisation, corners, betas) <= worst).all()


def test_errors_are_those_so_far_and_no_change_is_the_fit():
    """Up by .3 every state is faster than it should be; at beta 0 that is the fit's own error."""
    fit = perturbation.decays(LAW[:50], np.array([0.05, 0.4]))
    sizes = np.array([0.0, 0.3, 0.01])
    errors = perturbation.perturbed_errors(LAW[:50], fit, perturbation.DIRECT, [np.ones(2)], sizes)[0]
    own = ((fit.kernel(50) - LAW[:50]) ** 2).sum() / (LAW[:50] ** 2).sum()
    assert errors[0] == pytest.approx(own)
    moved = perturbation.Decays(fit.rates + 0.3, fit.amplitudes).kernel(50)
    assert errors[1] == errors[2] == pytest.approx(((moved - LAW[:50]) ** 2).sum() / (LAW[:50] ** 2).sum())


def test_the_best_fit_is_that_of_the_best_candidate():
    candidates = np.array([1e-3, 1e-2, 0.3])
    fit = perturbation.best_decays(LAW, 5, candidates)
    found = [perturbation.decays(LAW, np.geomspace(slow, 1.0, 5)).kernel(LENGTH) for slow in candidates]
    errors = [((kernel - LAW) ** 2).sum() for kernel in found]
    assert ((fit.kernel(LENGTH) - LAW) ** 2).sum() == min(errors)
    assert fit.rates[0] == pytest.approx(candidates[np.argmin(errors)])


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_parameterisations_invert_and_have_their_slope(parameterisation):
    weights = parameterisation.weight(RATES)
    np.testing.assert_allclose(parameterisation.rate(weights), RATES, rtol=1e-9)
    difference = (parameterisation.rate(weights + 1e-6) - parameterisation.rate(weights - 1e-6)) / 2e-6
    np.testing.assert_allclose(parameterisation.slope(weights), np.abs(difference), rtol=1e-4)


def test_gradient_scales():
    np.testing.assert_allclose(perturbation.DIRECT.gradient_scale(RATES), RATES**-2.0)
    np.testing.assert_allclose(perturbation.EXP.gradient_scale(RATES), 1 / RATES)
    np.testing.assert_allclose(perturbation.BEST.gradient_scale(RATES), 2 * perturbation.BEST.weight(RATES))
    np.testing.assert_allclose(perturbation.SOFTPLUS.gradient_scale(RATES[:2]), 1 / RATES[:2], rtol=2e-3)


@pytest.mark.parametrize("parameterisation", PARAMETERISATIONS)
def test_gradient_scale_is_the_derivative_of_what_a_state_has_said(parameterisation):
    """For e = 1 the loss's derivative by a weight is that of int e^{-f t} dt = 1/f."""
    weights = parameterisation.weight(RATES)
    said = [1 / parameterisation.rate(weights + step) for step in (1e-6, -1e-6)]
    np.testing.assert_allclose(np.abs(said[0] - said[1]) / 2e-6, parameterisation.gradient_scale(RATES), rtol=1e-4)


def test_overflow_is_infinite_and_not_nan():
    fit = perturbation.Decays(np.array([-0.5, -3.0]), np.array([1.0, 0.0]))
    assert fit.kernel(5_000)[-1] == np.inf
