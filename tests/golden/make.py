"""Small PyTorch modules with what they compute, so that parity is tested where PyTorch is not installed.

    pip install -e '.[parity]' && python tests/golden/make.py

writes `tests/golden/*.safetensors`. `tests/test_convert.py` also compares with the modules themselves, where it can.
"""

# pyright: reportMissingImports=false

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

BATCH, TIME, INPUTS = 3, 5, 3
LENGTHS = torch.tensor([5, 1, 3])
MASK = torch.arange(TIME)[None, :] < LENGTHS[:, None]


def packed(rnn: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Outputs and final states of rows that have lengths."""
    rows = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, state = rnn(rows)
    return nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True, total_length=TIME)[0], state


class Reader(nn.Module):
    """Recurrent layers over padded rows, and a linear readout."""

    def __init__(self, kind: Callable[..., nn.Module], **options: Any):
        super().__init__()
        self.rnn = kind(INPUTS, 4, batch_first=True, **options)
        self.fc = nn.Linear(8 if options.get("bidirectional") else 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(packed(self.rnn, x)[0])


class Images(nn.Module):
    """The image classifier of the tutorial `sequence_shapes`, with fewer channels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(INPUTS, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 5, 3, padding=1)
        self.fc = nn.Linear(5 * 2 * 3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2):
            x = nn.functional.max_pool2d(torch.relu(conv(x)), 2)
        return self.fc(x.flatten(1))


class Shifted(nn.Module):
    """Cuts off the last outputs: what padding on both sides leaves is then causal."""

    def __init__(self, excess: int):
        super().__init__()
        self.excess = excess

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, : -self.excess]


class TemporalBlock(nn.Module):
    """With Bai's names, each convolution's second one in `net` too."""

    def __init__(self, inputs: int, features: int, kernel_size: int, dilation: int):
        super().__init__()
        excess = (kernel_size - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(inputs, features, kernel_size, padding=excess, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(features, features, kernel_size, padding=excess, dilation=dilation))
        first, second = ((conv, Shifted(excess), nn.ReLU(), nn.Dropout(0.0)) for conv in (self.conv1, self.conv2))
        self.net = nn.Sequential(*first, *second)
        self.downsample = nn.Conv1d(inputs, features, 1) if inputs != features else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.net(x) + (x if self.downsample is None else self.downsample(x)))


class TCN(nn.Module):
    """Bai's network: (batch, time, inputs) as ours, (batch, inputs, time) inside."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(TemporalBlock(INPUTS, 4, 2, 1), TemporalBlock(4, 4, 2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x.transpose(1, 2)).transpose(1, 2)


# PyTorch's own epsilon where norms come last, and ours where they come first.
POST_NORM: dict[str, Any] = {"dropout": 0.0, "batch_first": True}
PRE_NORM = POST_NORM | {"norm_first": True, "layer_norm_eps": 1e-6}


class Encoder(nn.Module):
    """A causal Transformer after PyTorch's tutorial and `approximation`: sine and cosine alternate, norm after sum."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(INPUTS, 8)
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, **POST_NORM)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angle = torch.arange(TIME)[:, None] * torch.exp(torch.arange(0, 8, 2) * (-math.log(10_000.0) / 8))
        x = self.embed(x) + torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(TIME, 8)
        future = torch.ones(TIME, TIME, dtype=torch.bool).triu(1)
        return self.encoder(x, mask=future, src_key_padding_mask=~MASK)


