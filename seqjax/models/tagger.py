"""Sequence tagging: a class for each word of a sentence, from words and their characters."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from seqjax._checks import check_mask
from seqjax.models.backbone import Backbone
from seqjax.models.module import Mask, Module, Tokens, zero_padding
from seqjax.types import PAD, UNK, InputError


class CharacterCNN(Module):
    """Character features of words: a convolution over characters, and the maximum over them (arXiv:1603.01354, fig. 1).

    Attributes:
        letters: number of characters, the reserved ones included.
        embedding: width of a character's vector.
        features: width of a word's vector.
        kernel_size: characters in each window, an odd number.
    """

    letters: int
    embedding: int = 30
    features: int = 50
    kernel_size: int = 3

    def __post_init__(self):
        if self.kernel_size % 2 == 0:
            raise InputError(f"kernel_size must be odd, so that it has a middle, got {self.kernel_size}")
        super().__post_init__()

    @nn.compact
    def __call__(self, spelling: Int[Array, "batch time letters"]) -> Float[Array, "batch time features"]:
        """One vector a word, zeros for a word without characters; a spelling is padded with PAD on the right."""
        real = spelling != PAD
        x = nn.Embed(self.letters, self.embedding, name="embedding")(spelling)
        x = jnp.where(real[..., None], x, 0.0)
        # Shifted slices and one product: `nn.Conv` becomes a grouped convolution under `vmap`, as in `CausalConv`.
        half, length = self.kernel_size // 2, spelling.shape[-1]
        x = jnp.pad(x, ((0, 0), (0, 0), (half, half), (0, 0)))
        window = jnp.concatenate([x[:, :, tap : tap + length] for tap in range(self.kernel_size)], axis=-1)
        # relu is not negative, so that the zeros of the padding are never the maximum.
        y = nn.relu(nn.Dense(self.features, name="kernel")(window))
        return jnp.max(jnp.where(real[..., None], y, 0.0), axis=2)


class Window(Backbone):
    """A linear map of each step and its neighbours, zeros beyond the ends: in a tagger, logistic regression.

    Attributes:
        features: width of the output.
        reach: number of steps read on either side.
    """

    causal: ClassVar[bool] = False

    features: int
    reach: int = 2
    _least: ClassVar = {"reach": 0}

    @nn.compact
    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        time = x.shape[1]
        x = jnp.pad(x, ((0, 0), (self.reach, self.reach), (0, 0)))
        window = jnp.concatenate([x[:, place : place + time] for place in range(2 * self.reach + 1)], axis=-1)
        return zero_padding(nn.Dense(self.features, name="kernel")(window), mask)


class Tagger(Module):
    """Scores of the tags of each word in its sentence.

    A backbone reads the words' embeddings, each concatenated with the features of the word's characters, if there are
    any. Unlike `TokenEmbedding` around a backbone, it shares one dropout between the backbone's inputs and outputs.

    Attributes:
        backbone: any sequence architecture.
        tags: number of tags.
        vocab: number of words; ids are below it.
        embedding: width of a word's vector.
        characters: from spelling to features, such as `CharacterCNN`; None: none.
        dropout: fraction of the backbone's inputs and outputs dropped in training.
        unknown: fraction of training words replaced by UNK, so that UNK is a familiar input at test time.
    """

    _parts: ClassVar = {"backbone": (nn.Module, "Bidirectional(64)")}

    backbone: nn.Module
    tags: int
    vocab: int
    embedding: int
    characters: nn.Module | None = None
    dropout: float = 0.0
    unknown: float = 0.0
    _fractions: ClassVar = ("dropout", "unknown")

    @nn.compact
    def __call__(
        self,
        ids: Tokens,
        spelling: Int[Array, "batch time letters"] | None = None,
        *,
        mask: Mask = None,
        train: bool = False,
    ) -> Float[Array, "batch time tags"]:
        """Scores before the softmax.

        Args:
            spelling: characters of each word, padded with PAD; not used without `characters`.
        """
        check_mask(mask, ids.shape)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if train and self.unknown:
            ids = jnp.where(jax.random.bernoulli(self.make_rng("dropout"), self.unknown, ids.shape), UNK, ids)
        # Padding may have ids that are not in the table.
        ids = ids if mask is None else jnp.where(mask, ids, PAD)
        x = nn.Embed(self.vocab, self.embedding, name="words")(ids)
        if self.characters is not None:
            if spelling is None:
                raise InputError("a tagger with characters needs the spelling of its words, got None")
            spelling = spelling if mask is None else jnp.where(mask[..., None], spelling, PAD)
            x = jnp.concatenate([x, self.characters(spelling)], axis=-1)
        y = self.backbone(drop(zero_padding(x, mask)), mask=mask, train=train)
        return nn.Dense(self.tags, name="readout")(drop(y))
