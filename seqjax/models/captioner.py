"""The captioner: an image is looked at, and what it shows is written."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.decoders import Memory
from seqjax.models.encoder_decoder import TokenWriter


class Captioner(TokenWriter):
    """A decoder writes what an image shows, and may look at the places of a grid while it does.

    Show, Attend and Tell (Xu et al. 2015, arXiv:1502.03044) with soft attention: `BahdanauDecoder` with `Additive`.
    A decoder without attention starts from the average over the grid and never looks again (Show and Tell, Vinyals et
    al. 2015, arXiv:1411.4555, and seed S0). Features that another network made are read as well as images: a grid of
    them, or one vector an image (seed S2).

    Differs from the paper: the encoder is trained with the decoder, each place knows its coordinates, and the
    attention is over places of one layer without the doubly stochastic penalty.

    Attributes:
        encoder: `(batch, height, width, channels)` to a grid `(batch, height', width', features)`, as `CNN`; None where
            features are given.
        decoder: `RecurrentDecoder`, `LuongDecoder`, `BahdanauDecoder` or `TransformerDecoder`.
        target_vocab: size, the four reserved tokens included.
        features: width of what stands for each place.
        embedding, dropout, tied: as in `EncoderDecoder`.
    """

    encoder: nn.Module | None
    decoder: nn.Module
    target_vocab: int
    features: int = 128
    embedding: int = 64
    dropout: float = 0.0
    tied: bool = False

    def setup(self):
        super().setup()
        self.place = nn.Dense(self.features)

    def encode(
        self,
        source: Float[Array, "batch height width channels"] | Float[Array, "batch channels"],
        *,
        mask: None = None,
        train: bool = False,
    ) -> Memory:
        """Look at the whole image: its grid row by row, of which every place is real."""
        encoder: Any = self.encoder
        grid = source if encoder is None else encoder(source, train=train)
        grid = grid[:, None, None] if grid.ndim == 2 else grid
        # What and where become one vector a place before any average is taken: one over the grid would part them.
        where = jnp.broadcast_to(_coordinates(*grid.shape[1:3]), (*grid.shape[:3], 2))
        outputs = nn.gelu(self.place(jnp.concatenate([grid, where], axis=-1)))
        outputs = self.drop(outputs.reshape(len(grid), -1, self.features), deterministic=not train)
        return Memory(outputs, jnp.ones(outputs.shape[:2], bool), (outputs.mean(axis=1),))


def _coordinates(height: int, width: int) -> Float[Array, "1 height width 2"]:
    """Row and column of each place, from -1 to 1."""
    down, right = (jnp.linspace(-1.0, 1.0, size) if size > 1 else jnp.zeros(1) for size in (height, width))
    return jnp.stack(jnp.meshgrid(down, right, indexing="ij"), axis=-1)[None]
