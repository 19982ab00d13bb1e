"""The rules that all models have in common: parts are instances, masks are prefixes, causality is declared."""

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from seqjax import models
from seqjax._checks import check_mask
from seqjax.models.attention import self_attention
from seqjax.models.crf import log_partition
from seqjax.types import InputError
from tests import contracts

pytestmark = pytest.mark.usefixtures("unchecked")


CELL = "cell must be an instance such as LSTMCell\\(\\), got "
WRONG_PARTS = {
    "a cell's class": (models.Recurrent, {"cell": models.LSTMCell}, CELL + "the class LSTMCell"),
    "layers as cell": (models.Recurrent, {"cell": models.LSTM}, CELL + "the function LSTM"),
    "a partial cell": (models.Bidirectional, {"cell": partial(models.RNNCell)}, CELL + "a partial of RNNCell"),
    "a decoder's cell": (models.RecurrentDecoder, {"cell": models.GRUCell}, CELL + "the class GRUCell"),
    "an attention's class": (
        models.BahdanauDecoder,
        {"attention": models.AdditiveAttention},
        r"attention must be an instance such as AdditiveAttention\(64\), got the class AdditiveAttention",
    ),
    "a bridge's class": (models.LuongDecoder, {"bridge": models.CopyState}, "bridge must .* the class CopyState"),
    "positions' class": (models.Transformer, {"positions": models.Rotary}, "positions must .* the class Rotary"),
    "a decoder's positions": (models.TransformerDecoder, {"positions": models.Rotary}, "positions must .* Rotary"),
    "an activation": (models.RNN, {"activation": 128}, "activation must be a function .*, got 128"),
}
MORE_WRONG_PARTS = {
    "pooling's class": (
        models.Classifier,
        {"backbone": models.GRU(4), "classes": 2, "pooling": models.AttentionPooling},
        "pooling must be .*, got the class AttentionPooling",
    ),
    "a norm's class": (models.CNN, {"norm": nn.LayerNorm}, "norm must be .*, got the class LayerNorm"),
    "a function as backbone": (models.Regressor, {"backbone": models.LSTM}, "backbone must .* the function LSTM"),
    "an encoder that is none": (
        models.EncoderDecoder,
        {"encoder": nn.Dense(4), "decoder": models.RecurrentDecoder(4), "source_vocab": 9, "target_vocab": 9},
        r"encoder must be an instance such as Bidirectional\(64\)",
    ),
}


@pytest.mark.parametrize("what", [*WRONG_PARTS, *MORE_WRONG_PARTS])
def test_parts_are_instances(what):
    make, fields, message = (WRONG_PARTS | MORE_WRONG_PARTS)[what]
    features = {"features": 4} if what in WRONG_PARTS else {}
    with pytest.raises(TypeError, match=message):
        make(**features, **fields)


class BatchNormalised(nn.Module):
    """A user's module that keeps running statistics."""

    @nn.compact
    def __call__(self, x, *_, mask=None, train=False):
        return nn.BatchNorm(use_running_average=not train)(x)


STEPS = jnp.zeros((2, 3, 4))
IDS = jnp.zeros((2, 3), int)
STATEFUL = {
    "Classifier": (models.Classifier(BatchNormalised(), 2), (STEPS,), "backbone"),
    "Regressor": (models.Regressor(BatchNormalised()), (STEPS,), "backbone"),
    "CNN": (models.CNN((4,), norm=BatchNormalised()), (jnp.zeros((1, 4, 4, 1)),), "BatchNormalised_0"),
    "Captioner": (
        models.Captioner(BatchNormalised(), models.RecurrentDecoder(4), 9),
        (jnp.zeros((2, 4, 4, 1)), IDS),
        "encoder",
    ),
    "Tagger": (models.Tagger(models.GRU(4), 2, 9, 4, characters=BatchNormalised()), (IDS, STEPS), "characters"),
}


@pytest.mark.parametrize("where", STATEFUL)
def test_a_part_with_running_statistics_is_refused_when_it_is_initialised(where, key):
    """Training would take the statistics for parameters, or end in Flax's ModifyScopeVariableError."""
    model, inputs, part = STATEFUL[where]
    with pytest.raises(InputError, match=rf"^{part}.*BatchNorm_0 must be a module without state, .*'batch_stats'"):
        jax.eval_shape(model.init, key, *inputs)


