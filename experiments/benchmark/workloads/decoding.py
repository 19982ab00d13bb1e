"""Decoding: equally many tokens for every row, from equal weights, so that both sides generate the same text.

The reserved tokens have a bias that excludes them. EOS is one of them, so no sequence ends early.
"""

# pyright: reportMissingImports=false

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from workloads import train_step, work
from workloads.train_step import Sizes
from workloads.work import Work, filled

from seqjax.types import EOS, SOS, InputError

LENGTH = 50
"""Tokens generated for every row."""

WIDTH = 5
"""Beam width."""

SIZES = {
    "transformer": Sizes(64, 1, 128, 4, words=260),
    "greedy": train_step.SIZES["translator"],
    "beam": train_step.SIZES["translator"],
}


def sizes(name: str, smoke: bool) -> tuple[Sizes, int]:
    """The sizes of a workload, and the tokens to generate; at smoke scale it only shows that it runs."""
    size = SIZES[name]
    return (size._replace(batch=2, features=16, layers=1, words=20), 4) if smoke else (size, LENGTH)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights by PyTorch's names; the reserved tokens up to EOS are never the likeliest."""
    made = filled(shapes)
    made["readout.bias"][: EOS + 1] = -1e4
    return made


def source(size: Sizes) -> np.ndarray:
    """The text to translate."""
    return np.random.default_rng(0).integers(4, size.words, (size.batch, size.time))


def seqjax(name: str, smoke: bool) -> Work:
    """Encoding and decoding are one compiled call."""
    import jax
    import jax.numpy as jnp

    from seqjax import decode

    size, length = sizes(name, smoke)
    model, layout = build(name, size, length)
    first, text = jnp.full(size.batch, SOS), jnp.asarray(source(size))
    inputs = (first[:, None],) if name == "transformer" else (text, first[:, None])
    params = work.parameters(model, layout, *inputs, fill=weights)

    @jax.jit
    def write(params, text):
        step: Any = partial(model.apply, params, method="step")
        if name == "transformer":
            carry = model.begin(size.batch, length)
        else:
            carry = model.apply(params, text, None, length, method="begin")
        if name == "beam":
            found = decode.beam(step, carry, first, length=length, width=WIDTH)
            return found.tokens[:, 0], found.log_probability[:, 0].mean()  # with tokens, so that they are computed
        found = decode.greedy(step, carry, first, length=length)
        return found.tokens, found.log_probability.mean()

    return Work(lambda: float(write(params, text)[1]), size.batch * length, work.parameter_count(params))


def build(name: str, size: Sizes, length: int) -> tuple[Any, Any]:
    from seqjax import convert, models

    if name != "transformer":
        return train_step.build("translator", size)
    positions = models.Learned(length=length)
    backbone = models.Transformer(size.features, size.heads, size.layers, positions=positions)
    before = {"embed": convert.linear("inputs"), "positions": convert.embedding("positions")}
    return models.LanguageModel(backbone, size.words, size.features), {
        "embed": convert.embedding("words"),
        "backbone": convert.transformer("backbone", **before),
        "readout": convert.linear("readout"),
    }


def torch(name: str, smoke: bool) -> Work:
    """A Python loop over tokens; everything that is the same for all tokens is computed once."""
    import torch
    from workloads import torch_models

    size, length = sizes(name, smoke)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module: Any = _language_model(size, length) if name == "transformer" else torch_models.Translator(size)
    module = torch_models.with_weights(module, weights).to(device).eval()
    first = torch.full((size.batch,), SOS, device=device)
    text = torch.from_numpy(source(size)).to(device)

    @torch.inference_mode()
    def run() -> float:
        match name:
            case "transformer":
                return _greedy(*_with_cache(module, size, length), first, length)
            case "greedy":
                return _greedy(*_translator(module, text, 1), first, length)
            case "beam":
                return _beam(*_translator(module, text, WIDTH), first, length)
        raise InputError(f"workload must be one of {sorted(SIZES)}, got {name}")

    return Work(run, size.batch * length, sum(p.numel() for p in module.parameters()))


Step = Callable[[Any, Any], tuple[Any, Any]]
"""`(state, token) -> (state, logits)`, in PyTorch."""


