"""Models: sequence architectures as Flax Linen modules, and the heads that stand on them."""

from seqjax.models.attention import Additive, Attention, General, MultiHead, dot_attention
from seqjax.models.bottleneck import Narrow
from seqjax.models.captioner import Captioner
from seqjax.models.cnn import CNN, ImageClassifier
from seqjax.models.crf import CRF, Transitions
from seqjax.models.decoders import (
    BahdanauDecoder,
    Bridge,
    HandOver,
    LuongDecoder,
    Memory,
    RecurrentDecoder,
    TransformerDecoder,
)
from seqjax.models.dilated import LinearDilatedCNN
from seqjax.models.encoder_decoder import EncoderDecoder, RealEncoderDecoder
from seqjax.models.heads import (
    AttentionPooling,
    Classifier,
    Embedded,
    Regressor,
    ends,
    last,
    maximum,
    mean,
)
from seqjax.models.language_model import LanguageModel
from seqjax.models.linear import LRU, DiagonalRNN, reciprocal
from seqjax.models.one_head import LowRank, OneHead, Pointwise
from seqjax.models.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent
from seqjax.models.tagger import LetterConv, Tagger, Window
from seqjax.models.tcn import TCN
from seqjax.models.transformer import Learned, Positions, Rotary, Sinusoid, Transformer

__all__ = [
    "CNN",
    "CRF",
    "GRU",
    "LRU",
    "LSTM",
    "RNN",
    "TCN",
    "Additive",
    "Attention",
    "AttentionPooling",
    "BahdanauDecoder",
    "Bidirectional",
    "Bridge",
    "Captioner",
    "Classifier",
    "DiagonalRNN",
    "Embedded",
    "EncoderDecoder",
    "General",
    "HandOver",
    "ImageClassifier",
    "LanguageModel",
    "Learned",
    "LetterConv",
    "LinearDilatedCNN",
    "LowRank",
    "LuongDecoder",
    "Memory",
    "MultiHead",
    "Narrow",
    "OneHead",
    "Pointwise",
    "Positions",
    "RealEncoderDecoder",
    "Recurrent",
    "RecurrentDecoder",
    "Regressor",
    "Rotary",
    "Sinusoid",
    "Tagger",
    "Transformer",
    "TransformerDecoder",
    "Transitions",
    "Window",
    "dot_attention",
    "ends",
    "last",
    "maximum",
    "mean",
    "reciprocal",
]
