"""Attention maps of encoder-decoders: the weights on the source tokens for each target token."""

from collections.abc import Mapping

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Int
from matplotlib.axes import Axes

from seqjax import plot
from seqjax.data.text import MARK, Vocabulary
from seqjax.types import Params

HEADS = 4
"""Of a layer, at most: maps are drawn averaged over the heads of the last layer."""


def attention_map(
    model: nn.Module,
    params: Params,
    source: Int[Array | np.ndarray, "1 source"],
    target: Int[Array | np.ndarray, "1 target"],
    vocabularies: tuple[Vocabulary, Vocabulary],
    source_mask: Bool[Array | np.ndarray, "1 source"] | None = None,
) -> dict[str, np.ndarray]:
    """The weights of every head (heads x target x source) for one pair of sequences, and the tokens of both sides."""
    output = model.apply(params, source, target, source_mask=source_mask, method="align")
    source_tokens, target_tokens = (
        np.array([vocabulary.symbols[token] for token in row[0]])
        for vocabulary, row in zip(vocabularies, (source, target), strict=True)
    )
    return {"attention": np.asarray(output.weights[0]), "source": source_tokens, "target": target_tokens}


def draw_attention_map(ax: Axes, arrays: Mapping[str, np.ndarray]) -> None:
    """What `attention_map` returns, as a heat map."""
    # Fonts lack the mark for "no space here".
    target, source = ([token.replace(MARK, "") for token in arrays[side].tolist()] for side in ("target", "source"))
    plot.heat_map(ax, arrays["attention"][-HEADS:].mean(axis=0), target, source)
    ax.set(xlabel="source", ylabel="target")
