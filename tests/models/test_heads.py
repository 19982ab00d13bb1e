from functools import partial
from typing import Any

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from seqjax import losses, models
from seqjax.types import PAD
from tests import contracts

CAUSAL = [models.LSTM(4), models.TCN(4, 2, (1, 2)), models.Transformer(4, 2, 1)]
BOTH_WAYS = [models.Bidirectional(4, models.GRUCell()), models.Transformer(4, 2, 1, causal=False)]


def name(model):
    return type(model).__name__


@pytest.mark.parametrize(
    "backbone", [CAUSAL[0], pytest.param(CAUSAL[2], marks=pytest.mark.slow), BOTH_WAYS[0]], ids=name
)
def test_contract(backbone, key):
    """Carries that are of one size, and that are as long as they are asked to be; none where it is not causal."""
    model = models.Regressor(backbone, targets=3)
    contracts.backbone(model, key)


@pytest.mark.parametrize("backbone", [*CAUSAL, *BOTH_WAYS], ids=name)
def test_a_linear_readout_of_the_backbone(backbone, key):
    """No activation on top: tanh cannot reach unbounded targets."""
    model, x = models.Regressor(backbone, targets=3), contracts.inputs(key, 4)
    params = contracts.parameters(model, key)["params"]
    features = contracts.forward(backbone)({"params": params["backbone"]}, x)
    expected = features @ params["readout"]["kernel"] + params["readout"]["bias"][None, None]
    np.testing.assert_allclose(contracts.forward(model)({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "inputs", "count"),
    [
        pytest.param(models.LSTM(256, layers=2), 1, 789_761, id="stock LSTM"),
        pytest.param(models.TCN(30, 4, (1, 2, 4, 8, 16, 32, 64), weight_norm=True), 1, 47_851, id="TCN, weight norm"),
        pytest.param(models.TCN(30, 4, (1, 2, 4, 8, 16, 32, 64)), 1, 47_431, id="TCN, Lorenz"),
        pytest.param(models.TCN(10, 4, (1, 2, 4, 8, 16, 32, 64), weight_norm=True), 1, 5_551, id="TCN, shift"),
        pytest.param(models.Transformer(64, 8, 1, expansion=32, pre_norm=False), 1, 281_345, id="Transformer"),
        pytest.param(models.Transformer(32, 8, 5, expansion=64, pre_norm=False), 1, 687_617, id="five layers"),
    ],
)
def test_parameter_counts_of_the_tutorials(backbone, inputs, count, key):
    params = jax.eval_shape(models.Regressor(backbone).init, key, jnp.zeros((1, 1, inputs)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(
    "build",
    [
        partial(models.RNN, 4, layers=2),
        partial(models.Bidirectional, 4, models.RNNCell(), layers=2),
        partial(models.TCN, 4, 2, (1,)),
        partial(models.LRU, 4, layers=1),
        partial(models.Transformer, 4, 2, 1, positions=models.Positions(), activation=nn.relu),
    ],
    ids=lambda build: build.func.__name__,
)
def test_dropout_drops_in_training_only(build, key):
    model, x = models.Regressor(build(dropout=0.5)), contracts.inputs(key, 4)
    params = contracts.parameters(model, key)
    contracts.drops_in_training_only(model, params, x)
    still, plain = (contracts.forward(models.Regressor(backbone))(params, x) for backbone in (model.backbone, build()))
    np.testing.assert_allclose(still, plain, rtol=1e-5, atol=1e-6)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        contracts.compiled(partial(model.apply, train=True))(params, x)


def test_a_linen_module_becomes_an_nnx_module(key):
    """The way to NNX stays open."""
    linen, x = models.Regressor(models.GRU(4)), contracts.inputs(key, 4)
    module = nnx.bridge.lazy_init(nnx.bridge.ToNNX(linen, rngs=nnx.Rngs(0)), x)
    params = {"params": nnx.to_pure_dict(nnx.state(module, nnx.Param))}
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == jax.tree.map(jnp.shape, dict(linen.init(key, x)))
    np.testing.assert_allclose(module(x), contracts.forward(linen)(params, x), rtol=1e-5)


# Classes of whole rows

LENGTHS = (0, 1, 3, 5)


def steps(key):
    """Rows of these lengths, and their mask."""
    return np.asarray(contracts.inputs(key, 5, width=3, rows=4)), np.asarray(contracts.upto(LENGTHS, 5))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (models.last, lambda row: row[-1]),
        (models.ends, lambda row: np.concatenate([row[-1], row[0]])),
        (models.mean, lambda row: row.sum(axis=0) / len(row)),
        (models.maximum, lambda row: np.array([max(column) for column in row.T])),
    ],
    ids=["last", "ends", "mean", "maximum"],
)
def test_poolings_row_by_row(pooling, expected, key):
    y, mask = steps(key)
    dirty = np.where(mask[..., None], y, np.nan)
    pooled = np.asarray(pooling(jnp.asarray(dirty), jnp.asarray(mask)))
    np.testing.assert_array_equal(pooled[0], 0)
    for row, length in enumerate(LENGTHS[1:], start=1):
        np.testing.assert_allclose(pooled[row], expected(y[row, :length]), rtol=1e-6)
    np.testing.assert_allclose(pooling(jnp.asarray(y), None), [expected(row) for row in y], rtol=1e-6)


def test_attention_pooling_is_a_softmax_over_real_steps(key):
    y, mask = steps(key)
    pooling = models.AttentionPooling(2)
    params = contracts.filled(jax.eval_shape(pooling.init, key, y, None), key)
    weights = jax.tree.map(np.asarray, params["params"])
    score = np.tanh(y @ weights["hidden"]["kernel"] + weights["hidden"]["bias"]) @ weights["score"]["kernel"]
    apply = contracts.compiled(pooling.apply)
    pooled = np.asarray(apply(params, np.where(mask[..., None], y, np.nan), mask))
    np.testing.assert_array_equal(pooled[0], 0)
    for row, length in enumerate(LENGTHS[1:], start=1):
        mass = np.exp(score[row, :length])
        np.testing.assert_allclose(pooled[row], (mass / mass.sum() * y[row, :length]).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(apply(params, y[3:], None), pooled[3:], rtol=1e-5)


def reader(backbone, pooling=models.last, **options) -> Any:
    return models.Classifier(models.TokenEmbedding(backbone, 9, 4, **options), classes=3, pooling=pooling)


def tokens(model, key):
    """Ids padded with PAD, their mask, and random parameters."""
    _, mask = steps(key)
    ids = np.where(mask, np.random.default_rng(0).integers(4, 9, mask.shape), PAD)
    params = contracts.filled(jax.eval_shape(model.init, key, ids), key)
    return jnp.asarray(ids, jnp.int32), jnp.asarray(mask), params


@pytest.mark.parametrize(
    ("backbone", "pooling"),
    [
        (models.LSTM(4), models.last),
        (models.Bidirectional(4, models.GRUCell()), models.ends),
        (models.TCN(4, 2, (1, 2)), models.maximum),
        (models.Transformer(4, 2, 1, causal=False), models.AttentionPooling(2)),
    ],
    ids=lambda part: getattr(part, "__name__", type(part).__name__),
)
def test_padding_does_not_reach_the_class(backbone, pooling, key):
    """Neither its ids, those there are none of too, nor its length; nor has it a gradient, nor an empty row."""
    model = reader(backbone, pooling)
    ids, mask, params = tokens(model, key)

    @contracts.compiled
    def judged(params, ids, mask):
        def squares(params):
            logits = model.apply(params, ids, mask=mask)
            return jnp.sum(logits**2), logits

        return jax.grad(squares, has_aux=True)(params)

    gradient, logits = judged(params, ids, mask)
    assert logits.shape == (4, 3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradient, logits)))
    np.testing.assert_array_equal(logits[0], params["params"]["readout"]["bias"])
    table = np.asarray(gradient["params"]["backbone"]["table"]["embedding"])
    np.testing.assert_array_equal(table.any(axis=1), np.isin(np.arange(9), ids[mask]))
    for garbage in (8, 99, -99):
        dirty = np.where(mask, ids, garbage)
        jax.tree.map(np.testing.assert_array_equal, judged(params, dirty, mask), (gradient, logits))
    wide = judged(params, np.pad(ids, ((0, 0), (0, 3))), np.pad(mask, ((0, 0), (0, 3))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), wide, (gradient, logits))
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(judged(params, ids[order], mask[order])[1], logits[order], rtol=1e-5, atol=1e-6)


