import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import toeplitz

from seqjax.models import LinearDilatedCNN
from seqjax.theory import fits, targets
from tests import contracts


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(LinearDilatedCNN(3, 2), id="2 layers"),
        pytest.param(LinearDilatedCNN(2, 1, 3, features=4), id="1 layer"),
    ],
)
def test_contract(model, key):
    contracts.backbone(model, key)


def test_learns(key):
    contracts.learns(LinearDilatedCNN(4, 2), key)


@pytest.mark.parametrize(("channels", "parameters"), [(1, 14), (2, 48), (4, 176), (8, 672)])
def test_published_numbers_of_parameters(channels, parameters):
    model = LinearDilatedCNN(channels, 7)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters
    assert model.receptive_field == 128


def impulse_responses(model, params, length):
    """d y[t] / d x[s] of a network that is linear, as [t, s]."""
    impulses = jnp.eye(length)[..., None]
    return np.asarray(contracts.compiled(model.apply)(params, impulses))[..., 0].T


@pytest.mark.parametrize(
    ("filter", "model"),
    [
        (fits.tensor_train(targets.exponentials((0.5, 0.7, 0.85, 0.95), 32), 4), LinearDilatedCNN(4, 5)),
        (
            fits.alternating(fits.tensor_train(targets.airy(6.0, 9), 2, 3), targets.airy(6.0, 9)),
            LinearDilatedCNN(2, 2, 3),
        ),
        (fits.digits(13, 4), LinearDilatedCNN(1, 4)),
    ],
)
def test_known_weights_load_and_give_their_kernel(filter, model):
    """y[t] feels x[s] as the kernel says, in float64; and nothing comes after base^layers lags."""
    with jax.enable_x64(True):
        kernel = filter.kernel()
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 1)))
        params = jax.tree.map(jnp.asarray, filter.params())
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
        found = impulse_responses(model, params, len(kernel) + 3)
    expected = toeplitz(np.append(kernel, np.zeros(3)), np.zeros(len(kernel) + 3))
    np.testing.assert_allclose(found, expected, atol=1e-13)


def test_enough_channels_are_exact():
    """The network computes the decomposed filter, to 1e-10."""
    kernel = targets.exponentials((0.5, 0.7, 0.85, 0.95), 32)
    np.testing.assert_allclose(fits.tensor_train(kernel, 4).kernel(), kernel, atol=1e-10)


def test_random_weights_form_the_product_of_taps(key):
    """w_0[i_0] w_1[i_1] w_2[i_2] for t - s = i_0 + 2 i_1 + 4 i_2."""
    model = LinearDilatedCNN(2, 3)
    params = contracts.parameters(model, key, 1)
    taps = [np.asarray(params["params"][f"layer_{layer}"]["kernel"], np.float64) for layer in range(3)]
    kernel = [(taps[0][n % 2] @ taps[1][n // 2 % 2] @ taps[2][n // 4])[0, 0] for n in range(8)]
    expected = toeplitz(np.append(kernel, [0, 0]), np.zeros(10))
    np.testing.assert_allclose(impulse_responses(model, params, 10), expected, rtol=1e-4, atol=1e-6)
