import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models import Bidirectional, CharacterCNN, LSTMCell, Recurrent, Tagger, Transformer, Window
from seqjax.types import PAD, UNK
from tests import contracts

VOCAB, LETTERS, TAGS = 9, 7, 3


def words(key, rows=3, time=5, length=4):
    """Ids, and a spelling of 1 to `length` letters each."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    spelling = rng.integers(UNK, LETTERS, (rows, time, length))
    spelling[np.arange(length) >= rng.integers(1, length + 1, (rows, time, 1))] = PAD
    return jnp.asarray(rng.integers(UNK, VOCAB, (rows, time))), jnp.asarray(spelling)


def parameters(model, key, *inputs):
    return contracts.filled(jax.eval_shape(model.init, key, *inputs), key)


def test_letters_are_convolved_and_the_maximum_kept(key):
    """Against loops over words, places and taps."""
    model, (_, spelling) = CharacterCNN(LETTERS, embedding=2, features=6), words(key)
    spelling = np.array(spelling)
    spelling[0, 0] = PAD
    params = parameters(model, key, spelling)
    table, kernel, bias = (
        np.asarray(params["params"][a][b], np.float64)
        for a, b in (("embedding", "embedding"), ("kernel", "kernel"), ("kernel", "bias"))
    )
    found = np.asarray(jax.jit(model.apply)(params, spelling))
    for place in np.ndindex(spelling.shape[:2]):
        word = table[[letter for letter in spelling[place] if letter != PAD]]
        padded = np.concatenate([np.zeros((1, 2)), word, np.zeros((1, 2))])
        values = [np.concatenate(padded[n : n + 3]) @ kernel + bias for n in range(len(word))]
        np.testing.assert_allclose(found[place], np.maximum(0, np.max(values or [np.zeros(6)], axis=0)), atol=1e-5)
    longer = jnp.pad(spelling, ((0, 0), (0, 0), (0, 3)))
    np.testing.assert_allclose(np.asarray(model.apply(params, longer)), found, atol=1e-6)


def test_window_contract(key):
    model = Window(4, reach=2)
    contracts.preserves_time(model, key)
    contracts.rows_are_independent(model, key)
    contracts.ignores_padding(model, key)
    seen = contracts.influence(model, key, time=7) > 0
    distance = np.arange(7)[:, None] - np.arange(7)[None, :]
    np.testing.assert_array_equal(seen, abs(distance) <= 2)
    params, x = contracts.parameters(model, key), contracts.inputs(key, 7)
    y, none, double = (np.asarray(contracts.forward(model)(params, scale * x)) for scale in (1, 0, 2))
    np.testing.assert_allclose(double - y, y - none, atol=1e-5, err_msg="it is linear")


BACKBONES = [Bidirectional(4, LSTMCell()), Recurrent(4), Transformer(4, 2, 1, causal=False), Window(4, 1)]


@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: type(backbone).__name__)
def test_scores_are_a_readout_of_the_backbone_over_words_and_letters(backbone, key):
    characters = CharacterCNN(LETTERS, 2, 2)
    model = Tagger(backbone, TAGS, VOCAB, 3, characters)
    ids, spelling = words(key)
    params = parameters(model, key, ids, spelling)["params"]
    mask = contracts.upto((5, 3, 1), 5)
    letters = jax.jit(characters.apply)({"params": params["characters"]}, spelling)
    x = jnp.concatenate([params["words"]["embedding"][ids], letters], axis=-1)
    features = contracts.forward(backbone)({"params": params["backbone"]}, x, mask=mask)
    expected = features @ params["readout"]["kernel"] + params["readout"]["bias"][None, None]
    found = np.asarray(jax.jit(model.apply)({"params": params}, ids, spelling, mask=mask))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_padding_and_other_rows_change_nothing(key):
    model = Tagger(Bidirectional(4, LSTMCell()), TAGS, VOCAB, 3, CharacterCNN(LETTERS, 2, 2))
    ids, spelling = words(key)
    mask = contracts.upto((5, 3, 0), 5)
    params = parameters(model, key, ids, spelling)

    @jax.jit
    def forward(params, ids, spelling):
        def total(params):
            scores = model.apply(params, ids, spelling, mask=mask)
            return jnp.sum(jnp.where(mask[..., None], scores, 0.0) ** 2), scores

        (_, scores), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return scores, gradient

    scores, gradient = forward(params, ids, spelling)
    for garbage in (PAD, -99, 999):
        dirty = jnp.where(mask, ids, garbage), jnp.where(mask[..., None], spelling, garbage)
        again, its_gradient = forward(params, *dirty)
        np.testing.assert_array_equal(again, scores)
        jax.tree.map(np.testing.assert_array_equal, its_gradient, gradient)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    other = np.asarray(forward(params, ids.at[0].set(UNK), spelling)[0])
    np.testing.assert_array_equal(other[1], scores[1])
    assert not np.array_equal(other[0], scores[0])
    short = np.asarray(jax.jit(model.apply)(params, ids[1:2, :3], spelling[1:2, :3]))
    np.testing.assert_allclose(short[0], scores[1, :3], atol=1e-5)


def test_letters_are_looked_at_only_if_there_is_a_use_for_them(key):
    ids, spelling = words(key)
    alone = Tagger(Recurrent(4), TAGS, VOCAB, 3)
    params, apply = parameters(alone, key, ids), jax.jit(alone.apply)
    np.testing.assert_array_equal(apply(params, ids, spelling), apply(params, ids))
    both = Tagger(Recurrent(4), TAGS, VOCAB, 3, CharacterCNN(LETTERS, 2, 2))
    with pytest.raises(ValueError, match="a tagger with characters needs the spelling of its words, got None"):
        both.init(key, ids)


def test_words_are_unknown_in_training_as_often_as_asked(key):
    """With an embedding of 1 for UNK and 0 for others, and a readout that adds 2."""
    model = Tagger(Window(1, 0), 1, VOCAB, 1, unknown=0.3)
    ids = jnp.full((50, 40), VOCAB - 1)
    params: dict = {"words": {"embedding": jnp.zeros((VOCAB, 1)).at[UNK].set(1.0)}}
    params["backbone"] = {"kernel": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}
    params["readout"] = {"kernel": jnp.ones((1, 1)), "bias": jnp.full(1, 2.0)}
    np.testing.assert_array_equal(model.apply({"params": params}, ids), 2)
    found = np.asarray(model.apply({"params": params}, ids, train=True, rngs={"dropout": key}))
    assert {*np.unique(found)} == {2, 3}
    assert abs((found == 3).mean() - 0.3) < 4 * (0.3 * 0.7 / ids.size) ** 0.5


def test_dropout_is_for_training_alone(key):
    model = Tagger(Window(8, 0), TAGS, VOCAB, 8, dropout=0.5)
    ids, _ = words(key)
    contracts.drops_in_training_only(model, parameters(model, key, ids), ids)