def test_a_function_can_be_the_backbone(key):
    """With none at all, pooled by the mean: a bag of words."""
    model = reader(lambda x, *, mask=None, train=False: x, models.mean)
    ids, mask, params = tokens(model, key)
    inner = params["params"]
    words = np.asarray(inner["backbone"]["table"]["embedding"])
    readout, logits = inner["readout"], contracts.forward(model)(params, ids, mask=mask)
    for row, length in enumerate(LENGTHS[1:], start=1):
        expected = words[ids[row, :length]].mean(axis=0) @ readout["kernel"] + readout["bias"]
        np.testing.assert_allclose(logits[row], expected, rtol=1e-5)


@pytest.mark.parametrize("where", ["embeddings", "pooled"])
def test_a_classifier_drops_in_training_only(where, key):
    shares = {"embeddings": (0.5, 0.0), "pooled": (0.0, 0.5)}[where]
    model = models.Classifier(models.TokenEmbedding(models.TCN(4, 1, (1,)), 9, 64, shares[0]), 3, dropout=shares[1])
    ids, mask, params = tokens(model, key)
    contracts.drops_in_training_only(model, params, ids, mask=mask)


def test_parameter_count_of_the_sentiment_tutorial(key):
    """The tutorial's model has 100,866 in PyTorch, whose LSTM adds two biases where one will do: 512 more."""
    model = models.Classifier(models.TokenEmbedding(models.LSTM(128), 20, 64), 2)
    params = jax.eval_shape(model.init, key, jnp.zeros((1, 5), int))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 100_866 - 512


def test_a_classifier_learns_what_came_first(key):
    """From the last state of rows of all lengths."""
    rng = np.random.default_rng(0)
    mask = jnp.asarray(np.arange(5)[None] < rng.integers(1, 6, (16, 1)))
    ids = jnp.asarray(rng.integers(4, 7, (16, 5)), jnp.int32)
    model = reader(models.GRU(8))

    def cost(params):
        logits = model.apply(params, ids, mask=mask)
        return losses.cross_entropy(logits[:, None], ids[:, :1] - 4)

    contracts.overfits(cost, contracts.compiled(model.init)(key, ids), 150, rate=3e-2)