def test_a_norm_with_running_statistics_is_refused_at_construction():
    for norm in (nn.BatchNorm(), nn.SpectralNorm(nn.Dense(4))):
        kind = type(norm).__name__
        with pytest.raises(InputError, match=rf"norm must be a module without state, such as nn.GroupNorm .* {kind}"):
            models.CNN(norm=norm)
        with pytest.raises(InputError, match="backbone must be a module without state"):
            models.Classifier(norm, 2)


FOUR = "heads must divide features, got 4 heads and 6 features"
WRONG_FIELDS = [
    (models.MultiHeadAttention, (6, 4), FOUR),
    (models.MultiHeadAttention, (6, -1), "heads must divide features, got -1 heads and 6 features"),
    (models.Transformer, (6, 4), FOUR),
    (models.Transformer, (6, 0), "heads must divide features, got 0 heads and 6 features"),
    (models.Bidirectional, (5,), "features must be even, half of them for each direction, got 5"),
    (models.CharacterCNN, (7, 30, 50, 2), "kernel_size must be odd, so that it has a middle, got 2"),
    (models.CNN, ((4, 0),), r"channels must be integers >= 1, got \(4, 0\)"),
    (models.CNN, ((4,), 0), "kernel_size must be >= 1, got 0"),
    (models.TCN, (4, 0), "kernel_size must be >= 1, got 0"),
    (models.TCN, (4, 3, ()), r"dilations must be one or more integers >= 1, got \(\)"),
    (models.TCN, (4, 3, (1, 0)), r"dilations must be one or more integers >= 1, got \(1, 0\)"),
    (models.LinearDilatedCNN, (0, 1), "channels must be >= 1, got 0"),
    (models.LinearDilatedCNN, (1, 0), "layers must be >= 1, got 0"),
    (models.LinearDilatedCNN, (1, 1, 1), "base must be >= 2, got 1"),
    (models.LinearDilatedCNN, (1, 1, 2, 0), "features must be >= 1, got 0"),
    (models.LRU, (4, 2, None, (0.5, 0.5)), r"ring must be two moduli, 0 <= low < high <= 1, got \(0.5, 0.5\)"),
    (models.LRU, (4, 2, None, (-0.1, 0.5)), "ring must be two moduli"),
    (models.LRU, (4, 2, None, (0.5, 1.1)), "ring must be two moduli"),
    (models.LRU, (4, 2, 0), "order must be >= 1, got 0"),
    (models.GRU, (0,), "features must be >= 1, got 0"),
    (models.GRU, (2.5,), r"features must be an integer, got 2\.5"),
    (models.LSTM, (4, 0), "layers must be >= 1, got 0"),
    (models.GRU, (4, 1, 1.5), r"dropout must lie in \[0, 1\], got 1\.5"),
    (models.GRU, (4, 1, "a"), r"dropout must lie in \[0, 1\], got a"),
    (models.TCN, (4, 3, (1,), -0.1), r"dropout must lie in \[0, 1\], got -0\.1"),
    (models.Bidirectional, (4, models.GRUCell(), 1, float("nan")), r"dropout must lie in \[0, 1\], got nan"),
    (models.Transformer, (0,), "features must be >= 1, got 0"),
    (models.TransformerDecoder, (4, 2, 0), "layers must be >= 1, got 0"),
    (models.DiagonalRNN, (4, 0), "order must be >= 1, got 0"),
    (models.Window, (4, -1), "reach must be >= 0, got -1"),
    (models.Sinusoidal, (0.0,), r"longest must be >= 1, got 0\.0"),
    (models.LanguageModel, (models.GRU(4), 0), "vocab must be >= 1, got 0"),
    (models.Tagger, (models.GRU(4), 3, 9, 4, None, 0.0, 2.0), r"unknown must lie in \[0, 1\], got 2\.0"),
    (models.LowRankBridge, (0,), "rank must be >= 1, got 0"),
    (models.Classifier, (models.GRU(4), -1), "classes must be >= 1, got -1"),
]