class PreNorm(nn.Module):
    """Reads both ways, with learned positions and gelu; norm before each sublayer and at the end."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(INPUTS, 8)
        self.positions = nn.Embedding(7, 8)
        layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, activation="gelu", **PRE_NORM)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8, 1e-6), enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.embed(x) + self.positions.weight[:TIME], src_key_padding_mask=~MASK)


class Decoder(nn.Module):
    """Causal over the target, with cross-attention to a source of vectors; the source is padded, the target is not."""

    def __init__(self, options: dict[str, Any], norm: nn.Module | None):
        super().__init__()
        self.embed = nn.Linear(INPUTS, 8)
        layer = nn.TransformerDecoderLayer(8, 2, dim_feedforward=16, **options)
        self.decoder = nn.TransformerDecoder(layer, 2, norm)

    def forward(self, x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.decoder(self.embed(x), source, tgt_mask=future, memory_key_padding_mask=~MASK)


class Attention(nn.Module):
    """v' tanh(attn [state; output]), softmax over real source steps: what the tutorial `attention` leaves out."""

    def __init__(self, source: int, features: int):
        super().__init__()
        self.attn = nn.Linear(features + source, features)
        self.v = nn.Linear(features, 1, bias=False)

    def forward(self, state: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        query = state[:, None].expand(-1, outputs.shape[1], -1)
        scores = self.v(torch.tanh(self.attn(torch.cat([query, outputs], dim=2))))[:, :, 0]
        return torch.softmax(scores.masked_fill(~MASK, -torch.inf), dim=1)


class Translator(nn.Module):
    """The two classes of the tutorial `attention` as one model, fed with the whole target."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embedding = nn.Embedding(6, 3)
        self.encoder.rnn = nn.GRU(3, 4, bidirectional=True, batch_first=True)
        self.encoder.fc = nn.Linear(8, 5)
        self.decoder.embedding = nn.Embedding(7, 3)
        self.decoder.attention = Attention(8, 5)
        self.decoder.rnn = nn.GRU(8 + 3, 5, batch_first=True)
        self.decoder.fc_out = nn.Linear(5 + 8 + 3, 7)

    def forward(self, source: torch.Tensor, fed: torch.Tensor) -> torch.Tensor:
        encoder: Any = self.encoder
        decoder: Any = self.decoder
        outputs, ends = packed(encoder.rnn, encoder.embedding(source))
        state = torch.tanh(encoder.fc(torch.cat([ends[0], ends[1]], dim=1)))
        logits = []
        for token in fed.unbind(1):
            embedded = decoder.embedding(token)
            seen = torch.einsum("bs,bsf->bf", decoder.attention(state, outputs), outputs)
            output, left = decoder.rnn(torch.cat([embedded, seen], dim=1)[:, None], state[None])
            state = left[0]
            logits.append(decoder.fc_out(torch.cat([output[:, 0], seen, embedded], dim=1)))
        return torch.stack(logits, dim=1)


class HiddenAsCell(nn.Module):
    """The translator of `sequence_shapes`: its decoder starts from (h, h)."""

    def __init__(self):
        super().__init__()
        self.source_embedding, self.target_embedding = nn.Embedding(7, 3), nn.Embedding(7, 3)
        self.encoder, self.decoder = nn.LSTM(3, 4, batch_first=True), nn.LSTM(3, 4, batch_first=True)
        self.fc = nn.Linear(4, 7)

    def forward(self, source: torch.Tensor, fed: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.encoder(self.source_embedding(source))
        return self.fc(self.decoder(self.target_embedding(fed), (hidden, hidden))[0])


class OneWord(nn.Module):
    """The captioner of `sequence_shapes`, with fewer channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(INPUTS, 4, 3, padding=1)
        self.gru = nn.GRU(4, 5, batch_first=True)
        self.fc = nn.Linear(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = nn.functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 1).flatten(1)
        return self.fc(self.gru(seen[:, None])[0][:, 0])


def tokens(steps: int) -> torch.Tensor:
    return torch.randint(0, 6, (BATCH, steps))


def vectors(steps: int = TIME, inputs: int = INPUTS) -> torch.Tensor:
    return torch.randn(BATCH, steps, inputs)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, ...]]]] = {
    "rnn": (lambda: Reader(nn.RNN, num_layers=2), lambda: (vectors(),)),
    "gru": (lambda: Reader(nn.GRU, num_layers=2), lambda: (vectors(),)),
    "lstm": (lambda: Reader(nn.LSTM, num_layers=2), lambda: (vectors(),)),
    "bidirectional_gru": (lambda: Reader(nn.GRU, num_layers=2, bidirectional=True), lambda: (vectors(),)),
    "bidirectional_lstm": (lambda: Reader(nn.LSTM, bidirectional=True), lambda: (vectors(),)),
    "cnn": (Images, lambda: (torch.randn(BATCH, INPUTS, 8, 12),)),
    "tcn": (TCN, lambda: (vectors(),)),
    "transformer": (Encoder, lambda: (vectors(),)),
    "transformer_pre_norm": (PreNorm, lambda: (vectors(),)),
    "transformer_decoder": (lambda: Decoder(POST_NORM, None), lambda: (vectors(4), vectors(inputs=8))),
    "transformer_decoder_pre_norm": (
        lambda: Decoder(PRE_NORM, nn.LayerNorm(8, 1e-6)),
        lambda: (vectors(4), vectors(inputs=8)),
    ),
    "translator": (Translator, lambda: (tokens(TIME), tokens(4))),
    "hidden_as_cell": (HiddenAsCell, lambda: (tokens(TIME), tokens(4))),
    "one_word": (OneWord, lambda: (torch.randn(BATCH, INPUTS, 5, 4),)),
}

# Of the outputs; the others are what padding leads to, and the logits of tokens that ours never writes.
KEPT = {
    "transformer": MASK[:, :, None],
    "transformer_pre_norm": MASK[:, :, None],
    "translator": torch.arange(7)[None, None, :] > 1,
    "hidden_as_cell": torch.arange(7)[None, None, :] > 1,
}


def record(name: str, seed: int) -> dict[str, np.ndarray]:
    """Weights, inputs and output of a case, and the gradients of the sum of output x probe."""
    torch.manual_seed(seed)
    make, inputs_of = CASES[name]
    module, inputs = make(), inputs_of()
    with torch.no_grad():
        for parameter in module.parameters():  # so that no scale is 1, and no weight norm's gain its first norm
            parameter += 0.2 * torch.randn_like(parameter)
    output = module(*inputs) * KEPT.get(name, torch.ones(()))
    probe = torch.randn_like(output)
    (output * probe).sum().backward()
    return {key: np.array(value.detach().numpy(), order="C") for key, value in named(module, inputs, output, probe)}


def named(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor, probe: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    yield from ((f"inputs/{number}", x) for number, x in enumerate(inputs))
    yield from (("output", output), ("probe", probe))
    yield from ((f"weights/{name}", x) for name, x in module.state_dict().items())
    yield from ((f"gradients/{name}", x.grad) for name, x in module.named_parameters() if x.grad is not None)


if __name__ == "__main__":
    for name in CASES:
        save_file(record(name, seed=0), Path(__file__).with_name(f"{name}.safetensors"))
