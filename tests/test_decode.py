"""Against brute force: a model so small that all its sentences are enumerated in NumPy."""

import itertools
import operator
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from seqjax import decode, models
from seqjax.types import EOS, PAD, SOS, SpecialTokens
from tests.refusals import refuses

VOCAB, STATES, SYMBOLS = 6, 97, (3, 4, 5)
TABLE = 1.5 * np.random.default_rng(0).normal(size=(STATES, VOCAB)).astype(np.float32)
TABLE[:, [PAD, SOS]] = -np.inf
ROWS = 12
WIDE = 45


def start(rows=ROWS, seed=1):
    """A different memory for each row; a row's state is a hash of the tokens read."""
    rng = np.random.default_rng(seed)
    memory = np.zeros((rows, 17), np.float32)
    memory[:, :VOCAB] = rng.normal(size=(rows, VOCAB))
    return {
        "state": jnp.asarray(rng.integers(0, STATES, rows), jnp.int32),
        "memory": jnp.asarray(memory),
        "used": jnp.int32(0),
    }


def step(carry, token):
    """After EOS or PAD the logits are NaN, which must reach no answer."""
    state = (carry["state"] * 31 + token * 7 + carry["used"]) % STATES
    state = jnp.where((token == EOS) | (token == PAD) | (carry["state"] < 0), -1, state)
    logits = jnp.where((state < 0)[:, None], jnp.nan, jnp.asarray(TABLE)[state] + carry["memory"][:, :VOCAB])
    return {"state": state, "memory": carry["memory"], "used": carry["used"] + 1}, logits


def first(rows=ROWS):
    return jnp.full(rows, SOS, jnp.int32)


class Model:
    """The same in NumPy and float64, one row of it."""

    def __init__(self, carry, row):
        self.state, self.memory = int(carry["state"][row]), np.asarray(carry["memory"][row, :VOCAB], np.float64)

    def read(self, tokens):
        """The log-probabilities of the token after `tokens`."""
        state = self.state
        for used, token in enumerate((SOS, *tokens)):
            state = (state * 31 + token * 7 + used) % STATES
            logits = TABLE[state] + self.memory
        return logits - np.log(np.sum(np.exp(logits)))

    def log_probability(self, tokens):
        return sum(self.read(tokens[:i])[token] for i, token in enumerate(tokens))


def sentences(length):
    """All possible sentences: those that end within `length` tokens, then those truncated there."""
    ended = [(*s, EOS) for n in range(length) for s in itertools.product(SYMBOLS, repeat=n)]
    return ended, list(itertools.product(SYMBOLS, repeat=length))


def padded(tokens, length):
    return np.array([(*s, *[PAD] * (length - len(s))) for s in tokens], np.int32)


def rated(log_p, size, penalty):
    return log_p / ((5 + size) / 6) ** penalty


def reference_beam(model, length, width, penalty):
    """Beam search with lists, which never stops early."""
    live, ended = [((), 0.0)], []
    for _ in range(length):
        grown = [((*s, t), log_p + q) for s, log_p in live for t, q in enumerate(model.read(s)) if q > -np.inf]
        grown.sort(key=lambda one: -one[1])
        ended += [(s, rated(log_p, len(s), penalty)) for s, log_p in grown[:width] if s[-1] == EOS]
        ended = sorted(ended, key=lambda one: -one[1])[:width]
        live = [one for one in grown if one[0][-1] != EOS][:width]
    cut = [(s, rated(log_p, length, penalty)) for s, log_p in live]
    return (ended + cut)[:width]


greedy = jax.jit(lambda carry, first, length: decode.greedy(step, carry, first, length=length), static_argnums=2)
beam = jax.jit(
    lambda carry, first, length, width, penalty=0.0: decode.beam(
        step, carry, first, length=length, width=width, length_penalty=penalty
    ),
    static_argnames=("length", "width"),
)
score = jax.jit(lambda *arguments: decode.score(step, *arguments))


def repeated(carry, row, times):
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[row : row + 1], times, axis=0) if leaf.ndim else leaf, carry)


def assert_same(first, second, rtol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol), tuple(first), tuple(second))


