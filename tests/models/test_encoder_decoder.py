"""Whole models: contracts for each decoder after one of the encoders, and what only probabilities can show."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from seqjax import decode, losses, models
from seqjax.models.recurrent import reverse
from seqjax.types import EOS, PAD, SOS, SpecialTokens
from tests import contracts

ENCODERS = {
    "both ways": models.Bidirectional(6, models.GRUCell()),
    "lstm": models.LSTM(4, layers=2),
    "tcn": models.TCN(4, 2, (1, 2)),
    "lru": models.LRU(4, layers=1),
    "dilated": models.LinearDilatedCNN(4, layers=4, features=4),
    "transformer": models.Transformer(4, 2, layers=1, causal=False),
}
DECODERS = {
    "context": models.RecurrentDecoder(4, models.LSTMCell(), layers=2, bridge=models.CopyState()),
    "luong": models.LuongDecoder(4, models.LSTMCell(), layers=2, attention=models.MultiHeadAttention(6, 3)),
    "input feeding": models.LuongDecoder(4, models.GRUCell(), attention=models.GeneralAttention(4), input_feeding=True),
    "bahdanau": models.BahdanauDecoder(4, models.GRUCell(), attention=models.AdditiveAttention(5)),
    "transformer": models.TransformerDecoder(4, 2, layers=2),
    "from a state": models.CausalDecoder(models.LRU(4, layers=2)),
    "from a copied state": models.CausalDecoder(
        models.LinearDilatedCNN(4, layers=4, features=4), bridge=models.CopyState()
    ),
    "from a convolution's inputs": models.CausalDecoder(models.TCN(4, 2, (1, 2))),
    "from a real state": models.CausalDecoder(models.DiagonalRNN(4, 3, jax.nn.softplus)),
}
HEADS = {"luong": 3, "input feeding": 1, "bahdanau": 1, "transformer": 4}
BRIDGED: dict[str, Any] = {name: {"bridge": models.Bridge()} for name in ("context", "from a copied state")}
CONTRACTS = [
    ("lstm", "context", True),
    ("transformer", "luong", True),
    pytest.param("tcn", "input feeding", False, marks=pytest.mark.slow),
    ("both ways", "bahdanau", True),
    pytest.param("tcn", "transformer", False, marks=pytest.mark.slow),
    pytest.param("lru", "from a state", False, marks=pytest.mark.slow),
    ("dilated", "from a copied state", True),
    pytest.param("both ways", "from a real state", False, marks=pytest.mark.slow),
]


def model(encoder, decoder, tied, **sizes):
    chosen: dict[str, Any] = {"source_vocab": 13, "target_vocab": 12, "embedding": 5} | sizes
    return models.EncoderDecoder(ENCODERS[encoder], DECODERS[decoder], tied=tied, **chosen)


@pytest.mark.parametrize(("encoder", "decoder", "tied"), CONTRACTS)
def test_contract(encoder, decoder, tied, key):
    whole = model(encoder, decoder, tied)
    contracts.writes_as_it_steps(whole, key)
    contracts.writes_causally(whole, key)
    contracts.ignores_padded_tokens(whole, key)
    contracts.pairs_are_independent(whole, key)
    contracts.attends_to_what_is_there(whole, key, HEADS.get(decoder, 0))


def test_a_tcn_writes_as_it_steps(key):
    contracts.writes_as_it_steps(model("tcn", "from a convolution's inputs", False), key)


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        pytest.param(encoder, decoder, marks=pytest.mark.slow if (row + column) % 3 else [])
        for row, encoder in enumerate(ENCODERS)
        for column, decoder in enumerate(DECODERS)
    ],
)
def test_any_encoder_goes_with_any_decoder(encoder, decoder, key):
    """One token a side, too; traced only. By default each with a third of the others."""
    whole = models.EncoderDecoder(ENCODERS[encoder], DECODERS[decoder].clone(**BRIDGED.get(decoder, {})), 13, 12, 5)
    one = jnp.ones((2, 1), jnp.int32)
    params = jax.eval_shape(whole.init, key, one, one)
    found = jax.eval_shape(partial(whole.apply, method="align", train=True), params, one, one)
    assert found.logits.shape == (2, 1, 12)
    assert found.weights.shape == (2, HEADS.get(decoder, 0), 1, 1)


@pytest.mark.parametrize("encoder", ["tcn", "lru", "lstm"])
def test_a_causal_encoder_hands_over_its_state(encoder, key):
    """That after the last real step: of a source in two pieces the second starts from it, however it is padded."""
    backbone = ENCODERS[encoder]
    params, x, mask = contracts.parameters(backbone, key), contracts.inputs(key, 5), contracts.upto((5, 3, 1), 5)
    encode = contracts.compiled(partial(backbone.apply, method="encode"))
    outputs, state = encode(params, x, mask=mask)
    for row, length in enumerate((5, 3, 1)):
        alone, found = encode(params, x[row : row + 1, :length], mask=jnp.ones((1, length), bool))
        np.testing.assert_allclose(alone[0], outputs[row, :length], rtol=1e-4, atol=1e-6)
        jax.tree.map(lambda a, b, r=row: np.testing.assert_allclose(a[0], b[r], rtol=1e-4, atol=1e-6), found, state)
    _, first = encode(params, x[:, :2], mask=mask[:, :2])
    rest, last = encode(params, x[:, 2:], mask=mask[:, 2:], initial=first)
    np.testing.assert_allclose(rest, outputs[:, 2:], rtol=1e-4, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), last, state)


def test_an_encoder_can_be_given_its_first_state(key):
    """In each direction; that of `start` changes nothing, and architectures without a state refuse one."""
    both = models.Bidirectional(6, models.GRUCell(), layers=2)
    params, x, mask = contracts.parameters(both, key), contracts.inputs(key, 4), contracts.upto((4, 2, 3), 4)
    encode = contracts.compiled(partial(both.apply, method="encode"))
    plain, zeros = encode(params, x, mask=mask), encode(params, x, mask=mask, initial=both.start(3))
    jax.tree.map(np.testing.assert_array_equal, plain, zeros)
    given = jax.tree.map(lambda leaf: leaf + 0.5, both.start(3))
    _, ((forward, backward), _) = encode(params, x, mask=mask, initial=given)
    for name, turned, expected in [("forward_0", False, forward), ("backward_0", True, backward)]:
        one_way = {"params": {"layer_0": params["params"][name]}}
        read = reverse(x, mask) if turned else x
        gru = contracts.compiled(partial(models.GRU(3).apply, method="encode"))
        _, (state,) = gru(one_way, read, mask=mask, initial=given[0][0:1])
        np.testing.assert_allclose(state, expected, rtol=1e-5)

    batch = contracts.pairs(PLAIN)
    params = contracts.parameters(PLAIN, key)
    started = models.Recurrent(4).start(len(batch.source), 5, 5)
    without = forced(params, batch.source, batch.target)
    np.testing.assert_array_equal(forced(params, batch.source, batch.target, initial=started), without)
    moved = forced(params, batch.source, batch.target, initial=(started[0] + 1,))
    assert np.abs(moved - without)[..., EOS:].max() > 0.01
    whole = model("transformer", "transformer", tied=False)
    with pytest.raises(ValueError, match="Transformer has no state that it could start from: initial must be None"):
        whole.init(key, batch.source, batch.target, initial=started)


def test_each_dropout_has_its_place(key):
    """All of one thing is dropped: the source's embeddings, the target's, or what the readout reads."""
    batch = contracts.pairs(PLAIN)
    params = contracts.parameters(PLAIN, key)

    def logits(train=True, params=params, **options) -> Any:
        apply = contracts.compiled(partial(PLAIN.clone(**options).apply, train=train, rngs={"dropout": key}))
        return apply({"params": params["params"]}, batch.source, batch.target)

    def without(*names):
        gone = {name: jax.tree.map(jnp.zeros_like, params["params"][name]) for name in names}
        return {"params": params["params"] | gone}

    np.testing.assert_array_equal(logits(source_dropout=1.0), logits(params=without("source_embedding")))
    bias = params["params"]["readout"]["bias"].reshape(1, 1, -1)
    nothing_read = logits(readout_dropout=1.0)
    np.testing.assert_array_equal(nothing_read[..., EOS:], jnp.broadcast_to(bias, nothing_read.shape)[..., EOS:])
    only = logits(dropout=1.0, source_dropout=0.0, readout_dropout=0.0)
    np.testing.assert_array_equal(only, logits(params=without("target_embedding")))
    np.testing.assert_array_equal(logits(train=False, source_dropout=1.0, readout_dropout=1.0), logits())
    wrong: list[Any] = [{"source_dropout": 1.5}, {"readout_dropout": 1.5}]
    for options in wrong:
        with pytest.raises(ValueError, match=r"(source|readout)_dropout must lie in \[0, 1\], got 1.5"):
            PLAIN.clone(**options)


def test_a_function_of_the_targets_embeddings(key):
    params, batch = contracts.parameters(PLAIN, key), contracts.pairs(PLAIN)
    table = params["params"]["target_embedding"]["embedding"]
    positive = {"params": params["params"] | {"target_embedding": {"embedding": jnp.maximum(table, 0)}}}
    relu = PLAIN.clone(target_activation=jax.nn.relu)
    found = contracts.compiled(relu.apply)(params, batch.source, batch.target)
    np.testing.assert_array_equal(found, forced(positive, batch.source, batch.target))
    assert (np.abs(found - forced(params, batch.source, batch.target))[..., EOS:] > 0.01).any()


WRONG_IDS = {
    "pad and SOS": ({"pad": 1}, "special ids must differ, got pad=1, sos=1 and eos=2"),
    "SOS and EOS": ({"sos": 2}, "special ids must differ, got pad=0, sos=2 and eos=2"),
    "never EOS": ({"never": (0, 2)}, r"never must not hold eos=2, .* got \(0, 2\)"),
}


@pytest.mark.parametrize("name", WRONG_IDS)
def test_special_ids_that_coincide(name):
    options, message = WRONG_IDS[name]
    with pytest.raises(ValueError, match=message):
        SpecialTokens(**options)


@pytest.mark.parametrize("special", [{"eos": 8}, {"sos": -1}, {"pad": 9}, {"never": (0, 8)}])
def test_special_ids_lie_in_the_vocabulary(special):
    for make in (
        lambda special: PLAIN.clone(special=special),
        lambda special: models.LanguageModel(models.GRU(4), 8, special=special),
        lambda special: models.Captioner(None, models.RecurrentDecoder(4), 8, special=special),
    ):
        with pytest.raises(ValueError, match=r"special ids must lie in \[0, 8\), the vocabulary, got "):
            make(SpecialTokens(**special))


def test_vectors_can_be_the_source(key):
    """As frames of speech: those that are embeddings of tokens give the tokens' logits."""
    parts = models.Recurrent(4), models.RecurrentDecoder(4)
    tokens, frames = (models.EncoderDecoder(*parts, vocab, 12, 5) for vocab in (13, None))
    params, batch = contracts.parameters(tokens, key)["params"], contracts.pairs(tokens)
    masks = {"source_mask": batch.source_mask, "target_mask": batch.target_mask}
    expected = contracts.compiled(tokens.apply)({"params": params}, batch.source, batch.target, **masks)
    source = params["source_embedding"]["embedding"][batch.source]
    source = jnp.where(batch.source_mask[..., None], source, jnp.nan)
    found = contracts.compiled(frames.apply)({"params": params}, source, batch.target, **masks)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


