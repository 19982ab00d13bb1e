"""Encoder-decoders: one sequence is read, another is written."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Num

from seqjax._checks import check_mask, fractions
from seqjax.models.backbone import Backbone
from seqjax.models.decoders import Decoder, Memory, scan_steps
from seqjax.models.language_model import TokenModel
from seqjax.models.module import Mask, Module
from seqjax.types import SOS, SPECIAL, SpecialTokens

Target = Int[Array, "batch target"]

Initial = Any
"""The state that an encoder starts from, as its own `start` makes it; None: zeros."""

SIDES = {"encoder": (Backbone, "Bidirectional(64)"), "decoder": (Decoder, "BahdanauDecoder(64)")}


class EncoderDecoderOutput(NamedTuple):
    """The result of further tokens of the target.

    Attributes:
        carry, weights: as in `DecoderOutput`.
        logits: of the token after each; those of tokens that are never written are -inf.
    """

    carry: Any
    logits: Float[Array, "batch target vocab"]
    weights: Float[Array, "batch heads target source"]


class TokenWriter(TokenModel):
    """Base of encoder-decoders that write tokens: a subclass defines `encode`, and `setup` with a `target_embedding`.

    The same code reads the whole target in training (teacher forcing) and one token at a time in decoding:

        logits = model.apply(params, source, target, source_mask=..., target_mask=...)

        carry = model.apply(params, source, mask, length, method="begin")
        carry, logits = model.apply(params, carry, token, method="step")

    Attributes:
        encoder, decoder: see the subclass.
    """

    encoder: nn.Module | None
    decoder: Decoder

    def encode(self, source: Any, *, mask: Any = None, initial: Initial = None, train: bool = False) -> Memory:
        """Read the whole source."""
        raise NotImplementedError

    def begin(self, source: Any, mask: Mask, length: int, *, initial: Initial = None, train: bool = False) -> Any:
        """The carry before the first token, for targets of at most `length` tokens."""
        memory = self.encode(source, mask=mask, initial=initial, train=train)
        return self.decoder.start(memory, self.target_embedding.features, length)

    def extend(self, carry: Any, tokens: Target, *, mask: Mask = None, train: bool = False) -> EncoderDecoderOutput:
        x = self._embedded(self.target_embedding, tokens, mask, train)
        output = self.decoder.extend(carry, x, mask=mask, train=train)
        return EncoderDecoderOutput(
            output.carry, self._logits(self.target_embedding, output.features, train), output.weights
        )

    def __call__(
        self,
        source: Any,
        target: Target,
        *,
        source_mask: Mask = None,
        target_mask: Mask = None,
        initial: Initial = None,
        train: bool = False,
    ) -> Float[Array, "batch target vocab"]:
        """Logits of every token of the target, given those before it (teacher forcing)."""
        return self.align(
            source, target, source_mask=source_mask, target_mask=target_mask, initial=initial, train=train
        ).logits

    def align(
        self,
        source: Any,
        target: Target,
        *,
        source_mask: Mask = None,
        target_mask: Mask = None,
        initial: Initial = None,
        train: bool = False,
    ) -> EncoderDecoderOutput:
        """`__call__` with the attention weights too."""
        carry = self.begin(source, source_mask, target.shape[1], initial=initial, train=train)
        return self.extend(carry, shift_right(target, self.sos), mask=target_mask, train=train)

    def scheduled(
        self,
        source: Any,
        target: Target,
        teacher_forcing: float | Float[Array, ""],
        *,
        source_mask: Mask = None,
        target_mask: Mask = None,
        initial: Initial = None,
        train: bool = False,
    ) -> Float[Array, "batch target vocab"]:
        """Logits where each token read is the target's with probability `teacher_forcing`, else the model's own guess.

        Scheduled sampling (Bengio et al. 2015, arXiv:1506.03099), where the guess is the most probable token and has no
        gradient. Needs the random stream "sampling". With 1 it is `__call__`, with 0 greedy decoding that continues
        after EOS.
        """
        mask = jnp.ones(target.shape, bool) if target_mask is None else target_mask
        carry = self.begin(source, source_mask, target.shape[1], initial=initial, train=train)
        forced = jax.random.bernoulli(self.make_rng("sampling"), teacher_forcing, target.shape)
        forced = forced.at[:, 0].set(True)  # the first is SOS
        check_mask(mask, target.shape)

        def step(model, state, now):
            carry, guess = state
            true, force, real = now
            token = jnp.where(force, true, guess)
            carry, logits, _ = model.extend(carry, token[:, None], mask=real[:, None], train=train)
            return (carry, jnp.argmax(logits[:, 0], axis=-1).astype(true.dtype)), logits[:, 0]

        tokens = shift_right(target, self.sos)
        _, logits = scan_steps(step)(self, (carry, tokens[:, 0]), (tokens, forced, mask))
        return logits


RATES = ("source_dropout", "readout_dropout")


class EncoderDecoder(TokenWriter):
    """Any backbone reads, any decoder writes.

    Attributes:
        encoder: `Bidirectional`, `LSTM`, `TCN`, `Transformer(causal=False)`, …
        decoder: `RecurrentDecoder`, `LuongDecoder`, `BahdanauDecoder`, `TransformerDecoder`, or `CausalDecoder` with
            any causal backbone.
        source_vocab, target_vocab: numbers of tokens, the special ones included. With None for `source_vocab` the
            source is a sequence of vectors (frames of speech, say).
        embedding: width of the embeddings.
        dropout: fraction of the embeddings, and of the readout's inputs, dropped in training.
        tied: whether the target's embeddings are the readout's kernel too (Press & Wolf 2017, arXiv:1608.05859).
        special: ids with a meaning of their own, in the target's vocabulary.
        source_dropout: of the source's embeddings; None: `dropout`.
        readout_dropout: of the readout's inputs; None: `dropout`.
        target_activation: a function of the target's embeddings, such as `nn.relu`; None: none.
    """

    _parts: ClassVar = SIDES

    source_vocab: int | None
    target_vocab: int
    embedding: int = 256
    dropout: float = 0.0
    tied: bool = False
    special: SpecialTokens = SPECIAL
    source_dropout: float | None = None
    readout_dropout: float | None = None
    target_activation: Callable[[Array], Array] | None = None

    def __post_init__(self):
        fractions(**{name: rate for name in RATES if (rate := getattr(self, name)) is not None})
        super().__post_init__()
        self.special.check(self.target_vocab)

    def setup(self):
        self.target_embedding = nn.Embed(self.target_vocab, self.embedding)
        self._setup_tokens(
            self.target_vocab,
            self.embedding,
            self.special,
            self.dropout,
            self.tied,
            readout_dropout=self.readout_dropout,
            activation=self.target_activation,
        )
        self.drop_source = nn.Dropout(self.dropout if self.source_dropout is None else self.source_dropout)
        if self.source_vocab is not None:
            self.source_embedding = nn.Embed(self.source_vocab, self.embedding)

    def encode(
        self,
        source: Num[Array, "batch source *inputs"],
        *,
        mask: Mask = None,
        initial: Initial = None,
        train: bool = False,
    ) -> Memory:
        """Read the whole source."""
        x = source if self.source_vocab is None else self.source_embedding(source)
        return _memory(self.encoder, self.drop_source(x, deterministic=not train), mask, initial, train)


def shift_right(target: Target, sos: int = SOS) -> Target:
    """The decoder's input while it writes the target: SOS, then all but the last token."""
    return jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=sos)


class EncoderDecoderRegressor(Module):
    """An encoder-decoder from a sequence of vectors to another one.

    The decoder is fed zeros: it knows the source by its first state and by attention.

    Attributes:
        encoder, decoder: as in `EncoderDecoder`.
        targets: number of values predicted at each step.
    """

    _parts: ClassVar = SIDES

    encoder: nn.Module
    decoder: Decoder
    targets: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch source inputs"],
        length: int,
        *,
        mask: Mask = None,
        initial: Initial = None,
        train: bool = False,
    ) -> Float[Array, "batch target targets"]:
        """Predict `length` steps."""
        carry = self.decoder.start(_memory(self.encoder, x, mask, initial, train), 1, length)
        output = self.decoder.extend(carry, jnp.zeros((x.shape[0], length, 1)), train=train)
        return nn.Dense(self.targets)(output.features)


def _memory(encoder: Any, x: Array, mask: Array | None, initial: Initial, train: bool) -> Memory:
    check_mask(mask, x.shape[:2])
    mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
    options = {} if initial is None else {"initial": initial}
    outputs, state = encoder.encode(x, mask=mask, train=train, **options)
    return Memory(outputs, mask, state)
