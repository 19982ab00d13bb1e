"""The protocol of encoder-decoders over images, and what a decoder may know of them."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.types import EOS, PAD, SOS
from tests import contracts

DECODERS = {
    "context": models.RecurrentDecoder(4, models.GRUCell()),
    "luong": models.LuongDecoder(4, models.GRUCell(), attention=models.GeneralAttention(4)),
    "bahdanau": models.BahdanauDecoder(4, models.GRUCell(), attention=models.AdditiveAttention(5)),
    "transformer": models.TransformerDecoder(4, 2, layers=2),
}
HEADS = {"context": 0, "luong": 1, "bahdanau": 1, "transformer": 4}
PLACES = 12
"""Of the grid that the network below makes of 6 x 8 pixels."""
TARGET = jnp.array([[4, 7, 5, EOS], [6, EOS, PAD, PAD], [8, 8, 4, EOS]])


def model(decoder: str, **fields) -> Any:
    chosen = {"encoder": models.CNN((3,)), "features": 6, "embedding": 5} | fields
    return models.Captioner(decoder=DECODERS[decoder], target_vocab=9, **chosen)


def parameters(whole, images, key) -> Any:
    """Numbers far from the initial ones: no bias is zero."""
    return contracts.filled(jax.eval_shape(whole.init, key, images[:1], TARGET[:1]), key)


def pictures(key, *shape):
    return jax.random.uniform(key, (3, *shape))


@pytest.mark.parametrize(
    "decoder",
    ["luong", "transformer", *(pytest.param(name, marks=pytest.mark.slow) for name in ("context", "bahdanau"))],
)
def test_a_caption_is_written_step_by_step_as_it_is_learned_at_once(decoder, key):
    whole, images = model(decoder), pictures(key, 6, 8, 2)
    params = parameters(whole, images, key)
    mask = TARGET != PAD

    @contracts.compiled
    def both(params, images):
        aligned = whole.apply(params, images, TARGET, target_mask=mask, method="align")
        carry = whole.apply(params, images, None, TARGET.shape[1], method="begin")
        stepped = []
        for token in [jnp.full(3, SOS), *TARGET.T[:-1]]:
            carry, logits = whole.apply(params, carry, token, method="step")
            stepped.append(logits)
        return aligned, jnp.stack(stepped, axis=1)

    aligned, stepped = both(params, images)
    real = np.asarray(mask)
    np.testing.assert_allclose(aligned.logits[real], stepped[real], rtol=1e-4, atol=1e-5)
    assert (np.asarray(aligned.logits)[:, :, [PAD, SOS]] == -np.inf).all()
    assert aligned.weights.shape == (3, HEADS[decoder], 4, PLACES)
    np.testing.assert_allclose(aligned.weights.sum(axis=3), 1, rtol=1e-5)

    order = jnp.array([2, 0, 1])
    forced = contracts.compiled(whole.apply)
    permuted = forced(params, images[order], TARGET[order])
    np.testing.assert_allclose(permuted, forced(params, images, TARGET)[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_gradients_reach_every_pixel_from_every_word(decoder, key):
    whole = model(decoder, encoder=None)
    images = pictures(key, 2, 3, 2)
    params = parameters(whole, images, key)

    def words(image):
        # What is written first may depend on nothing but the image, and of it on each number at each place.
        logits = whole.apply(params, image[None], TARGET[:1])
        return jax.nn.log_softmax(logits[0, :, EOS:], axis=-1)

    slopes = contracts.compiled(jax.vmap(jax.jacrev(words)))(jax.random.normal(key, (16, 2, 3, 2)))
    assert np.isfinite(slopes).all()
    assert (np.abs(slopes).max(axis=(0, 2)) > 0).all()


def test_gradients_reach_the_pixels_through_the_network(key):
    whole, images = model("bahdanau"), pictures(key, 6, 8, 2)
    params = parameters(whole, images, key)
    found = contracts.compiled(jax.grad(lambda images: whole.apply(params, images, TARGET)[:, :, EOS:].var()))(images)
    assert np.isfinite(found).all()
    assert (np.abs(found).max(axis=(1, 2)) > 0).all()


def test_places_are_known(key):
    """A moved shape changes the caption's input, even from an average over the grid."""
    whole = model("context", encoder=None)
    images = jnp.zeros((1, 2, 3, 2)).at[0, 0, 0].set(1.0)
    params = parameters(whole, images, key)
    forced = contracts.compiled(whole.apply)
    first = forced(params, images, TARGET[:1])
    for moved in (jnp.roll(images, 1, axis=1), jnp.roll(images, 1, axis=2)):
        assert np.abs(forced(params, moved, TARGET[:1])[..., EOS:] - first[..., EOS:]).max() > 1e-4


def test_a_vector_is_a_grid_of_one_place(key):
    """Features that another network made: one vector an image, or a grid of them."""
    whole = model("luong", encoder=None)
    vectors = pictures(key, 5)
    params = parameters(whole, vectors, key)
    align = contracts.compiled(partial(whole.apply, method="align"))
    found = align(params, vectors, TARGET)
    np.testing.assert_array_equal(found.weights, np.ones((3, 1, 4, 1)))
    np.testing.assert_array_equal(found.logits, align(params, vectors[:, None, None], TARGET).logits)


def test_the_memory_is_the_grid_row_by_row_with_its_average(key):
    whole = model("bahdanau", encoder=None)
    images = pictures(key, 2, 3, 2)
    params = parameters(whole, images, key)
    memory = jax.device_get(contracts.compiled(partial(whole.apply, method="encode"))(params, images))
    place, images = params["params"]["place"], np.asarray(images)
    for row, column in ((0, 0), (0, 2), (1, 0), (1, 1)):
        where = np.broadcast_to(np.array([[2.0 * row - 1, column - 1.0]]), (3, 2))
        seen = np.concatenate([images[:, row, column], where], axis=1)
        expected = jax.nn.gelu(seen.astype(np.float32) @ np.asarray(place["kernel"]) + np.asarray(place["bias"])[None])
        np.testing.assert_allclose(memory.outputs[:, 3 * row + column], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(memory.state[0], memory.outputs.mean(axis=1), rtol=1e-5, atol=1e-6)
    assert memory.mask.all()


def test_dropout_acts_in_training_alone(key):
    whole, images = model("bahdanau", dropout=0.5, encoder=None), pictures(key, 2, 3, 2)
    params = parameters(whole, images, key)
    contracts.drops_in_training_only(whole, params, images, TARGET)