PLAIN = models.EncoderDecoder(models.Recurrent(4), models.RecurrentDecoder(4), 8, 8, embedding=5)
forced = contracts.compiled(PLAIN.apply)


@pytest.fixture
def plain(key):
    """A plain model's parameters, a source, and a target of three tokens that the model would never guess."""
    params, source = contracts.parameters(PLAIN, key), jnp.asarray([[4, 6, 5]])

    def guess(*tokens):
        return int(np.argmax(forced(params, source, jnp.asarray([(*tokens, EOS, EOS)[:3]]))[0, len(tokens)]))

    first = guess()
    true = next(token for token in range(EOS, 8) if token != first)
    second = {read: guess(read) for read in (true, first)}
    also_true = next(token for token in range(EOS, 8) if token not in second.values())
    reads = [(true, also_true), (true, second[true]), (first, also_true), (first, second[first])]
    return params, source, jnp.asarray([[true, also_true, EOS]]), reads


def test_scheduled_sampling_draws_a_coin_for_each_step_and_row(plain, key):
    params, source, target, reads = plain
    rows, share = 4000, 0.3
    many = [jnp.repeat(part, rows, axis=0) for part in (source, target)]
    scheduled = contracts.compiled(partial(PLAIN.apply, method="scheduled"))
    logits = np.asarray(scheduled(params, *many, jnp.float32(share), rngs={"sampling": key}))
    each = jnp.asarray([[*read, EOS] for read in reads])
    expected = np.concatenate([forced(params, source, row[None]) for row in each])
    distance = np.abs(logits[:, None, :, EOS:] - expected[None, :, :, EOS:]).max(axis=(2, 3))
    np.testing.assert_array_equal((distance < 1e-5).sum(axis=1), 1)
    counts = np.bincount(np.argmin(distance, axis=1), minlength=4)
    p = share
    assert chisquare(counts, rows * np.array([p * p, p * (1 - p), (1 - p) * p, (1 - p) ** 2])).pvalue > 1e-3, counts