@pytest.mark.parametrize(("make", "fields", "message"), WRONG_FIELDS)
def test_wrong_fields_are_refused(make, fields, message):
    with pytest.raises(ValueError, match=message):
        make(*fields)


def test_rotary_positions_rotate_pairs(key):
    with pytest.raises(ValueError, match="features / heads must be even, got 3"):
        models.Transformer(6, 2, positions=models.Rotary()).init(key, jnp.zeros((1, 1, 2)))


@pytest.mark.parametrize(("make", "cell"), [("RNN", "RNNCell"), ("GRU", "GRUCell"), ("LSTM", "LSTMCell")])
def test_layers_that_people_type_first(make, cell):
    layers = getattr(models, make)(64, layers=2, dropout=0.1)
    assert layers == models.Recurrent(64, getattr(models, cell)(), 2, 0.1)
    assert models.RNN(4, activation=nn.relu) == models.Recurrent(4, models.RNNCell(nn.relu))


def test_bahdanau_is_additive_by_default(key):
    """With the hidden width of the decoder, and for an encoder of another width."""
    decoder = models.BahdanauDecoder(4)
    assert decoder.attention == models.AdditiveAttention(4)
    model, token = (
        models.EncoderDecoder(models.Bidirectional(6), decoder, 9, 9, embedding=3),
        jnp.ones((1, 2), jnp.int32),
    )
    shapes = jax.eval_shape(model.init, key, token, token)["params"]["decoder"]["attention"]
    assert shapes["query"]["kernel"].shape == (4, 4)
    assert shapes["key"]["kernel"].shape == (6, 4)


class Undeclared(nn.Module):
    @nn.compact
    def __call__(self, x, *, mask=None, train=False):
        return nn.Dense(4)(x)


class Declared(Undeclared):
    causal = True


NOT_CAUSAL = [models.Bidirectional(4), models.Transformer(4, causal=False), models.Window(4), Undeclared()]


@pytest.mark.parametrize("backbone", NOT_CAUSAL)
def test_a_language_model_is_causal(backbone):
    rule = (
        "does not declare" if isinstance(backbone, Undeclared) else f"got {type(backbone).__name__} with causal=False"
    )
    with pytest.raises(ValueError, match=f"LanguageModel needs a causal backbone.*{rule}"):
        models.LanguageModel(backbone, 9)


def test_who_may_be_a_language_model(key):
    for backbone in (models.GRU(4), models.TCN(4), models.LRU(4), models.Transformer(4), Declared()):
        models.LanguageModel(backbone, 9)
    with pytest.raises(ValueError, match=r"Regressor\.start needs a causal backbone, got Bidirectional"):
        models.Regressor(models.Bidirectional(4)).start(1, 2, 3)
    assert models.Regressor(models.GRU(4)).causal
    assert not models.TokenEmbedding(models.Bidirectional(4), 9, 4).causal


WRONG_MASKS = {
    "left padding": (np.array([[True, True, False], [False, True, True]]), r"got \[0, 1, 1\] in row 1"),
    "a hole": (np.array([[True, False, True]] * 2), r"got \[1, 0, 1\] in row 0"),
    "floats": (np.ones((2, 3), np.float32), "mask must be a boolean array, True where a step is real, got float32"),
    "one row": (np.ones(3, bool), r"mask must have the shape \(batch, time\) = \(2, 3\), got \(3,\)"),
    "other lengths": (np.ones((2, 4), bool), r"mask must have the shape \(batch, time\) = \(2, 3\), got \(2, 4\)"),
}


@pytest.mark.parametrize("what", WRONG_MASKS)
def test_masks_are_prefixes(what):
    mask, message = WRONG_MASKS[what]
    with pytest.raises(ValueError, match=message):
        check_mask(jnp.asarray(mask), (2, 3))


@pytest.mark.parametrize(
    "right", [None, np.ones((2, 3), bool), np.zeros((2, 3), bool), np.array([[1, 1, 0], [0, 0, 0]]) > 0]
)
def test_what_is_a_mask(right):
    check_mask(right, (2, 3))


def test_inside_jit_values_are_not_checked():
    jax.jit(lambda mask: check_mask(mask, (2, 3)))(WRONG_MASKS["left padding"][0])


