from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.models import (
    AdditiveAttention,
    DotAttention,
    GeneralAttention,
    MultiHeadAttention,
    attention,
    dot_attention,
)
from seqjax.models.attention import _cudnn_takes, _fused, self_attention
from tests import contracts


@pytest.fixture
def qkv():
    """Queries, keys and values: 2 rows, 4 targets, 5 sources, 3 heads of 6; values of 7."""
    shapes = [(2, 4, 3, 6), (2, 5, 3, 6), (2, 5, 3, 7)]
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


@pytest.fixture
def mask():
    """At random, but each target sees the first source."""
    seen = np.random.default_rng(1).random((2, 4, 5)) < 0.6
    seen[:, :, 0] = True
    return jnp.asarray(seen)


def test_equation_head_by_head(qkv, mask):
    query, keys, values = (np.asarray(part, np.float64) for part in qkv)
    averages, weights = jax.jit(dot_attention)(*qkv, mask=mask)
    for row, head, target in np.ndindex(2, 3, 4):
        seen = np.asarray(mask[row, target])
        score = np.exp(keys[row, seen, head] @ query[row, target, head] / np.sqrt(6))
        np.testing.assert_allclose(weights[row, head, target, seen], score / score.sum(), rtol=1e-5)
        np.testing.assert_array_equal(weights[row, head, target, ~seen], 0)
        expected = score @ values[row, seen, head] / score.sum()
        np.testing.assert_allclose(averages[row, target, head], expected, rtol=1e-4, atol=1e-6)


def test_a_target_that_sees_nothing_gets_zeros_and_leaves_the_others_alone(qkv, mask):
    blind = mask.at[0, 1].set(False)
    averages, weights = jax.jit(dot_attention)(*qkv, mask=blind)
    np.testing.assert_array_equal(weights[0, :, 1], 0)
    np.testing.assert_array_equal(averages[0, 1], 0)
    others, sighted = jnp.array([0, 2, 3]), jax.jit(dot_attention)(*qkv, mask=mask)[0]
    np.testing.assert_allclose(averages[0, others], sighted[0, others], rtol=1e-5, atol=1e-6)

    gradients = jax.jit(jax.grad(lambda parts: jnp.sum(100 * dot_attention(*parts, mask=blind)[0])))(qkv)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_array_equal(gradients[0][0, 1], 0)


def test_scores_of_any_size(qkv):
    """exp(1000) is infinite, and exp(-1000) is zero: only differences of scores count."""
    query, keys, values = qkv
    everything = jnp.ones((2, 4, 5), bool)
    for offset in (1000.0, -1000.0):
        # One more channel: the same number is added to all the scores of a target.
        wide_query = jnp.concatenate([query, jnp.full((2, 4, 3, 1), offset)], axis=-1)
        wide_keys = jnp.concatenate([keys, jnp.ones((2, 5, 3, 1))], axis=-1)
        weights = dot_attention(wide_query, wide_keys, values, mask=everything)[1]
        narrow = dot_attention(query * np.sqrt(6 / 7), keys, values, mask=everything)[1]
        np.testing.assert_allclose(weights, narrow, rtol=1e-3)