def test_greedy_takes_the_likeliest_token_and_stops_each_row_at_its_end():
    carry = start()
    found = greedy(carry, first(), 5)
    for row in range(ROWS):
        model, tokens = Model(carry, row), ()
        while len(tokens) < 5 and EOS not in tokens:
            tokens += (int(np.argmax(model.read(tokens))),)
        np.testing.assert_array_equal(found.tokens[row], padded([tokens], 5)[0])
        assert found.lengths[row] == len(tokens)
        np.testing.assert_allclose(found.log_probability[row], model.log_probability(tokens), rtol=1e-5)
    assert len(set(found.lengths.tolist())) > 2, "rows end at different steps"
    assert ((found.tokens == EOS).sum(axis=1) == 0).any(), "some are truncated"


def test_beam_of_width_one_is_greedy():
    one, best = beam(start(), first(), 5, 1), greedy(start(), first(), 5)
    assert_same([leaf[:, 0] for leaf in one[:3]], best)
    np.testing.assert_array_equal(one.score, one.log_probability)


@pytest.mark.parametrize("penalty", [0.0, 0.9])
def test_full_width_beam_is_the_enumerated_order(penalty):
    """All 13 sentences that end, by score, then all 27 that are truncated, then nothing."""
    carry = start()
    found = beam(carry, first(), 3, WIDE, penalty)
    for row in range(ROWS):
        model, expected = Model(carry, row), []
        for group in sentences(3):
            log_p = np.array([model.log_probability(s) for s in group])
            scores = np.array([rated(one, len(s), penalty) for one, s in zip(log_p, group, strict=True)])
            expected += [(group[i], log_p[i], scores[i]) for i in np.argsort(-scores)]
        tokens, log_p, scores = zip(*expected, strict=True)
        every = len(tokens)
        np.testing.assert_array_equal(found.tokens[row, :every], padded(tokens, 3))
        np.testing.assert_array_equal(found.lengths[row, :every], [len(s) for s in tokens])
        np.testing.assert_allclose(found.log_probability[row, :every], log_p, rtol=1e-5)
        np.testing.assert_allclose(found.score[row, :every], scores, rtol=1e-5)
        for part, nothing in zip(found, (PAD, 0, -np.inf, -np.inf), strict=True):
            assert (part[row, every:] == nothing).all()


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("penalty", [0.0, 0.7, 3.0])
def test_narrow_beam_loses_nothing_by_stopping_early(width, penalty):
    carry = start(40)
    found = beam(carry, first(40), 6, width, penalty)
    for row in range(40):
        tokens, scores = zip(*reference_beam(Model(carry, row), 6, width, penalty), strict=True)
        np.testing.assert_array_equal(found.tokens[row], padded(tokens, 6))
        np.testing.assert_allclose(found.score[row], scores, rtol=1e-5)
        assert len(set(tokens)) == width


def test_score_is_the_enumerated_probability_and_sums_to_one():
    ended, cut = sentences(3)
    target, carry = padded(ended + cut, 3), start()
    for row in (0, 5):
        log_p = score(repeated(carry, row, len(target)), first(len(target)), jnp.asarray(target), target != PAD)
        np.testing.assert_allclose(log_p, [Model(carry, row).log_probability(s) for s in ended + cut], rtol=1e-5)
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_p)), 1.0, rtol=1e-5)
    assert score(start(1), first(1), jnp.array([[4, SOS, EOS]]), jnp.ones((1, 3), bool)) == -np.inf


def test_forbidden_tokens_never_occur_and_the_others_are_renormalised():
    """Against all sentences without the token, with every distribution renormalised."""
    forbidden, other = SYMBOLS[0], SYMBOLS[1]
    allowed, carry = decode.forbid(step, forbidden), start()
    decoded = {
        "greedy": jax.jit(lambda carry: decode.greedy(allowed, carry, first(), length=4).tokens)(carry),
        "beam": jax.jit(lambda carry: decode.beam(allowed, carry, first(), length=4, width=WIDE).tokens)(carry),
    }
    assert (greedy(carry, first(), 4).tokens == forbidden).any(), "without forbid it occurs"
    for name, tokens in decoded.items():
        assert not (tokens == forbidden).any(), name
        assert (tokens == other).any(), name

    without = [s for part in sentences(3) for s in part if forbidden not in s]
    target = jnp.asarray(padded(without, 3))
    rate = jax.jit(lambda carry: decode.score(allowed, carry, first(len(target)), target, target != PAD))
    for row in (0, 5):
        expected = []
        for sentence in without:
            p = [np.exp(Model(carry, row).read(sentence[:i])) for i in range(len(sentence))]
            expected.append(sum(np.log(q[token] / (1 - q[forbidden])) for q, token in zip(p, sentence, strict=True)))
        log_p = rate(repeated(carry, row, len(target)))
        np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_p)), 1.0, rtol=1e-4)


