import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax.models import ALiBi, Learned, Positions, RelativeBias, Rotary, Sinusoidal, Transformer, attention, positions
from seqjax.types import InputError
from tests import contracts

BUCKETS = RelativeBias(buckets=4, longest=5)
POSITIONS = {
    "sinusoidal": Sinusoidal(interleaved=True),
    "learned": Learned(length=9),
    "rotary": Rotary(),
    "ALiBi": ALiBi(),
    "relative bias": BUCKETS,
    "none": Positions(),
}
CAUSAL = [
    pytest.param(Transformer(4, 2, layers=1), id="sinusoid, pre-norm"),
    pytest.param(Transformer(4, 2, layers=1, pre_norm=False, positions=POSITIONS["learned"]), id="learned, post-norm"),
    pytest.param(Transformer(4, 2, layers=2, positions=Rotary()), id="rotary, two layers", marks=pytest.mark.slow),
    pytest.param(Transformer(4, 2, layers=1, positions=Positions()), id="no positions", marks=pytest.mark.slow),
    pytest.param(Transformer(4, 2, layers=1, positions=ALiBi()), id="ALiBi", marks=pytest.mark.slow),
    pytest.param(
        Transformer(4, 2, layers=2, positions=BUCKETS), id="relative bias, two layers", marks=pytest.mark.slow
    ),
    pytest.param(Transformer(4, 2, layers=2, positions=Rotary(), window=3), id="rotary, window, two layers"),
]
BOTH_WAYS = [
    pytest.param(Transformer(4, heads=2, layers=1, causal=False), id="both ways", marks=pytest.mark.slow),
    pytest.param(Transformer(4, heads=1, layers=1, causal=False, pre_norm=False, positions=Rotary()), id="post-norm"),
    pytest.param(
        Transformer(4, heads=2, layers=1, causal=False, positions=BUCKETS),
        id="relative bias, both ways",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("model", [*CAUSAL, *BOTH_WAYS])
def test_contract(model, key):
    contracts.backbone(model, key)


@pytest.mark.parametrize("model", [Transformer(8, 2, 1), Transformer(8, 2, 1, causal=False, pre_norm=False)])
def test_learns(model, key):
    contracts.learns(model, key)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_equals_flax(pre_norm, causal, key):
    """One block, written with `nn.MultiHeadDotProductAttention` and the same weights."""
    model = Transformer(6, heads=3, layers=1, causal=causal, pre_norm=pre_norm, positions=Positions())
    params, x, mask = contracts.parameters(model, key), contracts.inputs(key, 5), contracts.upto([5, 5, 3], 5)

    @contracts.compiled
    def flax(ours, x):
        block = ours["Block_0"]

        def norm(name, y, where=block):
            return nn.LayerNorm().apply({"params": where[name]}, y)

        def dense(name, y, where=block):
            return y @ where[name]["kernel"] + where[name]["bias"].reshape(1, 1, -1)

        def attention(y):
            joint = block["query_key_value"]
            theirs = {
                part: {"kernel": joint["kernel"][:, n], "bias": joint["bias"][n]}
                for n, part in enumerate(["query", "key", "value"])
            }
            past = nn.make_causal_mask(mask, dtype=bool) if causal else None
            seen = nn.combine_masks(nn.make_attention_mask(jnp.ones_like(mask), mask, dtype=bool), past)
            params = {"params": {**theirs, "out": block["attention_out"]}}
            return nn.MultiHeadDotProductAttention(num_heads=3).apply(params, y, mask=seen)

        def feed_forward(y):
            return dense("feed_forward_out", nn.gelu(dense("feed_forward_in", y)))

        y: Any = dense("embed", x, ours)
        if pre_norm:
            y = y + attention(norm("attention_norm", y))
            return norm("final_norm", y + feed_forward(norm("feed_forward_norm", y)), ours)
        y = norm("attention_norm", y + attention(y))
        return norm("feed_forward_norm", y + feed_forward(y))

    found, expected = contracts.forward(model)(params, x, mask=mask), flax(params["params"], x)
    np.testing.assert_allclose(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("features", [1, 5, 6])
@pytest.mark.parametrize("interleaved", [False, True])
def test_sinusoid(features, interleaved):
    """Sine and cosine of index / longest^(i / half): all sines first, or each beside its cosine."""
    index, x = np.array([[0, 1, 7]]), np.ones((1, 3, features), np.float32)
    y = Sinusoidal(100.0, interleaved).apply({}, jnp.asarray(x), jnp.asarray(index), method="embed")
    half = -(-features // 2)
    for channel in range(features):
        second, i = (channel % 2, channel // 2) if interleaved else divmod(channel, half)
        wave = np.cos if second else np.sin
        np.testing.assert_allclose(y[0, :, channel], 1 + wave(index[0] / 100 ** (i / half)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [(1, [2**-8]), (4, [2**-2, 2**-4, 2**-6, 2**-8]), (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])],
)
def test_alibi(heads, slopes):
    """Press et al. 2022, fig. 3: the slopes that the authors' code gives, times the distance."""
    steps = jnp.arange(3)[None]
    bias: Any = ALiBi().apply({}, heads, steps, steps, causal=True, method="bias")
    for head, slope in enumerate(slopes):
        np.testing.assert_allclose(bias[0, head], -slope * np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("causal", "expected"),
    [
        # One bucket each for 0 to 3; then log2 of distance / 4 in four parts up to 64, and all that is further.
        (True, {0: 0, 1: 1, 3: 3, 4: 4, 7: 4, 8: 5, 15: 5, 16: 6, 31: 6, 32: 7, 63: 7, 64: 7, 999: 7, -1: 0, -9: 0}),
        # Half of the buckets each: 0 and 1, up to sqrt(2 x 64) = 11.3, further; the same again for what comes after.
        (False, {0: 0, 1: 1, 2: 2, 11: 2, 12: 3, 999: 3, -1: 5, -2: 6, -11: 6, -12: 7, -999: 7}),
    ],
)
def test_relative_buckets(causal, expected):
    found = positions.relative_bucket(jnp.array(list(expected)), 8, 64, causal=causal)
    assert dict(zip(expected, found.tolist(), strict=True)) == expected


def test_longest_relative_distance_must_be_beyond_the_single_buckets():
    with pytest.raises(InputError, match=r"longest must be > buckets / 2, got 16 and 32 buckets"):
        RelativeBias(buckets=32, longest=16)


@pytest.mark.parametrize(("name", "causal"), [("rotary", True), ("ALiBi", True), ("relative bias", False)])
def test_attention_weights(name, causal, key):
    """What is asked for is the softmax of the scores, whole or step by step, and asking changes no output."""
    model = Transformer(4, heads=2, layers=1, causal=causal, positions=POSITIONS[name])
    params, x, mask = contracts.parameters(model, key), contracts.inputs(key, 5), contracts.upto([5, 4, 0], 5)
    y, kept = jax.jit(functools.partial(model.apply, mutable="intermediates"))(params, x, mask=mask)
    np.testing.assert_allclose(y, contracts.forward(model)(params, x, mask=mask), rtol=1e-4, atol=1e-5)
    (weights,) = kept["intermediates"]["Block_0"]["attention"]

    @contracts.compiled
    def placed(ours):
        embedded = x @ ours["embed"]["kernel"] + ours["embed"]["bias"].reshape(1, 1, -1)
        normed = nn.LayerNorm().apply({"params": ours["Block_0"]["attention_norm"]}, embedded)
        joint = ours["Block_0"]["query_key_value"]
        heads = jnp.einsum("btf,fphd->pbthd", normed, joint["kernel"]) + joint["bias"][:, None, None]
        bound = model.positions.bind({"params": ours["positions"]} if "positions" in ours else {})
        steps = jnp.broadcast_to(jnp.arange(5), (3, 5))
        return *(bound.rotate(part, steps) for part in heads[:2]), bound.bias(2, steps, steps, causal=causal)

    query, keys, bias = placed(params["params"])
    scores = np.einsum("bthd,bshd->bhts", query, keys) / np.sqrt(2)
    seen = np.asarray(mask)[:, None, None, :] & np.asarray(mask)[:, None, :, None]
    seen = seen & (np.tri(5, dtype=bool) | (not causal))
    mass = np.where(seen, np.exp(scores + (0 if bias is None else bias)), 0)
    np.testing.assert_allclose(weights, mass / np.maximum(mass.sum(-1, keepdims=True), 1e-30), rtol=1e-4, atol=1e-6)

    if causal:
        carry, pieces = model.start(3, 2, 5), []
        step = jax.jit(functools.partial(model.apply, method="extend", mutable="intermediates"))
        for time in range(5):
            (carry, _), kept = step(params, carry, x[:, time : time + 1], mask=mask[:, time : time + 1])
            pieces.append(kept["intermediates"]["Block_0"]["attention"][0])
        stepped = np.concatenate(pieces, axis=2)
        real = np.asarray(mask)[:, None, :, None]
        np.testing.assert_allclose(np.where(real, stepped, 0), weights, rtol=1e-4, atol=1e-6)


def test_rotary_scores_depend_on_distance_only(key):
    query, keys = jax.random.normal(key, (2, 1, 1, 1, 8))

    @jax.jit
    def turned(heads, index) -> Any:
        return Rotary().apply({}, heads, jnp.asarray(index), method="rotate")

    def score(target, source):
        return jnp.vdot(turned(query, [[target]]), turned(keys, [[source]]))

    np.testing.assert_allclose(score(0, 0), jnp.vdot(query, keys), rtol=1e-5)
    np.testing.assert_allclose([score(3, 1), score(10, 8), score(102, 100)], score(2, 0), rtol=1e-4)
    assert abs(score(3, 0) - score(2, 0)) > 0.01


def test_queries_and_keys_are_turned_by_the_real_steps_before_them(key):
    """Rows of 3 and 2 real steps in two chunks; both sides get the same positions, and padding, at 0, moves none."""
    turned = []

    class Recording(Positions):
        def rotate(self, heads, index):
            turned.append(np.asarray(index).tolist())
            return heads

    model = Transformer(4, heads=2, layers=1, positions=Recording())
    params, x = contracts.parameters(model.clone(positions=Positions()), key), contracts.inputs(key, 2, rows=2)
    carry = model.start(2, 2, 4)
    for lengths in [(2, 1), (1, 1)]:
        carry, _ = model.apply(params, carry, x, mask=contracts.upto(lengths, 2), method="extend")
    assert turned == [[[0, 1], [0, 0]]] * 2 + [[[2, 0], [1, 0]]] * 2


def test_positions_tell_orders_apart_only_where_there_are_some(key):
    """Without positions, what a step reads back to front is the same; with them it is not."""
    x = contracts.inputs(key, 5)
    turned = jnp.concatenate([x[:, 3::-1], x[:, 4:]], axis=1)
    for name, encoding in POSITIONS.items():
        model = Transformer(4, heads=2, layers=1, positions=encoding)
        params = contracts.parameters(model, key)
        y, z = (contracts.forward(model)(params, order)[:, 4] for order in (x, turned))
        same = np.allclose(y, z, atol=1e-5)
        assert same == (name == "none"), name


@pytest.mark.parametrize("encoding", [Rotary(), ALiBi()], ids=["rotary", "ALiBi"])
def test_a_window_is_the_whole_past_of_its_steps(encoding, key):
    """With positions that are distances and one layer, each output is that of the window's steps alone, in any form."""
    model = Transformer(4, heads=2, layers=1, positions=encoding, window=5)
    params, x = contracts.parameters(model, key), contracts.inputs(key, 140, rows=2)  # three blocks of 64 targets
    windows = jnp.stack([x[:, t - 4 : t + 1] for t in range(4, 140)], axis=1).reshape(-1, 5, 2)
    alone = contracts.forward(model.clone(window=None))(params, windows)[:, -1].reshape(2, -1, 4)
    whole = contracts.forward(model)(params, x)
    np.testing.assert_allclose(whole[:, 4:], alone, rtol=1e-4, atol=1e-5)
    y, kept = jax.jit(functools.partial(model.apply, mutable="intermediates"))(params, x)
    np.testing.assert_allclose(y, whole, rtol=1e-4, atol=1e-5)
    (weights,) = kept["intermediates"]["Block_0"]["attention"]
    distance = 4 + np.arange(140)[:, None] - np.arange(144)[None]  # four empty slots come first
    seen = (distance >= 0) & (distance < 5) & (np.arange(144) >= 4)[None]
    np.testing.assert_array_equal(np.asarray(weights) > 0, np.broadcast_to(seen, weights.shape))


def test_more_steps_than_the_cache_holds(key):
    """An error where the number of used slots is known; inside jit NaN, never a silently overwritten slot."""
    model = Transformer(4, heads=2, layers=1)
    params, x = contracts.parameters(model, key), contracts.inputs(key, 4)
    with pytest.raises(ValueError, match="the cache holds 3 steps: 0 are used and 4 more were given"):
        model.apply(params, model.start(3, 2, 3), x, method="extend")
    full = model.start(3, 2, 3)._replace(used=jnp.int32(3))
    with pytest.raises(ValueError, match="the cache holds 3 steps: 3 are used and 1 more were given"):
        model.apply(params, full, x[:, 3:], method="extend")

    carry, y = model.start(3, 2, 3), []
    for time in range(4):
        carry, now = contracts.extend(model)(params, carry, x[:, time : time + 1])
        y.append(now)
    np.testing.assert_array_equal(np.isnan(y).all(axis=(1, 2, 3)), [False, False, False, True])
    assert np.isfinite(y[:3]).all()


def test_more_steps_than_there_are_learned_positions(key):
    model = Transformer(4, heads=2, layers=1, positions=Learned(length=3))
    params, x = contracts.parameters(model, key), contracts.inputs(key, 4)
    with pytest.raises(ValueError, match="learned positions hold 3 steps, got 4"):
        model.apply(params, x)
    carry, y = model.start(3, 2, 8), []
    for time in range(4):
        carry, now = contracts.extend(model)(params, carry, x[:, time : time + 1])
        y.append(now)
    np.testing.assert_array_equal(np.isnan(y).all(axis=(1, 2, 3)), [False, False, False, True])
    assert np.isfinite(y[:3]).all()


def test_only_a_causal_transformer_streams(key):
    model = Transformer(4, causal=False)
    carry = Transformer(4).start(1, 2, 3)
    with pytest.raises(
        ValueError, match=r"Transformer\.start needs a causal backbone, got Transformer with causal=False"
    ):
        model.start(1, 2, 3)
    with pytest.raises(ValueError, match=r"Transformer\.extend needs a causal backbone"):
        model.init(key, carry, jnp.zeros((1, 1, 2)), method="extend")


def test_padding_after_a_full_learned_table_harms_no_gradient(key):
    """A row that has used every position may still be padded while its neighbours go on."""
    model = Transformer(4, heads=2, layers=1, positions=Learned(length=3))
    x = jax.random.normal(key, (1, 3, 2))
    params = contracts.compiled(model.init)(key, x)

    def total(params):
        carry, _ = model.apply(params, model.start(1, 2, 4), x, method="extend")
        _, y = model.apply(params, carry, x[:, :1], mask=jnp.array([[False]]), method="extend")
        return jnp.sum(jnp.asarray(y))

    for leaf in jax.tree.leaves(contracts.compiled(jax.grad(total))(params)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.parametrize(
    ("causal", "bias"),
    [
        pytest.param(True, ALiBi(), id="ALiBi"),
        pytest.param(False, BUCKETS, id="relative bias, both ways"),
        pytest.param(False, ALiBi(), id="ALiBi, both ways", marks=pytest.mark.slow),
        pytest.param(True, BUCKETS, id="relative bias", marks=pytest.mark.slow),
    ],
)
def test_long_sequences_are_read_as_short_ones(causal, bias, key, monkeypatch):
    """Outputs and gradients in double precision, where attention is computed in parts, with biases by distance."""
    model = Transformer(4, 2, layers=1, causal=causal, positions=bias)
    with jax.enable_x64(True):
        x = jax.random.normal(key, (2, 150, 3), jnp.float64)
        mask = contracts.upto((150, 70), 150)
        params = contracts.filled(jax.eval_shape(model.init, key, x), key)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

        def output_and_gradient(params):
            return model.apply(params, x, mask=mask), jax.grad(lambda p: jnp.sum(model.apply(p, x, mask=mask) ** 2))(
                params
            )

        short = contracts.compiled(output_and_gradient)(params)
        monkeypatch.setattr(attention, "SCORES_BYTES", 0)
        monkeypatch.setattr(attention, "PART_BYTES", 0)
        long = contracts.compiled(lambda params: output_and_gradient(params))(params)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    jax.tree.map(close, long, short)
