"""Models: sequence architectures as Flax Linen modules, and the heads that stand on them."""

from seqjax.models.attention import Additive, Attention, General, MultiHead, dot_attention
from seqjax.models.decoders import (
    BahdanauDecoder,
    Bridge,
    HandOver,
    LuongDecoder,
    Memory,
    RecurrentDecoder,
    TransformerDecoder,
)
from seqjax.models.encoder_decoder import EncoderDecoder, RealEncoderDecoder
from seqjax.models.heads import Regressor
from seqjax.models.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent
from seqjax.models.tcn import TCN
from seqjax.models.transformer import Learned, Positions, Rotary, Sinusoid, Transformer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "TCN",
    "Additive",
    "Attention",
    "BahdanauDecoder",
    "Bidirectional",
    "Bridge",
    "EncoderDecoder",
    "General",
    "HandOver",
    "Learned",
    "LuongDecoder",
    "Memory",
    "MultiHead",
    "Positions",
    "RealEncoderDecoder",
    "Recurrent",
    "RecurrentDecoder",
    "Regressor",
    "Rotary",
    "Sinusoid",
    "Transformer",
    "TransformerDecoder",
    "dot_attention",
]
