"""Token embedding: a backbone that reads tokens instead of vectors."""

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array

from seqjax.models.module import Features, Mask, Module, Tokens, zero_padding


class TokenEmbedding(Module):
    """A backbone over tokens: an embedding, dropout, and the backbone.

    Embeddings of tokens in the padding are replaced by zeros and get no gradient.

    Attributes:
        backbone: any sequence architecture, or a function that is called like one.
        vocab: number of tokens; ids are below it.
        embedding: width of the embeddings.
        dropout: fraction of the embeddings' entries dropped in training.
    """

    backbone: Callable[..., Array]
    vocab: int
    embedding: int
    dropout: float = 0.0

    @property
    def causal(self) -> bool | None:
        """Whether the backbone is."""
        return getattr(self.backbone, "causal", None)

    def setup(self):
        self.table = nn.Embed(self.vocab, self.embedding)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, tokens: Tokens, *, mask: Mask = None, train: bool = False) -> Features:
        x = self.drop(self.table(tokens), deterministic=not train)
        return self.backbone(zero_padding(x, mask), mask=mask, train=train)
