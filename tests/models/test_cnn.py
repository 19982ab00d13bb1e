from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax import losses
from seqjax.models import CNN, ImageClassifier
from seqjax.models.cnn import max_pool
from tests import contracts


def filled(model, shape, key) -> Any:
    """Random numbers in all parameters, and images, both in float64."""
    shapes = jax.eval_shape(model.init, key, jnp.zeros(shape, jnp.float32))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(scale=0.5, size=leaf.shape), shapes)
    return params, rng.normal(size=shape)


def plainly(x: Any, params, channels, norm=None):
    """XLA's own convolution and windowed maximum, as Flax offers them."""
    for number, features in enumerate(channels):
        weights = {"params": params["params"][f"Conv_{number}"]}
        kernel_size = weights["params"]["kernel"].shape[:2]
        x = nn.Conv(features, kernel_size).apply(weights, x)
        if norm:
            x = norm.apply({"params": params["params"][f"{type(norm).__name__}_{number}"]}, x)
        x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
    return x


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        pytest.param(CNN(), (2, 8, 12, 3), id="default"),
        pytest.param(CNN((2, 3), kernel_size=2), (1, 7, 5, 1), id="odd sizes, even kernel"),
        pytest.param(CNN((2, 3), kernel_size=1, norm=nn.LayerNorm()), (2, 4, 9, 2), id="1x1 kernel, norm"),
        pytest.param(CNN((4,), norm=nn.GroupNorm(num_groups=2)), (2, 4, 4, 1), id="norm of an image"),
    ],
)
def test_equals_plain_convolutions_with_its_gradients(model, shape, key):
    with jax.enable_x64():
        params, x = filled(model, shape, key)
        probe = np.random.default_rng(1).normal(
            size=(shape[0], *(side // 2 ** len(model.channels) for side in shape[1:3]), model.channels[-1])
        )

        def ours(variables):
            y = model.apply(*variables)
            return jnp.sum(probe * y), y

        def plain(variables):
            y = plainly(variables[1], variables[0], model.channels, model.norm)
            return jnp.sum(probe * y), y

        (_, y), gradient = contracts.compiled(jax.value_and_grad(ours, has_aux=True))((params, x))
        (_, expected), expected_gradient = contracts.compiled(jax.value_and_grad(plain, has_aux=True))((params, x))
        assert y.dtype == jnp.float64
        assert y.shape == probe.shape
        np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), gradient, expected_gradient)


@pytest.mark.parametrize(("size", "channels", "count"), [(32, 3, 25_578), (28, 1, 20_490)])
def test_seed_s0_has_as_many_parameters(size, channels, count, key):
    shapes = jax.eval_shape(ImageClassifier(CNN(), 10).init, key, jnp.zeros((1, size, size, channels)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_the_classifier_reads_the_whole_grid_row_by_row(key):
    model = ImageClassifier(CNN((2,)), 3)
    params, x = filled(model, (2, 4, 6, 1), key)
    params, x = jax.tree.map(jnp.float32, (params, x))
    grid = contracts.forward(model.backbone)({"params": params["params"]["backbone"]}, x)
    readout = params["params"]["readout"]
    kernel = readout["kernel"].reshape(2, 3, 2, 3)
    expected = np.einsum("bhwf,hwfk->bk", grid, kernel) + readout["bias"][None]
    np.testing.assert_allclose(contracts.forward(model)(params, x), expected, rtol=1e-5, atol=1e-5)


def test_without_convolutions_it_is_logistic_regression(key):
    model = ImageClassifier(CNN(channels=()), 3)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 1, 5, 2)), jnp.float32)
    params: Any = contracts.compiled(model.init)(key, x)
    assert list(params["params"]) == ["readout"]
    expected = x.reshape(2, 10) @ params["params"]["readout"]["kernel"]
    np.testing.assert_allclose(contracts.forward(model)(params, x), expected, rtol=1e-5, atol=1e-6)


def test_pooling_takes_each_block_and_drops_an_odd_end():
    x = jnp.arange(2 * 5 * 7 * 3, dtype=jnp.float32).reshape(2, 5, 7, 3) % 31
    expected = np.empty((2, 2, 3, 3))
    for row, column in np.ndindex(2, 3):
        expected[:, row, column] = np.asarray(x)[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(1, 2))
    np.testing.assert_array_equal(jax.jit(max_pool)(x), expected)
    ties = jax.jit(jax.grad(lambda x: max_pool(x).sum()))(jnp.zeros((1, 3, 2, 1)))
    np.testing.assert_array_equal(ties[0, :, :, 0], [[0.25, 0.25], [0.25, 0.25], [0, 0]])


def test_rows_are_independent_and_dropout_is_for_training(key):
    model = CNN((2, 2), dropout=0.5)
    params, x = jax.tree.map(jnp.float32, filled(model, (4, 8, 8, 1), key))
    y = np.asarray(contracts.forward(model)(params, x))
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(contracts.forward(model)(params, x[order]), y[order], rtol=1e-5, atol=1e-6)
    other = np.asarray(contracts.forward(model)(params, x.at[0].set(9.0)))
    np.testing.assert_allclose(other[1:], y[1:], rtol=1e-5, atol=1e-6)
    assert not np.allclose(other[0], y[0])
    ones = CNN((1,), kernel_size=1, dropout=0.5)
    constant = {"params": {"Conv_0": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)}}}
    dropped = jax.jit(partial(ones.apply, train=True))(constant, jnp.ones((1, 40, 40, 1)), rngs={"dropout": key})
    values, counts = np.unique(np.asarray(dropped), return_counts=True)
    np.testing.assert_array_equal(values, [0, 2])
    assert abs(counts[0] - 200) < 5 * 10  # binomial of 400
    np.testing.assert_array_equal(contracts.forward(ones)(constant, jnp.ones((1, 4, 4, 1))), 1)


def test_many_models_at_once_are_each_of_them(key):
    """Under `vmap` over models, as a sweep trains them."""
    model = CNN((2,))
    params, x = jax.tree.map(jnp.float32, filled(model, (2, 4, 4, 1), key))
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf, -leaf]), params)
    together: Any = contracts.compiled(jax.vmap(model.apply, in_axes=(0, None)))(several, x)
    for number, scale in enumerate((1, 2, -1)):
        alone = contracts.forward(model)(jax.tree.map(lambda leaf: scale * leaf, params), x)  # noqa: B023
        np.testing.assert_allclose(together[number], alone, rtol=1e-5, atol=1e-5)


def test_an_image_that_pooling_would_use_up_is_refused(key):
    with pytest.raises(ValueError, match="images must be at least 4 pixels high and wide, got 9 x 3"):
        jax.eval_shape(CNN().init, key, jnp.zeros((1, 9, 3, 1)))
    assert jax.eval_shape(CNN((2, 3)).init_with_output, key, jnp.zeros((1, 4, 4, 1)))[0].shape == (1, 1, 1, 3)


def test_learns(key):
    """Overfits eight random images with random classes."""
    model = ImageClassifier(CNN((4, 8)), 4)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 8, 8, 1)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 4, (8, 1)), jnp.int32)

    def loss(params):
        return losses.cross_entropy(jnp.asarray(model.apply(params, x))[:, None], labels)

    params, _ = filled(model, x.shape, key)
    contracts.overfits(loss, jax.tree.map(lambda leaf: jnp.float32(0.5 * leaf), params), 60)