X, IDS = jnp.ones((2, 3, 4)), jnp.ones((2, 3), jnp.int32)
TRANSITIONS = models.Transitions(jnp.zeros(4), jnp.zeros((4, 4)), jnp.zeros(4))
PAIR: Any = models.EncoderDecoder(models.GRU(4), models.RecurrentDecoder(4), 9, 9, embedding=4)


def reads(model: Any, *inputs: Any, name: str = "mask"):
    """A function of a mask that initialises the model with it."""
    return lambda mask: model.init(jax.random.key(0), *inputs, **{name: mask})


BACKBONES = (
    models.GRU(4),
    models.Bidirectional(4),
    models.TCN(4, dilations=(1,)),
    models.LRU(4, layers=1),
    models.DiagonalRNN(4, 3),
    models.MinGRU(4),
    models.MinLSTM(4),
    models.SelectiveSSM(4),
    models.GatedDeltaNet(4),
    models.RGLRU(4),
    models.MLSTM(4),
    models.SLSTM(4),
    models.LinearDilatedCNN(4, 1),
    models.Transformer(4, layers=1),
    models.SingleHeadTransformer(4, 2),
    models.Window(4),
)
ENTRIES = {
    **{type(backbone).__name__: reads(backbone, X) for backbone in BACKBONES},
    **{pool.__name__: partial(pool, X) for pool in (models.last, models.ends, models.mean, models.maximum)},
    "AttentionPooling": reads(models.AttentionPooling(), X),
    "Classifier": reads(models.Classifier(models.TokenEmbedding(models.GRU(4), 9, 4), 2), IDS),
    "Tagger": reads(models.Tagger(models.GRU(4), 3, 9, 4), IDS),
    "CRF": partial(log_partition, X, TRANSITIONS),
    "LanguageModel": reads(models.LanguageModel(models.GRU(4), 9), IDS),
    "source": reads(PAIR, IDS, IDS, name="source_mask"),
    "target": reads(PAIR, IDS, IDS, name="target_mask"),
    **{
        type(attention).__name__: partial(attention.init, jax.random.key(0), X, method="prepare")
        for attention in (
            models.DotAttention(),
            models.GeneralAttention(4),
            models.AdditiveAttention(4),
            models.MultiHeadAttention(4, 2),
            models.LowRankAttention(2, 4),
        )
    },
    "self_attention": lambda mask: self_attention(*[X[:, :, None]] * 3, mask=mask, causal=True),
    "EncoderDecoderRegressor": reads(models.EncoderDecoderRegressor(models.GRU(4), models.RecurrentDecoder(4)), X, 2),
}


@pytest.mark.parametrize("shape", [(2, 4), (2, 0, 4), (2, 3, 0), (4,)])
@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: type(backbone).__name__)
def test_sequences_have_three_axes_a_step_and_a_feature(backbone, shape, key):
    with pytest.raises(ValueError, match=rf"sequences must have the shape .*, got {re.escape(str(shape))}"):
        backbone.init(key, jnp.zeros(shape))


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_model_checks_its_mask(entry):
    for mask, message in WRONG_MASKS.values():
        with pytest.raises(ValueError, match=message.replace("batch, time", "batch, (time|source)")):
            ENTRIES[entry](jnp.asarray(mask))


@pytest.mark.parametrize("mask", [jnp.ones((2, 3)), jnp.ones((2, 3, 4), bool), [[[True] * 3] * 3] * 2])
def test_attention_checks_its_mask(mask):
    with pytest.raises(ValueError, match=r"mask must (be a boolean array|have the shape \(batch, target, source\))"):
        models.dot_attention(*[X[:, :, None]] * 3, mask=mask)


def test_a_users_own_backbone_needs_no_more_than_the_base_class(key):
    class Double(models.Backbone):
        causal = True

        def __call__(self, x, *, mask=None, train=False):
            return 2 * x

    x, mask = contracts.inputs(key, 4), contracts.upto((4, 2, 1), 4)
    outputs, (state,) = Double().apply({}, jnp.where(mask[..., None], x, 0), mask=mask, method="encode")
    np.testing.assert_allclose(state[1], outputs[1, :2].mean(axis=0), rtol=1e-6)
