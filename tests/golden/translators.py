"""The translators of three tutorials as they are printed, and what each of 50 draws of weights says of 4 sources.

    pip install -e '.[parity]' && python tests/golden/translators.py

writes `tests/golden/translators.safetensors`: sources and outputs alone, since `weights` draws the weights again.
`hidden_size`, vocabularies and special ids are the tutorials' own where they state them, and small otherwise.
"""

# pyright: reportMissingImports=false

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from weights import weights

DRAWS, SOURCES = 50, 4
STEPS, LENGTH = 5, 10
"""Tokens of a source, and the most of an output."""


class Reversal(nn.Module):
    """`reversal`: SOS is 0 and EOS 1; a relu after the decoder's embedding; one sequence at a time."""

    vocabs, sos, eos = (26, 26), 0, 1

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embedding, self.encoder.gru = nn.Embedding(26, 256), nn.GRU(256, 256)
        self.decoder.embedding, self.decoder.gru = nn.Embedding(26, 256), nn.GRU(256, 256)
        self.decoder.out = nn.Linear(256, 26)

    def forward(self, source: torch.Tensor) -> list[int]:
        encoder: Any = self.encoder
        decoder: Any = self.decoder
        hidden = torch.zeros(1, 1, 256)
        for token in source:
            _, hidden = encoder.gru(encoder.embedding(token).view(1, 1, -1), hidden)
        token, said = torch.tensor([[self.sos]]), []
        for _ in range(LENGTH):
            read = torch.relu(decoder.embedding(token).view(1, 1, -1))
            output, hidden = decoder.gru(read, hidden)
            token = torch.log_softmax(decoder.out(output[0]), dim=1).topk(1)[1].squeeze().detach()
            said.append(int(token))
            if said[-1] == self.eos:
                break
        return said


class Translation(nn.Module):
    """`translation`: LSTMs of the width of the embedding, SOS 0 and EOS 1; no dropout when it decodes."""

    vocabs, sos, eos = (31, 29), 0, 1

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embedding, self.encoder.lstm = nn.Embedding(31, 128), nn.LSTM(128, 128, 1, batch_first=True)
        self.decoder.embedding, self.decoder.lstm = nn.Embedding(29, 128), nn.LSTM(128, 128, batch_first=True)
        self.decoder.out = nn.Linear(128, 29)

    def forward(self, source: torch.Tensor) -> list[int]:
        encoder: Any = self.encoder
        decoder: Any = self.decoder
        _, hidden = encoder.lstm(encoder.embedding(source[None]))
        token, said = torch.full((1, 1), self.sos), []
        for _ in range(LENGTH):  # on past EOS
            output, hidden = decoder.lstm(decoder.embedding(token), hidden)
            token = decoder.out(output).topk(1)[1].squeeze(-1)
            said.append(int(token))
        return said


class Attention(nn.Module):
    """`attention`: both ways, and additive attention where its class is missing; dropout is off when it decodes.

    It leaves the special ids open: UNK, PAD, SOS and EOS are 0 to 3, as in its model, bentrevett's.
    """

    vocabs, sos, eos = (37, 33), 2, 3

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embedding = nn.Embedding(37, 24)
        self.encoder.rnn = nn.GRU(24, 32, bidirectional=True)
        self.encoder.fc = nn.Linear(64, 40)
        self.decoder.embedding = nn.Embedding(33, 24)
        self.decoder.attention = nn.Module()
        self.decoder.attention.attn = nn.Linear(64 + 40, 40)
        self.decoder.attention.v = nn.Linear(40, 1, bias=False)
        self.decoder.rnn = nn.GRU(64 + 24, 40)
        self.decoder.fc_out = nn.Linear(64 + 40 + 24, 33)

    def forward(self, source: torch.Tensor) -> list[int]:
        encoder: Any = self.encoder
        decoder: Any = self.decoder
        outputs, hidden = encoder.rnn(encoder.embedding(source[:, None]))
        hidden = torch.tanh(encoder.fc(torch.cat((hidden[-2], hidden[-1]), dim=1)))
        token, said = torch.tensor([self.sos]), []
        for _ in range(LENGTH):
            embedded = decoder.embedding(token[None])
            repeated = hidden[:, None].repeat(1, len(source), 1)
            energy = torch.tanh(decoder.attention.attn(torch.cat((repeated, outputs.permute(1, 0, 2)), dim=2)))
            a = torch.softmax(decoder.attention.v(energy).squeeze(2), dim=1)
            weighted = torch.bmm(a[:, None], outputs.permute(1, 0, 2)).permute(1, 0, 2)
            output, state = decoder.rnn(torch.cat((embedded, weighted), dim=2), hidden[None])
            hidden = state[0]
            token = decoder.fc_out(torch.cat((output[0], weighted[0], embedded[0]), dim=1)).argmax(1)
            said.append(int(token))
            if said[-1] == self.eos:
                break
        return said


def outputs(made: Any) -> dict[str, np.ndarray]:
    """Sources, and the outputs for each draw of weights, filled up with -1."""
    source = np.random.default_rng(0).integers(4, made.vocabs[0], (SOURCES, STEPS))
    said = np.full((DRAWS, SOURCES, LENGTH), -1, np.int32)
    for draw in range(DRAWS):
        shapes = {name: tuple(x.shape) for name, x in made.state_dict().items()}
        made.load_state_dict({name: torch.tensor(x) for name, x in weights(shapes, draw).items()})
        with torch.no_grad():
            for row, tokens in enumerate(source):
                output = made.eval()(torch.tensor(tokens))
                said[draw, row, : len(output)] = output
    return {"source": source.astype(np.int32), "said": said}


if __name__ == "__main__":
    found = {}
    for name, kind in {"reversal": Reversal, "translation": Translation, "attention": Attention}.items():
        found |= {f"{name}/{part}": x for part, x in outputs(kind()).items()}
    save_file(found, Path(__file__).with_name("translators.safetensors"))
