"""Queried memory against closed forms: linear recurrences, delays, convolutions, static networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.theory import fits, targets
from seqjax.theory.queried_memory import by_height
from seqjax.types import InputError
from tests.refusals import refuses

HEIGHTS = jnp.array([[-2.0], [-0.5], [0.5], [1.0], [3.0]])
LENGTH = 24


def test_of_a_linear_recurrence_it_is_its_kernel_at_every_height(x64):
    """|c A^t b|, with biases, which the answer to 0 takes away."""
    rng = np.random.default_rng(0)
    a, b, c = 0.3 * rng.normal(size=(5, 5)), rng.normal(size=(1, 5)), rng.normal(size=(5, 1))
    layer = {"recurrent_kernel": a, "input_kernel": b, "bias": rng.normal(size=5)}
    readout = {"kernel": c, "bias": np.array([0.7])}
    model = models.Regressor(models.RNN(5, activation=jax.nn.identity))
    params = {"params": {"backbone": {"layer_0": layer}, "readout": readout}}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
    found = by_height(lambda x: model.apply(params, x), HEIGHTS.astype(jnp.float64), LENGTH)
    wanted = [abs((b @ np.linalg.matrix_power(a, t) @ c).item()) for t in range(LENGTH)]
    np.testing.assert_allclose(found, np.tile(wanted, (len(HEIGHTS), 1)), atol=1e-12)


def test_of_a_delay_it_is_one_peak_of_height_one():
    params = jax.tree.map(jnp.float32, fits.delay_line(9).params())
    model = models.Regressor(models.RNN(9, activation=jax.nn.identity))
    found = by_height(lambda x: model.apply(params, x), HEIGHTS, LENGTH)
    np.testing.assert_array_equal(found, np.tile(targets.shift(8, LENGTH), (len(HEIGHTS), 1)))


def test_of_a_static_network_it_ends_after_the_first_step():
    """|f(x) - f(0)| / |x| there."""
    found = by_height(lambda x: jnp.cos(3 * x), HEIGHTS, LENGTH)
    x = np.asarray(HEIGHTS)[:, 0]
    np.testing.assert_allclose(found[:, 0], np.abs(np.cos(3 * x) - 1) / np.abs(x), rtol=1e-5)
    np.testing.assert_array_equal(found[:, 1:], 0)


def test_a_drift_of_the_network_is_no_memory():
    """y[t] = sin(t) + 2 x[t-3]: the drift alone would be infinite memory of small inputs."""
    drift = jnp.sin(jnp.arange(LENGTH))[None, :, None]
    found = by_height(lambda x: drift + 2 * jnp.roll(x, 3, axis=1).at[:, :3].set(0), 1e-2 * HEIGHTS, LENGTH)
    np.testing.assert_allclose(found, np.tile(2 * targets.shift(3, LENGTH), (len(HEIGHTS), 1)), atol=1e-4)


def test_vectors_are_measured_by_their_largest_entry():
    """y[t] = (x1, 3 x2)[t]."""
    heights = jnp.array([[1.0, -0.5], [0.25, 2.0]])
    found = by_height(lambda x: x * jnp.array([[[1.0, 3.0]]]), heights, 2)
    np.testing.assert_allclose(found, [[1.5, 0], [3, 0]])


test_inputs = refuses(
    lambda heights, length: by_height(lambda x: x, jnp.array(heights), length),
    ([[1.0]], 0, "length must be >= 1, got 0"),
    ([[1.0], [0.0]], 4, r"heights must not be 0, got \[0"),
    ([[jnp.nan]], 4, r"heights must hold one number or more, all finite, got \[\[nan"),
)


def test_heights_have_two_axes(unchecked):
    with pytest.raises(InputError, match=r"heights must have the axes \(heights, inputs\), got shape \(2,\)"):
        by_height(lambda x: x, jnp.array([0.5, 1.0]), 4)