def test_location_attention(key):
    """Luong et al. 2015, eq. 8: softmax(W q) over the places that the source has, whatever stands there."""
    attention, mask = models.LocationAttention(6), contracts.upto((4, 2), 4)
    source, query = contracts.inputs(key, 4, width=3, rows=2), contracts.inputs(key, 5, width=7, rows=2)

    def both(module, source, query):
        return module.attend(module.prepare(source, mask), query)

    params = contracts.filled(jax.eval_shape(partial(attention.init, method=both), key, source, query), key)
    averages, weights = attention.apply(params, source, query, method=both)
    scores = np.exp(np.asarray(query) @ np.asarray(params["params"]["place"]["kernel"]))[:, None, :, :4]
    mass = np.where(np.asarray(mask)[:, None, None], scores, 0)
    np.testing.assert_allclose(weights, mass / mass.sum(axis=-1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(averages, np.einsum("bhts,bsv->btv", weights, source), rtol=1e-4)
    other = attention.apply(params, 2 * source, query, method=both)[1]
    np.testing.assert_array_equal(other, weights)
    with pytest.raises(ValueError, match="location attention has 6 places, got a source of 7 steps"):
        attention.apply(params, contracts.inputs(key, 7), contracts.upto((7, 7, 7), 7), method="prepare")


LENGTHS = (150, 149, 70, 1, 0)
"""Real steps of rows of 150: three blocks."""


@pytest.mark.parametrize("way", ["causal", "both ways", "fused"])
def test_self_attention(way):
    """Averages and gradients are those of `dot_attention` under the whole mask; padding gets zeros, and gives none.

    In double precision, but for the sums of JAX's own attention.
    """
    mask = contracts.upto(LENGTHS, 150)
    attend = partial(self_attention, mask=mask, causal=way == "causal")
    close: Any = {"rtol": 1e-9, "atol": 1e-12}
    if way == "fused":
        attend, close = partial(_fused, mask=mask, implementation="xla"), {"rtol": 1e-4, "atol": 1e-6}
    before = np.ones((150, 150), bool) if way == "both ways" else np.tri(150, dtype=bool)
    seen = jnp.asarray(np.asarray(mask)[:, :, None] & np.asarray(mask)[:, None] & before[None])

    def with_gradients(attend, query, keys, values, weight):
        averages, pull = jax.vjp(attend, query, keys, values)
        return averages, *pull(weight)

    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        parts = tuple(jnp.asarray(rng.normal(size=(5, 150, 2, 4))) for _ in range(4))
        found = contracts.compiled(partial(with_gradients, attend))(*parts)
        plain = partial(with_gradients, lambda *parts: dot_attention(*parts, mask=seen)[0])
        for ours, expected in zip(found, contracts.compiled(plain)(*parts), strict=True):
            assert ours.dtype == jnp.float64
            np.testing.assert_allclose(ours, expected, **close)
            np.testing.assert_array_equal(np.asarray(ours)[~np.asarray(mask)], 0)
        if way == "causal":  # what a block does not see is not even read: zero times NaN would show
            later = [part.at[:, 64:].set(jnp.nan) for part in parts[:3]]
            np.testing.assert_allclose(contracts.compiled(attend)(*later)[:, :64], found[0][:, :64], **close)


def test_self_attention_is_chosen_for_the_platform(monkeypatch):
    """Blocks of 64 on CPU, and on no other; cuDNN's kernel on NVIDIA's GPUs alone, for half precision."""
    part, mask = jax.ShapeDtypeStruct((2, 128, 2, 8), jnp.float32), jax.ShapeDtypeStruct((2, 128), bool)
    for platform, blocks in [("cpu", True), ("cuda", False), ("rocm", False), ("tpu", False)]:
        traced = jax.jit(lambda q, k, v, mask: self_attention(q, k, v, mask=mask, causal=True)).trace(*[part] * 3, mask)
        assert ("2x2x64x64xf32" in traced.lower(lowering_platforms=(platform,)).as_text()) == blocks

    half = partial(jnp.zeros, dtype=jnp.bfloat16)
    assert not _cudnn_takes(half((1, 1, 1, 64)))
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(device_kind="NVIDIA H200")])
    for query, taken in [
        (half((1, 1, 1, 64)), True),
        (jnp.zeros((1, 1, 1, 64)), False),
        (half((1, 1, 1, 20)), False),
        (half((1, 1, 1, 256)), False),
    ]:
        assert _cudnn_takes(query) == taken


@pytest.fixture
def short_is_long(monkeypatch):
    """Every sequence is computed in parts of 64 targets."""
    monkeypatch.setattr(attention, "SCORES_BYTES", 0)
    monkeypatch.setattr(attention, "PART_BYTES", 0)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("causal", [True, False])
def test_self_attention_in_parts(causal, biased, short_is_long):
    """As the whole in double precision: five parts of 64 targets, two to a block where causal; the last has 44.

    The bias by distance is compared with that of each pair, looked up; not causal, each row has its own.
    """
    time, rng = 300, np.random.default_rng(4)
    mask = contracts.upto((300, 129, 0), time)
    seen = np.asarray(mask)[:, :, None] & np.asarray(mask)[:, None]
    seen = jnp.asarray(seen & np.tri(time, dtype=bool) if causal else seen)
    column = time - 1 - np.arange(time)[:, None] + np.arange(time)[None]

    def ours(query, keys, values, bias):
        bias = bias if biased else None
        return self_attention(query, keys, values, mask=mask, causal=causal, bias=bias)

    def whole(query, keys, values, bias):
        bias = bias[:, :, 0][:, :, column] if biased else None
        return dot_attention(query, keys, values, mask=seen, bias=bias)[0]

    def with_gradients(attend, weight, *parts):
        averages, pull = jax.vjp(attend, *parts)
        return averages, *pull(weight)

    with jax.enable_x64(True):
        shapes = [(3, time, 2, 4)] * 4 + [(1 if causal else 3, 2, 1, 2 * time - 1)]
        parts = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
        found, expected = (contracts.compiled(partial(with_gradients, way))(*parts) for way in (ours, whole))
    for name, mine, other in zip(("averages", "query", "keys", "values", "bias"), found, expected, strict=True):
        assert mine.dtype == jnp.float64
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12, err_msg=name)