def fixed(carry, token):
    return carry, jnp.asarray(TABLE[:ROWS])


@pytest.mark.parametrize("tokens", [(), (SYMBOLS[0],), (SYMBOLS[2], EOS)])
def test_any_number_of_tokens_is_forbidden(tokens):
    carry, logits = decode.forbid(fixed, *tokens)(7, first())
    assert carry == 7
    expected = TABLE[:ROWS].copy()
    expected[:, list(tokens)] = -np.inf
    np.testing.assert_array_equal(logits, expected)


test_a_token_outside_the_vocabulary_cannot_be_forbidden = refuses(
    lambda token: decode.forbid(fixed, SYMBOLS[0], token)(None, first()),
    *((token, rf"tokens must lie in \[0, {VOCAB}\), got {token}") for token in (-1, VOCAB)),
)


def test_rows_are_answered_as_if_alone():
    """A row that has its answer keeps it while others go on."""
    carry = start()
    together = [greedy(carry, first(), 5), beam(carry, first(), 6, 3, 0.7)]
    for row in range(ROWS):
        own = repeated(carry, row, 1)
        alone = [greedy(own, first(1), 5), beam(own, first(1), 6, 3, 0.7)]
        for many, one in zip(together, alone, strict=True):
            assert_same([leaf[row] for leaf in many], [leaf[0] for leaf in one])


@pytest.mark.parametrize(
    ("search", "steps"),
    [
        (lambda step, *given: decode.greedy(step, *given, length=20), 3),
        (lambda step, *given: decode.sample(jax.random.key(0), step, *given, length=20), 3),
        (lambda step, *given: decode.beam(step, *given, length=20, width=1), 3),
        # Two steps more for what was second: log p falls by 3 at the first, and its end is no better.
        (lambda step, *given: decode.beam(step, *given, length=20, width=2), 4),
        # Over (25 / 6)^3 any beginning could still become the best.
        (lambda step, *given: decode.beam(step, *given, length=20, width=2, length_penalty=3.0), 20),
    ],
)
def test_loops_stop_when_every_row_has_its_answer(search, steps):
    """A model whose tokens are UNK, UNK, EOS; any other has a probability of about e^-20."""
    count = []

    def counted(used, token):
        jax.debug.callback(lambda: count.append(1))
        likeliest = jnp.where(used >= 2, EOS, 3)
        logits = 20.0 * jax.nn.one_hot(likeliest, 4) - 3 * jax.nn.one_hot(3, 4) * (used >= 2)
        return used + 1, jnp.broadcast_to(logits[None, :], (token.shape[0], 4))

    found = jax.jit(lambda carry, first: search(counted, carry, first))(jnp.int32(0), first(2))
    jax.effects_barrier()
    assert len(count) == steps
    best = found.tokens.reshape(2, -1, 20)[:, 0]
    np.testing.assert_array_equal(best[:, :4], [[3, 3, EOS, PAD]] * 2)


def test_eos_is_followed_by_padding_whatever_the_model_returns():
    def talk(used, token):
        return used + 1, jax.nn.one_hot(jnp.where(used == 3, EOS, 4), VOCAB)

    found = decode.greedy(talk, jnp.array([0, 2]), first(2), length=6)
    np.testing.assert_array_equal(found.tokens, [[4, 4, 4, EOS, PAD, PAD], [4, EOS, PAD, PAD, PAD, PAD]])
    np.testing.assert_array_equal(found.lengths, [4, 2])


def test_leaves_that_the_step_returns_unchanged_are_never_gathered():
    program = str(jax.make_jaxpr(lambda carry: decode.beam(step, carry, first(), length=5, width=3))(start()))
    operands = dict(re.findall(r"(\w+):\w+\[([\d,]*)\]", program))
    gathered = [operands.get(name, "") for name in re.findall(r"= gather\[.*?\] (\w+) ", program, re.DOTALL)]
    assert f"{3 * ROWS}" in gathered, "the state is"
    assert f"{3 * ROWS},17" not in gathered, "the memory is not"


def drawn(rows, length, **options):
    return jax.jit(
        lambda key, carry, traced: decode.sample(key, step, carry, first(rows), length=length, **options, **traced)
    )