def test_no_gradient_flows_through_guesses(plain, key):
    """It is that of a target which happens to hold the guesses."""
    params, source, target, reads = plain
    guessed = jnp.asarray([[*reads[3], EOS]])

    def scheduled(params):
        return PLAIN.apply(params, source, target, 0.0, method="scheduled", rngs={"sampling": key})

    @contracts.compiled
    def gradients(params):
        free = jax.grad(lambda params: losses.cross_entropy(scheduled(params), target))(params)
        given = jax.grad(lambda params: losses.cross_entropy(PLAIN.apply(params, source, guessed), target))(params)
        return free, given

    actual, expected = gradients(params)
    assert np.abs(actual["params"]["target_embedding"]["embedding"][reads[3][0]]).max() > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), actual, expected)


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("both ways", "bahdanau"), pytest.param("lstm", "transformer", marks=pytest.mark.slow)]
)
def test_all_that_can_be_said(encoder, decoder, key):
    """Three symbols, up to three tokens: 13 sentences that end and 27 beginnings of longer ones share all the mass."""
    small = model(encoder, decoder, True, source_vocab=7, target_vocab=6)
    params = contracts.parameters(small, key)
    source, source_mask = np.array([[4, 6, 5], [5, 0, 0]], np.int32), contracts.upto([3, 1], 3)
    said = [(*s, EOS) for n in range(3) for s in itertools.product((3, 4, 5), repeat=n)]
    said += list(itertools.product((3, 4, 5), repeat=3))
    target = np.array([(*s, *[PAD] * (3 - len(s))) for s in said], np.int32)
    mask = contracts.upto([len(s) for s in said], 3)

    @contracts.compiled
    def everything(params, source, source_mask):
        step = partial(small.apply, params, method="step")
        first = jnp.full(len(source), SOS)
        carry = small.apply(params, source, source_mask, 3, method="begin")
        beams = decode.beam(step, carry, first, length=3, width=45)
        greedy = decode.greedy(step, carry, first, length=3)
        read: Any = {"source_mask": source_mask, "rngs": {"sampling": key}}
        free = small.apply(params, source, jnp.full((2, 3), EOS), 0.0, method="scheduled", **read)

        # Every sentence after each source: 2 times 40 rows.
        many, many_mask = (jnp.repeat(part, len(said), axis=0) for part in (source, source_mask))
        each, each_mask = (jnp.tile(jnp.asarray(part), (2, 1)) for part in (target, mask))
        carry = small.apply(params, many, many_mask, 3, method="begin")
        log_p = decode.score(step, carry, jnp.full(len(many), SOS), each, each_mask)
        logits = small.apply(params, many, each, source_mask=many_mask, target_mask=each_mask)
        cost = jax.vmap(lambda *one: losses.cross_entropy(*(part[None] for part in one)))(logits, each, each_mask)
        return beams, greedy, free, log_p.reshape(2, -1), cost.reshape(2, -1)

    beams, greedy, free, *rated = everything(params, source, source_mask)
    for row, (log_p, cost) in enumerate(zip(*rated, strict=True)):
        np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1, rtol=1e-5)
        np.testing.assert_allclose(-np.asarray(cost) * mask.sum(axis=1), log_p, rtol=1e-5, atol=1e-6)
        order = [*np.argsort(-log_p[:13]), *(13 + np.argsort(-log_p[13:]))]
        np.testing.assert_array_equal(beams.tokens[row, :40], target[order])
        np.testing.assert_allclose(beams.log_probability[row, :40], np.asarray(log_p)[order], rtol=1e-5, atol=1e-5)
        length = int(greedy.lengths[row])
        np.testing.assert_array_equal(greedy.tokens[row, :length], np.argmax(free[row], axis=-1)[:length])
    assert np.abs(rated[0][0] - rated[0][1]).max() > 1e-3, "the sources differ"


