"""The language model: what follows each token of a text, given those before it."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from seqjax.models.layers import widened, zero_padding
from seqjax.types import PAD, SOS, Carry


class Window(NamedTuple):
    """The last tokens of a text, for a model that reads no more than `length` of them.

    Attributes:
        tokens: in order, PAD behind them.
        used: how many there are, the same for all rows.
    """

    tokens: Int[Array, "batch length"]
    used: Int[Array, ""]


class LanguageModel(nn.Module):
    """Any causal backbone between an embedding and a readout: logits[t] say what follows tokens[0 … t].

    Training gives whole sequences, decoding one token at a time, by the same code:

        logits = model.apply(params, tokens, mask=...)

        carry = model.start(batch, length)
        carry, _ = model.apply(params, carry, prompt[:, :-1], method="extend")
        decode.greedy(partial(model.apply, params, method="step"), carry, prompt[:, -1], length=...)

    Attributes:
        backbone: any causal sequence architecture.
        vocab: size, the four reserved tokens included.
        embedding: width of the vectors that stand for tokens.
        dropout: share of embeddings, and of what the logits are computed from, dropped in training.
        tied: whether the embeddings are the readout's kernel too (Press & Wolf 2017, arXiv:1608.05859).
        dtype: what embedding and readout compute with, as in `Transformer`; the backbone has its own.
    """

    backbone: nn.Module
    vocab: int
    embedding: int = 256
    dropout: float = 0.0
    tied: bool = False
    dtype: DTypeLike | None = None

    def setup(self):
        self.embed = nn.Embed(self.vocab, self.embedding, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        if self.tied:
            self.narrow = nn.Dense(self.embedding, use_bias=False, dtype=self.dtype)
            self.bias = self.param("bias", nn.initializers.zeros_init(), (self.vocab,))
        else:
            self.readout = nn.Dense(self.vocab, dtype=self.dtype)

    def start(self, batch: int, length: int) -> Carry:
        """The backbone's empty memory, for texts of at most `length` tokens."""
        return self.backbone.start(batch, self.embedding, length)

    def extend(
        self,
        carry: Carry,
        tokens: Int[Array, "batch time"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[Carry, Float[Array, "batch time vocab"]]:
        """Read further tokens, and say what follows each of them."""
        carry, y = self.backbone.extend(carry, self._embedded(tokens, mask, train), mask=mask, train=train)
        return carry, self._logits(y, train)

    def step(self, carry: Carry, token: Int[Array, " batch"]) -> tuple[Carry, Float[Array, "batch vocab"]]:
        """`extend` by one: a `StepFn` for `seqjax.decode`, once the parameters are given."""
        carry, logits = self.extend(carry, token[:, None])
        return carry, logits[:, 0]

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time vocab"]:
        """Logits of the token after each; padding may hold anything. PAD and SOS have -inf: they never follow."""
        y = self.backbone(self._embedded(tokens, mask, train), mask=mask, train=train)
        return self._logits(y, train)

    def window(self, batch: int, length: int) -> Window:
        """Nothing read yet: the carry of `reread`, which remembers the last `length` tokens."""
        return Window(jnp.full((batch, length), PAD, jnp.int32), jnp.zeros((), jnp.int32))

    def reread(self, carry: Window, token: Int[Array, " batch"]) -> tuple[Window, Float[Array, "batch vocab"]]:
        """A `StepFn` that reads the last tokens anew at each step, as a text of their own.

        For texts longer than what a model was trained on, or can hold: `length` times the work of `step`.
        """
        length = carry.tokens.shape[1]
        full = carry.used == length
        tokens = jnp.where(full, jnp.roll(carry.tokens, -1, axis=1), carry.tokens)
        place = jnp.where(full, length - 1, carry.used)
        tokens = tokens.at[:, place].set(token.astype(tokens.dtype))
        mask = jnp.broadcast_to(jnp.arange(length)[None, :] <= place, tokens.shape)
        return Window(tokens, place + 1), self(tokens, mask=mask)[:, place]

    def _embedded(self, tokens: Array, mask: Array | None, train: bool) -> Any:
        return zero_padding(self.drop(self.embed(tokens), deterministic=not train), mask)

    def _logits(self, features: Array, train: bool) -> Array:
        features = self.drop(features, deterministic=not train)
        if self.tied:
            logits = self.embed.attend(self.narrow(features)) + self.bias.reshape(1, 1, -1)
        else:
            logits = self.readout(features)
        never = (jnp.arange(self.vocab) == PAD) | (jnp.arange(self.vocab) == SOS)
        return jnp.where(never.reshape(1, 1, -1), -jnp.inf, widened(logits))
