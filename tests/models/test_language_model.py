import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import decode, losses
from seqjax.models import LSTM, RNN, TCN, LanguageModel, Learned, Recurrent, Transformer
from seqjax.types import EOS, PAD, SOS, UNK
from tests import contracts

TIME = 6
BACKBONES = [LSTM(4), TCN(4, 2, (1,)), Transformer(4, 2, 1)]
VOCAB = 11


def name(model):
    return type(model).__name__


@pytest.fixture(params=BACKBONES, ids=name)
def model(request) -> Any:
    return LanguageModel(request.param, VOCAB, embedding=5, tied=request.param is BACKBONES[0])


def parameters(model, key) -> Any:
    return contracts.filled(jax.eval_shape(model.init, key, jnp.zeros((1, TIME), jnp.int32)), key)


def texts(rows=3):
    """Each with no token twice, so that the gradient of a token's vector is that of its place."""
    rng = np.random.default_rng(0)
    return jnp.asarray([EOS + rng.permutation(VOCAB - EOS)[:TIME] for _ in range(rows)], jnp.int32)


def test_one_call_chunks_and_steps_are_one(model, key):
    params, tokens = parameters(model, key), texts()

    @contracts.compiled
    def everything(params):
        whole = model.apply(params, tokens)
        step = partial(model.apply, params, method="step")
        stepped = jax.lax.scan(step, model.begin(3, TIME), tokens.T)[1].swapaxes(0, 1)
        carry, first = model.apply(params, model.begin(3, TIME), tokens[:, :4], method="extend")
        _, second = model.apply(params, carry, tokens[:, 4:], method="extend")
        return whole, stepped, jnp.concatenate([first, second], axis=1)

    whole, stepped, chunks = map(np.asarray, everything(params))
    assert whole.shape == (3, TIME, VOCAB)
    assert np.isneginf(whole[..., [PAD, SOS]]).all(), "what is never written"
    assert np.isfinite(whole[..., EOS:]).all()
    for other in (stepped, chunks):
        np.testing.assert_allclose(other[..., EOS:], whole[..., EOS:], rtol=1e-4, atol=1e-5)


def test_the_readout_of_the_features_is_the_call_also_with_dropout(model, key):
    params, tokens = parameters(model, key), texts()
    options = {"train": True, "rngs": {"dropout": key}}

    @contracts.compiled
    def both(params):
        features = model.clone(dropout=0.5).apply(params, tokens, **options, method="features")
        whole = model.clone(dropout=0.5).apply(params, tokens, **options)
        return (
            whole,
            model.apply(params, features, method="logits"),
            losses.cross_entropy(whole[:, :-1], tokens[:, 1:]),
            losses.chunked_cross_entropy(
                partial(model.apply, params, method="logits"), features[:, :-1], tokens[:, 1:], chunk=2
            ),
        )

    whole, split, value, chunked = both(params)
    np.testing.assert_array_equal(split, whole)
    np.testing.assert_allclose(chunked, value, rtol=1e-6)


def test_padding_may_hold_anything(model, key):
    params, tokens = parameters(model, key), np.asarray(texts())
    mask = contracts.upto((0, 2, TIME), TIME)

    @contracts.compiled
    def graded(params, tokens):
        def loss(params):
            logits = model.apply(params, tokens, mask=mask)
            return losses.cross_entropy(logits[:, :-1], tokens[:, 1:], mask[:, 1:]), logits

        return jax.value_and_grad(loss, has_aux=True)(params)

    clean = graded(params, jnp.asarray(tokens))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean[1]))
    for garbage in (PAD, -7, 999):
        dirty = graded(params, jnp.asarray(np.where(mask, tokens, garbage), jnp.int32))
        jax.tree.map(np.testing.assert_array_equal, dirty, clean)
    alone = contracts.forward(model)(params, jnp.asarray(tokens[1:2, :2]))
    np.testing.assert_allclose(clean[0][1][1, :2, EOS:], alone[0, :, EOS:], rtol=1e-4, atol=1e-5)


