"""Models: sequence architectures as Flax Linen modules, and heads on top of them.

Published models that have no file of their own, and what is nearest to them here:

    DeltaNet            `GatedDeltaNet(gate=False)`
    DeltaProduct        `GatedDeltaNet(gate=False, householders=n)`; with the gate, Gated DeltaProduct
    linear attention    `GatedDeltaNet(gate=False, delta=False)`, `linear_attention`; no feature map, no normaliser
    Mamba-2             `GatedDeltaNet(delta=False)`; there, the step that decays the state also scales what is added
    RetNet              `GatedDeltaNet(delta=False)`; there, decays are constants, and queries and keys are rotated
    GLA                 `GatedDeltaNet(delta=False)`; there, each number of a key has its own decay
    RWKV-7              `GatedDeltaNet()`; there, each number of a key has its own decay, and its own part in what is
                        replaced
    H3                  `GatedDeltaNet(delta=False)`; there, decays are constants, one for each number of the state
    Hyena               as H3, with a filter that a network computes in place of the decay: its carry is the whole past
    S4, S4D, S5         `LRU`; there, the eigenvalues start elsewhere, and a step in time is learned with them
    Griffin             `RGLRU` and `Transformer(window=w)`, in turns; `RGLRU` alone is Hawk
    Longformer, Mistral `Transformer(window=w)`
    NoPE                `Transformer(positions=Positions())`
"""

from seqjax.models.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    LocationAttention,
    MultiHeadAttention,
    dot_attention,
)
from seqjax.models.backbone import Backbone, Causal
from seqjax.models.bridges import Bridge, CopyState, LowRankBridge
from seqjax.models.captioner import Captioner, OneWordCaptioner
from seqjax.models.cells import GRUCell, LSTMCell, RNNCell
from seqjax.models.cnn import CNN, ImageClassifier
from seqjax.models.crf import CRF, Transitions
from seqjax.models.decoders import (
    BahdanauDecoder,
    CausalDecoder,
    Decoder,
    LuongDecoder,
    Memory,
    RecurrentDecoder,
    TransformerDecoder,
)
from seqjax.models.delta_rule import delta_rule, linear_attention
from seqjax.models.diagonal_rnn import DiagonalRNN, reciprocal
from seqjax.models.dilated import LinearDilatedCNN
from seqjax.models.encoder_decoder import EncoderDecoder, EncoderDecoderRegressor
from seqjax.models.gated_delta_net import GatedDeltaNet
from seqjax.models.heads import Classifier, Regressor
from seqjax.models.language_model import LanguageModel
from seqjax.models.low_rank_attention import LowRankAttention, Pointwise, SingleHeadTransformer
from seqjax.models.lru import LRU
from seqjax.models.min_rnn import MinGRU, MinLSTM
from seqjax.models.module import Module
from seqjax.models.pooling import AttentionPooling, ends, last, maximum, mean
from seqjax.models.positions import ALiBi, Learned, Positions, RelativeBias, Rotary, Sinusoidal
from seqjax.models.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent
from seqjax.models.rg_lru import RGLRU
from seqjax.models.selective_ssm import SelectiveSSM
from seqjax.models.tagger import CharacterCNN, Tagger, Window
from seqjax.models.tcn import TCN
from seqjax.models.token_embedding import TokenEmbedding
from seqjax.models.transformer import Transformer
from seqjax.models.xlstm import MLSTM, SLSTM

__all__ = [
    "CNN",
    "CRF",
    "GRU",
    "LRU",
    "LSTM",
    "MLSTM",
    "RGLRU",
    "RNN",
    "SLSTM",
    "TCN",
    "ALiBi",
    "AdditiveAttention",
    "Attention",
    "AttentionPooling",
    "Backbone",
    "BahdanauDecoder",
    "Bidirectional",
    "Bridge",
    "Captioner",
    "Causal",
    "CausalDecoder",
    "CharacterCNN",
    "Classifier",
    "CopyState",
    "Decoder",
    "DiagonalRNN",
    "DotAttention",
    "EncoderDecoder",
    "EncoderDecoderRegressor",
    "GRUCell",
    "GatedDeltaNet",
    "GeneralAttention",
    "ImageClassifier",
    "LSTMCell",
    "LanguageModel",
    "Learned",
    "LinearDilatedCNN",
    "LocationAttention",
    "LowRankAttention",
    "LowRankBridge",
    "LuongDecoder",
    "Memory",
    "MinGRU",
    "MinLSTM",
    "Module",
    "MultiHeadAttention",
    "OneWordCaptioner",
    "Pointwise",
    "Positions",
    "RNNCell",
    "Recurrent",
    "RecurrentDecoder",
    "Regressor",
    "RelativeBias",
    "Rotary",
    "SelectiveSSM",
    "SingleHeadTransformer",
    "Sinusoidal",
    "Tagger",
    "TokenEmbedding",
    "Transformer",
    "TransformerDecoder",
    "Transitions",
    "Window",
    "delta_rule",
    "dot_attention",
    "ends",
    "last",
    "linear_attention",
    "maximum",
    "mean",
    "reciprocal",
]
