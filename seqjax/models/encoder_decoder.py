"""The encoder-decoder: one sequence of tokens is read, another written."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from seqjax.models.decoders import Memory
from seqjax.models.layers import zero_padding
from seqjax.models.recurrent import Bidirectional, Recurrent
from seqjax.types import PAD, SOS


class Extended(NamedTuple):
    """What an encoder-decoder says after some more tokens of the target.

    Attributes:
        carry: its memory after them.
        logits: of the token that follows each of them; PAD and SOS have -inf, for they are never written.
        weights: where it looked.
    """

    carry: Any
    logits: Float[Array, "batch target vocab"]
    weights: Float[Array, "batch heads target source"]


class TokenWriter(nn.Module):
    """What writes tokens from the `Memory` that `encode` makes of a source: all of a model but its reading.

    Training gives the whole target at once (teacher forcing), decoding one token at a time, by the same code:

        logits = model.apply(params, source, target, source_mask=..., target_mask=...)

        carry = model.apply(params, source, mask, length, method="begin")
        carry, logits = model.apply(params, carry, token, method="step")

    A subclass adds `encode` and the fields `decoder`, `target_vocab`, `embedding`, `dropout` and `tied`.
    """

    # Not fields of this class: those of a base come first, and a source is named before its target. Hence `self: Any`.

    def setup(self: Any):
        self.target_embedding = nn.Embed(self.target_vocab, self.embedding)
        self.drop = nn.Dropout(self.dropout)
        if self.tied:
            self.narrow = nn.Dense(self.embedding, use_bias=False)
            self.bias = self.param("bias", nn.initializers.zeros_init(), (self.target_vocab,))
        else:
            self.readout = nn.Dense(self.target_vocab)

    def encode(self, source: Any, *, mask: Any = None, train: bool = False) -> Memory:
        """Read the whole source."""
        raise NotImplementedError

    def begin(self: Any, source: Any, mask: Bool[Array, "batch source"] | None, length: int) -> Any:
        """The carry of decoding: the source read, and no more than `length` tokens to be written."""
        return self.decoder.start(self.encode(source, mask=mask), length)

    def extend(
        self: Any,
        carry: Any,
        tokens: Int[Array, "batch target"],
        *,
        mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Extended:
        """Read further tokens of the target, and say what follows each of them."""
        x = zero_padding(self.drop(self.target_embedding(tokens), deterministic=not train), mask)
        written = self.decoder.extend(carry, x, mask=mask, train=train)
        return Extended(written.carry, self._logits(written.features, train), written.weights)

    def step(self: Any, carry: Any, token: Int[Array, " batch"]) -> tuple[Any, Float[Array, "batch vocab"]]:
        """`extend` by one: a `StepFn` for `seqjax.decode`, once the parameters are given."""
        carry, logits, _ = self.extend(carry, token[:, None])
        return carry, logits[:, 0]

    def __call__(
        self: Any,
        source: Any,
        target: Int[Array, "batch target"],
        *,
        source_mask: Bool[Array, "batch source"] | None = None,
        target_mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch target vocab"]:
        """Logits of every token of the target, given those before it (teacher forcing)."""
        return self.align(source, target, source_mask=source_mask, target_mask=target_mask, train=train).logits

    def align(
        self: Any,
        source: Any,
        target: Int[Array, "batch target"],
        *,
        source_mask: Bool[Array, "batch source"] | None = None,
        target_mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Extended:
        """The same with where the model looks while it writes this target: an attention map."""
        carry = self.decoder.start(self.encode(source, mask=source_mask, train=train), target.shape[1])
        return self.extend(carry, shift_right(target), mask=target_mask, train=train)

    def scheduled(
        self: Any,
        source: Any,
        target: Int[Array, "batch target"],
        teacher_forcing: float | Float[Array, ""],
        *,
        source_mask: Bool[Array, "batch source"] | None = None,
        target_mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch target vocab"]:
        """Logits where each token read is the target's with probability `teacher_forcing`, else the model's own guess.

        Scheduled sampling (Bengio et al. 2015, arXiv:1506.03099) with the most probable token for the guess, through
        which no gradient flows. Needs the random stream "sampling". 1 is `__call__`, 0 is greedy decoding that goes on
        after EOS.
        """
        mask = jnp.ones(target.shape, bool) if target_mask is None else target_mask
        carry = self.decoder.start(self.encode(source, mask=source_mask, train=train), target.shape[1])
        forced = jax.random.bernoulli(self.make_rng("sampling"), teacher_forcing, target.shape)
        forced = forced.at[:, 0].set(True)  # the first is SOS

        def step(model, state, now):
            carry, guess = state
            true, force, real = now
            read = jnp.where(force, true, guess)
            carry, logits, _ = model.extend(carry, read[:, None], mask=real[:, None], train=train)
            return (carry, jnp.argmax(logits[:, 0], axis=-1).astype(true.dtype)), logits[:, 0]

        every = {"variable_broadcast": "params", "split_rngs": {"params": False, "dropout": True}}
        tokens = shift_right(target)
        _, logits = nn.scan(step, in_axes=1, out_axes=1, **every)(self, (carry, tokens[:, 0]), (tokens, forced, mask))
        return logits

    def _logits(self: Any, features: Array, train: bool) -> Array:
        features = self.drop(features, deterministic=not train)
        if self.tied:
            logits = self.target_embedding.attend(self.narrow(features)) + self.bias.reshape(1, 1, -1)
        else:
            logits = self.readout(features)
        never = (jnp.arange(self.target_vocab) == PAD) | (jnp.arange(self.target_vocab) == SOS)
        return jnp.where(never.reshape(1, 1, -1), -jnp.inf, logits)


class EncoderDecoder(TokenWriter):
    """Any backbone reads, any decoder writes; between them stands what `encode` returns.

    Attributes:
        encoder: `Bidirectional`, `Recurrent`, `TCN`, `Transformer(causal=False)`, …
        decoder: `RecurrentDecoder`, `LuongDecoder`, `BahdanauDecoder` or `TransformerDecoder`.
        source_vocab, target_vocab: sizes, the four reserved tokens included. No `source_vocab`: the source is vectors
            (frames of speech, say), which are read as they are.
        embedding: width of the vectors that stand for tokens.
        dropout: share of embeddings, and of what the logits are computed from, dropped in training.
        tied: whether the target's embeddings are the readout's kernel too (Press & Wolf 2017, arXiv:1608.05859).
    """

    encoder: nn.Module
    decoder: nn.Module
    source_vocab: int | None
    target_vocab: int
    embedding: int = 256
    dropout: float = 0.0
    tied: bool = False

    def setup(self):
        super().setup()
        if self.source_vocab is not None:
            self.source_embedding = nn.Embed(self.source_vocab, self.embedding)

    def encode(
        self,
        source: Int[Array, "batch source"] | Float[Array, "batch source inputs"],
        *,
        mask: Bool[Array, "batch source"] | None = None,
        train: bool = False,
    ) -> Memory:
        """Read the whole source; padding may hold anything."""
        x = source if self.source_vocab is None else self.source_embedding(source)
        x = self.drop(x, deterministic=not train)
        return read(self.encoder, x, jnp.ones(source.shape[:2], bool) if mask is None else mask, train)


def shift_right(target: Int[Array, "batch target"]) -> Int[Array, "batch target"]:
    """What is read while the target is written: SOS, then all but its last token."""
    return jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=SOS)


class RealEncoderDecoder(nn.Module):
    """An encoder-decoder for real values: vectors are read, vectors written, all from what the encoder leaves.

    The decoder is fed zeros: what it knows it knows from its first state, or from looking back.

    Attributes:
        encoder, decoder: as in `EncoderDecoder`.
        targets: width of what is written.
    """

    encoder: nn.Module
    decoder: nn.Module
    targets: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch source inputs"],
        length: int,
        *,
        mask: Bool[Array, "batch source"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch target targets"]:
        """Write `length` steps."""
        memory = read(self.encoder, x, jnp.ones(x.shape[:2], bool) if mask is None else mask, train)
        decoder: Any = self.decoder
        written = decoder.extend(decoder.start(memory, length), jnp.zeros((len(x), length, 1)), train=train)
        return nn.Dense(self.targets)(written.features)


def read(
    encoder: Any, x: Float[Array, "batch source inputs"], mask: Bool[Array, "batch source"], train: bool
) -> Memory:
    """What any backbone leaves of a sequence."""
    if isinstance(encoder, Recurrent):
        state, outputs = encoder.extend(encoder.start(len(x), x.shape[-1], x.shape[1]), x, mask=mask, train=train)
    elif isinstance(encoder, Bidirectional):
        state, outputs = encoder.read(encoder.start(len(x)), x, mask=mask, train=train)
    else:  # no state to hand over: its place is taken by the mean of what was read
        outputs = encoder(x, mask=mask, train=train)
        state = (outputs.sum(axis=1) / jnp.maximum(mask.sum(axis=1, keepdims=True), 1),)
    return Memory(outputs, mask, state)