def test_memory_of_long_sequences_is_proportional_to_time():
    """By XLA's count, at lengths that are long by default: scores would grow four times."""

    def temporary(time: int) -> int:
        def total(query, keys, values):
            mask = jnp.ones((1, time), bool)
            return jnp.sum(self_attention(query, keys, values, mask=mask, causal=True) ** 2)

        part = jax.ShapeDtypeStruct((1, time, 4, 8), jnp.float32)
        counted = jax.jit(jax.grad(total, (0, 1, 2))).lower(part, part, part).compile().memory_analysis()
        assert counted is not None
        return counted.temp_size_in_bytes

    short, long = temporary(4096), temporary(8192)
    assert short < 4 * 4 * 4096**2 / 5
    assert long < 2.5 * short


def by_dot(params, query, source):
    return [source @ query], [source], lambda seen: seen


def by_general(params, query, source):
    return [source @ params["key"]["kernel"] @ query], [source], lambda seen: seen


def by_sum(params, query, source):
    key, more = params["key"], query @ params["query"]["kernel"]
    hidden = [np.tanh(more + one @ key["kernel"] + key["bias"]) for one in source]
    return [np.reshape(hidden, (-1, 5)) @ params["energy"][:, 0]], [source], lambda seen: seen


def by_heads(params, query, source):
    scores, values = [], []
    for head in range(3):
        kernel, bias = params["key_value"]["kernel"][:, :, head], params["key_value"]["bias"][:, head]
        q = query @ params["query"]["kernel"][:, head] + params["query"]["bias"][head]
        scores.append((source @ kernel[:, 0] + bias[0]) @ q / np.sqrt(2))
        values.append(source @ kernel[:, 1] + bias[1])
    out = params["out"]["kernel"].reshape(6, 6)
    return scores, values, lambda seen: seen @ out + params["out"]["bias"]


KINDS = {
    "dot": (DotAttention(), by_dot),
    "general": (GeneralAttention(4), by_general),
    "additive": (AdditiveAttention(5), by_sum),
    "heads": (MultiHeadAttention(6, 3), by_heads),
}
SOURCES = (5, 3, 1, 0)


def prepare_and_attend(attention, source, mask, query):
    return attention.attend(attention.prepare(source, mask), query)


@pytest.fixture
def source_and_query():
    """Four sources of 5, 3, 1 and no steps, and queries."""
    rng = np.random.default_rng(2)
    source, query = (jnp.asarray(rng.normal(size=(4, time, 4)), jnp.float32) for time in (5, 2))
    return source, contracts.upto(SOURCES, 5), query


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_its_equation(kind, source_and_query, key):
    attention, reference = KINDS[kind]
    attend = prepare_and_attend
    params = contracts.filled(jax.eval_shape(partial(attention.init, method=attend), key, *source_and_query), key)
    averages, weights = contracts.compiled(partial(attention.apply, method=attend))(params, *source_and_query)
    double: Any = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params).get("params")
    source, _, query = (np.asarray(part, np.float64) for part in source_and_query)
    for row, target in np.ndindex(4, 2):
        length = SOURCES[row]
        scores, values, out = reference(double, query[row, target], source[row, :length])
        assert len(scores) == weights.shape[1]
        seen = []
        for head, (score, value) in enumerate(zip(scores, values, strict=True)):
            expected = np.exp(score) / max(np.exp(score).sum(), 1e-9)
            np.testing.assert_allclose(weights[row, head, target, :length], expected, rtol=1e-4)
            np.testing.assert_array_equal(weights[row, head, target, length:], 0)
            seen.append(expected @ value)
        np.testing.assert_allclose(averages[row, target], out(np.concatenate(seen)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_no_gradient_and_no_source_is_no_nan(kind, source_and_query, key):
    attention, _ = KINDS[kind]
    attend = prepare_and_attend
    source, mask, query = source_and_query
    params = contracts.filled(jax.eval_shape(partial(attention.init, method=attend), key, *source_and_query), key)

    @contracts.compiled
    @jax.grad
    def gradient(parts):
        averages = attention.apply(parts["params"], parts["source"], mask, query, method=attend)[0]
        return jnp.sum(100 * averages**2)

    found = gradient({"params": params, "source": source})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    np.testing.assert_array_equal(found["source"][~mask], 0)
    assert (np.abs(found["source"][mask]).max(axis=-1) > 0).all()


def test_dot_attention_needs_one_width(source_and_query):
    source, mask, query = source_and_query
    attend = prepare_and_attend
    with pytest.raises(ValueError, match="dot attention needs one width, got 3 and 4"):
        DotAttention().apply({}, source, mask, query[..., :3], method=attend)
