"""The models of the benchmark as a PyTorch user writes them, from PyTorch's own modules where they exist."""

# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from workloads.work import filled

from seqjax.types import SOS


def with_weights(module: Any, fill: Callable[..., Any] = filled) -> Any:
    """The module with weights that depend on their names and shapes alone."""
    made = fill({name: tuple(value.shape) for name, value in module.state_dict().items()})
    module.load_state_dict({name: torch.from_numpy(value) for name, value in made.items()})
    return module


class Recurrent(nn.Module):
    """`nn.RNN`, `nn.GRU` or `nn.LSTM`, and a readout."""

    def __init__(self, kind: Any, size: Any):
        super().__init__()
        self.backbone = kind(1, size.features, size.layers, batch_first=True)
        self.readout = nn.Linear(size.features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.backbone(x)[0])


class WrittenOut(nn.Module):
    """`nn.RNN` and a readout, written step by step for `torch.func.vmap`."""

    def __init__(self, size: Any):
        super().__init__()
        self.cell, self.readout = nn.RNNCell(1, size.features), nn.Linear(size.features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cell = self.cell
        projected = x @ cell.weight_ih.T + cell.bias_ih + cell.bias_hh
        h, states = torch.zeros_like(projected[:, 0]), []
        for now in projected.unbind(1):
            h = torch.tanh(now + h @ cell.weight_hh.T)
            states.append(h)
        return self.readout(torch.stack(states, 1))


class Block(nn.Module):
    """Two causal convolutions and a shortcut (Bai, Kolter & Koltun 2018, arXiv:1803.01271), without weight norm."""

    def __init__(self, inputs: int, size: Any, dilation: int):
        super().__init__()
        self.past = (size.kernel_size - 1) * dilation
        self.conv1 = nn.Conv1d(inputs, size.features, size.kernel_size, dilation=dilation)
        self.conv2 = nn.Conv1d(size.features, size.features, size.kernel_size, dilation=dilation)
        self.downsample = nn.Conv1d(inputs, size.features, 1) if inputs != size.features else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv1(F.pad(x, (self.past, 0))))
        y = torch.relu(self.conv2(F.pad(y, (self.past, 0))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class TCN(nn.Module):
    """A stack of blocks, with dilations 1, 2, 4, …, and a readout."""

    def __init__(self, size: Any):
        super().__init__()
        widths = [1] + [size.features] * size.layers
        self.network = nn.Sequential(*[Block(widths[i], size, 2**i) for i in range(size.layers)])
        self.readout = nn.Linear(size.features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.network(x.transpose(1, 2)).transpose(1, 2))


class Transformer(nn.Module):
    """`nn.TransformerEncoder` with a causal mask, and a readout."""

    def __init__(self, size: Any):
        super().__init__()
        self.embed = nn.Linear(1, size.features)
        options: Any = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(size.features, size.heads, 4 * size.features, layer_norm_eps=1e-6, **options)
        last = nn.LayerNorm(size.features, eps=1e-6)
        self.backbone = nn.TransformerEncoder(layer, size.layers, last, enable_nested_tensor=False)
        self.readout = nn.Linear(size.features, 1)
        self.register_buffer("future", nn.Transformer.generate_square_subsequent_mask(size.time), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.readout(self.backbone(self.embed(x), mask=self.future, is_causal=True))


class CNN(nn.Module):
    """Convolution, relu, pooling, twice; then a readout: the network of tutorial `sequence_shapes`."""

    def __init__(self, size: Any):
        super().__init__()
        widths = [1] + [size.features * 2**depth for depth in range(size.layers)]
        around = size.kernel_size // 2
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], size.kernel_size, padding=around) for i in range(size.layers)
        )
        self.readout = nn.Linear(widths[-1] * (size.time // 2**size.layers) ** 2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)
        for convolution in self.convolutions:
            x = F.max_pool2d(torch.relu(convolution(x)), 2)
        return self.readout(x.flatten(1))


class Attention(nn.Module):
    """Additive attention (Bahdanau et al. 2015, arXiv:1409.0473); keys are computed once."""

    def __init__(self, features: int, source: int):
        super().__init__()
        self.attn = nn.Linear(features + source, features)
        self.v = nn.Linear(features, 1, bias=False)

    def keys(self, outputs: torch.Tensor) -> torch.Tensor:
        return F.linear(outputs, self.attn.weight[:, self.v.in_features :], self.attn.bias)

    def forward(self, state: torch.Tensor, keys: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        query = F.linear(state, self.attn.weight[:, : self.v.in_features])
        scores = self.v(torch.tanh(query[:, None] + keys))
        return (torch.softmax(scores, dim=1) * outputs).sum(dim=1)


class Translator(nn.Module):
    """Encoder and decoder of tutorial `attention` under teacher forcing; only the recurrence goes step by step."""

    def __init__(self, size: Any):
        super().__init__()
        width, embedding = size.features, size.features // 2
        self.source_embedding = nn.Embedding(size.words, embedding)
        self.target_embedding = nn.Embedding(size.words, embedding)
        self.encoder = nn.GRU(embedding, width, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(2 * width, width)
        self.attention = Attention(width, 2 * width)
        self.decoder = nn.GRU(embedding + 2 * width, width, batch_first=True)
        self.readout = nn.Linear(width + 2 * width + embedding, size.words)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        outputs, ends = self.encoder(self.source_embedding(source))
        state = torch.tanh(self.bridge(torch.cat([ends[0], ends[1]], dim=1)))
        keys = self.attention.keys(outputs)
        embedded = self.target_embedding(F.pad(target[:, :-1], (1, 0), value=SOS))
        states, seen = [], []
        for token in embedded.unbind(1):
            context = self.attention(state, keys, outputs)
            _, left = self.decoder(torch.cat([token, context], dim=1)[:, None], state[None])
            state = left[0]
            states.append(state)
            seen.append(context)
        return self.readout(torch.cat([torch.stack(states, 1), torch.stack(seen, 1), embedded], dim=2))


PEERS: dict[str, Any] = {
    "rnn": lambda size: Recurrent(nn.RNN, size), "gru": lambda size: Recurrent(nn.GRU, size),
    "lstm": lambda size: Recurrent(nn.LSTM, size), "tcn": TCN, "transformer": Transformer, "cnn": CNN,
    "translator": Translator,
}  # fmt: skip
