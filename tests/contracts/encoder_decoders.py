"""What every encoder-decoder must pass: `contracts.writes_causally(model, key)` and its like."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import losses
from seqjax.types import EOS, PAD, SOS, Seq2SeqBatch
from tests.contracts.common import compiled, numpy_rng, overfits, parameters, upto

SOURCE, TARGET = 5, 6
"""Steps of the pairs that encoder-decoders are given."""

SAME: Any = {"rtol": 2 * np.finfo(np.float32).eps, "atol": 1e-6}


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
        rng = numpy_rng(key)

        def longer(tokens, mask, rng=rng, low=low, high=high):
            wide = rng.integers(low, high, (len(tokens), tokens.shape[1] + 17))
            wide[:, : tokens.shape[1]][mask] = np.asarray(tokens)[mask]
            return jnp.asarray(wide, jnp.int32), jnp.asarray(np.pad(mask, ((0, 0), (0, 17))))

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
    order, parts = np.random.default_rng(0).permutation(len(y)), [np.asarray(part) for part in batch]
    permuted = Seq2SeqBatch(*(jnp.asarray(part[order]) for part in parts))
    np.testing.assert_allclose(result(model, params, permuted)["logits"], y[order], **SAME)
    first = (np.arange(len(y)) == 0)[:, None]
    other = batch._replace(source=jnp.asarray(parts[0] + first), target=jnp.asarray(parts[1] - first))
    changed = np.asarray(result(model, params, other)["logits"])
    np.testing.assert_array_equal(changed[1:], y[1:])
    assert not np.array_equal(changed[0], y[0])


def attends_to_what_is_there(model, key, heads):
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


def learns_pairs(model, key, *, rate=2e-2):
    """Overfits four pairs."""
    rng = np.random.default_rng(2)
    source, target = (jnp.asarray(rng.integers(EOS + 1, 8, (4, 4)), jnp.int32) for _ in range(2))

    def loss(params):
        return losses.cross_entropy(model.apply(params, source, target), target)

    overfits(loss, compiled(model.init)(key, source, target), 150, rate=rate)


def pairs(model, *, full=False) -> Seq2SeqBatch:
    """Random tokens, padded with PAD: EOS need not be the last, and the model should not mind."""
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
    return {"logits": found.logits, "weights": found.weights, "attended": attended, "loss": value, "gradient": gradient}


@functools.cache
def written(model) -> Any:
    """The same target in every way a model can write it: one function, since compiling takes most of the time."""

    def everything(params, batch, teacher_forcing, key):
        source, target, source_mask, target_mask = batch
        masks = {"source_mask": source_mask, "target_mask": target_mask}
        read = jnp.concatenate([jnp.full_like(target[:, :1], SOS), target[:, :-1]], axis=1)
        begun = model.apply(params, source, source_mask, TARGET, method="begin")
        step = functools.partial(model.apply, params, method="step")
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
