"""Models: sequence architectures as Flax Linen modules, and the heads that stand on them."""

from seqjax.models.attention import dot_attention
from seqjax.models.heads import Regressor
from seqjax.models.recurrent import GRU, LSTM, RNN, Bidirectional, Recurrent
from seqjax.models.tcn import TCN
from seqjax.models.transformer import Learned, Positions, Rotary, Sinusoid, Transformer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "TCN",
    "Bidirectional",
    "Learned",
    "Positions",
    "Recurrent",
    "Regressor",
    "Rotary",
    "Sinusoid",
    "Transformer",
    "dot_attention",
]
