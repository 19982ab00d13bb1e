"""The Transformer over one sequence: causal with a key/value cache, or bidirectional."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from seqjax._checks import known
from seqjax.models.attention import dot_attention, is_long, self_attention
from seqjax.models.backbone import Backbone
from seqjax.models.module import Features, Inputs, Mask, Module, check_causal, widened, zero_padding
from seqjax.models.positions import Positions, Sinusoidal
from seqjax.types import InputError

CrossAttention = Callable[[Array], tuple[Array, Array]]
"""`queries -> (averages, weights)`: attention to a source that is not part of the sequence."""

SelfAttention = Callable[[Array, Array, Array], tuple[Array, Array | None]]
"""`(query, keys, values) -> (averages, weights)`: within the sequence; weights only where they are asked for."""


class Cache(NamedTuple):
    """The carry of a causal Transformer.

    Attributes:
        keys, values: one array a layer; slots past `used` are empty.
        real: which slots hold a real step; padding takes a slot but is never attended to.
        used: number of slots filled, the same for all rows.
    """

    keys: tuple[Float[Array, "batch heads length head_dim"], ...]
    values: tuple[Float[Array, "batch heads length head_dim"], ...]
    real: Bool[Array, "batch length"]
    used: Int[Array, ""]

    @property
    def room(self) -> int:
        """Number of empty slots; of all slots where it is not known how many are used, as inside `jax.jit`."""
        return self.real.shape[1] - (int(self.used) if known(self.used) else 0)


class WindowCache(NamedTuple):
    """The carry of a Transformer with a window.

    Attributes:
        keys, values: one array a layer: the last real steps of each row, the newest one last.
        read: number of real steps of each row until now.
    """

    keys: tuple[Float[Array, "batch heads slots head_dim"], ...]
    values: tuple[Float[Array, "batch heads slots head_dim"], ...]
    read: Int[Array, " batch"]


class Transformer(Backbone):
    """Stack of self-attention and feed-forward blocks (Vaswani et al. 2017, arXiv:1706.03762).

    The attention weights, `(batch, heads, target, source)` of each block, are computed where they are asked for:

        y, kept = model.apply(params, x, mutable="intermediates")
        (weights,) = kept["intermediates"]["Block_0"]["attention"]

    Attributes:
        features: width of every block and of the output.
        heads: attention heads; they divide `features`.
        layers: blocks.
        expansion: width of the feed-forward layer in units of `features`.
        causal: whether a step attends only to itself and the past; otherwise to all steps, without streaming.
        pre_norm: normalise before each sublayer and once at the end (Xiong et al. 2020, arXiv:2002.04745), otherwise
            after each residual sum, as in the paper.
        positions: `Sinusoidal()`, `Learned(length)`, `Rotary()`, `ALiBi()`, `RelativeBias()`; `Positions()`: none,
            known as NoPE.
        activation: of the feed-forward layer.
        dropout: fraction of each sublayer's output dropped in training.
        dtype: of the computation, such as `jnp.bfloat16`; None: that of inputs and parameters. Parameters, norms'
            statistics, sums of attention weights and the output always have single precision or more.
        window: if causal, a step attends to the last `window` steps, itself included (Beltagy et al. 2020,
            arXiv:2004.05150); the carry holds the `window - 1` before it, which come first in the attention weights.
            None: to the whole past.
    """

    _parts: ClassVar = {"positions": (Positions, "Sinusoidal()")}

    features: int
    heads: int = 4
    layers: int = 2
    expansion: int = 4
    causal: bool = True
    pre_norm: bool = True
    positions: Positions = Sinusoidal()
    activation: Callable[[Array], Array] = nn.gelu
    dropout: float = 0.0
    dtype: DTypeLike | None = None
    window: int | None = None

    def __post_init__(self):
        if self.window is not None and not self.causal:
            raise InputError(f"only a causal Transformer has a window, got window={self.window} with causal=False")
        if self.heads < 1 or self.features % self.heads:
            raise InputError(f"heads must divide features, got {self.heads} heads and {self.features} features")
        super().__post_init__()

    @property
    def receptive_field(self) -> int | None:
        """Number of steps that reach one output, 1 + layers (window - 1); None: all."""
        return None if self.window is None else 1 + self.layers * (self.window - 1)

    def start(self, batch: int, inputs: int, length: int) -> Cache | WindowCache:
        """An empty cache of `length` slots, or of `window - 1`.

        Raises:
            InputError: the model is not causal.
        """
        check_causal(self, "Transformer.start")
        return self._empty(batch, length)

    def _empty(self, batch: int, length: int) -> Cache | WindowCache:
        length = length if self.window is None else self.window - 1
        shape = (batch, self.heads, length, self.features // self.heads)
        empty = tuple(jnp.zeros(shape, self.dtype) for _ in range(self.layers))
        if self.window is not None:
            return WindowCache(empty, empty, jnp.zeros((batch,), jnp.int32))
        return Cache(empty, empty, jnp.zeros((batch, length), bool), jnp.zeros((), jnp.int32))

    def extend(
        self, carry: Cache | WindowCache, x: Inputs, *, mask: Mask = None, train: bool = False
    ) -> tuple[Cache | WindowCache, Features]:
        """Read further steps, any number of them.

        Raises:
            InputError: the model is not causal, or the cache is too short. Inside jit, where the number of used slots
                is not known, outputs past the cache's end are NaN: check the length before the loop.
        """
        check_causal(self, "Transformer.extend")
        _check_room(carry, x.shape[1])
        return self._blocks(carry, zero_padding(x, mask), mask, train, None)[:2]

    def extend_attending(
        self,
        carry: Cache | WindowCache,
        x: Inputs,
        cross_attentions: Sequence[CrossAttention],
        *,
        mask: Bool[Array, "batch time"],
        train: bool = False,
    ) -> tuple[Cache | WindowCache, Features, Float[Array, "batch heads time source"]]:
        """`extend` with a cross-attention in each block, and their weights, one layer's heads after the other's."""
        check_causal(self, "Transformer.extend_attending")
        _check_room(carry, x.shape[1])
        cache, y, weights = self._blocks(carry, zero_padding(x, mask), mask, train, cross_attentions)
        return cache, y, jnp.concatenate(weights, axis=1)

    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        return self._blocks(self._empty(x.shape[0], x.shape[1]), x, mask, train, None)[1]

    @nn.compact
    def _blocks(
        self,
        cache: Cache | WindowCache,
        x: Array,
        mask: Array | None,
        train: bool,
        cross_attentions: Sequence[CrossAttention] | None,
    ) -> tuple[Cache | WindowCache, Array, list[Array]]:
        if isinstance(cache, WindowCache):
            return self._windowed(cache, x, mask, train, cross_attentions)
        batch, time, _ = x.shape
        length = cache.real.shape[1]
        real_now = jnp.ones((batch, time), bool) if mask is None else mask
        real = _write(cache.real, real_now, cache.used, axis=1)
        # A step's position is the number of real steps before it, so that padding between two chunks does not count.
        # Padding itself has position 0: past the end of a learned table it would be NaN, and so would the gradients.
        index = cache.real.sum(axis=1)[:, None] + jnp.cumsum(real_now, axis=1) - real_now
        index = jnp.where(real_now, index, 0)
        # The mask is a prefix: all rows of a whole sequence have the same positions, but not all rows of a cache.
        whole = time == length
        without_weights = whole and not self.is_mutable_collection("intermediates")
        places = jnp.arange(time)[None], jnp.arange(time)[None]
        if not whole:
            places = index, jnp.cumsum(real, axis=1) - real
        elif without_weights and is_long(batch, self.heads, time):
            places = jnp.full((1, 1), time - 1), jnp.arange(2 * time - 1)[None]
        bias = self.positions.bias(self.heads, *places, causal=self.causal)
        if without_weights:
            attend = partial(_without_weights, mask=real, causal=self.causal, bias=bias)
        else:
            slot = cache.used + jnp.arange(time)
            seen = jnp.broadcast_to(real[:, None, :], (batch, time, length))
            if self.causal:
                seen = seen & (jnp.arange(length)[None, :] <= slot[:, None])[None]
            if whole:
                seen = seen & real[:, :, None]
            attend = partial(dot_attention, mask=seen, bias=bias)

        x, keys, values, weights = self._stack(cache, cache.used, x, attend, index, train, cross_attentions)
        x = jnp.where(cache.used + time > length, jnp.nan, x)
        return Cache(keys, values, real, cache.used + time), zero_padding(x, mask), weights

    def _windowed(
        self,
        cache: WindowCache,
        x: Array,
        mask: Array | None,
        train: bool,
        cross_attentions: Sequence[CrossAttention] | None,
    ) -> tuple[WindowCache, Array, list[Array]]:
        """`_blocks` where the steps of the cache and the new ones form one line, of which the last steps are kept."""
        batch, time, _ = x.shape
        past = cache.keys[0].shape[2]
        real = jnp.ones((batch, time), bool) if mask is None else mask
        count = real.sum(axis=1)[:, None]
        index = jnp.where(real, cache.read[:, None] + jnp.arange(time)[None], 0)
        # Real steps are next to each other: those of the cache are its last ones, the new ones are the first.
        held = jnp.arange(past)[None] >= past - cache.read[:, None]
        places = jnp.maximum(cache.read[:, None] - past + jnp.arange(past + time)[None], 0)
        size = max(64, past)
        size = time if time <= 2 * size or self.is_mutable_collection("intermediates") else size
        attend = partial(
            self._attend_to_window, real=jnp.concatenate([held, real], axis=1), index=index, places=places, size=size
        )
        x, keys, values, weights = self._stack(cache, None, x, attend, index, train, cross_attentions)
        last = (count + jnp.arange(past)[None])[:, None, :, None]
        keys, values = (tuple(jnp.take_along_axis(line, last, axis=2) for line in lines) for lines in (keys, values))
        return WindowCache(keys, values, cache.read + count[:, 0].astype(jnp.int32)), zero_padding(x, mask), weights

    def _attend_to_window(
        self, query: Array, keys: Array, values: Array, *, real: Array, index: Array, places: Array, size: int
    ) -> tuple[Array, Array]:
        """Attention by blocks of `size` targets, each with the steps of the line that any of them attends to.

        Args:
            real: which steps of the line there are.
            index: positions of the targets.
            places: positions of the steps of the line.
        """
        batch, time = index.shape
        past = keys.shape[1] - time
        count = -(-time // size)

        def targets(y: Array) -> Array:
            return _padded(y, count * size).reshape(batch * count, size, *y.shape[2:])

        def sources(y: Array) -> Array:
            if count == 1:
                return y
            y = _padded(y, (count + 1) * size)
            pair = [part.reshape(batch * count, size, *y.shape[2:]) for part in (y[:, :-size], y[:, size:])]
            return jnp.concatenate(pair, axis=1)

        distance = past + jnp.arange(size)[:, None] - jnp.arange(sources(real).shape[1])[None]
        seen = sources(real)[:, None] & ((distance >= 0) & (distance <= past))[None]
        bias = self.positions.bias(self.heads, targets(index), sources(places), causal=True)
        y, weights = dot_attention(targets(query), sources(keys), sources(values), mask=seen, bias=bias)
        return y.reshape(batch, count * size, *y.shape[2:])[:, :time], weights

    def _stack(
        self,
        cache: Cache | WindowCache,
        used: Array | None,
        x: Array,
        attend: SelfAttention,
        index: Array,
        train: bool,
        cross_attentions: Sequence[CrossAttention] | None,
    ) -> tuple[Array, tuple[Array, ...], tuple[Array, ...], list[Array]]:
        """Embedding, blocks and last norm: the output, each block's keys and values, and weights of cross-attention."""
        x = self.positions.embed(nn.Dense(self.features, dtype=self.dtype, name="embed")(x), index)
        shape = self.heads, self.expansion, self.pre_norm, self.activation, self.dropout, self.dtype
        keys, values, weights = [], [], []
        for layer in range(self.layers):
            old = cache.keys[layer], cache.values[layer], used
            inputs = old, x, attend, self.positions, index
            if cross_attentions is None:
                (key, value), x = Block(*shape, name=f"Block_{layer}")(*inputs, train=train)
            else:
                block = CrossBlock(*shape, name=f"Block_{layer}")
                (key, value), x, weight = block(*inputs, cross_attentions[layer], train=train)
                weights.append(weight)
            keys.append(key)
            values.append(value)
        if self.pre_norm:
            x = nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
        return widened(x), tuple(keys), tuple(values), weights


