import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize

from seqjax import metrics
from seqjax.theory import plateau

LOSS = jax.jit(plateau.loss)
GRADIENT = jax.jit(jax.grad(plateau.loss))
MODEL = plateau.Exponentials(np.array([0.7, -0.4, 0.9]), np.array([0.3, 0.9, 1.7]))


pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("memory", [7.0, 12.0])
def test_loss_is_the_integral(memory):
    """On [0, oo) by quadrature; the bump's other half weighs less than e^-24 from memory 7 on."""

    def error(t):
        target = np.exp(-t) + np.exp(-((t - memory) ** 2) / 2)
        return float((MODEL.amplitudes @ np.exp(-MODEL.rates * t) - target) ** 2)

    integral = quad(error, 0, memory, epsabs=1e-12)[0] + quad(error, memory, memory + 80, epsabs=1e-12, limit=200)[0]
    assert float(LOSS(MODEL, memory)) == pytest.approx(integral, abs=1e-8)


def test_gradient_is_that_of_finite_differences():
    """Also once e^-t is learned, where it is 1e-12 and an error in cancellation would show."""
    learned = plateau.Exponentials(np.array([0.2, 0.3, 0.5]), np.ones(3))
    for model, memory in ((MODEL, 6.0), (learned, 6.0)):
        gradient = GRADIENT(model, memory)
        for part, derivative in zip(range(2), gradient, strict=True):
            for unit in range(len(model.rates)):
                step = np.zeros(len(model.rates))
                step[unit] = 1e-5
                moved = (model._replace(**{model._fields[part]: model[part] + s * step}) for s in (1, -1))
                up, down = (float(LOSS(one, memory)) for one in moved)
                assert float(derivative[unit]) == pytest.approx((up - down) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("memory", [8.0, 20.0])
def test_the_plateau_is_what_is_left_of_the_bump(memory):
    for amplitudes in (np.array([1.0, 0.0, 0.0]), np.array([0.25, 0.35, 0.4])):
        model = plateau.Exponentials(amplitudes, np.ones_like(amplitudes))
        assert float(LOSS(model, memory)) == pytest.approx(1.7724538509, abs=1e-9)
        # There amplitudes and rates feel the bump alone: -2 <e^-t, bump> and 2 a <t e^-t, bump>.
        pull = 2 * np.sqrt(2 * np.pi) * np.exp(0.5 - memory)
        gradient = GRADIENT(model, memory)
        np.testing.assert_allclose(gradient.amplitudes, -pull * np.ones_like(amplitudes), rtol=1e-6)
        np.testing.assert_allclose(gradient.rates, pull * (memory - 1) * amplitudes, rtol=1e-6)


def test_the_second_plateau_is_the_best_of_two_units():
    """Measured parts of the first, by theory.md; and 1 - 1.30/memory in the limit."""
    published = {6: 0.65, 8: 0.76, 10: 0.82, 12: 0.85, 14: 0.88, 16: 0.90, 18: 0.91, 20: 0.92}

    def best(memory):
        """Over the rates; the best amplitudes for them solve the normal equations."""

        def least(logarithms):
            rates = np.append(np.exp(logarithms), 1.0)
            overlap = 1 / (rates[:, None] + rates[None, :])
            bump = np.sqrt(2 * np.pi) * np.exp(-rates * memory + rates**2 / 2)
            amplitudes = np.linalg.solve(overlap[:2, :2], overlap[:2, 2] + bump[:2])
            full = np.append(amplitudes, -1.0)
            return full @ overlap @ full - 2 * full @ bump + plateau.HEIGHT, amplitudes

        start = np.log([1.3, 1 / (2 * memory)])
        found = minimize(lambda x: least(x)[0], start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
        value, amplitudes = least(found.x)
        assert float(LOSS(plateau.Exponentials(amplitudes, np.exp(found.x)), memory)) == pytest.approx(value)
        return value / plateau.HEIGHT

    for memory, expected in published.items():
        assert best(float(memory)) == pytest.approx(expected, abs=0.0051)
    for memory in (100.0, 1000.0):
        removed, predicted = 1 - best(memory), 1 - plateau.second_plateau(memory) / plateau.HEIGHT
        assert predicted == pytest.approx(1.30 / memory, rel=0.005)
        assert removed == pytest.approx(predicted, rel=25 / memory)


def test_descent_escapes_when_it_is_said_to():
    """Eight units, rate .02: 53 and 153 steps for memories 5 and 7 (theory.md, medians of 8 seeds: a factor of 3)."""
    seeds, steps, memories = 64, 400, jnp.array([5.0, 7.0])
    random = np.random.default_rng(0)
    starts = plateau.Exponentials(random.normal(size=(seeds, 8)) / 8, random.uniform(0.5, 2.0, (seeds, 8)))

    def run(start, memory):
        def step(model, _):
            model = jax.tree.map(lambda part, slope: part - 0.02 * slope, model, jax.grad(plateau.loss)(model, memory))
            return model, plateau.loss(model, memory)

        return jax.lax.scan(step, start, length=steps)[1]

    losses = np.asarray(jax.jit(jax.vmap(jax.vmap(run, (0, None)), (None, 0)))(starts, memories))
    level = 0.95 * plateau.HEIGHT
    escapes = np.stack([metrics.plateau_time(np.arange(1, steps + 1), of_memory, level) for of_memory in losses])
    medians = np.median(escapes, axis=1)
    assert (np.abs(np.log(medians / [53, 153])) < np.log(3.5)).all()
    assert 0.3 < np.log(medians[1] / medians[0]) / 2 < 0.8  # published: .53
