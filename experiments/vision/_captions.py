"""What the two captioning experiments share: beam search, and the figure of attention during decoding."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from seqjax import decode, models, plot
from seqjax.types import SOS, UNK, Params


def beam_search(model: models.Module, params: Params, images: Any, length: int) -> Int[Array, "batch length"]:
    """The best caption of each image, as ids: a beam of 5, without UNK."""
    step = functools.partial(model.apply, params, method="step")
    carry = model.apply(params, images, None, length, method="begin")
    first = jnp.full(len(images), SOS, jnp.int32)
    return decode.beam(decode.forbid(step, UNK), carry, first, length=length, width=5).tokens[:, 0]


def draw_attention(
    row: np.ndarray,
    image: Float[np.ndarray, "height width channels"],
    text: str,
    weights: Float[np.ndarray, "target places"],
    title: str,
) -> None:
    """Fill a whole row of a figure with an image, once for each word of its caption, lit by the attention for the word.

    Args:
        row: its axes, of which the first remains.
        weights: of each token, on the places of a square grid row by row.
    """
    ax, *others = row
    for other in others:
        other.remove()
    place = ax.get_subplotspec()
    ax.set_subplotspec(place.get_gridspec()[place.rowspan.start, :])
    words, side = [*text.split(), "end"], int(weights.shape[-1] ** 0.5)
    plot.attention_overlay(ax, image, weights[: len(words)].reshape(-1, side, side), words)
    ax.set_title(title, fontsize=10)
