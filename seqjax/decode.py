"""From single steps to whole sentences: the likeliest, random ones, the best few; and real values fed back.

All that is known of a model is its `StepFn` and a carry: empty memory, or that of a prompt already read. `first` is the
token fed first: SOS, or the prompt's last. A sentence ends with EOS, which belongs to it: it counts in lengths and
log-probabilities, and PAD stands behind it. One that has not ended after `length` tokens is cut off there.

These are pure functions for the inside of the caller's jit, since outside of it each call compiles anew; their loops
stop once every row has its answer. Log-probabilities are float32.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Scalar

from seqjax.types import EOS, PAD, Carry, StepFn

RealStep = Callable[[Carry, Float[Array, "batch inputs"]], tuple[Carry, Float[Array, "batch inputs"]]]
"""`(carry, x) -> (carry, y)`: a step of a model of real values that predicts its own next input."""


class Decoded(NamedTuple):
    """One sentence a row.

    Attributes:
        lengths: tokens of each sentence, its EOS among them.
        log_probability: of the sentence under the model, or of its beginning where it was cut off.
    """

    tokens: Int[Array, "batch length"]
    lengths: Int[Array, " batch"]
    log_probability: Float[Array, " batch"]


class Beams(NamedTuple):
    """The best sentences found for each row: those that ended, best score first, then those cut off, likewise.

    Attributes:
        lengths: tokens of each sentence, its EOS among them. 0 where there is no sentence, which happens only where
            fewer than `width` are possible: both numbers are -inf there.
        log_probability: of the sentence under the model, or of its beginning where it was cut off.
        score: what they are ordered by.
    """

    tokens: Int[Array, "batch width length"]
    lengths: Int[Array, "batch width"]
    log_probability: Float[Array, "batch width"]
    score: Float[Array, "batch width"]


def forbid(step: StepFn, *tokens: int) -> StepFn:
    """The same model, but it never says these tokens: at each step the others share their probability.

    Raises:
        ValueError: a token that is not in the vocabulary, when the step is called.
    """

    def allowed(carry: Carry, token: Int[Array, " batch"]) -> tuple[Carry, Float[Array, "batch vocab"]]:
        carry, logits = step(carry, token)
        vocab = logits.shape[-1]
        if outside := [token for token in tokens if not 0 <= token < vocab]:
            raise ValueError(f"tokens must lie in [0, {vocab}), got {outside[0]}")
        return carry, jnp.asarray(logits).at[:, jnp.array(tokens, int)].set(-jnp.inf)

    return allowed


def greedy(step: StepFn, carry: Carry, first: Int[Array, " batch"], *, length: int) -> Decoded:
    """Take the likeliest token at each step, which need not give the likeliest sentence."""
    return _write(lambda logits, _: jnp.argmax(logits, axis=-1), step, carry, first, length)


def sample(
    key: Key[Array, ""],
    step: StepFn,
    carry: Carry,
    first: Int[Array, " batch"],
    *,
    length: int,
    temperature: Scalar | float = 1.0,
    top_k: int | None = None,
    top_p: Scalar | float | None = None,
    min_p: Scalar | float | None = None,
) -> Decoded:
    """Draw each token at random, step i with the key `fold_in(key, i)`.

    Temperature first; the truncations follow in the order of the arguments, each on what the one before it left.
    Numbers that are traced are not checked.

    Args:
        temperature: divides the logits; 0 is `greedy`.
        top_k: draw from the k likeliest tokens (Fan et al. 2018, arXiv:1805.04833).
        top_p: from the fewest likeliest tokens that together have this probability (Holtzman et al. 2019,
            arXiv:1904.09751).
        min_p: from those at least this times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082).

    Returns:
        Sentences, with their log-probability under the model itself: at temperature 1, without truncation.

    Raises:
        ValueError: a number outside its range.
    """
    _require(temperature, "temperature must be finite and >= 0", lambda t: 0 <= t < math.inf)
    _require(top_k, "top_k must be >= 1", lambda k: k >= 1)
    _require(top_p, "top_p must lie in (0, 1]", lambda p: 0 < p <= 1)
    _require(min_p, "min_p must lie in [0, 1)", lambda p: 0 <= p < 1)

    def choose(logits: Array, index: Array) -> Array:
        likeliest = jnp.argmax(logits, axis=-1)
        # The likeliest stays at 0, however low the temperature: nothing overflows.
        logits = logits - jnp.max(logits, axis=-1, keepdims=True)
        logits = logits / jnp.where(temperature == 0, 1.0, temperature)
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

    return _write(choose, step, carry, first, length)


def beam(
    step: StepFn,
    carry: Carry,
    first: Int[Array, " batch"],
    *,
    length: int,
    width: int,
    length_penalty: Scalar | float = 0.0,
    coverage: Callable[[Carry], Float[Array, " rows"]] | None = None,
) -> Beams:
    """Search for the sentences of highest score, keeping the `width` likeliest beginnings of each row at every step.

    score = log p(y) / ((5 + |y|) / 6) ** length_penalty + coverage (Wu et al. 2016, arXiv:1609.08144, eq. 14), where
    |y| counts EOS. A sentence that ends is taken out if it is among the `width` likeliest candidates of its step, and
    the search goes on at full width until no beginning can beat the worst of `width` sentences taken out. Width 1
    without length penalty is therefore `greedy`. Where fewer ended within `length`, the best that were cut off follow.

    Args:
        length_penalty: 0 scores log-probability, which favours short sentences; 0.6 to 1 are usual. Traced, it is not
            checked.
        coverage: what is added to the score, read off the carry (where attention keeps the sum of its weights) after
            the step that gave the last token; at most 0, which stopping early relies on. It does not steer the search.

    Raises:
        ValueError: length or width below 1, a negative length penalty.
    """
    _require(length, "length must be >= 1", lambda n: n >= 1)
    _require(width, "width must be >= 1", lambda n: n >= 1)
    _require(length_penalty, "length_penalty must be finite and >= 0", lambda a: 0 <= a < math.inf)
    batch = first.shape[0]

    def normaliser(size: Array | int) -> Array:
        return ((5.0 + size) / 6.0) ** jnp.asarray(length_penalty)

    def improvable(live: Beams, ended: Beams) -> Bool[Array, " batch"]:
        # Log-probabilities only fall, and the longest sentence divides them by most. Equals do not replace.
        return live.log_probability[:, 0] / normaliser(length) > ended.score[:, -1]

    def unfinished(state: tuple[Any, ...]) -> Bool[Array, ""]:
        index, _, _, live, ended = state
        return (index < length) & jnp.any(improvable(live, ended))

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        index, carry, token, live, ended = state
        read, logits = step(carry, token.reshape(-1))
        gained, following = _likeliest(logits, 2 * width)
        so_far = jnp.repeat(live.log_probability, gained.shape[1], axis=1)
        # A beam that holds no beginning has fed the model anything, and may get NaN.
        candidates = jnp.where(so_far > -jnp.inf, so_far + gained.reshape(batch, -1), -jnp.inf)
        # One a beam can end: of twice the width, at least the width goes on.
        log_probability, place = jax.lax.top_k(candidates, 2 * width)
        parent, token = place // gained.shape[1], _pick(following.reshape(batch, -1), place)
        total = log_probability / normaliser(index + 1)
        if coverage is not None:
            total = total + _pick(coverage(read).reshape(batch, width), parent)
        tokens = _pick(live.tokens, parent).at[:, :, index].set(token)
        found = Beams(tokens, jnp.full_like(parent, index + 1), log_probability, total)

        ends = token == EOS
        # A row that has its answer keeps it to the last bit while others go on.
        enters = ends & (log_probability > -jnp.inf) & improvable(live, ended)[:, None]
        enters = enters & (jnp.arange(2 * width) < width)[None, :]
        pool = _join(ended, found._replace(score=jnp.where(enters, total, -jnp.inf)))
        ended = _pick(pool, jax.lax.top_k(pool.score, width)[1])

        log_probability, goes_on = jax.lax.top_k(jnp.where(ends, -jnp.inf, log_probability), width)
        live, parent, token = _pick((found, parent, token), goes_on)
        live = live._replace(log_probability=log_probability)
        row = (jnp.arange(batch)[:, None] * width + parent).reshape(-1)

        def reorder(new: Array, old: Array) -> Array:
            # What the step hands through (a source, its mask) is the same for all beams of a row, and large.
            return new if new is old or jnp.ndim(new) == 0 else new[row]

        return index + 1, jax.tree.map(reorder, read, carry), token, live, ended

    carry = jax.tree.map(lambda leaf: leaf if jnp.ndim(leaf) == 0 else jnp.repeat(leaf, width, axis=0), carry)
    token = jnp.repeat(first.astype(jnp.int32)[:, None], width, axis=1)
    nothing = jnp.full((batch, width), -jnp.inf)
    ended = Beams(jnp.full((batch, width, length), PAD, jnp.int32), jnp.zeros_like(token), nothing, nothing)
    live = ended._replace(log_probability=nothing.at[:, 0].set(0.0))
    *_, live, ended = jax.lax.while_loop(unfinished, advance, (jnp.int32(0), carry, token, live, ended))

    # Those that ended, then those cut off, then the places that hold nothing.
    pool = _join(ended, live)
    possible = (pool.score > -jnp.inf) & (pool.log_probability > -jnp.inf)
    group = jnp.where(possible, jnp.arange(2 * width)[None, :] >= width, 2)
    best = jnp.lexsort((-pool.score, group))[:, :width]
    pool, possible = _pick((pool, possible), best)
    return Beams(
        jnp.where(possible[:, :, None], pool.tokens, PAD),
        jnp.where(possible, pool.lengths, 0),
        jnp.where(possible, pool.log_probability, -jnp.inf),
        jnp.where(possible, pool.score, -jnp.inf),
    )


def score(
    step: StepFn,
    carry: Carry,
    first: Int[Array, " batch"],
    target: Int[Array, "batch target"],
    mask: Bool[Array, "batch target"],
) -> Float[Array, " batch"]:
    """log p(target) of given sentences, each token after those before it; what `mask` leaves out does not count.

    Over all sentences, each with its EOS, p sums to 1.
    """

    def read(state: tuple[Carry, Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Carry, Array, Array], None]:
        carry, token, total = state
        following, real = now
        carry, logits = step(carry, token)
        gained = _at(_log_softmax(logits), following)
        return (carry, following, total + jnp.where(real, gained, 0.0)), None

    start = carry, first.astype(target.dtype), jnp.zeros(first.shape)
    (_, _, total), _ = jax.lax.scan(read, start, (target.T, mask.T))
    return total


def rollout(
    step: RealStep, carry: Carry, first: Float[Array, "batch inputs"], *, length: int
) -> Float[Array, "batch length inputs"]:
    """Feed each output back as the next input, x(t+1) = y(t), from x(0) = `first`; the outputs y.

    Raises:
        ValueError: length below 1.
    """
    _require(length, "length must be >= 1", lambda n: n >= 1)

    def feed_back(state: tuple[Carry, Array], _: None) -> tuple[tuple[Carry, Array], Array]:
        carry, y = step(*state)
        return (carry, y), y

    _, outputs = jax.lax.scan(feed_back, (carry, first), length=length)
    return jnp.swapaxes(outputs, 0, 1)


def _write(
    choose: Callable[[Array, Array], Array], step: StepFn, carry: Carry, first: Int[Array, " batch"], length: int
) -> Decoded:
    """One sentence a row, its tokens by `choose(logits, index)`."""
    _require(length, "length must be >= 1", lambda n: n >= 1)
    batch = first.shape[0]

    def unfinished(state: tuple[Any, ...]) -> Bool[Array, ""]:
        index, _, _, alive, _ = state
        return (index < length) & jnp.any(alive)

    def advance(state: tuple[Any, ...]) -> tuple[Any, ...]:
        index, carry, token, alive, written = state
        carry, logits = step(carry, token)
        token = jnp.where(alive, choose(logits.astype(jnp.float32), index), PAD)
        gained = jnp.where(alive, _at(_log_softmax(logits), token), 0.0)
        tokens = written.tokens.at[:, index].set(token)
        written = Decoded(tokens, written.lengths + alive, written.log_probability + gained)
        return index + 1, carry, token, alive & (token != EOS), written

    written = Decoded(jnp.full((batch, length), PAD, jnp.int32), jnp.zeros(batch, jnp.int32), jnp.zeros(batch))
    state = (jnp.int32(0), carry, first.astype(jnp.int32), jnp.ones(batch, bool), written)
    return jax.lax.while_loop(unfinished, advance, state)[-1]


def _log_softmax(logits: Float[Array, "batch vocab"]) -> Float[Array, "batch vocab"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)


def _likeliest(
    logits: Float[Array, "rows vocab"], count: int
) -> tuple[Float[Array, "rows count"], Int[Array, "rows count"]]:
    """The `count` likeliest tokens (all, if there are fewer) and their log-probabilities; no others are normalised."""
    logits = logits.astype(jnp.float32)
    best, token = jax.lax.top_k(logits, min(count, logits.shape[-1]))
    # Not the first of `best`: with a slice of it, XLA sorts the whole vocabulary (15 times as slow on CPU).
    peak = jnp.max(logits, axis=-1, keepdims=True)
    return best - peak - jnp.log(jnp.sum(jnp.exp(logits - peak), axis=-1, keepdims=True)), token


def _at(values: Array, index: Int[Array, " batch"]) -> Array:
    """Of each row, the value at its own index."""
    return jnp.take_along_axis(values, index[:, None], axis=1)[:, 0]


def _pick(tree: Any, index: Int[Array, "batch picked"]) -> Any:
    """Of each row, the entries at its own indices, in every leaf."""
    return jax.tree.map(lambda leaf: jax.vmap(lambda row, places: row[places])(leaf, index), tree)


def _join(first: Beams, second: Beams) -> Beams:
    return jax.tree.map(lambda *two: jnp.concatenate(two, axis=1), first, second)


def _require(value: Scalar | float | int | None, rule: str, holds: Callable[[float], bool]) -> None:
    """Check a number that is known; a traced one is not."""
    if isinstance(value, (int, float)) and not holds(value):
        raise ValueError(f"{rule}, got {value}")
