"""The language model: the next token of a text, given those before it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from seqjax.models.module import Features, Mask, Module, Tokens, check_causal, check_part, widened, zero_padding
from seqjax.types import SPECIAL, Carry, SpecialTokens


class TokenWindow(NamedTuple):
    """The last `length` tokens of a text.

    Attributes:
        tokens: in order, then padding.
        used: number of tokens, the same for all rows.
    """

    tokens: Int[Array, "batch length"]
    used: Int[Array, ""]


class TokenModel(Module):
    """Base of models that predict tokens: a subclass calls `_setup_tokens` in `setup`, and defines `extend`."""

    def extend(self, carry: Any, tokens: Tokens, *, mask: Mask = None, train: bool = False) -> Any:
        """Read further tokens: the carry after them, and logits of the token after each."""
        raise NotImplementedError

    def step(self, carry: Any, token: Int[Array, " batch"]) -> tuple[Any, Float[Array, "batch vocab"]]:
        """`extend` by one token: with the parameters bound, a `StepFn` for `seqjax.decode`."""
        carry, logits = self.extend(carry, token[:, None])[:2]
        return carry, logits[:, 0]

    def _setup_tokens(
        self,
        vocab: int,
        embedding: int,
        special: SpecialTokens,
        dropout: float,
        tied: bool,
        dtype: DTypeLike | None = None,
        readout_dropout: float | None = None,
        activation: Callable[[Array], Array] | None = None,
    ) -> None:
        self.sos, self.never = special.sos, special.impossible
        self.activation = activation
        self.drop = nn.Dropout(dropout)
        self.drop_features = nn.Dropout(dropout if readout_dropout is None else readout_dropout)
        self.readout = None if tied else nn.Dense(vocab, dtype=dtype)
        if tied:
            self.narrow = nn.Dense(embedding, use_bias=False, dtype=dtype)
            self.bias = self.param("bias", nn.initializers.zeros_init(), (vocab,))

    def _embedded(self, table: nn.Embed, tokens: Array, mask: Array | None, train: bool) -> Array:
        x = table(tokens) if self.activation is None else self.activation(table(tokens))
        return zero_padding(self.drop(x, deterministic=not train), mask)

    def _logits(self, table: nn.Embed, features: Array, train: bool) -> Array:
        return self._read(table, self.drop_features(features, deterministic=not train))

    def _read(self, table: nn.Embed, features: Array) -> Array:
        """Those of tokens that are never predicted are -inf."""
        if self.readout is None:
            logits = table.attend(self.narrow(features)) + self.bias.reshape(1, 1, -1)
        else:
            logits = self.readout(features)
        never = np.isin(np.arange(logits.shape[-1]), self.never)
        return jnp.where(never.reshape(1, 1, -1), -jnp.inf, widened(logits))


class LanguageModel(TokenModel):
    """Any causal backbone between an embedding and a readout: logits[t] predict tokens[t + 1] from tokens[0 … t].

    The same code reads whole sequences in training and one token at a time in decoding:

        logits = model.apply(params, tokens, mask=...)

        carry = model.begin(batch, length)
        carry, _ = model.apply(params, carry, prompt[:, :-1], method="extend")
        decode.greedy(partial(model.apply, params, method="step"), carry, prompt[:, -1], length=...)

    Attributes:
        backbone: any causal sequence architecture.
        vocab: number of tokens, the special ones included.
        embedding: width of the embeddings.
        dropout: fraction of the embeddings, and of the readout's inputs, dropped in training.
        tied: whether the embeddings are the readout's kernel too (Press & Wolf 2017, arXiv:1608.05859).
        dtype: of embedding and readout, as in `Transformer`; the backbone has its own.
        special: ids with a meaning of their own.
    """

    backbone: nn.Module
    vocab: int
    embedding: int = 256
    dropout: float = 0.0
    tied: bool = False
    dtype: DTypeLike | None = None
    special: SpecialTokens = SPECIAL

    def __post_init__(self):
        check_causal(check_part("backbone", self.backbone, nn.Module, "LSTM(64)"), "LanguageModel")
        super().__post_init__()
        self.special.check(self.vocab)

    def setup(self):
        self.embed = nn.Embed(self.vocab, self.embedding, dtype=self.dtype)
        self._setup_tokens(self.vocab, self.embedding, self.special, self.dropout, self.tied, self.dtype)

    def begin(self, batch: int, length: int) -> Carry:
        """The backbone's empty carry, for texts of at most `length` tokens."""
        return self.backbone.start(batch, self.embedding, length)

    def extend(
        self, carry: Carry, tokens: Tokens, *, mask: Mask = None, train: bool = False
    ) -> tuple[Carry, Float[Array, "batch time vocab"]]:
        x = self._embedded(self.embed, tokens, mask, train)
        carry, y = self.backbone.extend(carry, x, mask=mask, train=train)
        return carry, self._logits(self.embed, y, train)

    def __call__(self, tokens: Tokens, *, mask: Mask = None, train: bool = False) -> Float[Array, "batch time vocab"]:
        """Logits of the token after each. Those of `special.never` are -inf: by default PAD and SOS never follow."""
        return self.logits(self.features(tokens, mask=mask, train=train))

    def features(self, tokens: Tokens, *, mask: Mask = None, train: bool = False) -> Features:
        """What the readout reads: `logits` of it are those of a call. For `losses.chunked_cross_entropy`."""
        x = self._embedded(self.embed, tokens, mask, train)
        return self.drop_features(self.backbone(x, mask=mask, train=train), deterministic=not train)

    def logits(self, features: Features) -> Float[Array, "batch time vocab"]:
        """The readout of `features`."""
        return self._read(self.embed, features)

    def window(self, batch: int, length: int) -> TokenWindow:
        """The empty carry of `reread`, which holds the last `length` tokens."""
        return TokenWindow(jnp.full((batch, length), self.special.filler, jnp.int32), jnp.zeros((), jnp.int32))

    def reread(
        self, carry: TokenWindow, token: Int[Array, " batch"]
    ) -> tuple[TokenWindow, Float[Array, "batch vocab"]]:
        """A `StepFn` that reads all of the last tokens again at each step, as a text of their own.

        For texts longer than those in training, or than the carry can hold; `length` times the work of `step`.
        """
        length = carry.tokens.shape[1]
        full = carry.used == length
        tokens = jnp.where(full, jnp.roll(carry.tokens, -1, axis=1), carry.tokens)
        place = jnp.where(full, length - 1, carry.used)
        tokens = tokens.at[:, place].set(token.astype(tokens.dtype))
        mask = jnp.broadcast_to(jnp.arange(length)[None, :] <= place, tokens.shape)
        return TokenWindow(tokens, place + 1), self(tokens, mask=mask)[:, place]