def assert_drawn_from(tokens, expected):
    """Chi-squared test; `expected` is {sentence: probability}, and nothing else may occur."""
    found, counts = np.unique(np.asarray(tokens), axis=0, return_counts=True)
    counts = dict(zip(map(tuple, found.tolist()), counts, strict=True))
    assert set(counts) <= {s for s, p in expected.items() if p > 0}
    count = np.array([counts.get(s, 0) for s in expected])
    mean = len(tokens) * np.array([*expected.values()])
    rare = mean < 8
    if rare.any():
        count, mean = np.append(count[~rare], count[rare].sum()), np.append(mean[~rare], mean[rare].sum())
    assert chisquare(count[mean > 0], mean[mean > 0]).pvalue > 1e-3


def test_samples_follow_the_enumerated_distribution(key):
    carry, rows = start(), 50_000
    found = drawn(rows, 3)(key, repeated(carry, 5, rows), {})
    everything = [*itertools.chain(*sentences(3))]
    log_p = [Model(carry, 5).log_probability(s) for s in everything]
    assert_drawn_from(found.tokens, dict(zip(map(tuple, padded(everything, 3).tolist()), np.exp(log_p), strict=True)))
    np.testing.assert_array_equal(found.lengths, (found.tokens != PAD).sum(axis=1))
    again = score(repeated(carry, 5, rows), first(rows), found.tokens, found.tokens != PAD)
    np.testing.assert_allclose(found.log_probability, again, rtol=1e-5)


def test_each_step_has_its_own_key(key):
    found = drawn(ROWS, 4)(key, start(), {})
    carry, token, alive = start(), first(), np.ones(ROWS, bool)
    for index in range(4):
        carry, logits = jax.jit(step)(carry, token)
        token = jnp.where(alive, jax.random.categorical(jax.random.fold_in(key, index), logits), PAD)
        np.testing.assert_array_equal(found.tokens[:, index], token)
        alive = alive & (token != EOS)


def test_low_temperature_is_greedy_with_the_log_probability_of_the_model_itself(key):
    best = greedy(start(), first(), 5)
    assert_same(drawn(ROWS, 5, top_k=1)(key, start(), {"temperature": jnp.float32(3.0)}), best)
    for options in ({}, {"top_k": 99, "top_p": 0.9, "min_p": 0.1}):
        cold = drawn(ROWS, 5, **options)
        for temperature in (0.0, 1e-38, 1e-4):
            assert_same(cold(key, start(), {"temperature": jnp.float32(temperature)}), best)


def truncated(p, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0):
    """Token by token, likeliest first."""
    p = p ** (1 / temperature)
    order = sorted(np.flatnonzero(p), key=lambda token: -p[token])[:top_k]
    p = {token: p[token] / p[order].sum() for token in order}
    kept = [token for i, token in enumerate(order) if sum(p[earlier] for earlier in order[:i]) < top_p]
    kept = [token for token in kept if p[token] >= min_p * p[order[0]]]
    return {(int(token),): p[token] / sum(p[one] for one in kept) for token in kept}


@pytest.mark.parametrize("top_k", [None, 3])
def test_truncations_keep_the_right_tokens(top_k, key):
    """`top_p` 0.8 keeps all of the three likeliest only if it is of all tokens: 0.1, 0.4, 0.3, 0.2 here."""
    rows, p = 20_000, np.array([0, 0, 0.1, 0.4, 0.3, 0.2])

    def constant(carry, token):
        return carry, jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32))[None, :], (token.shape[0], VOCAB))

    @jax.jit
    def draw(temperature, top_p, min_p):
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        return decode.sample(key, constant, (), first(rows), length=1, **options)

    for numbers in [(1, 1, 0), (1, 0.8, 0), (1, 1e-6, 0), (1, 1, 0.6), (2, 0.5, 0.7), (0.5, 0.9, 0)]:
        found = draw(*map(jnp.float32, numbers))
        expected = truncated(p, numbers[0], top_k, *numbers[1:])
        assert set(found.tokens[:, 0].tolist()) == {token for (token,) in expected}
        if len(expected) > 1:
            assert_drawn_from(found.tokens, expected)
        np.testing.assert_allclose(found.log_probability, np.log(p[found.tokens[:, 0]]), rtol=1e-4)


def test_min_p_alone(key):
    rows, carry = 20_000, start()
    found = drawn(rows, 1, min_p=0.3)(key, repeated(carry, 5, rows), {})
    p = np.exp(Model(carry, 5).read(()))
    assert 1 < len(truncated(p, min_p=0.3)) < 4
    assert_drawn_from(found.tokens, truncated(p, min_p=0.3))