def test_probabilities_of_all_texts_sum_to_one(key):
    """All of three tokens, and all sentences that end within three beside the beginnings of the others."""
    model = LanguageModel(RNN(3), 6, embedding=3)
    params = parameters(model, key)

    @contracts.compiled
    def probability(texts, mask):
        step = partial(model.apply, params, method="step")
        first = jnp.full(len(texts), 4, jnp.int32)
        return jnp.exp(decode.score(step, model.begin(len(texts), 4), first, texts, mask))

    every = np.array([*itertools.product(range(PAD, 6), repeat=3)], np.int32)
    p = np.asarray(probability(every, np.ones(every.shape, bool)))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    np.testing.assert_array_equal(p[(every <= SOS).any(axis=1)], 0)
    assert (p[(every > SOS).all(axis=1)] > 1e-4).all()
    # After EOS nothing counts; one text represents all with the same beginning.
    ended = np.cumsum(every == EOS, axis=1) - (every == EOS) > 0
    once = (~ended | (every == PAD)).all(axis=1)
    np.testing.assert_allclose(np.asarray(probability(every, ~ended))[once].sum(), 1, rtol=1e-5)


def test_reading_again_is_stepping_until_the_window_is_full(model, key):
    """And after that, it is reading the last tokens as a text of their own."""
    params, tokens, length = parameters(model, key), texts(), 4

    @contracts.compiled
    def reread(params):
        step = partial(model.apply, params, method="reread")
        return jax.lax.scan(step, model.window(3, length), tokens.T)[1].swapaxes(0, 1)

    found = np.asarray(reread(params))[..., EOS:]
    for t in (2, TIME - 1):
        seen = tokens[:, max(0, t + 1 - length) : t + 1]
        expected = np.asarray(contracts.forward(model)(params, seen))[:, -1, EOS:]
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-4, atol=1e-5)


def test_a_prompt_is_continued(key):
    """The likeliest continuation, by hand: argmax, read everything anew, argmax."""
    model = LanguageModel(Transformer(4, 2, 1, positions=Learned(length=8)), VOCAB, embedding=5)
    params, prompt = parameters(model, key), texts()[:, :3]
    carry, _ = contracts.extend(model)(params, model.begin(3, 8), prompt[:, :-1])
    greedy = contracts.compiled(partial(decode.greedy, partial(model.apply, params, method="step"), length=4))
    written = greedy(carry, prompt[:, -1])
    text, ended = np.asarray(prompt), np.zeros(3, bool)
    for t in range(4):
        best = np.where(ended, PAD, np.asarray(contracts.forward(model)(params, text))[:, -1].argmax(axis=-1))
        np.testing.assert_array_equal(written.tokens[:, t], best)
        text = np.concatenate([text, best[:, None].astype(np.int32)], axis=1)
        ended |= best == EOS


def test_a_tied_readout_is_the_embedding(key):
    model = LanguageModel(RNN(4), VOCAB, embedding=5, tied=True)
    params = parameters(model, key)["params"]
    table, bias = np.asarray(params["embed"]["embedding"]), np.asarray(params["bias"])
    features = np.asarray(contracts.forward(RNN(4))({"params": params["backbone"]}, table[texts()]))
    expected = features @ np.asarray(params["narrow"]["kernel"]) @ table.T + bias
    found = np.asarray(contracts.forward(model)({"params": params}, texts()))
    np.testing.assert_allclose(found[..., EOS:], expected[..., EOS:], rtol=1e-4, atol=1e-5)
    assert "readout" not in params


def test_dropout_drops_in_training_only(key):
    model = LanguageModel(RNN(4), VOCAB, embedding=5, dropout=0.5)
    params, tokens = parameters(model, key), texts()
    contracts.drops_in_training_only(model, params, tokens)
    still, plain = (whole.apply(params, tokens) for whole in (model, LanguageModel(RNN(4), VOCAB, 5)))
    np.testing.assert_array_equal(still, plain)


def test_learns_a_text_by_heart(key):
    model = LanguageModel(Recurrent(12), 8, embedding=8, tied=True)
    text = jnp.asarray([[4, 5, 4, 6, UNK, 4, 7, EOS]], jnp.int32)

    def loss(params):
        logits = model.apply(params, text[:, :-1])
        return losses.cross_entropy(logits, text[:, 1:])

    contracts.overfits(loss, contracts.compiled(model.init)(key, text), 150, rate=3e-2)
