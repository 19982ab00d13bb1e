from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models.causal_conv import CausalConv
from seqjax.models.module import zero_padding
from tests import contracts

CONVOLUTIONS = [pytest.param(k, d, id=f"{k} taps, dilation {d}") for k, d in [(1, 1), (2, 1), (3, 2), (2, 5), (4, 3)]]


@partial(jax.jit, static_argnums=0)
def convolve(conv, params, x) -> jax.Array:
    return conv.apply(params, conv.empty(len(x), x.shape[-1]), x.T, method="convolve")[1].T


def draw(conv, key):
    """Random parameters of a convolution over two inputs."""
    shapes = jax.eval_shape(lambda: conv.init(key, conv.empty(1, 2), jnp.zeros((2, 1, 1)), method="convolve"))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)


def test_zero_padding_silences_nan():
    y = jnp.array([[[1.0], [jnp.nan]]])
    np.testing.assert_array_equal(zero_padding(y, contracts.upto([1], 2)), [[[1.0], [0.0]]])
    np.testing.assert_array_equal(zero_padding(y, None), y)


@pytest.mark.parametrize(("kernel_size", "dilation"), CONVOLUTIONS)
def test_convolution_tap_by_tap(kernel_size, dilation, key):
    """y[t] = bias + sum_j kernel[j] x[t - j dilation]."""
    conv, x = CausalConv(3, kernel_size, dilation), contracts.inputs(key, 9)
    params = draw(conv, key)
    kernel, bias = params["params"]["kernel"], params["params"]["bias"]

    expected = np.tile(np.asarray(bias, np.float64), (3, 9, 1))
    for row, t, tap in np.ndindex(3, 9, kernel_size):
        if t >= tap * dilation:
            expected[row, t] += np.asarray(x[row, t - tap * dilation]) @ np.asarray(kernel[tap])
    np.testing.assert_allclose(convolve(conv, params, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel_size", "dilation"), CONVOLUTIONS)
def test_the_ring_after_many_steps(kernel_size, dilation, key):
    """Several times round the ring, then a chunk: the past is put back in order."""
    conv, x = CausalConv(3, kernel_size, dilation), contracts.inputs(key, 30)
    params, taps, y = draw(conv, key), conv.empty(3, 2), []
    step = jax.jit(lambda taps, x: conv.apply(params, taps, x.T, method="convolve"))
    for piece in [*jnp.split(x[:, :23], 23, axis=1), x[:, 23:]]:
        taps, now = step(taps, piece)
        y.append(now.T)
    np.testing.assert_allclose(np.concatenate(y, axis=1), convolve(conv, params, x), rtol=1e-4, atol=1e-5)


def test_weight_norm_changes_nothing_at_the_start(key):
    """The gain starts as the length of the kernel, so what was drawn is what is trained."""
    x, y = contracts.inputs(key, 6), []
    for weight_norm in (False, True):
        conv = CausalConv(3, 2, weight_norm=weight_norm)
        params = jax.jit(partial(conv.init, method="convolve"))(key, conv.empty(3, 2), x.T)
        assert ("gain" in params["params"]) == weight_norm
        y.append(convolve(conv, params, x))
    np.testing.assert_allclose(*y, rtol=1e-5)


def test_weight_norm_parts_direction_from_length(key):
    """w = g v / |v|: the length of v does not count, so its gradient is orthogonal to v; that of g is
    the gradient of w along v (Salimans & Kingma 2016, eq. 3)."""
    conv, plain, x = CausalConv(3, 2, weight_norm=True), CausalConv(3, 2), contracts.inputs(key, 6)
    params = draw(conv, key)["params"]
    v, g = params["kernel"], params["gain"]
    length = jnp.sqrt(jnp.sum(v**2, axis=(0, 1)))
    direction = v / length.reshape(1, 1, -1)

    def loss(conv, params):
        return jnp.sum(jnp.sin(convolve(conv, {"params": params}, x)))

    gradient = jax.grad(lambda params: loss(conv, params))(params)
    folded = {"kernel": direction * g.reshape(1, 1, -1), "bias": params["bias"]}
    slope = jax.grad(lambda params: loss(plain, params))(folded)["kernel"]
    assert np.abs(gradient["kernel"]).max() > 0.1
    np.testing.assert_allclose(np.sum(gradient["kernel"] * v, axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(gradient["gain"], np.sum(slope * direction, axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(loss(conv, {**params, "kernel": 3 * v}), loss(plain, folded), rtol=1e-5)