def test_a_cache_follows_its_beam_after_a_prompt(key):
    """`score` of each sentence, from the end of the prompt, is the log-probability that the search reports."""
    embedding, weights = jax.random.normal(key, (VOCAB, 5)), jnp.linspace(1.0, -1.0, 8).reshape(1, 8, 1)
    allowed = jnp.array([[-jnp.inf, -jnp.inf, 0, 0, 0, 0]])

    def attend(carry, token):
        cache, used = carry
        cache = cache.at[:, used].set(embedding[token])
        logits = 3 * jnp.tanh(jnp.sum(weights * cache, axis=1)) @ embedding.T + allowed
        return (cache, used + 1), logits

    @jax.jit
    def run(prompt):
        carry = jnp.zeros((ROWS, 8, 5)), jnp.int32(0)
        for token in prompt[:-1]:
            carry, _ = attend(carry, token)
        found = decode.beam(attend, carry, prompt[-1], length=5, width=3)
        beams = (found.tokens[:, i] for i in range(3))
        again = [decode.score(attend, carry, prompt[-1], tokens, tokens != PAD) for tokens in beams]
        return found, jnp.stack(again, axis=1)

    found, again = run(jax.random.randint(key, (3, ROWS), 3, VOCAB))
    assert len(np.unique(found.tokens[:, 0], axis=0)) > 3, "the prompt matters"
    np.testing.assert_allclose(found.log_probability, again, rtol=1e-5, atol=1e-6)


def test_one_program_for_all_carries():
    traced = []

    @jax.jit
    def run(carry, penalty):
        traced.append(1)
        return decode.beam(step, carry, first(), length=3, width=2, length_penalty=penalty)

    one, other = run(start(seed=1), 0.0), run(start(seed=2), 0.5)
    assert len(traced) == 1
    assert not np.array_equal(one.tokens, other.tokens)


def test_rollout_feeds_outputs_back(key):
    matrix = jnp.array([[0.9, 0.2], [-0.3, 0.8]])
    x = jax.random.normal(key, (3, 2))

    def next_value(carry, x):
        total, used = carry
        total = total + x
        return (total, used + 1), total @ matrix + used

    found = decode.rollout(next_value, (jnp.ones((3, 2)), jnp.float32(0)), x, length=6)
    total, value = np.ones((3, 2)), np.asarray(x, np.float64)
    for index in range(6):
        total = total + value
        value = total @ np.asarray(matrix) + index
        np.testing.assert_allclose(found[:, index], value, rtol=1e-4)
    assert found.shape == (3, 6, 2)


test_bad_arguments_of_sampling = refuses(
    lambda **options: decode.sample(jax.random.key(0), step, start(), first(), **{"length": 3, **options}),
    ({"length": 0}, "length must be >= 1, got 0"),
    ({"temperature": -1.0}, "temperature must be finite and >= 0, got -1.0"),
    ({"temperature": float("inf")}, "temperature must be finite and >= 0, got inf"),
    ({"top_k": 0}, "top_k must be >= 1, got 0"),
    ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
    ({"top_p": 1.5}, r"top_p must lie in \(0, 1\], got 1.5"),
    ({"min_p": -0.1}, r"min_p must lie in \[0, 1\), got -0.1"),
    ({"min_p": 1.0}, r"min_p must lie in \[0, 1\), got 1.0"),
    ({"top_p": jnp.float32(0)}, r"top_p must lie in \(0, 1\], got 0.0"),
    ({"temperature": jnp.float32("nan")}, "temperature must be finite and >= 0, got nan"),
)


BROKEN = np.full((6, VOCAB), -1.0, np.float32)
BROKEN[1:, PAD] = -np.inf, np.nan, -np.nan, np.inf, np.nan
BROKEN[1:5, SOS:] = [[-np.inf], [np.nan], [-np.nan], [0]]


