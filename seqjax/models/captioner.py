"""Image captioning: an encoder-decoder from an image to a sentence."""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.backbone import Backbone
from seqjax.models.decoders import Decoder, Memory
from seqjax.models.encoder_decoder import TokenWriter
from seqjax.models.module import Module, check_part
from seqjax.types import SPECIAL, SpecialTokens


class Captioner(TokenWriter):
    """A decoder writes the caption of an image, with or without attention to the places of its grid of features.

    With `BahdanauDecoder`: Show, Attend and Tell with soft attention (Xu et al. 2015, arXiv:1502.03044). A decoder
    without attention starts from the average over the grid (Show and Tell, Vinyals et al. 2015, arXiv:1411.4555). The
    source can also be features from another network: a grid, or one vector an image.

    Differs from the paper: the encoder is trained with the decoder, each place has its coordinates as features, and
    attention is over places of one layer, without the doubly stochastic penalty.

    Attributes:
        encoder: `(batch, height, width, channels)` to a grid `(batch, height', width', features)`, as `CNN`; None for
            features from another network.
        decoder: `RecurrentDecoder`, `LuongDecoder`, `BahdanauDecoder` or `TransformerDecoder`.
        target_vocab: number of tokens, the special ones included.
        features: width of each place's vector.
        embedding, dropout, tied, special: as in `EncoderDecoder`.
    """

    _parts: ClassVar = {"decoder": (Decoder, "BahdanauDecoder(64)")}

    target_vocab: int
    features: int = 128
    embedding: int = 64
    dropout: float = 0.0
    tied: bool = False
    special: SpecialTokens = SPECIAL

    def __post_init__(self):
        if self.encoder is not None:
            check_part("encoder", self.encoder, nn.Module, "CNN()")
        super().__post_init__()
        self.special.check(self.target_vocab)

    def setup(self):
        self.target_embedding = nn.Embed(self.target_vocab, self.embedding)
        self._setup_tokens(self.target_vocab, self.embedding, self.special, self.dropout, self.tied)
        self.place = nn.Dense(self.features)

    def encode(
        self, source: Float[Array, "batch *grid"], *, mask: None = None, initial: None = None, train: bool = False
    ) -> Memory:
        """Read the image: the places of its grid row by row, all of them real."""
        grid = source if self.encoder is None else self.encoder(source, train=train)
        grid = grid[:, None, None] if grid.ndim == 2 else grid
        # Features and coordinates are mixed before any average over the grid, which would separate them.
        where = jnp.broadcast_to(_coordinates(*grid.shape[1:3]), (*grid.shape[:3], 2))
        outputs = nn.gelu(self.place(jnp.concatenate([grid, where], axis=-1)))
        outputs = self.drop(outputs.reshape(grid.shape[0], -1, self.features), deterministic=not train)
        return Memory(outputs, jnp.ones(outputs.shape[:2], bool), (outputs.mean(axis=1),))


class OneWordCaptioner(Module):
    """One word for an image: the average of its grid of features, one step of a backbone, and a readout.

    The captioner of the tutorial `sequence_shapes`, which reads the image where a caption would begin:

        OneWordCaptioner(CNN((64,), pool=False), GRU(128), words=20)

    Attributes:
        encoder: `(batch, height, width, channels)` to a grid `(batch, height', width', features)`.
        backbone: any sequence architecture.
        words: number of words.
    """

    _parts: ClassVar = {"encoder": (nn.Module, "CNN((64,), pool=False)"), "backbone": (Backbone, "GRU(128)")}

    encoder: nn.Module
    backbone: Backbone
    words: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch words"]:
        seen = self.encoder(x, train=train).mean(axis=(1, 2))
        return nn.Dense(self.words, name="readout")(self.backbone(seen[:, None], train=train)[:, 0])


def _coordinates(height: int, width: int) -> Float[Array, "1 height width 2"]:
    """Row and column of each place, from -1 to 1."""
    down, right = (jnp.linspace(-1.0, 1.0, size) if size > 1 else jnp.zeros(1) for size in (height, width))
    return jnp.stack(jnp.meshgrid(down, right, indexing="ij"), axis=-1)[None]
