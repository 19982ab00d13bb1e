"""What every sequence architecture must pass; `contracts.is_causal(model, key)` in a test is all that is needed.

Each function draws its own parameters and inputs. Sequences of one step are among them: there, code that takes a
shortcut for a single step, or squeezes an axis, goes wrong. The last part is for encoder-decoders.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import losses
from seqjax.models import EncoderDecoder, Regressor
from seqjax.types import EOS, PAD, SOS, Seq2SeqBatch

BATCH, INPUTS = 3, 2
CLOSE: Any = {"rtol": 1e-4, "atol": 2e-5}
"""Where the same sum is taken in another order."""


compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Most of the time below is the compiler's: ask for little."""


def preserves_time(model, key):
    """(batch, time, inputs) -> (batch, time, features), however short; also in training."""
    features = model.targets if isinstance(model, Regressor) else model.features
    params = parameters(model, key)
    for time in (1, 2, 7):
        for train in (False, True):
            apply = functools.partial(model.apply, train=train, rngs={"dropout": key})
            assert jax.eval_shape(apply, params, inputs(key, time)).shape == (BATCH, time, features)


def is_causal(model, key, *, reach=None):
    """y[t] depends on no x[s] with s > t, and on each of the last `reach` steps (None: on the whole past)."""
    seen = influence(model, key, time=7) > 0
    distance = np.arange(7)[:, None] - np.arange(7)[None, :]
    np.testing.assert_array_equal(seen, (distance >= 0) & (distance < (reach or 7)))


def sees_both_ways(model, key):
    """Each output depends on each input."""
    assert (influence(model, key, time=7) > 0).all()


def influence(model, key, time):
    """The largest |d y[t] / d x[s]|, as a matrix over t and s: exactly zero where no path leads.

    Over many rows, since in any one of them a relu may be shut.
    """
    params = parameters(model, key)
    jacobian = jax.jacfwd(lambda row: model.apply(params, row[None])[0])
    return np.abs(compiled(jax.vmap(jacobian))(inputs(key, time, rows=64))).max(axis=(0, 2, 4))


def rows_are_independent(model, key):
    """Permuted rows give permuted outputs, and another row's inputs change nothing (D1: a batch axis read
    as time)."""
    params, order = parameters(model, key), np.array([2, 0, 1])
    for time in (1, 7):
        x = np.array(inputs(key, time))
        y = np.asarray(forward(model)(params, x))
        np.testing.assert_allclose(forward(model)(params, x[order]), y[order], **CLOSE)
        x[0] = 100.0
        other = np.asarray(forward(model)(params, x))
        np.testing.assert_array_equal(other[1:], y[1:])
        assert not np.array_equal(other[0], y[0])


def ignores_padding(model, key):
    """What stands in the padding changes nothing, NaN and infinity included, nor does more of it; gradients too.

    Outputs there are zero, except for the constant that a head's bias adds. One row of three has no real step.
    """
    params = parameters(model, key)
    for time, lengths in [(1, (0, 1, 1)), (7, (0, 4, 7)), (7, (0, 4, 4))]:
        x, mask = np.asarray(inputs(key, time)), np.asarray(upto(lengths, time))
        y = np.asarray(forward(model)(params, x, mask=mask))
        np.testing.assert_array_equal(y[~mask], y[:1, 0].repeat((~mask).sum(), axis=0))
        if not isinstance(model, Regressor):
            np.testing.assert_array_equal(y[0], 0)
        for garbage in (1e30, np.inf, np.nan):
            dirty = np.where(mask[..., None], x, np.float32(garbage))
            np.testing.assert_array_equal(forward(model)(params, dirty, mask=mask), y)
        for row, length in enumerate(lengths[1:], start=1):
            unpadded = np.asarray(forward(model)(params, x[:, :length]))
            np.testing.assert_allclose(y[row, :length], unpadded[row], **CLOSE)

    @compiled
    @jax.grad
    def gradient(variables):
        y: Any = model.apply(variables["params"], variables["x"], mask=jnp.asarray(mask))
        return jnp.sum(jnp.where(jnp.asarray(mask)[..., None], y, 0.0) ** 2)

    clean = gradient({"params": params, "x": x})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    np.testing.assert_array_equal(np.asarray(clean["x"])[~mask], 0)
    jax.tree.map(np.testing.assert_array_equal, gradient({"params": params, "x": dirty}), clean)


