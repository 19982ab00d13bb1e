"""Decoders: what writes a target step by step from what an encoder has read.

All have `start(memory, length)` and `extend(carry, x, mask=, train=)`, which reads embedded target tokens, any number
at a time. A plain one remembers the source by its initial state alone, the others look back at every step of it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from seqjax.models.attention import Attention, MultiHead
from seqjax.models.recurrent import GRU, Cell, Recurrent, State
from seqjax.models.transformer import Positions, Sinusoid, Transformer


class Memory(NamedTuple):
    """What an encoder leaves to a decoder.

    Attributes:
        outputs: one vector for each step of the source; zeros at padding.
        mask: which of them are real.
        state: the encoder's final states, one pytree a layer: the context vector of models without attention.
    """

    outputs: Float[Array, "batch source features"]
    mask: Bool[Array, "batch source"]
    state: tuple[Any, ...]


class Written(NamedTuple):
    """What a decoder makes of some more steps of the target.

    Attributes:
        carry: its memory after them.
        features: what the logits are computed from.
        weights: where it looked; no heads where it does not look.
    """

    carry: Any
    features: Float[Array, "batch target features"]
    weights: Float[Array, "batch heads target source"]


class Looking(NamedTuple):
    """The memory of a decoder that looks at the source.

    Attributes:
        state: of its recurrent layers, or its cache.
        sight: the source; one a layer in a Transformer.
        fed: what it made of the step before, where that is part of the next input.
        attended: the weights, summed over all steps so far and averaged over heads (GNMT's coverage).
    """

    state: Any
    sight: Any
    fed: Float[Array, "batch features"]
    attended: Float[Array, "batch source"]


class Bridge(nn.Module):
    """The first state of a decoder from the final state of an encoder, whatever the widths: tanh(W s + b).

    Each part of each layer's state has its own W; s is all that the encoder's layer of that depth (or its last) ended
    with, both directions side by side (Bahdanau et al. 2015, app. A.2.2; seed S3).
    """

    @nn.compact
    def __call__(self, given: tuple[Any, ...], wanted: tuple[State, ...]) -> tuple[State, ...]:
        made = []
        for depth, state in enumerate(wanted):
            summary = jnp.concatenate(jax.tree.leaves(given[min(depth, len(given) - 1)]), axis=-1)
            parts, tree = jax.tree.flatten(state)
            made.append(tree.unflatten([jnp.tanh(nn.Dense(part.shape[-1])(summary)) for part in parts]))
        return tuple(made)


class HandOver(nn.Module):
    """The encoder's final state as it is (seeds S1 and S2), for a decoder with cells of the same kind and width.

    Shapes are all it can compare: h of two directions passes for h and c of an LSTM.
    """

    def __call__(self, given: tuple[Any, ...], wanted: tuple[State, ...]) -> tuple[State, ...]:
        found, needed = (jax.tree.map(jnp.shape, state) for state in (given, wanted))
        if found != needed:
            raise ValueError(f"HandOver needs an encoder that ends in states {needed}, got {found}: use Bridge")
        return given


class RecurrentDecoder(nn.Module):
    """Recurrent layers that know the source by the state they start from (Sutskever et al. 2014, arXiv:1409.3215).

    Attributes:
        features, cell, layers, dropout: as in `Recurrent`.
        bridge: `Bridge` or `HandOver`: how the first state comes from the encoder's last.
    """

    features: int
    cell: Callable[[], Cell] = GRU
    layers: int = 1
    dropout: float = 0.0
    bridge: Callable[[], nn.Module] = Bridge

    def setup(self):
        self.stack = Recurrent(self.features, self.cell, self.layers, self.dropout)
        self.first = self.bridge()

    def start(self, memory: Memory, length: int) -> tuple[tuple[State, ...], Bool[Array, "batch source"]]:
        """The bridge's states; `length` does not matter."""
        return self.first(memory.state, self.stack.start(len(memory.mask), 0, length)), memory.mask

    def extend(
        self,
        carry: tuple[tuple[State, ...], Bool[Array, "batch source"]],
        x: Float[Array, "batch target embedding"],
        *,
        mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Written:
        """Read further steps of the target."""
        state, source = carry
        state, y = self.stack.extend(state, x, mask=mask, train=train)
        return Written((state, source), y, jnp.zeros((len(x), 0, x.shape[1], source.shape[1])))


class LookingDecoder(RecurrentDecoder):
    """What recurrent decoders with attention share: they make the source ready once, and take one step at a time.

    Attributes:
        attention: one of those in `models.attention`, as a partial.
    """

    attention: Callable[[], Attention] = Attention

    def setup(self):
        super().setup()
        self.attend = self.attention()

    def start(self, memory: Memory, length: int) -> Looking:
        """The bridge's states, and the source made ready to be looked at."""
        state, _ = super().start(memory, length)
        batch, source = memory.mask.shape
        sight = self.attend.prepare(memory.outputs, memory.mask)
        return Looking(state, sight, jnp.zeros((batch, self.features)), jnp.zeros((batch, source)))

    def extend(
        self,
        carry: Looking,
        x: Float[Array, "batch target embedding"],
        *,
        mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Written:
        """Read further steps of the target."""
        return _one_by_one(self, carry, x, jnp.ones(x.shape[:2], bool) if mask is None else mask, train)

    def read(self, carry: Looking, x: Array, mask: Array, train: bool) -> Written:
        """One step, all that a subclass adds."""
        raise NotImplementedError


class LuongDecoder(LookingDecoder):
    """Looks at the source after its recurrent layers, h~ = tanh(W [c; h]) (Luong et al. 2015, arXiv:1508.04025, eq. 5).

    Only the recurrence runs step by step: attention is one product for the whole target.

    Attributes:
        input_feeding: whether h~ of the step before is part of the input (sec. 3.3); then all runs step by step.
    """

    input_feeding: bool = False

    def setup(self):
        super().setup()
        self.combine = nn.Dense(self.features, use_bias=False)

    def extend(
        self,
        carry: Looking,
        x: Float[Array, "batch target embedding"],
        *,
        mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Written:
        """Read further steps of the target."""
        if self.input_feeding:
            return super().extend(carry, x, mask=mask, train=train)
        return self.read(carry, x, jnp.ones(x.shape[:2], bool) if mask is None else mask, train)

    def read(self, carry: Looking, x: Array, mask: Array, train: bool) -> Written:
        """Any number of steps; one, where h~ is fed back."""
        if self.input_feeding:
            x = jnp.concatenate([x, carry.fed[:, None]], axis=-1)
        state, h = self.stack.extend(carry.state, x, mask=mask, train=train)
        context, weights = self.attend.look(carry.sight, h)
        y = jnp.tanh(self.combine(jnp.concatenate([context, h], axis=-1)))
        fed = jnp.where(mask[:, -1:], y[:, -1], carry.fed) if self.input_feeding else carry.fed
        return Written(carry._replace(state=state, fed=fed, attended=_more(carry, weights, mask)), y, weights)


class BahdanauDecoder(LookingDecoder):
    """Looks at the source before each step, from the state of the step before (Bahdanau et al. 2015, arXiv:1409.0473).

    What it sees is part of the cells' input; [h; c; x] leave together for the readout, as in seed S3. The attention of
    both is `Additive`.
    """

    def read(self, carry: Looking, x: Array, mask: Array, train: bool) -> Written:
        """One step."""
        h = jax.tree.leaves(carry.state[-1])[0]
        context, weights = self.attend.look(carry.sight, h[:, None])
        seen = jnp.concatenate([x, context], axis=-1)
        state, y = self.stack.extend(carry.state, seen, mask=mask, train=train)
        features = jnp.concatenate([y, context, x], axis=-1)
        return Written(carry._replace(state=state, attended=_more(carry, weights, mask)), features, weights)


def _one_by_one(decoder: Any, carry: Looking, x: Array, mask: Array, train: bool) -> Written:
    """`decoder.read`, which takes one step, over all of them."""

    def step(decoder, carry, now):
        x, real = now
        written = decoder.read(carry, x[:, None], real[:, None], train)
        return written.carry, (written.features[:, 0], written.weights[:, :, 0])

    every: Any = {"variable_broadcast": "params", "split_rngs": {"params": False, "dropout": True}, "out_axes": (1, 2)}
    carry, (features, weights) = nn.scan(step, in_axes=1, **every)(decoder, carry, (x, mask))
    return Written(carry, features, weights)


def _more(carry: Looking, weights: Array, mask: Array) -> Float[Array, "batch source"]:
    """What has been attended to, these steps included."""
    return carry.attended + jnp.where(mask[:, :, None], weights.mean(axis=1), 0).sum(axis=1)


class TransformerDecoder(nn.Module):
    """Causal blocks with a second attention in each, over the source (Vaswani et al. 2017, arXiv:1706.03762, fig. 1).

    Attributes:
        features, heads, layers, expansion, pre_norm, positions, activation, dropout: as in `Transformer`.
    """

    features: int
    heads: int = 4
    layers: int = 2
    expansion: int = 4
    pre_norm: bool = True
    positions: Callable[..., Positions] = Sinusoid
    activation: Callable[[Array], Array] = nn.gelu
    dropout: float = 0.0

    def setup(self):
        self.attend = tuple(MultiHead(self.features, self.heads) for _ in range(self.layers))
        self.stack = Transformer(
            self.features,
            self.heads,
            self.layers,
            self.expansion,
            pre_norm=self.pre_norm,
            positions=self.positions,
            activation=self.activation,
            dropout=self.dropout,
        )

    def start(self, memory: Memory, length: int) -> Looking:
        """An empty cache of `length` slots, and keys and values of the source for every layer."""
        batch, source = memory.mask.shape
        sight = tuple(attend.prepare(memory.outputs, memory.mask) for attend in self.attend)
        cache = self.stack.start(batch, self.features, length)
        return Looking(cache, sight, jnp.zeros((batch, 0)), jnp.zeros((batch, source)))

    def extend(
        self,
        carry: Looking,
        x: Float[Array, "batch target embedding"],
        *,
        mask: Bool[Array, "batch target"] | None = None,
        train: bool = False,
    ) -> Written:
        """Read further steps of the target, all of them at once."""
        mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
        looks = [partial(attend.look, sight) for attend, sight in zip(self.attend, carry.sight, strict=True)]
        cache, y, weights = self.stack.extend_over(carry.state, x, looks, mask=mask, train=train)
        return Written(carry._replace(state=cache, attended=_more(carry, weights, mask)), y, weights)
