"""Decoding over a step function: greedy, sampling, beam search, scoring, and rollout for real-valued models.

A model is given by its `StepFn` and a carry: its initial state, or its state after a prompt. `first` is the token read
first: SOS, or the last token of the prompt. A sentence ends with EOS, which counts in its length and log-probability,
and is followed by PAD; one that has not ended after `length` tokens is truncated. Both ids are the vocabulary's, or
those of `special`, where a model has its own.

These are pure functions to be called under `jax.jit`; called outside of it, each call compiles anew. Their loops stop
once every row has ended. Log-probabilities are float32. Where no logit is finite, or one is NaN or inf, there is no
next token: the sentence ends there with EOS and the log-probability -inf (in `beam` it is then no sentence).

A part of a carry that holds a limited number of further steps says so by its attribute `room`, as the cache of a
Transformer: decoding further is an error.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Scalar

from seqjax._checks import check_mask, integers, known
from seqjax.types import SPECIAL, Carry, InputError, SpecialTokens, StepFn

Tokens = Int[Array, " batch"]

RealStep = Callable[[Carry, Float[Array, "batch inputs"]], tuple[Carry, Float[Array, "batch inputs"]]]
"""`(carry, x) -> (carry, y)`: one step of a real-valued model whose output is its next input."""


class Decoded(NamedTuple):
    """One decoded sentence a row.

    Attributes:
        lengths: tokens of each sentence, including EOS.
        log_probability: of the sentence under the model, as far as it was decoded.
    """

    tokens: Int[Array, "batch length"]
    lengths: Tokens
    log_probability: Float[Array, " batch"]


class Beams(NamedTuple):
    """The best sentences of each row: those that ended, best score first, then those truncated, best first.

    Attributes:
        lengths: tokens of each sentence, including EOS; 0 where fewer than `width` sentences are possible:
            `log_probability` and `score` are -inf there.
        log_probability: of the sentence under the model, as far as it was decoded.
        score: log-probability divided by the length penalty, the order of the sentences.
    """

    tokens: Int[Array, "batch width length"]
    lengths: Int[Array, "batch width"]
    log_probability: Float[Array, "batch width"]
    score: Float[Array, "batch width"]


def forbid(step: StepFn, *tokens: int) -> StepFn:
    """The same model without these tokens: at each step the probabilities of the others are renormalised.

    Raises:
        InputError: a token outside the vocabulary; raised when the step is called.
    """

    def allowed(carry: Carry, token: Tokens) -> tuple[Carry, Float[Array, "batch vocab"]]:
        carry, logits = step(carry, token)
        vocab = logits.shape[-1]
        if outside := [token for token in tokens if not 0 <= token < vocab]:
            raise InputError(f"tokens must lie in [0, {vocab}), got {outside[0]}")
        return carry, jnp.asarray(logits).at[:, jnp.array(tokens, int)].set(-jnp.inf)

    return allowed


def greedy(step: StepFn, carry: Carry, first: Tokens, *, length: int, special: SpecialTokens = SPECIAL) -> Decoded:
    """The likeliest token at each step, which need not give the likeliest sentence."""
    return _decode(lambda logits, _: jnp.argmax(logits, axis=-1), step, carry, first, length, special)


def sample(
    key: Key[Array, ""],
    step: StepFn,
    carry: Carry,
    first: Tokens,
    *,
    length: int,
    temperature: Scalar | float = 1.0,
    top_k: int | None = None,
    top_p: Scalar | float | None = None,
    min_p: Scalar | float | None = None,
    special: SpecialTokens = SPECIAL,
) -> Decoded:
    """Draw each token at random, at step i with the key `fold_in(key, i)`.

    The temperature is applied first, then the truncations in the order of the arguments. Traced numbers are not
    checked.

    Args:
        temperature: divides the logits; 0 is `greedy`.
        top_k: draw from the k likeliest tokens (Fan et al. 2018, arXiv:1805.04833).
        top_p: draw from the fewest likeliest tokens that together have this probability (Holtzman et al. 2019,
            arXiv:1904.09751).
        min_p: draw from tokens at least this fraction as probable as the likeliest (Nguyen et al. 2024,
            arXiv:2407.01082).

    Returns:
        Sentences, with their log-probability under the model itself, at temperature 1 and without truncation.

    Raises:
        InputError: length or top_k < 1, temperature negative or not finite, top_p outside (0, 1], min_p outside
            [0, 1), or a carry with room for fewer than `length` steps.
    """
    _require(temperature, "temperature must be finite and >= 0", lambda t: 0 <= t < math.inf)
    if top_k is not None:
        integers(1, top_k=top_k)
    _require(top_p, "top_p must lie in (0, 1]", lambda p: 0 < p <= 1)
    _require(min_p, "min_p must lie in [0, 1)", lambda p: 0 <= p < 1)

    def choose(logits: Array, index: Array) -> Array:
        likeliest = jnp.argmax(logits, axis=-1)
        # The largest logit is 0 at any temperature, so that nothing overflows.
        logits = logits - jnp.max(logits, axis=-1, keepdims=True)
        logits = jnp.where(jnp.isneginf(logits), logits, logits / jnp.where(temperature == 0, 1.0, temperature))
        order = None
        if top_k is not None or top_p is not None:
            vocab = logits.shape[-1]
            logits, order = jax.lax.top_k(logits, min(top_k or vocab, vocab))
        if top_p is not None:
            p = jax.nn.softmax(logits, axis=-1)
            likelier = jnp.cumsum(p, axis=-1) - p
            logits = jnp.where(likelier < top_p, logits, -jnp.inf)
        if min_p is not None:
            logits = jnp.where(logits >= jnp.log(min_p), logits, -jnp.inf)
        drawn = jax.random.categorical(jax.random.fold_in(key, index), logits, axis=-1)
        if order is not None:
            drawn = _at(order, drawn)
        return jnp.where(temperature == 0, likeliest, drawn)

    return _decode(choose, step, carry, first, length, special)


class BeamState(NamedTuple):
    """The state of a beam search between two steps.

    Attributes:
        index: tokens decoded so far.
        carry: of the model, with the leading axis `batch * width`.
        token: the last token of each live beam.
        live: sentences that have not ended, likeliest first.
        ended: sentences that have ended, best score first.
    """

    index: Int[Array, ""]
    carry: Carry
    token: Int[Array, "batch width"]
    live: Beams
    ended: Beams


class Candidates(NamedTuple):
    """The likeliest sentences one token longer than the live ones; `parent` is the beam that each continues."""

    sentences: Beams
    parent: Int[Array, "batch candidates"]
    token: Int[Array, "batch candidates"]


def beam(
    step: StepFn,
    carry: Carry,
    first: Tokens,
    *,
    length: int,
    width: int,
    length_penalty: Scalar | float = 0.0,
    special: SpecialTokens = SPECIAL,
) -> Beams:
    """Beam search: keep the `width` likeliest unfinished sentences of each row at every step.

    score = log p(y) / ((5 + |y|) / 6) ** length_penalty (Wu et al. 2016, arXiv:1609.08144, eq. 14, without coverage),
    where |y| counts EOS. A sentence that ends among the `width` likeliest candidates of its step is set aside, and the
    search continues at full width until no live sentence can beat the worst of `width` finished ones; remaining
    places go to the best truncated ones. Width 1 without length penalty is thus `greedy`.

    Args:
        length_penalty: 0 scores by log-probability, which favours short sentences; 0.6 to 1 are usual.

    Raises:
        InputError: length or width below 1, a negative length penalty.
    """
    integers(1, length=length, width=width)
    _check_room(carry, length)
    _require(length_penalty, "length_penalty must be finite and >= 0", lambda a: 0 <= a < math.inf)

    def normaliser(size: Array | int) -> Array:
        return ((5.0 + size) / 6.0) ** jnp.asarray(length_penalty)

    def improvable(state: BeamState) -> Bool[Array, " batch"]:
        # Log-probabilities only fall, and the longest sentence divides them by most. Equals do not replace.
        return state.live.log_probability[:, 0] / normaliser(length) > state.ended.score[:, -1]

    def unfinished(state: BeamState) -> Bool[Array, ""]:
        return (state.index < length) & jnp.any(improvable(state))

    def advance(state: BeamState) -> BeamState:
        read, logits = step(state.carry, state.token.reshape(-1))
        candidates = _expand(state, logits, normaliser(state.index + 1))
        ended = _finish(state.ended, candidates, improvable(state), special.eos)
        return _continue(state, candidates, read, ended, special.eos)

    state = jax.lax.while_loop(unfinished, advance, _start(carry, first, length, width, special.filler))
    return _best(state.ended, state.live, special.filler)


def score(
    step: StepFn, carry: Carry, first: Tokens, target: Int[Array, "batch target"], mask: Bool[Array, "batch target"]
) -> Float[Array, " batch"]:
    """log p(target), summed over the tokens where `mask` is True. Over all sentences that end in EOS, p sums to 1."""

    def read(state: tuple[Carry, Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Carry, Array, Array], None]:
        carry, token, total = state
        following, real = now
        carry, logits = step(carry, token)
        logits, valid = _valid(logits)
        gained = jnp.where(valid, _at(jax.nn.log_softmax(logits, axis=-1), following), -jnp.inf)
        return (carry, following, total + jnp.where(real, gained, 0.0)), None

    check_mask(mask, target.shape, prefix=False)
    start = carry, first.astype(target.dtype), jnp.zeros(first.shape, jnp.float32)
    (_, _, total), _ = jax.lax.scan(read, start, (target.T, mask.T))
    return total


def rollout(
    step: RealStep, carry: Carry, first: Float[Array, "batch inputs"], *, length: int
) -> Float[Array, "batch length inputs"]:
    """Feed each output back as the next input, x(t+1) = y(t), from x(0) = `first`; the `length` >= 1 outputs y."""
    integers(1, length=length)
    _check_room(carry, length)

    first = first.astype(jax.eval_shape(step, carry, first)[1].dtype)

    def feed_back(state: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
        carry, y = step(*state)
        return (carry, y), y

    _, outputs = jax.lax.scan(feed_back, (carry, first), length=length)
    return jnp.swapaxes(outputs, 0, 1)


def _start(carry: Carry, first: Tokens, length: int, width: int, filler: int) -> BeamState:
    """One empty sentence a row: the other beams have probability 0."""
    carry = jax.tree.map(lambda leaf: leaf if jnp.ndim(leaf) == 0 else jnp.repeat(leaf, width, axis=0), carry)
    token = jnp.repeat(first.astype(jnp.int32)[:, None], width, axis=1)
    nothing = jnp.full(token.shape, -jnp.inf, jnp.float32)
    ended = Beams(jnp.full((*token.shape, length), filler, jnp.int32), jnp.zeros_like(token), nothing, nothing)
    live = ended._replace(log_probability=nothing.at[:, 0].set(0.0))
    return BeamState(jnp.int32(0), carry, token, live, ended)


def _expand(state: BeamState, logits: Float[Array, "rows vocab"], normaliser: Scalar) -> Candidates:
    """The `2 * width` likeliest sentences that are one token longer.

    One candidate of each beam can end, so at least `width` of them continue.
    """
    live = state.live
    width = live.log_probability.shape[1]
    gained, following = _likeliest(logits, 2 * width)
    so_far = jnp.repeat(live.log_probability, gained.shape[1], axis=1)
    # The model may return NaN for an empty beam.
    log_probability = jnp.where(so_far > -jnp.inf, so_far + gained.reshape(so_far.shape), -jnp.inf)
    log_probability, place = jax.lax.top_k(log_probability, 2 * width)
    parent, token = place // gained.shape[1], _pick(following.reshape(so_far.shape), place)
    total = log_probability / normaliser
    tokens = _pick(live.tokens, parent).at[:, :, state.index].set(token)
    sentences = Beams(tokens, jnp.full_like(parent, state.index + 1), log_probability, total)
    return Candidates(sentences, parent, token)


def _finish(ended: Beams, candidates: Candidates, improvable: Bool[Array, " batch"], eos: int) -> Beams:
    """The best of the sentences that ended before and those that end now, among the `width` likeliest candidates."""
    width = ended.score.shape[1]
    sentences = candidates.sentences
    # A row that has its answer keeps it to the last bit while others continue.
    enters = (candidates.token == eos) & (sentences.log_probability > -jnp.inf) & improvable[:, None]
    enters = enters & (jnp.arange(2 * width) < width)[None, :]
    pool = _join(ended, sentences._replace(score=jnp.where(enters, sentences.score, -jnp.inf)))
    return _pick(pool, jax.lax.top_k(pool.score, width)[1])


def _continue(state: BeamState, candidates: Candidates, carry: Carry, ended: Beams, eos: int) -> BeamState:
    """The state with the `width` likeliest candidates that do not end, and the carry of their parents."""
    batch, width = state.token.shape
    log_probability = jnp.where(candidates.token == eos, -jnp.inf, candidates.sentences.log_probability)
    log_probability, place = jax.lax.top_k(log_probability, width)
    live, parent, token = _pick(candidates, place)
    row = (jnp.arange(batch)[:, None] * width + parent).reshape(-1)

    def reorder(new: Array, old: Array) -> Array:
        # What the step returns unchanged (a source, its mask) is the same for all beams of a row, and large.
        return new if new is old or jnp.ndim(new) == 0 else new[row]

    carry = jax.tree.map(reorder, carry, state.carry)
    return BeamState(state.index + 1, carry, token, live._replace(log_probability=log_probability), ended)


def _best(ended: Beams, live: Beams, filler: int) -> Beams:
    """The `width` best: those that ended, then those truncated, then empty places."""
    width = ended.score.shape[1]
    pool = _join(ended, live)
    possible = (pool.score > -jnp.inf) & (pool.log_probability > -jnp.inf)
    group = jnp.where(possible, jnp.arange(2 * width)[None, :] >= width, 2)
    best = jnp.lexsort((-pool.score, group))[:, :width]
    pool, possible = _pick((pool, possible), best)
    return Beams(
        jnp.where(possible[:, :, None], pool.tokens, filler),
        jnp.where(possible, pool.lengths, 0),
        jnp.where(possible, pool.log_probability, -jnp.inf),
        jnp.where(possible, pool.score, -jnp.inf),
    )


class _DecodeState(NamedTuple):
    index: Int[Array, ""]
    carry: Carry
    token: Tokens
    alive: Bool[Array, " batch"]
    decoded: Decoded


def _decode(
    choose: Callable[[Array, Array], Array],
    step: StepFn,
    carry: Carry,
    first: Tokens,
    length: int,
    special: SpecialTokens,
) -> Decoded:
    """One sentence a row, its tokens by `choose(logits, index)`."""
    integers(1, length=length)
    _check_room(carry, length)
    batch = first.shape[0]

    def unfinished(state: _DecodeState) -> Bool[Array, ""]:
        return (state.index < length) & jnp.any(state.alive)

    def advance(state: _DecodeState) -> _DecodeState:
        index, carry, token, alive, decoded = state
        carry, logits = step(carry, token)
        logits, valid = _valid(logits)
        token = jnp.where(valid, choose(logits, index).astype(jnp.int32), special.eos)
        gained = jnp.where(valid, _at(jax.nn.log_softmax(logits, axis=-1), token), -jnp.inf)
        token, gained = jnp.where(alive, token, special.filler), jnp.where(alive, gained, 0.0)
        tokens = decoded.tokens.at[:, index].set(token)
        decoded = Decoded(tokens, decoded.lengths + alive, decoded.log_probability + gained)
        return _DecodeState(index + 1, carry, token, alive & (token != special.eos), decoded)

    start = jnp.zeros(batch, jnp.int32), jnp.zeros(batch, jnp.float32)
    decoded = Decoded(jnp.full((batch, length), special.filler, jnp.int32), *start)
    state = _DecodeState(jnp.int32(0), carry, first.astype(jnp.int32), jnp.ones(batch, bool), decoded)
    return jax.lax.while_loop(unfinished, advance, state).decoded


def _valid(logits: Float[Array, "batch vocab"]) -> tuple[Float[Array, "batch vocab"], Bool[Array, " batch"]]:
    """The logits in float32, and which rows are those of a distribution; zeros where they are not."""
    logits = jnp.asarray(logits, jnp.float32)
    valid = jnp.isfinite(jnp.max(logits, axis=-1))
    return jnp.where(valid[:, None], logits, 0.0), valid


def _likeliest(
    logits: Float[Array, "rows vocab"], count: int
) -> tuple[Float[Array, "rows count"], Int[Array, "rows count"]]:
    """The `count` likeliest tokens (all, if there are fewer) and their log-probabilities."""
    logits, valid = _valid(logits)
    best, token = jax.lax.top_k(logits, min(count, logits.shape[-1]))
    # Not best[:, :1]: for a slice of it XLA sorts the whole vocabulary on CPU.
    peak = jnp.max(logits, axis=-1, keepdims=True)
    best = best - peak - jnp.log(jnp.sum(jnp.exp(logits - peak), axis=-1, keepdims=True))
    return jnp.where(valid[:, None], best, -jnp.inf), token


def _at(values: Array, index: Tokens) -> Array:
    """Of each row, the value at its own index."""
    return jnp.take_along_axis(values, index[:, None], axis=1)[:, 0]


def _pick(tree: Any, index: Int[Array, "batch picked"]) -> Any:
    """Of each row, the entries at its own indices, in every leaf."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, places: row[places])(leaf, index), tree)


def _join(first: Beams, second: Beams) -> Beams:
    return jax.tree.map(lambda *two: jnp.concatenate(two, axis=1), first, second)


def _require(value: Scalar | float | int | None, rule: str, holds: Callable[[float], bool]) -> None:
    """Check a number unless it is traced."""
    if value is not None and known(value) and not holds(float(value)):
        raise InputError(f"{rule}, got {value}")


def _check_room(carry: Carry, length: int) -> None:
    """Require that a carry holds `length` further steps."""
    for part in jax.tree.leaves(carry, is_leaf=lambda part: hasattr(part, "room")):
        if length > getattr(part, "room", length):
            raise InputError(
                f"length must be at most {part.room}, the steps that the carry still holds, got {length}: "
                "give `begin` or `start` a larger length"
            )