def streams(model, key):
    """Chunks of any sizes, single steps, padded chunks, a scan: all equal the whole-sequence call."""
    time = 7
    params, x = parameters(model, key), np.asarray(inputs(key, time))
    whole = np.asarray(forward(model)(params, x))
    every, start = np.ones((BATCH, time), bool), model.start(BATCH, INPUTS, 8)

    for sizes in [(1,) * 7, (3, 1, 3), (1, 3, 3)]:
        carry, pieces, done = start, [], 0
        for size in sizes:
            now = slice(done, done + size)
            carry, y = extend(model)(params, carry, x[:, now], mask=every[:, now])
            pieces.append(y)
            done += size
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, **CLOSE)

    @compiled
    def one_by_one(carry, x):
        def step(carry, now):
            carry, y = model.apply(params, carry, now[:, None], method="extend")
            return carry, y[:, 0]

        return jax.lax.scan(step, carry, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    np.testing.assert_allclose(one_by_one(start, x), whole, **CLOSE)

    # Rows of 7, 3 and 5 steps in padded chunks: between real steps the carry must not feel the padding.
    carry, read, pieces = start, np.zeros(BATCH, int), [[] for _ in range(BATCH)]
    for size, counts in [(3, (3, 1, 0)), (1, (1, 0, 1)), (3, (3, 2, 3)), (1, (0, 0, 1))]:
        mask, chunk = upto(counts, size), np.full((BATCH, size, INPUTS), np.nan, np.float32)
        for row, count in enumerate(counts):
            chunk[row, :count] = x[row, read[row] : read[row] + count]
        carry, y = extend(model)(params, carry, chunk, mask=mask)
        for row, count in enumerate(counts):
            pieces[row].append(np.asarray(y)[row, :count])
        read += counts
    for row, parts in enumerate(pieces):
        np.testing.assert_allclose(np.concatenate(parts), whole[row, : read[row]], **CLOSE)


def learns(backbone, key):
    """Overfits one batch: say the input of the step before."""
    model: Any = Regressor(backbone)
    x = inputs(key, 4, rows=2)
    y = jnp.asarray(np.pad(np.asarray(x)[:, :-1, :1], ((0, 0), (1, 0), (0, 0))))
    optimizer = optax.adam(2e-2)

    @compiled
    def train(params):
        def step(state, _):
            params, opt_state = state
            loss, gradient = jax.value_and_grad(lambda params: jnp.mean((model.apply(params, x) - y) ** 2))(params)
            updates, opt_state = optimizer.update(gradient, opt_state)
            return (optax.apply_updates(params, updates), opt_state), loss

        return jax.lax.scan(step, (params, optimizer.init(params)), length=300)[1]

    losses = train(model.init(key, x))
    assert losses[-1] < 0.02 * losses[0], (losses[0], losses[-1])


def parameters(model, key, width=INPUTS) -> Any:
    """Random numbers in every parameter: biases that start at zero would hide what they do."""
    if isinstance(model, EncoderDecoder):
        shapes = jax.eval_shape(model.init, key, *(jnp.zeros((1, 1), jnp.int32) for _ in range(2)))
    else:
        shapes = jax.eval_shape(model.init, key, jnp.zeros((1, 1, width)))
    return filled(shapes, key)


def filled(shapes, key) -> Any:
    """Random numbers in these shapes."""
    rng = _numpy(key)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.5, size=leaf.shape), leaf.dtype), shapes)


def inputs(key, time, width=INPUTS, rows=BATCH):
    return jnp.asarray(_numpy(key).normal(size=(rows, time, width)), jnp.float32)