@pytest.mark.parametrize("tied", [False, True])
def test_a_tied_readout_is_the_embedding(tied, key):
    whole = model("lstm", "context", tied)
    names = set(jax.eval_shape(whole.init, key, *(jnp.ones((1, 1), jnp.int32),) * 2)["params"])
    shared = {"encoder", "decoder", "source_embedding", "target_embedding"}
    assert names == shared | ({"narrow", "bias"} if tied else {"readout"})


DROPPED = {
    "embeddings and readout": model("lstm", "context", False, dropout=0.5),
    "encoder": models.EncoderDecoder(
        ENCODERS["transformer"].clone(dropout=0.5), DECODERS["context"].clone(**BRIDGED["context"]), 13, 12, 5
    ),
    "recurrent decoder": models.EncoderDecoder(
        models.Recurrent(4), DECODERS["bahdanau"].clone(layers=2, dropout=0.5), 13, 12, 5
    ),
    "Transformer decoder": models.EncoderDecoder(
        models.Recurrent(4), DECODERS["transformer"].clone(layers=1, dropout=0.5), 13, 12, 5
    ),
}


@pytest.mark.parametrize("where", DROPPED)
def test_dropout_varies_in_training_only(where, key):
    whole = DROPPED[where]
    params, batch = contracts.parameters(whole, key), contracts.pairs(whole, full=True)

    @contracts.compiled
    def said(params, keys):
        def trained(key):
            return whole.apply(params, batch.source, batch.target, train=True, rngs={"dropout": key})

        return jax.vmap(trained)(keys)[..., EOS:], whole.apply(params, batch.source, batch.target)[..., EOS:]

    trained, evaluated = said(params, jax.random.split(key, 3))
    assert np.isfinite(trained).all()
    assert (np.std(trained, axis=0).max(axis=-1) > 1e-4).all(), "every step of every row"
    np.testing.assert_array_equal(said(params, jax.random.split(jax.random.key(1), 3))[1], evaluated)
    assert np.abs(trained - evaluated[None]).max() > 1e-2


