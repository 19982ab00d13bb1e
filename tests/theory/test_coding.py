"""The kernel matrix of a linear encoder-decoder: against the network itself, and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.theory import bounds, coding, fits, targets

TARGET, SOURCE, CODE = 5, 7, 3
response = jax.jit(coding.response, static_argnums=(1, 2))
pytestmark = pytest.mark.usefixtures("x64")


def network(encoder: int, decoder: int):
    linear = models.RNNCell(lambda x: x)
    return models.EncoderDecoderRegressor(
        models.Recurrent(encoder, linear), models.RecurrentDecoder(decoder, linear, bridge=models.LowRankBridge(CODE))
    )


def said_to_impulses(model, params, target, source):
    """One impulse after the other, the last step read first: rho(t, s)."""
    impulses = jnp.eye(source)[::-1, :, None]
    return np.asarray(jax.jit(model.apply, static_argnums=2)(params, impulses, target))[..., 0].T


def test_response_is_what_the_network_says_to_impulses(key):
    """Sides of different widths, and from random weights, so that no part can stand for another."""
    model = network(4, 6)
    init = jax.jit(model.init, static_argnums=2)
    params = jax.tree.map(lambda leaf: leaf.astype(float), init(key, jnp.zeros((1, SOURCE, 1)), TARGET))
    found = response(params, TARGET, SOURCE)
    np.testing.assert_allclose(found, said_to_impulses(model, params, TARGET, SOURCE), atol=1e-12)
    assert np.linalg.matrix_rank(np.asarray(found)) == CODE


def test_response_of_constructed_weights_is_on_the_floor():
    """So is the network into which they are loaded."""
    matrix = np.random.default_rng(0).normal(size=(TARGET, SOURCE))
    params = jax.tree.map(jnp.asarray, fits.encoder_decoder(matrix, CODE).params())
    floor = bounds.truncation(matrix, CODE)
    said = said_to_impulses(network(SOURCE, TARGET), params, TARGET, SOURCE)
    for found in (response(params, TARGET, SOURCE), said):
        assert ((np.asarray(found) - matrix) ** 2).sum() == pytest.approx(floor, rel=1e-12)


def test_gradient_is_that_of_finite_differences(key):
    matrix = jnp.asarray(targets.gaussian(1.0, TARGET))
    start = jax.tree.map(jnp.asarray, fits.encoder_decoder(np.asarray(matrix), CODE).params())
    leaves, tree = jax.tree.flatten(start)
    keys = jax.random.split(key, 2 * len(leaves))
    noise = [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, [*leaves, *leaves], strict=True)]
    params = tree.unflatten([leaf + more for leaf, more in zip(leaves, noise, strict=False)])
    direction = tree.unflatten(noise[len(leaves) :])

    @jax.jit
    def loss(params):
        return jnp.sum((coding.response(params, TARGET, TARGET) - matrix) ** 2)

    def along(step):
        return float(loss(jax.tree.map(lambda at, to: at + step * to, params, direction)))

    slopes = jax.tree.map(lambda gradient, to: jnp.sum(gradient * to), jax.jit(jax.grad(loss))(params), direction)
    assert float(sum(jax.tree.leaves(slopes))) == pytest.approx((along(1e-6) - along(-1e-6)) / 2e-6, rel=1e-6)


def test_descent_reaches_the_floor_and_does_not_pass_it():
    """From constructed weights that were disturbed."""
    matrix = targets.gaussian(2.0, TARGET)
    floor = bounds.truncation(matrix, 1)
    start = jax.tree.map(jnp.asarray, fits.encoder_decoder(matrix, 1).params())
    keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(start))))
    start = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), start)

    def cost(params):
        return jnp.sum((coding.response(params, TARGET, TARGET) - matrix) ** 2)

    def descend(params, _):
        loss, slopes = jax.value_and_grad(cost)(params)
        return jax.tree.map(lambda leaf, slope: leaf - 3e-3 * slope, params, slopes), loss

    losses = np.asarray(jax.lax.scan(descend, start, length=300)[1])
    assert losses.min() >= floor * (1 - 1e-9)
    assert losses[-1] < floor * (1 + 1e-9) < 0.6 * losses[0]
