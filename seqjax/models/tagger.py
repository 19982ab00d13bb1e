"""A class for each step of a sequence of words, from the words themselves and from their letters."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from seqjax.models.layers import zero_padding
from seqjax.types import PAD, UNK


class LetterConv(nn.Module):
    """What a word looks like: a convolution over its letters, and the maximum over places (arXiv:1603.01354, fig. 1).

    Attributes:
        letters: how many different ones there are, the reserved ones too.
        embedding: width of a letter's vector.
        features: width of a word's.
        kernel_size: letters seen at a time, odd: as many before the middle one as behind it.
    """

    letters: int
    embedding: int = 30
    features: int = 50
    kernel_size: int = 3

    def __post_init__(self):
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that it has a middle, got {self.kernel_size}")
        super().__post_init__()

    @nn.compact
    def __call__(self, spelling: Int[Array, "batch time letters"]) -> Float[Array, "batch time features"]:
        """One vector a word, zeros where there are no letters; PAD may stand behind a word's letters only."""
        real = spelling != PAD
        x = nn.Embed(self.letters, self.embedding, name="embedding")(spelling)
        x = jnp.where(real[..., None], x, 0.0)
        # Shifted slices and one product: `nn.Conv` becomes a grouped convolution under `vmap`, as in `CausalConv`.
        half, length = self.kernel_size // 2, spelling.shape[-1]
        x = jnp.pad(x, ((0, 0), (0, 0), (half, half), (0, 0)))
        window = jnp.concatenate([x[:, :, tap : tap + length] for tap in range(self.kernel_size)], axis=-1)
        # Nothing is below zero here, so that what is no letter never wins.
        y = nn.relu(nn.Dense(self.features, name="kernel")(window))
        return jnp.max(jnp.where(real[..., None], y, 0.0), axis=2)


class Window(nn.Module):
    """A linear map of each step and its neighbours, zeros beyond the ends: below a tagger, logistic regression.

    Attributes:
        features: width of the output.
        reach: how many steps are seen on either side.
    """

    features: int
    reach: int = 2

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time features"]:
        time = x.shape[1]
        x = jnp.pad(zero_padding(x, mask), ((0, 0), (self.reach, self.reach), (0, 0)))
        window = jnp.concatenate([x[:, place : place + time] for place in range(2 * self.reach + 1)], axis=-1)
        return zero_padding(nn.Dense(self.features, name="kernel")(window), mask)


class Tagger(nn.Module):
    """Scores of the tags of each word in its sentence.

    A word's vector, with that of its spelling beside it, goes through any backbone; one that reads both ways lets the
    words behind decide too.

    Attributes:
        backbone: any sequence architecture.
        tags: how many there are.
        vocab: ids of words lie below it.
        embedding: width of a word's vector.
        characters: from spelling to vectors; None: words are known by their ids alone.
        dropout: share of the backbone's inputs and outputs dropped in training.
        unknown: share of words that are read as UNK in training, lest unknown ones be news.
    """

    backbone: nn.Module
    tags: int
    vocab: int
    embedding: int
    characters: nn.Module | None = None
    dropout: float = 0.0
    unknown: float = 0.0

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "batch time"],
        spelling: Int[Array, "batch time letters"] | None = None,
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time tags"]:
        """Scores before the softmax.

        Args:
            spelling: letters of each word, PAD behind them; not looked at without `characters`.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        if train and self.unknown:
            ids = jnp.where(jax.random.bernoulli(self.make_rng("dropout"), self.unknown, ids.shape), UNK, ids)
        # Padding may hold anything, also ids that no table has.
        ids = ids if mask is None else jnp.where(mask, ids, PAD)
        x = nn.Embed(self.vocab, self.embedding, name="words")(ids)
        if self.characters is not None:
            if spelling is None:
                raise ValueError("a tagger with characters needs the spelling of its words, got None")
            spelling = spelling if mask is None else jnp.where(mask[..., None], spelling, PAD)
            x = jnp.concatenate([x, self.characters(spelling)], axis=-1)
        y = self.backbone(drop(zero_padding(x, mask)), mask=mask, train=train)
        return nn.Dense(self.tags, name="readout")(drop(y))