def linear(width):
    cell = models.RNNCell(lambda x: x)
    return models.Recurrent(width, cell), models.RecurrentDecoder(width, cell, bridge=models.CopyState())


@pytest.mark.parametrize(
    ("parts", "rank"), [(linear(2), 2), (linear(4), 4), ((models.GRU(2), DECODERS["bahdanau"].clone(features=2)), 5)]
)
def test_all_that_a_linear_one_writes_comes_through_its_context_vector(parts, rank, key):
    """The map from 7 steps read to 5 written has the context vector's rank; attention is not bound by it."""
    model, x = models.EncoderDecoderRegressor(*parts), contracts.inputs(key, 7, width=1)
    params = contracts.filled(jax.eval_shape(lambda key: model.init(key, x, 5), key), key)

    def write(x) -> Any:
        y = model.apply(params, x[None], 5)
        return y[0, :, 0]

    jacobian = contracts.compiled(jax.jacfwd(write))(x[0])[..., 0]
    sizes = np.linalg.svd(np.asarray(jacobian, np.float64), compute_uv=False)
    assert (sizes > 1e-5 * sizes[0]).sum() == rank


@pytest.mark.parametrize("encoder", ["both ways", "tcn"])
def test_real_values_read_may_be_padded(encoder, key):
    model = models.EncoderDecoderRegressor(
        ENCODERS[encoder], models.LuongDecoder(6, models.GRUCell(), attention=models.GeneralAttention(6)), targets=2
    )
    x, mask = contracts.inputs(key, 7), contracts.upto((1, 4, 7), 7)
    params = contracts.filled(jax.eval_shape(lambda key: model.init(key, x, 5), key), key)
    apply = contracts.compiled(model.apply, static_argnums=2)
    y = apply(params, x, 5, mask=mask)
    assert y.shape == (3, 5, 2)
    np.testing.assert_array_equal(apply(params, jnp.where(mask[..., None], x, jnp.nan), 5, mask=mask), y)
    np.testing.assert_allclose(apply(params, x[1:2, :4], 5)[0], y[1], rtol=1e-4, atol=2e-5)