def _greedy(step: Step, state: Any, token: Any, length: int) -> float:
    """Greedy decoding; returns the mean log-probability of the tokens."""
    import torch

    tokens, total = (
        torch.empty(len(token), length, dtype=torch.long, device=token.device),
        torch.zeros_like(token) + 0.0,
    )
    for index in range(length):
        state, logits = step(state, token)
        best, token = logits.max(dim=-1)
        tokens[:, index] = token
        total += best - logits.logsumexp(dim=-1)
    return total.mean().item()


def _beam(step: Step, state: Any, first: Any, length: int) -> float:
    """Beam search, with a row of the model for each beam; returns the mean log-probability of the best."""
    import torch

    batch, device = len(first), first.device
    token = first.repeat_interleave(WIDTH)
    tokens = torch.empty(batch * WIDTH, length, dtype=torch.long, device=device)
    total = torch.full((batch, WIDTH), -torch.inf, device=device)
    total[:, 0] = 0
    begins = WIDTH * torch.arange(batch, device=device)[:, None]
    for index in range(length):
        state, logits = step(state, token)
        words = logits.shape[-1]
        candidates = total[:, :, None] + logits.log_softmax(dim=-1).view(batch, WIDTH, words)
        total, place = candidates.flatten(1).topk(WIDTH)
        row, token = (begins + place // words).flatten(), (place % words).flatten()
        state, tokens = state[row], tokens[row]
        tokens[:, index] = token
    return total[:, 0].mean().item()


def _translator(module: Any, text: Any, width: int) -> tuple[Step, Any]:
    """A step of a `Translator` after encoding, and its first state: `width` rows for each row of the text."""
    import torch

    outputs, ends = module.encoder(module.source_embedding(text))
    state = torch.tanh(module.bridge(torch.cat([ends[0], ends[1]], dim=1)))
    keys = module.attention.keys(outputs)
    state, keys, outputs = (x.repeat_interleave(width, dim=0) for x in (state, keys, outputs))

    def step(state: Any, token: Any) -> tuple[Any, Any]:
        context, embedded = module.attention(state, keys, outputs), module.target_embedding(token)
        _, left = module.decoder(torch.cat([embedded, context], dim=1)[:, None], state[None])
        return left[0], module.readout(torch.cat([left[0], context, embedded], dim=1))

    return step, state


def _language_model(size: Sizes, length: int) -> Any:
    """The parts of a causal Transformer, from PyTorch's own modules."""
    from torch import nn

    options: Any = {"dropout": 0.0, "batch_first": True, "norm_first": True}
    layer = nn.TransformerEncoderLayer(size.features, size.heads, 4 * size.features, layer_norm_eps=1e-6, **options)
    last = nn.LayerNorm(size.features, eps=1e-6)
    return nn.ModuleDict(
        {
            "words": nn.Embedding(size.words, size.features),
            "inputs": nn.Linear(size.features, size.features),
            "positions": nn.Embedding(length, size.features),
            "backbone": nn.TransformerEncoder(layer, size.layers, last, enable_nested_tensor=False),
            "readout": nn.Linear(size.features, size.words),
        }
    )


def _with_cache(module: Any, size: Sizes, length: int) -> tuple[Step, int]:
    """A step of these parts with a key-value cache, and the first position."""
    import torch
    from torch.nn import functional as F

    shape = size.batch, size.heads, length, size.features // size.heads
    layers, norm = module["backbone"].layers, module["backbone"].norm
    device = norm.weight.device
    cache = [(torch.empty(shape, device=device), torch.empty(shape, device=device)) for _ in layers]

    def step(index: int, token: Any) -> tuple[int, Any]:
        x = module["inputs"](module["words"](token)) + module["positions"].weight[index]
        for layer, (keys, values) in zip(layers, cache, strict=True):
            attention = layer.self_attn
            heads = F.linear(layer.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
            query, key, value = heads.view(size.batch, 3, size.heads, -1).unbind(1)
            keys[:, :, index], values[:, :, index] = key, value
            seen = slice(index + 1)
            y = F.scaled_dot_product_attention(query[:, :, None], keys[:, :, seen], values[:, :, seen])
            x = x + attention.out_proj(y.flatten(1))
            x = x + layer.linear2(F.gelu(layer.linear1(layer.norm2(x)), approximate="tanh"))
        return index + 1, module["readout"](norm(x))

    return step, 0