def _numpy(key):
    """NumPy's random numbers and arrays where it can be: JAX would compile each small operation for each shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def upto(lengths, time):
    """The mask of rows of these lengths."""
    return jnp.asarray(np.arange(time)[None, :] < np.asarray(lengths)[:, None])


def forward(model) -> Any:
    """`model.apply`, compiled."""
    return _method(model, "__call__")


def extend(model) -> Any:
    """`model.extend` as a compiled function of parameters, carry and inputs."""
    return _method(model, "extend")


@functools.cache
def _method(model, name):
    """One function a model, so that all contracts share what is compiled: that takes most of their time."""
    return compiled(functools.partial(model.apply, method=name))


SOURCE, TARGET = 5, 6
"""Steps of the pairs that encoder-decoders are given."""

SAME: Any = {"rtol": 0, "atol": 1e-6}


def writes_as_it_steps(model, key):
    """Teacher forcing, single steps, chunks, and scheduled sampling at 1 are one; at 0 it is greedy decoding."""
    params, batch = parameters(model, key), pairs(model)
    forced = result(model, params, batch)
    logits, real = np.asarray(forced["logits"]), np.asarray(batch.target_mask)
    possible = np.broadcast_to(np.arange(model.target_vocab) > SOS, logits.shape)
    np.testing.assert_array_equal(np.where(possible, np.isfinite(logits), np.isneginf(logits)), True)
    for way in ("stepwise", "chunks", "scheduled"):
        np.testing.assert_allclose(np.asarray(forced[way])[real], logits[real], rtol=1e-5, atol=1e-5, err_msg=way)

    guessed = np.asarray(written(model)(params, batch, jnp.float32(0.0), key)["scheduled"])
    assert (np.abs(guessed[real, EOS:] - logits[real, EOS:]) > 1e-3).any(), "guesses are not the target"
    guesses = jnp.asarray(np.argmax(guessed, axis=-1), jnp.int32)
    follow = np.asarray(result(model, params, batch._replace(target=guesses))["stepwise"])
    np.testing.assert_array_equal(np.argmax(follow, axis=-1)[real], guesses[real])
    np.testing.assert_allclose(guessed[real], follow[real], rtol=1e-5, atol=1e-5)


def writes_causally(model, key):
    """logits[t] depends on no target[s] with s >= t, on every one before, and on every step of the source.

    One token is exchanged in each row.
    """
    params, batch = parameters(model, key), pairs(model, full=True)
    place = np.arange(len(batch.source))

    def said(batch):
        return np.asarray(result(model, params, batch)["logits"])[..., EOS:]

    before = said(batch)

    seen = np.zeros((TARGET, TARGET))  # target written, target exchanged
    target = np.array(batch.target)
    target[place, place % TARGET] = EOS + (target[place, place % TARGET] - EOS + 1) % (model.target_vocab - EOS)
    for row, influence in enumerate(np.abs(said(batch._replace(target=jnp.asarray(target))) - before).max(axis=2)):
        seen[:, row % TARGET] = np.maximum(seen[:, row % TARGET], influence)
    later = np.arange(TARGET)[:, None] > np.arange(TARGET)[None, :]
    np.testing.assert_array_less(seen[~later], 1e-6)
    assert (seen[later] > 1e-4).all(), seen

    source = np.array(batch.source)
    source[place, place % SOURCE] = EOS + (source[place, place % SOURCE] - EOS + 1) % (model.source_vocab - EOS)
    influence = np.abs(said(batch._replace(source=jnp.asarray(source))) - before).max(axis=2)
    assert (influence > 1e-5).all(), influence


def ignores_padded_tokens(model, key):
    """17 more steps of padding that hold anything, ids there are none of too, change neither logits nor gradients.

    The vectors that stand for PAD get no gradient. One source has no token and one target has none.
    """
    params, short = parameters(model, key), pairs(model)
    few = result(model, params, short)
    for low, high in [(PAD, PAD + 1), (PAD, 8), (-99, 999)]:
        rng = _numpy(key)

        def longer(tokens, mask, rng=rng, low=low, high=high):
            wide = rng.integers(low, high, (len(tokens), tokens.shape[1] + 17))
            wide[:, : tokens.shape[1]][mask] = np.asarray(tokens)[mask]
            return jnp.asarray(wide, jnp.int32), jnp.pad(mask, ((0, 0), (0, 17)))

        source, source_mask = longer(short.source, short.source_mask)
        target, target_mask = longer(short.target, short.target_mask)
        many = graded(model)(params, Seq2SeqBatch(source, target, source_mask, target_mask))
        real = np.asarray(short.target_mask)
        np.testing.assert_allclose(np.asarray(many["logits"])[:, :TARGET][real], few["logits"][real], **SAME)
        np.testing.assert_allclose(many["loss"], few["loss"], **SAME)
        assert np.isfinite(many["logits"][..., EOS:]).all()
        seen = np.moveaxis(np.asarray(many["weights"]), 1, -1)
        expected = np.moveaxis(np.asarray(few["weights"]), 1, -1)
        np.testing.assert_allclose(seen[:, :TARGET, :SOURCE][real], expected[real], **SAME)
        np.testing.assert_array_equal(seen[:, :, SOURCE:], 0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **SAME), many["gradient"], few["gradient"])
        for side in ("source_embedding", "target_embedding"):
            table = np.asarray(many["gradient"]["params"][side]["embedding"])
            np.testing.assert_array_equal(table[PAD], 0)
            assert np.abs(table).max() > 1e-3


def pairs_are_independent(model, key):
    """Permuted pairs give permuted logits, and another pair's content changes nothing."""
    params, batch = parameters(model, key), pairs(model)
    y = np.asarray(result(model, params, batch)["logits"])
    order = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_allclose(
        result(model, params, Seq2SeqBatch(*(part[order] for part in batch)))["logits"], y[order], **SAME
    )
    other = batch._replace(source=batch.source.at[0].add(1), target=batch.target.at[0].add(-1))
    changed = np.asarray(result(model, params, other)["logits"])
    np.testing.assert_array_equal(changed[1:], y[1:])
    assert not np.array_equal(changed[0], y[0])


