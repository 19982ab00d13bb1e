"""The kernel of a dilated linear network, its gradient, and networks of several widths in one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.theory import dilated, fits, targets
from tests.refusals import refuses


@pytest.mark.parametrize(("layers", "base", "channels"), [(1, 3, 2), (3, 3, 2), (4, 2, 3)])
def test_the_kernel_is_that_of_the_filter_and_of_the_network(key, layers, base, channels):
    taps = jax.jit(lambda key: dilated.random(key, channels, channels, layers, base))(key)
    found = np.asarray(jax.jit(dilated.response)(taps))
    filter = fits.DilatedFilter(tuple(np.asarray(part, np.float64) for part in taps))
    np.testing.assert_allclose(found, filter.kernel(), atol=1e-6)
    impulse = jnp.zeros((1, base**layers, 1)).at[0, 0].set(1)
    weights = jax.tree.map(jnp.asarray, filter.params())
    said = jax.jit(models.LinearDilatedCNN(channels, layers, base).apply)(weights, impulse)
    np.testing.assert_allclose(found, np.asarray(said)[0, :, 0], atol=1e-6)


def test_the_gradient_is_a_difference_quotient(key):
    target = jnp.asarray(targets.bump(4.0, 1.0, 16))
    with jax.enable_x64(True):
        draw = jax.jit(lambda key: dilated.random(key, 2, 2, 4))
        taps, direction = draw(key), draw(jax.random.key(1))

        @jax.jit
        def loss(taps):
            return jnp.sum((dilated.response(taps) - target) ** 2)

        step = 1e-6
        up, down = (jax.tree.map(lambda a, b, s=s: a + s * b, taps, direction) for s in (step, -step))
        quotient = (loss(up) - loss(down)) / (2 * step)
        gradient = jax.jit(jax.grad(loss))(taps)
        along = sum(float(np.vdot(a, b)) for a, b in zip(gradient, direction, strict=True))
        assert along == pytest.approx(float(quotient), rel=1e-7)


def test_unused_channels_are_zero_and_stay_so(key):
    """Were one of the two layers not zero there, the other would learn to use them."""
    taps = jax.jit(lambda key, channels: dilated.random(key, channels, 5, 4))(key, 2)
    gradient = jax.jit(jax.grad(lambda taps: jnp.sum((dilated.response(taps) - jnp.arange(16.0)) ** 2)))(taps)
    for layer, (part, slope) in enumerate(zip(taps, gradient, strict=True)):
        for values in (np.array(part), np.array(slope)):
            inputs, outputs = 2 if layer > 0 else 1, 2 if layer < 3 else 1
            assert (values[:, :inputs, :outputs] != 0).all()
            values[:, :inputs, :outputs] = 0
            assert (values == 0).all()


@pytest.mark.parametrize(("channels", "base"), [(3, 2), (2, 3)])
def test_white_noise_keeps_its_variance(key, channels, base):
    """The kernel's squared norm is 1 on average over seeds."""
    draw = jax.jit(jax.vmap(lambda key: dilated.response(dilated.random(key, channels, 4, 3, base))))
    norms = (np.asarray(draw(jax.random.split(key, 20_000))) ** 2).sum(axis=1)
    assert abs(norms.mean() - 1) < 4 * norms.std() / len(norms) ** 0.5


test_wrong_arguments_are_refused = refuses(
    lambda arguments: dilated.random(jax.random.key(0), *arguments),
    ((1, 0, 3, 2), "widest must be >= 1, got 0"),
    ((1, 1, 0, 2), "layers must be >= 1, got 0"),
    ((1, 1, 3, 1), "base must be >= 2, got 1"),
)
