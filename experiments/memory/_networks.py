"""The networks that scripts of this chapter compare at 7,050 parameters."""

from typing import Literal, assert_never

from seqjax import models

Network = Literal["rnn", "gru", "lstm", "tcn", "transformer"]


def network(name: Network) -> models.Module:
    """A backbone that has, with a readout of one number, 7,050 parameters, give or take 2 %."""
    match name:
        case "rnn":
            return models.RNN(82)
        case "gru":
            return models.GRU(47)
        case "lstm":
            return models.LSTM(41)
        case "tcn":
            return models.TCN(16, kernel_size=3, dilations=(1, 2, 4, 8, 16))  # sees 125 steps
        case "transformer":
            return models.Transformer(20, heads=2, layers=2, expansion=2, positions=models.Rotary())
        case _:
            assert_never(name)