def looks_at_what_is_there(model, key, heads):
    """Weights are 0 at padding and sum to 1 over the rest; `attended` is their sum over the target's real steps."""
    params, batch = parameters(model, key), pairs(model)
    found = result(model, params, batch)
    weights = np.asarray(found["weights"])
    assert weights.shape == (len(batch.source), heads, TARGET, SOURCE)
    if not heads:
        return
    assert (weights >= 0).all()
    there = np.asarray(batch.source_mask)[:, None, None, :].repeat(heads, axis=1).repeat(TARGET, axis=2)
    np.testing.assert_array_equal(weights[~there], 0)
    assert (weights[there] > 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), there.any(axis=-1), rtol=1e-5)
    counted = np.where(np.asarray(batch.target_mask)[:, None, :, None], weights, 0).mean(axis=1).sum(axis=1)
    np.testing.assert_allclose(found["attended"], counted, rtol=1e-5, atol=1e-6)
    every = weights.mean(axis=1).sum(axis=1)
    whole = np.asarray(batch.target_mask).all(axis=1)
    np.testing.assert_allclose(found["attended_stepwise"][whole], every[whole], rtol=1e-5, atol=1e-6)


def learns_pairs(model, key):
    """Overfits four pairs."""
    rng = np.random.default_rng(2)
    source, target = (jnp.asarray(rng.integers(EOS + 1, 8, (4, 4)), jnp.int32) for _ in range(2))
    optimizer = optax.adam(2e-2)

    def loss(params):
        return losses.cross_entropy(model.apply(params, source, target), target)

    @compiled
    def train(params):
        def step(state, _):
            params, opt_state = state
            value, gradient = jax.value_and_grad(loss)(params)
            updates, opt_state = optimizer.update(gradient, opt_state)
            return (optax.apply_updates(params, updates), opt_state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), length=150)[1]

    values = train(compiled(model.init)(key, source, target))
    assert values[-1] < 0.05 * values[0], (values[0], values[-1])


def pairs(model, *, full=False) -> Seq2SeqBatch:
    """Random tokens, PAD behind them: EOS need not be the last, and the model should not mind."""
    rng = np.random.default_rng(1)
    sources, targets = ([SOURCE] * 6, [TARGET] * 6) if full else ([5, 1, 3, 5, 0, 1], [6, 4, 2, 1, 6, 0])
    source_mask, target_mask = upto(sources, SOURCE), upto(targets, TARGET)
    source = rng.integers(EOS + 1, model.source_vocab - 1, source_mask.shape)
    target = rng.integers(EOS + 1, model.target_vocab - 1, target_mask.shape)
    source, target = np.where(source_mask, source, PAD), np.where(target_mask, target, PAD)
    return Seq2SeqBatch(jnp.asarray(source, jnp.int32), jnp.asarray(target, jnp.int32), source_mask, target_mask)


def result(model, params, batch):
    """All that `written` says, with teacher forcing."""
    return written(model)(params, batch, jnp.float32(1.0), jax.random.key(0))


@functools.cache
def graded(model) -> Any:
    """Logits, weights, loss and its gradient, compiled for each shape."""
    return compiled(functools.partial(_graded, model))


def _graded(model, params, batch):
    def loss(params):
        now = model.apply(
            params,
            batch.source,
            batch.target,
            source_mask=batch.source_mask,
            target_mask=batch.target_mask,
            method="align",
        )
        return losses.cross_entropy(now.logits, batch.target, batch.target_mask), now

    (value, found), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    attended = getattr(found.carry, "attended", None)
    return {
        "logits": found.logits,
        "weights": found.weights,
        "attended": attended,
        "loss": value,
        "gradient": gradient,
    }


@functools.cache
def written(model) -> Any:
    """The same target in every way a model can write it: one function, since compiling takes most of the time."""

    def everything(params, batch, teacher_forcing, key):
        source, target, source_mask, target_mask = batch
        masks = {"source_mask": source_mask, "target_mask": target_mask}
        read = jnp.concatenate([jnp.full_like(target[:, :1], SOS), target[:, :-1]], axis=1)
        begun = model.apply(params, source, source_mask, TARGET, method="begin")
        step: Any = functools.partial(model.apply, params, method="step")
        carry, stepwise = jax.lax.scan(step, begun, read.T)

        chunks, pieces, done = begun, [], 0
        for size in (2, 4):
            now = slice(done, done + size)
            chunk = model.apply(params, chunks, read[:, now], mask=target_mask[:, now], method="extend")
            chunks, done = chunk.carry, done + size
            pieces.append(chunk.logits)

        scheduled = model.apply(
            params, source, target, teacher_forcing, **masks, method="scheduled", rngs={"sampling": key}
        )
        return _graded(model, params, batch) | {
            "stepwise": stepwise.swapaxes(0, 1),
            "attended_stepwise": getattr(carry, "attended", None),
            "chunks": jnp.concatenate(pieces, axis=1),
            "scheduled": scheduled,
        }

    return compiled(everything)
