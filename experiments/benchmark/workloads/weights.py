"""The weights of the benchmark's models, named as in PyTorch, in the layouts of JAX's libraries."""

from typing import NamedTuple

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]
"""Kernel and bias."""


class Cell(NamedTuple):
    """One layer of a recurrent network; its gates are in PyTorch's order, i f g o or r z n, along the first axis.

    Attributes:
        inputs: (gates x features, inputs).
        hidden: (gates x features, features).
        bias: (gates x features), the sum of PyTorch's two but for a GRU's n.
        bias_n: (features), the other bias of a GRU's n.
    """

    inputs: np.ndarray
    hidden: np.ndarray
    bias: np.ndarray
    bias_n: np.ndarray


class Weights(dict[str, np.ndarray]):
    """Arrays by PyTorch's names."""

    def linear(self, at: str) -> Pair:
        """Kernel (inputs, outputs)."""
        return self[f"{at}.weight"].T, self[f"{at}.bias"]

    def conv(self, at: str) -> Pair:
        """Kernel (*window, inputs, outputs)."""
        weight = self[f"{at}.weight"]
        return np.moveaxis(weight, (0, 1), (-1, -2)), self[f"{at}.bias"]

    def image_linear(self, at: str, channels: int) -> Pair:
        """Of flattened images whose channels are last; in PyTorch they are first."""
        kernel, bias = self.linear(at)
        side = round((len(kernel) / channels) ** 0.5)
        return kernel.reshape(channels, side, side, -1).transpose(1, 2, 0, 3).reshape(kernel.shape), bias

    def norm(self, at: str) -> Pair:
        """Scale and offset."""
        return self[f"{at}.weight"], self[f"{at}.bias"]

    def attention(self, at: str) -> dict[str, Pair]:
        """Kernels (inputs, outputs) of `query`, `key` and `value`, whose heads are neighbours, and of `out`."""
        kernels = np.split(self[f"{at}.in_proj_weight"].T, 3, axis=1)
        biases = np.split(self[f"{at}.in_proj_bias"], 3)
        inner = zip(("query", "key", "value"), zip(kernels, biases, strict=True), strict=True)
        return dict(inner) | {"out": self.linear(f"{at}.out_proj")}

    def cell(self, at: str, gates: int) -> Cell:
        """A layer such as `backbone.{}_l0`."""
        inputs, hidden, bias, hidden_bias = (
            self[at.format(name)] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        outside = len(bias) - (len(bias) // 3 if gates == 3 else 0)
        return Cell(inputs, hidden, bias + np.r_[hidden_bias[:outside], 0 * bias[outside:]], hidden_bias[outside:])


GATES = {"rnn": 1, "gru": 3, "lstm": 4}
