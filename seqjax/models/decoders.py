"""Decoders of encoder-decoders: they write a target step by step, from what an encoder has read.

`RecurrentDecoder` and `CausalDecoder` know the source by their first state alone, the others attend to all its steps.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from seqjax._checks import check_mask
from seqjax.models.attention import AdditiveAttention, Attention, DotAttention, MultiHeadAttention
from seqjax.models.backbone import Causal
from seqjax.models.bridges import Bridge
from seqjax.models.cells import Cell, GRUCell
from seqjax.models.module import Mask, Module, check_part
from seqjax.models.positions import Positions, Sinusoidal
from seqjax.models.recurrent import Recurrent
from seqjax.models.transformer import Transformer


class Memory(NamedTuple):
    """What an encoder passes to a decoder.

    Attributes:
        outputs: one vector for each step of the source; zeros at padding.
        mask: which of them are real.
        state: the encoder's final states, one pytree a layer: the context vector of models without attention.
    """

    outputs: Float[Array, "batch source features"]
    mask: Bool[Array, "batch source"]
    state: tuple[Any, ...]


class DecoderOutput(NamedTuple):
    """The result of further steps of a decoder.

    Attributes:
        carry: the decoder's carry after them.
        features: inputs of the readout.
        weights: of the attention to the source; zero heads without attention.
    """

    carry: Any
    features: Float[Array, "batch target features"]
    weights: Float[Array, "batch heads target source"]


class DecoderState(NamedTuple):
    """The carry of a decoder with attention.

    Attributes:
        state: of its recurrent layers, or its cache.
        source: `KeysValues` of the source; in a Transformer, one for each layer.
        fed: the output of the step before, where it is part of the next input.
        attended: the weights, summed over all steps so far and averaged over heads (GNMT's coverage).
    """

    state: Any
    source: Any
    fed: Float[Array, "batch features"]
    attended: Float[Array, "batch source"]


class Decoder(Module):
    """Base of decoders: a subclass defines `start` and `_extend`."""

    def start(self, memory: Memory, inputs: int, length: int) -> Any:
        """The carry before the first step, for targets of at most `length` vectors of width `inputs`."""
        raise NotImplementedError

    def extend(
        self, carry: Any, x: Float[Array, "batch target embedding"], *, mask: Mask = None, train: bool = False
    ) -> DecoderOutput:
        """Read further steps of the target, any number of them."""
        check_mask(mask, x.shape[:2])
        return self._extend(carry, x, jnp.ones(x.shape[:2], bool) if mask is None else mask, train)

    def _extend(self, carry: Any, x: Array, mask: Array, train: bool) -> DecoderOutput:
        raise NotImplementedError


class StateDecoder(Decoder):
    """Base of decoders that know the source by the state they start from: a subclass has a `bridge` and a `stack`."""

    def start(self, memory: Memory, inputs: int, length: int) -> Any:
        """The bridge's states, and the source's mask."""
        return self.bridge(memory.state, self.stack.start(memory.mask.shape[0], inputs, length)), memory.mask

    def _extend(self, carry: tuple[Any, Array], x: Array, mask: Array, train: bool) -> DecoderOutput:
        state, source = carry
        state, y = self.stack.extend(state, x, mask=mask, train=train)
        return DecoderOutput((state, source), y, jnp.zeros((x.shape[0], 0, x.shape[1], source.shape[1])))


class CausalDecoder(StateDecoder):
    """Any causal backbone with a state of its own: `LRU`, `DiagonalRNN`, `TCN`, ….

    Attributes:
        backbone: it reads the target from the state that the bridge gives it.
        bridge: as in `RecurrentDecoder`. `CopyState()` needs an encoder with equal options and input width.
    """

    _parts: ClassVar = {"backbone": (Causal, "LRU(64)"), "bridge": (nn.Module, "Bridge()")}

    backbone: Causal
    bridge: nn.Module = Bridge()

    def setup(self):
        self.stack = self.backbone


class RecurrentDecoder(StateDecoder):
    """Recurrent layers that know the source by the state they start from (Sutskever et al. 2014, arXiv:1409.3215).

    Attributes:
        features, cell, layers, dropout: as in `Recurrent`.
        bridge: `Bridge()`, `CopyState()` or `LowRankBridge(rank)`: the first state from the encoder's last.
    """

    _parts: ClassVar = {"cell": (Cell, "LSTMCell()"), "bridge": (nn.Module, "Bridge()")}

    features: int
    cell: Cell = GRUCell()
    layers: int = 1
    dropout: float = 0.0
    bridge: nn.Module = Bridge()

    def setup(self):
        self.stack = Recurrent(self.features, self.cell, self.layers, self.dropout)


class AttentionDecoder(RecurrentDecoder):
    """Base of recurrent decoders with attention: a subclass defines `_extend` and `_usual_attention`.

    Attributes:
        attention: an instance of an `Attention`, such as `AdditiveAttention(64)`.
    """

    _parts: ClassVar = RecurrentDecoder._parts | {"attention": (Attention, "AdditiveAttention(64)")}

    attention: Attention | None = None

    def __post_init__(self):
        if self.attention is None:
            self.attention = self._usual_attention()
        super().__post_init__()

    @property
    def _attention(self) -> Attention:
        return check_part("attention", self.attention, Attention, "AdditiveAttention(64)")

    def start(self, memory: Memory, inputs: int, length: int) -> DecoderState:
        """The bridge's states, and the source prepared for attention; neither `inputs` nor `length` matters."""
        state, mask = super().start(memory, inputs, length)
        prepared = self._attention.prepare(memory.outputs, mask)
        return DecoderState(state, prepared, jnp.zeros((mask.shape[0], self.features)), jnp.zeros(mask.shape))

    def _usual_attention(self) -> Attention:
        """The attention where none is given, without a parent."""
        raise NotImplementedError


class LuongDecoder(AttentionDecoder):
    """Attends to the source after its recurrent layers, h~ = tanh(W [c; h]).

    Luong et al. 2015, arXiv:1508.04025, eq. 5, with dot attention where no other is given. Only the recurrence runs
    step by step: attention is one product for the whole target.

    Attributes:
        input_feeding: whether h~ of the step before is part of the input (sec. 3.3); then everything runs step by step.
    """

    input_feeding: bool = False

    def _usual_attention(self) -> Attention:
        return DotAttention(parent=None)

    def _extend(self, carry: DecoderState, x: Array, mask: Array, train: bool) -> DecoderOutput:
        if self.input_feeding:
            return _step_by_step(self, LuongDecoder._steps, carry, x, mask, train)
        return self._steps(carry, x, mask, train)

    @nn.compact
    def _steps(self, carry: DecoderState, x: Array, mask: Array, train: bool) -> DecoderOutput:
        """Any number of steps; one, with input feeding."""
        if self.input_feeding:
            x = jnp.concatenate([x, carry.fed[:, None]], axis=-1)
        state, h = self.stack.extend(carry.state, x, mask=mask, train=train)
        context, weights = self._attention.attend(carry.source, h)
        combine = nn.Dense(self.features, use_bias=False, name="combine")
        y = jnp.tanh(combine(jnp.concatenate([context, h], axis=-1)))
        fed = jnp.where(mask[:, -1:], y[:, -1], carry.fed) if self.input_feeding else carry.fed
        return DecoderOutput(carry._replace(state=state, fed=fed, attended=_more(carry, weights, mask)), y, weights)


class BahdanauDecoder(AttentionDecoder):
    """Attends to the source before each step, from the state of the step before.

    Bahdanau et al. 2015, arXiv:1409.0473, with additive attention of the decoder's width where no other is given. The
    context vector is part of the cells' input; [h; c; x] are the readout's input.
    """

    def _usual_attention(self) -> Attention:
        return AdditiveAttention(self.features, parent=None)

    def _extend(self, carry: DecoderState, x: Array, mask: Array, train: bool) -> DecoderOutput:
        return _step_by_step(self, BahdanauDecoder._step, carry, x, mask, train)

    def _step(self, carry: DecoderState, x: Array, mask: Array, train: bool) -> DecoderOutput:
        h = jax.tree.leaves(carry.state[-1])[0]
        context, weights = self._attention.attend(carry.source, h[:, None])
        inputs = jnp.concatenate([x, context], axis=-1)
        state, y = self.stack.extend(carry.state, inputs, mask=mask, train=train)
        features = jnp.concatenate([y, context, x], axis=-1)
        return DecoderOutput(carry._replace(state=state, attended=_more(carry, weights, mask)), features, weights)


def _step_by_step(
    decoder, one_step: Callable, carry: DecoderState, x: Array, mask: Array, train: bool
) -> DecoderOutput:
    """A decoder's method for one step, over all of them."""

    def step(decoder, carry, now):
        x, real = now
        output = one_step(decoder, carry, x[:, None], real[:, None], train)
        return output.carry, (output.features[:, 0], output.weights[:, :, 0])

    carry, (features, weights) = scan_steps(step)(decoder, carry, (x, mask))
    return DecoderOutput(carry, features, jnp.swapaxes(weights, 1, 2))


def scan_steps(step: Callable) -> Callable:
    """`step(module, carry, now) -> (carry, output)` over the second axis of all that `now` holds."""
    return nn.scan(
        step, in_axes=1, out_axes=1, variable_broadcast="params", split_rngs={"params": False, "dropout": True}
    )


def _more(carry: DecoderState, weights: Array, mask: Array) -> Float[Array, "batch source"]:
    """`attended`, these steps included."""
    return carry.attended + jnp.where(mask[:, :, None], weights.mean(axis=1), 0).sum(axis=1)


class TransformerDecoder(Decoder):
    """Causal blocks with cross-attention to the source (Vaswani et al. 2017, arXiv:1706.03762, fig. 1).

    Attributes:
        features, heads, layers, expansion, pre_norm, positions, activation, dropout: as in `Transformer`.
    """

    _parts: ClassVar = {"positions": (Positions, "Sinusoidal()")}

    features: int
    heads: int = 4
    layers: int = 2
    expansion: int = 4
    pre_norm: bool = True
    positions: Positions = Sinusoidal()
    activation: Callable[[Array], Array] = nn.gelu
    dropout: float = 0.0

    def setup(self):
        self.attend = tuple(MultiHeadAttention(self.features, self.heads) for _ in range(self.layers))
        self.stack = Transformer(
            self.features,
            self.heads,
            self.layers,
            self.expansion,
            pre_norm=self.pre_norm,
            positions=self.positions.clone(parent=None),  # the stack's own, with its parameters
            activation=self.activation,
            dropout=self.dropout,
        )

    def start(self, memory: Memory, inputs: int, length: int) -> DecoderState:
        """An empty cache of `length` slots, and keys and values of the source for every layer."""
        batch, source = memory.mask.shape
        prepared = tuple(attention.prepare(memory.outputs, memory.mask) for attention in self.attend)
        cache = self.stack.start(batch, self.features, length)
        return DecoderState(cache, prepared, jnp.zeros((batch, 0)), jnp.zeros((batch, source)))

    def _extend(self, carry: DecoderState, x: Array, mask: Array, train: bool) -> DecoderOutput:
        cross_attentions = [
            partial(attention.attend, source) for attention, source in zip(self.attend, carry.source, strict=True)
        ]
        cache, y, weights = self.stack.extend_attending(carry.state, x, cross_attentions, mask=mask, train=train)
        return DecoderOutput(carry._replace(state=cache, attended=_more(carry, weights, mask)), y, weights)
