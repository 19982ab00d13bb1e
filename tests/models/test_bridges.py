from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models import GRU, LSTM, EncoderDecoderRegressor, LowRankBridge, Recurrent, RecurrentDecoder, RNNCell
from seqjax.theory import bounds, fits, targets
from tests import contracts


def identity(x):
    return x


def linear(encoder, decoder, code):
    cell = RNNCell(identity)
    bridge = LowRankBridge(code)
    return EncoderDecoderRegressor(Recurrent(encoder, cell), RecurrentDecoder(decoder, cell, bridge=bridge))


def written_from(model, params, target, source):
    """What each input adds to each output, d y[t] / d x[-s], s backwards from the last step read; it is affine."""
    impulses = jnp.concatenate([jnp.eye(source)[::-1], jnp.zeros((1, source))])[..., None]
    y = np.asarray(contracts.compiled(lambda x: model.apply(params, x, target))(impulses))[..., 0]
    return (y[:-1] - y[-1:]).T


@pytest.mark.parametrize(
    ("kernel", "rank"),
    [
        (targets.reversal(6), 4),
        (np.random.default_rng(0).normal(size=(7, 4)), 3),
        (np.random.default_rng(0).normal(size=(4, 7)), 1),
    ],
)
def test_singular_vectors_load_and_hit_the_floor(kernel, rank):
    """The error is the tail of the singular values, exactly."""
    target, source = kernel.shape
    with jax.enable_x64(True):
        model = linear(source, target, rank)
        shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 1, 1)), 1), jax.random.key(0))
        params = jax.tree.map(jnp.asarray, fits.encoder_decoder(kernel, rank).params())
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
        found = written_from(model, params, target, source)
    assert ((kernel - found) ** 2).sum() == pytest.approx(bounds.truncation(kernel, rank), rel=1e-10, abs=1e-20)
    np.testing.assert_allclose(fits.encoder_decoder(kernel, rank).kernel(target, source), found, atol=1e-12)


def test_any_weights_have_the_rank_of_the_code(key):
    model = linear(5, 6, 2)
    shapes = jax.eval_shape(lambda key: model.init(key, jnp.zeros((1, 1, 1)), 1), key)
    values = np.linalg.svd(written_from(model, contracts.filled(shapes, key), 7, 7), compute_uv=False)
    assert values[1] > 1e-2 * values[0] > 1e3 * values[2]


def test_any_state_is_made_of_the_code(key):
    """Of an LSTM's two parts, from those of a GRU, through three numbers."""
    given, wanted = GRU(4, layers=2).start(9, 1, 1), LSTM(5).start(9, 1, 1)
    given = jax.tree.map(lambda part: jax.random.normal(key, part.shape), given)
    bridge = LowRankBridge(3)
    params = contracts.filled(jax.eval_shape(bridge.init, key, given, wanted), key)
    made: Any = contracts.compiled(bridge.apply)(params, given, wanted)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, wanted)
    assert np.linalg.matrix_rank(np.concatenate(jax.tree.leaves(made), axis=1), tol=1e-4) == 3