def broken(carry, token):
    return carry, jnp.repeat(jnp.asarray(BROKEN), len(token) // len(BROKEN), axis=0)


def test_where_no_logit_is_finite_or_one_is_nan_a_sentence_ends_with_probability_zero(key):
    """The first row is right."""

    @jax.jit
    def search(read):
        greedy = decode.greedy(broken, (), read, length=2)
        sample = decode.sample(key, broken, (), read, length=2, top_k=2, top_p=0.5, min_p=0.1)
        beams = [decode.beam(broken, (), read, length=2, width=width) for width in (1, 2, 2 * VOCAB)]
        total = decode.score(broken, (), read, jnp.full((6, 2), 4), jnp.ones((6, 2), bool))
        return (greedy, sample), beams, total

    singles, searches, total = jax.device_get(search(jnp.full(6, SOS, jnp.int32)))
    for found in singles:
        np.testing.assert_array_equal(found.tokens[1:], [[EOS, PAD]] * 5)
        np.testing.assert_array_equal(np.isneginf(found.log_probability), [False] + [True] * 5)
    for beams in searches:
        assert (beams.lengths[0] > 0).all()
        np.testing.assert_array_equal(beams.lengths[1:], 0)
        np.testing.assert_array_equal(beams.score[1:], -np.inf)
    np.testing.assert_allclose(total, [-2 * np.log(VOCAB)] + [-np.inf] * 5, rtol=1e-6)


def test_no_rows(key):
    @jax.jit
    def search(*nothing):
        greedy = decode.greedy(step, *nothing, length=2)
        sample = decode.sample(key, step, *nothing, length=2, top_k=2)
        return greedy, sample, decode.beam(step, *nothing, length=2, width=3)

    assert [found.tokens.shape for found in search(start(0), first(0))] == [(0, 2), (0, 2), (0, 3, 2)]


@pytest.mark.parametrize("search", [decode.greedy, partial(decode.beam, width=2)])
def test_no_more_tokens_than_the_carry_holds(search, key):
    """Inside jit, where the number of used slots is not known, at most as many as the cache is long."""
    model = models.LanguageModel(models.Transformer(4, layers=1), VOCAB, 4)
    params, prompt = jax.jit(model.init)(key, jnp.ones((1, 2), jnp.int32)), jnp.full((1, 2), 4)
    carry, _ = jax.jit(partial(model.apply, method="extend"))(params, model.begin(1, 4), prompt)
    of = partial(search, partial(model.apply, params, method="step"))
    with pytest.raises(ValueError, match="length must be at most 2, the steps that the carry still holds, got 3"):
        of(carry, prompt[:, 0], length=3)
    with pytest.raises(ValueError, match=r"length must be at most 4, .*, got 5"):
        jax.jit(partial(of, length=5))(carry, prompt[:, 0])


test_bad_arguments_of_the_search = refuses(
    lambda **options: decode.beam(step, start(), first(), **{"length": 3, "width": 2, **options}),
    ({"length": 0}, "length must be >= 1, got 0"),
    ({"width": 0}, "width must be >= 1, got 0"),
    ({"length_penalty": -0.5}, "length_penalty must be finite and >= 0, got -0.5"),
    ({"length_penalty": float("nan")}, "length_penalty must be finite and >= 0, got nan"),
)


test_bad_lengths_elsewhere = refuses(
    operator.call,
    (lambda: decode.greedy(step, start(), first(), length=0), "length must be >= 1, got 0"),
    (
        lambda: decode.rollout(lambda carry, x: (carry, x), (), jnp.ones((1, 1)), length=-1),
        "length must be >= 1, got -1",
    ),
)


@pytest.mark.parametrize("pad", [True, False])
def test_other_special_ids(pad):
    """Of a vocabulary in another order the same sentences come out; without PAD they are filled up with EOS."""
    ids = np.array([4, 0, 3, 5, 1, 2])
    special = SpecialTokens(pad=int(ids[PAD]) if pad else None, sos=int(ids[SOS]), eos=int(ids[EOS]))
    back = jnp.asarray(np.argsort(ids))

    def reordered(carry, token):
        carry, logits = step(carry, back[token])
        return carry, logits[:, back]

    def filled_up(tokens):
        return np.where(np.asarray(tokens) == PAD, special.filler, ids[np.asarray(tokens)])

    def ways(step, sos, **options):
        rows = jnp.full(ROWS, sos, jnp.int32)
        drawn = decode.sample(jax.random.key(3), step, start(), rows, length=6, temperature=0.0, **options)
        beams = decode.beam(step, start(), rows, length=6, width=3, **options)
        return decode.greedy(step, start(), rows, length=6, **options), drawn, beams

    usual = jax.jit(lambda: ways(step, SOS))()
    found = jax.jit(lambda: ways(reordered, special.sos, special=special))()
    for one, other in zip(usual, found, strict=True):
        np.testing.assert_array_equal(other.tokens, filled_up(one.tokens))
        np.testing.assert_array_equal(other.lengths, one.lengths)
        np.testing.assert_allclose(other.log_probability, one.log_probability, rtol=1e-6)
