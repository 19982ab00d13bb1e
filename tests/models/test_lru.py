import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.models import LRU
from seqjax.models.lru import Recurrence, eigenvalues
from tests import contracts

MODEL = LRU(4, layers=2, order=3)


def test_contract(key):
    contracts.backbone(MODEL, key)


def test_learns(key):
    contracts.learns(LRU(8, layers=1), key)


def norm(x, weights):
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * weights["scale"] + weights["bias"]


def recurrence(x, weights):
    """Step by step in complex128, as the paper writes it (eq. 7)."""
    decay = np.exp(-np.exp(weights["nu"]) + 1j * np.exp(weights["theta"]))
    b, c = (weights[f"{name}_real"] + 1j * weights[f"{name}_imaginary"] for name in "bc")
    h, y = np.zeros((len(x), len(decay)), np.complex128), []
    for now in x.swapaxes(0, 1):
        h = decay * h + np.exp(weights["gamma"]) * (now @ b)
        y.append((h @ c).real + weights["d"] * now)
    return np.stack(y, axis=1)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def test_blocks_as_in_the_paper(key):
    x = contracts.inputs(key, 9)
    params = contracts.parameters(MODEL, key)
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    y = np.asarray(x, np.float64) @ weights["embed"]["kernel"] + weights["embed"]["bias"]
    for depth in range(2):
        block = weights[f"block_{depth}"]
        z = gelu(recurrence(norm(y, block["norm"]), block["recurrence"]))
        value, gate = np.split(z @ block["mix"]["kernel"] + block["mix"]["bias"], 2, axis=-1)
        y = y + value / (1 + np.exp(-gate))
    np.testing.assert_allclose(contracts.forward(MODEL)(params, x), y, rtol=1e-4, atol=1e-5)


NUMBERS = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=200)
@given(NUMBERS, NUMBERS)
def test_no_parameters_lead_outside_the_unit_circle(nu, theta):
    value = np.asarray(eigenvalues(jnp.array([nu], jnp.float32), jnp.array([min(theta, 80.0)], jnp.float32)))
    assert np.isfinite(value).all()
    assert np.abs(value.astype(np.complex128)) <= 1 + 1e-6


@pytest.mark.parametrize(("nu", "modulus"), [(-20.0, np.exp(-np.exp(-20.0))), (-3.0, 0.951432), (2.0, 6.18e-4)])
def test_modulus(nu, modulus):
    value = eigenvalues(jnp.full((1,), nu), jnp.full((1,), 0.3))
    np.testing.assert_allclose(np.abs(value), modulus, rtol=1e-3)
    np.testing.assert_allclose(np.angle(value), np.exp(0.3), rtol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.9, 0.999), (0.5, 1.0)])
def test_eigenvalues_start_evenly_spread_over_the_ring(low, high, key):
    recurrence = Recurrence((low, high))
    params = jax.jit(recurrence.init)(key, jnp.zeros((1, 20_000), jnp.complex64), jnp.zeros((1, 1, 1)), None)["params"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    value = np.asarray(eigenvalues(params["nu"], params["theta"]))
    modulus, angle = np.abs(value), np.angle(value) % (2 * np.pi)
    # Evenly over an area: the square of the modulus is uniform.
    for sample, start, end in ((modulus**2, low**2, high**2), (angle, 0, 2 * np.pi)):
        assert start - 1e-5 <= sample.min()
        assert sample.max() <= end + 1e-5
        np.testing.assert_allclose(
            np.quantile(sample, (0.25, 0.5, 0.75)), start + (end - start) * np.arange(1, 4) / 4, rtol=0.05
        )


def test_white_noise_gives_states_and_outputs_of_unit_variance(key):
    """However long an eigenvalue remembers; without the skip connection."""
    recurrence = Recurrence((0.5, 0.98))
    x = jax.random.normal(key, (64, 300, 16))
    empty = jnp.zeros((64, 100), jnp.complex64)
    params = jax.jit(recurrence.init)(key, empty[:1], x[:1, :1], None)["params"]
    state, y = jax.jit(recurrence.apply)({"params": params | {"d": 0 * params["d"]}}, empty, x, None)
    modulus = np.abs(eigenvalues(params["nu"], params["theta"]))
    power = (np.abs(state) ** 2).mean(axis=0)
    for part in (modulus < 0.8, modulus > 0.9):
        np.testing.assert_allclose(power[part].mean(), 1, rtol=0.15)
    np.testing.assert_allclose(y[:, -50:].var(), 1, rtol=0.2)


@pytest.mark.slow
def test_ten_thousand_steps_stay_finite(key):
    """In parallel too, where powers of the eigenvalues are formed; and so do the gradients."""
    model = LRU(2, layers=1, ring=(0.99, 1.0))
    params, x = model.init(key, jnp.zeros((1, 1, 2))), contracts.inputs(key, 10_000, rows=1)
    y, slope = contracts.compiled(jax.value_and_grad(lambda params: jnp.mean(model.apply(params, x) ** 2)))(params)
    assert np.isfinite(y)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_parameters_are_real(key):
    shapes = jax.eval_shape(LRU(8, layers=1, order=5).init, key, jnp.zeros((1, 1, 2)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes))
    # embed; norm; nu, theta, gamma; b and c; d; mix
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == (3 * 8) + 16 + 15 + 4 * 40 + 8 + 9 * 16
    assert [state.shape for state in LRU(8, layers=2).start(3, 2, 9)] == [(3, 8)] * 2