class Sublayers(Module):
    """The sublayers of a block, each with its norm, its dropout and its residual sum.

    Attributes:
        heads, expansion, pre_norm, activation, dropout, dtype: as in `Transformer`.
    """

    heads: int
    expansion: int
    pre_norm: bool
    activation: Callable[[Array], Array]
    dropout: float
    dtype: DTypeLike | None

    @property
    def _half(self) -> bool:
        """Half precision is for memory: what is computed in single precision is not kept for the gradient."""
        return self.dtype is not None and jnp.dtype(self.dtype).itemsize < 4

    def _residual(
        self, x: Array, name: str, drop: nn.Dropout, sublayer: Callable[[Array], tuple[Array, Any]]
    ) -> tuple[Array, Any]:
        """x + drop(sublayer(norm(x))), or norm(x + drop(sublayer(x))), and the rest of what the sublayer returns."""
        norm = (nn.remat(nn.LayerNorm) if self._half else nn.LayerNorm)(dtype=self.dtype, name=name)
        if self.pre_norm:
            y, rest = sublayer(norm(x))
            return x + drop(y), rest
        y, rest = sublayer(x)
        return norm(x + drop(y)), rest

    def _self_attention(
        self,
        old: tuple[Array, Array, Array | None],
        x: Array,
        attend: SelfAttention,
        positions: Positions,
        index: Array,
        drop: nn.Dropout,
    ) -> tuple[Array, tuple[Array, Array]]:
        old_keys, old_values, used = old
        features = x.shape[-1]

        def attention(y: Array) -> tuple[Array, tuple[Array, Array]]:
            heads = self._dense(y, (3, self.heads, features // self.heads), "query_key_value")
            query, key, value = (heads[:, :, part] for part in range(3))
            # Each head's steps are contiguous, as products over the cache need them: a third less time for decoding.
            keys = _write(old_keys, jnp.swapaxes(positions.rotate(key, index), 1, 2), used, axis=2)
            values = _write(old_values, jnp.swapaxes(value, 1, 2), used, axis=2)
            y, weights = attend(positions.rotate(query, index), jnp.swapaxes(keys, 1, 2), jnp.swapaxes(values, 1, 2))
            self.sow("intermediates", "attention", weights)
            return self._dense(y, features, "attention_out", axis=(-2, -1)), (keys, values)

        return self._residual(x, "attention_norm", drop, attention)

    def _feed_forward(self, x: Array, drop: nn.Dropout) -> Array:
        features = x.shape[-1]

        def feed_forward(y: Array) -> tuple[Array, None]:
            activation = jax.checkpoint(self.activation) if self._half else self.activation
            y = activation(self._dense(y, self.expansion * features, "feed_forward_in"))
            return self._dense(y, features, "feed_forward_out"), None

        return self._residual(x, "feed_forward_norm", drop, feed_forward)[0]

    def _dense(self, y: Array, features: int | tuple[int, ...], name: str, axis: tuple[int, ...] = (-1,)) -> Array:
        # All steps of all rows as one matrix: with two axes in place of its first, the gradient of the kernel takes
        # a transposed copy of the wider side on CPU, a tenth of a training step.
        rows = nn.DenseGeneral(features, axis, dtype=self.dtype, name=name)(y.reshape(-1, *y.shape[2:]))
        return rows.reshape(*y.shape[:2], *rows.shape[1:])


class Block(Sublayers):
    """Self-attention, then a feed-forward layer."""

    @nn.compact
    def __call__(
        self,
        old: tuple[Array, Array, Array | None],
        x: Features,
        attend: SelfAttention,
        positions: Positions,
        index: Int[Array, "batch time"],
        *,
        train: bool,
    ) -> tuple[tuple[Array, Array], Features]:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x, cache = self._self_attention(old, x, attend, positions, index, drop)
        return cache, self._feed_forward(x, drop)


class CrossBlock(Sublayers):
    """Self-attention, then cross-attention, then a feed-forward layer."""

    @nn.compact
    def __call__(
        self,
        old: tuple[Array, Array, Array | None],
        x: Features,
        attend: SelfAttention,
        positions: Positions,
        index: Int[Array, "batch time"],
        cross_attention: CrossAttention,
        *,
        train: bool,
    ) -> tuple[tuple[Array, Array], Features, Array]:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x, cache = self._self_attention(old, x, attend, positions, index, drop)
        x, weights = self._residual(x, "source_norm", drop, cross_attention)
        self.sow("intermediates", "cross_attention", weights)
        return cache, self._feed_forward(x, drop), weights


def _without_weights(
    query: Array, keys: Array, values: Array, *, mask: Array, causal: bool, bias: Array | None
) -> tuple[Array, None]:
    return self_attention(query, keys, values, mask=mask, causal=causal, bias=bias), None


def _padded(y: Array, time: int) -> Array:
    """With zeros after the last step."""
    return jnp.pad(y, ((0, 0), (0, time - y.shape[1]), *((0, 0),) * (y.ndim - 2)))


def _write(slots: Array, new: Array, used: Array | None, *, axis: int) -> Array:
    """`new` in the slots from `used` on; all of them at once where it fills the cache, as in a whole-sequence call.

    After the last slot where `used` is None.
    """
    if used is None:
        return jnp.concatenate([slots, new.astype(slots.dtype)], axis=axis)
    if new.shape[axis] == slots.shape[axis]:
        return new
    return jax.lax.dynamic_update_slice_in_dim(slots, new.astype(slots.dtype), used, axis=axis)


def _check_room(cache: Cache | WindowCache, steps: int) -> None:
    if isinstance(cache, Cache) and steps > cache.room:
        length = cache.real.shape[1]
        raise InputError(f"the cache holds {length} steps: {length - cache.room} are used and {steps} more were given")
