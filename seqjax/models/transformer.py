"""The Transformer over one sequence: causal with a key/value cache, or reading both ways."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from seqjax.models.attention import dot_attention, self_attention
from seqjax.models.layers import widened, zero_padding

Look = Callable[[Array], tuple[Array, Array]]
"""`queries -> (what they see, weights)`: an attention over something that is not part of the sequence."""


class Positions(nn.Module):
    """No positions: what a subclass overrides to say where in its sequence a step stands."""

    def embed(self, x: Float[Array, "batch time features"], index: Int[Array, "batch time"]) -> Array:
        """What is added to the embedded input."""
        return x

    def rotate(self, heads: Float[Array, "batch time heads head_dim"], index: Int[Array, "batch time"]) -> Array:
        """What is done to queries and keys."""
        return heads


class Sinusoid(Positions):
    """Sines and cosines of geometric wavelengths, added to the input (arXiv:1706.03762, sec. 3.5)."""

    longest: float = 10_000.0

    def embed(self, x: Float[Array, "batch time features"], index: Int[Array, "batch time"]) -> Array:
        angle = _angles(index, x.shape[-1], self.longest)
        return x + jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)[..., : x.shape[-1]].astype(x.dtype)


class Learned(Positions):
    """A trained vector for each of `length` positions; longer sequences are an error."""

    length: int = 512

    @nn.compact
    def embed(self, x: Float[Array, "batch time features"], index: Int[Array, "batch time"]) -> Array:
        if x.shape[1] > self.length:
            raise ValueError(f"learned positions hold {self.length} steps, got {x.shape[1]}")
        table = self.param("table", nn.initializers.normal(0.02), (self.length, x.shape[-1]))
        # Filling with NaN: a position past the table, which only a streaming caller can reach, must not go unnoticed.
        return x + jnp.take(table, index, axis=0, mode="fill").astype(x.dtype)


class Rotary(Positions):
    """Queries and keys rotated by position: scores depend on distance (Su et al. 2021, arXiv:2104.09864)."""

    longest: float = 10_000.0

    def rotate(self, heads: Float[Array, "batch time heads head_dim"], index: Int[Array, "batch time"]) -> Array:
        if heads.shape[-1] % 2:
            raise ValueError(f"rotary positions turn pairs: features / heads must be even, got {heads.shape[-1]}")
        angle = _angles(index, heads.shape[-1], self.longest)[:, :, None, :]
        first, second = jnp.split(heads, 2, axis=-1)
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        turned = jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
        return turned.astype(heads.dtype)


def _angles(index: Int[Array, "batch time"], width: int, longest: float) -> Float[Array, "batch time half"]:
    half = (width + 1) // 2
    frequency = longest ** (-jnp.arange(half) / half)
    return index[..., None].astype(jnp.float32) * frequency[None, None, :]


class Cache(NamedTuple):
    """What a causal Transformer remembers.

    Attributes:
        keys, values: one array a layer; slots past `used` are empty.
        real: which slots hold a real step; padding takes a slot but is never seen.
        used: slots filled so far, the same for all rows.
    """

    keys: tuple[Float[Array, "batch heads length head_dim"], ...]
    values: tuple[Float[Array, "batch heads length head_dim"], ...]
    real: Bool[Array, "batch length"]
    used: Int[Array, ""]


class Transformer(nn.Module):
    """Stack of self-attention and feed-forward blocks (Vaswani et al. 2017, arXiv:1706.03762).

    Attributes:
        features: width of every block and of the output.
        heads: attention heads; they divide `features`.
        layers: blocks.
        expansion: width of the feed-forward layer in units of `features`.
        causal: whether a step sees only itself and the past; otherwise both ways, without streaming.
        pre_norm: normalise before each sublayer and once at the end (Xiong et al. 2020, arXiv:2002.04745), otherwise
            after each residual sum, as in the paper.
        positions: a class of this module, or a partial of one: Sinusoid, Learned, Rotary, or Positions for none.
        activation: of the feed-forward layer.
        dropout: share of each sublayer's output dropped in training.
        dtype: what is computed with, such as `jnp.bfloat16`; None: what inputs and parameters have. Parameters, norms'
            statistics, sums of attention weights and the output have single precision or more, whatever it is.
    """

    features: int
    heads: int = 4
    layers: int = 2
    expansion: int = 4
    causal: bool = True
    pre_norm: bool = True
    positions: Callable[..., Positions] = Sinusoid
    activation: Callable[[Array], Array] = nn.gelu
    dropout: float = 0.0
    dtype: DTypeLike | None = None

    def __post_init__(self):
        if self.heads < 1 or self.features % self.heads:
            raise ValueError(f"heads must divide features, got {self.heads} heads and {self.features} features")
        super().__post_init__()

    def start(self, batch: int, inputs: int, length: int) -> Cache:
        """An empty cache of `length` slots."""
        shape = (batch, self.heads, length, self.features // self.heads)
        empty = tuple(jnp.zeros(shape, self.dtype) for _ in range(self.layers))
        return Cache(empty, empty, jnp.zeros((batch, length), bool), jnp.zeros((), jnp.int32))

    def extend(
        self,
        carry: Cache,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[Cache, Float[Array, "batch time features"]]:
        """Read further steps.

        Raises:
            ValueError: the model is not causal, or the cache is too short. Inside jit, where the number of used slots
                is not known, outputs past the cache's end are NaN: check the length before the loop.
        """
        if not self.causal:
            raise ValueError("only a causal Transformer can be extended: this one has causal=False")
        _check_room(carry, x.shape[1])
        cache, y, _ = self._read(carry, x, mask, train, [None] * self.layers)
        return cache, y

    def extend_over(
        self,
        carry: Cache,
        x: Float[Array, "batch time inputs"],
        looks: Sequence[Look],
        *,
        mask: Bool[Array, "batch time"],
        train: bool = False,
    ) -> tuple[Cache, Float[Array, "batch time features"], Float[Array, "batch heads time source"]]:
        """The same with a second attention in each block, between the first and the feed-forward layer.

        Args:
            looks: what it attends with, one a layer: a source that is not part of the sequence.

        Returns:
            Also the weights of these, one layer's heads after the other's.
        """
        _check_room(carry, x.shape[1])
        cache, y, weights = self._read(carry, x, mask, train, looks)
        return cache, y, jnp.concatenate(cast(list[Array], weights), axis=1)

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time features"]:
        cache = self.start(x.shape[0], x.shape[-1], x.shape[1])
        return self._read(cache, x, mask, train, [None] * self.layers)[1]

    @nn.compact
    def _read(
        self, cache: Cache, x: Array, mask: Array | None, train: bool, looks: Sequence[Look | None]
    ) -> tuple[Cache, Array, list[Array | None]]:
        batch, time, _ = x.shape
        length = cache.real.shape[1]
        real_now = jnp.ones((batch, time), bool) if mask is None else mask
        real = _write(cache.real, real_now, cache.used, axis=1)
        # A step's position counts the real steps before it, so that padding between two chunks moves nothing. Padding
        # itself takes position 0: past the end of a learned table it would be NaN, and so would the gradients.
        index = cache.real.sum(axis=1)[:, None] + jnp.cumsum(real_now, axis=1) - real_now
        index = jnp.where(real_now, index, 0)
        if time == length:  # a whole sequence, or all that an empty cache holds
            attend = partial(self_attention, mask=real, causal=self.causal)
        else:
            slot = cache.used + jnp.arange(time)
            seen = real[:, None, :] & (jnp.arange(length)[None, :] <= slot[:, None])[None]
            attend = partial(_over_cache, mask=seen)

        positions = self.positions()
        # Padding may hold anything: a weight of 0 does not silence a NaN among the values.
        x = positions.embed(nn.Dense(self.features, dtype=self.dtype, name="embed")(zero_padding(x, mask)), index)
        keys, values, weights = [], [], []
        for layer, look in enumerate(looks):
            block = Block(self.heads, self.expansion, self.pre_norm, self.activation, self.dropout, self.dtype)
            old = cache.keys[layer], cache.values[layer], cache.used
            (key, value), x, looked = block(old, x, attend, positions, index, look, train=train)
            keys.append(key)
            values.append(value)
            weights.append(looked)
        if self.pre_norm:
            x = nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
        x = jnp.where(cache.used + time > length, jnp.nan, widened(x))
        return Cache(tuple(keys), tuple(values), real, cache.used + time), zero_padding(x, mask), weights


class Block(nn.Module):
    """Attention over the cache, then (if any) over a source, then a feed-forward layer.

    Each has its residual sum and norm.
    """

    heads: int
    expansion: int
    pre_norm: bool
    activation: Callable[[Array], Array]
    dropout: float
    dtype: DTypeLike | None

    @nn.compact
    def __call__(
        self,
        old: tuple[Array, Array, Array],
        x: Float[Array, "batch time features"],
        attend: Callable[[Array, Array, Array], Array],
        positions: Positions,
        index: Int[Array, "batch time"],
        look: Look | None,
        *,
        train: bool,
    ) -> tuple[tuple[Array, Array], Float[Array, "batch time features"], Array | None]:
        features = x.shape[-1]
        old_keys, old_values, used = old
        drop = nn.Dropout(self.dropout, deterministic=not train)
        norm = partial(nn.LayerNorm, dtype=self.dtype)

        def dense(y: Array, features: int | tuple[int, ...], name: str, axis: tuple[int, ...] = (-1,)) -> Array:
            # All steps of all rows as one matrix: with two axes in place of its first, the gradient of the kernel takes
            # a transposed copy of the wider side on CPU, a tenth of a training step.
            rows = nn.DenseGeneral(features, axis, dtype=self.dtype, name=name)(y.reshape(-1, *y.shape[2:]))
            return rows.reshape(*y.shape[:2], *rows.shape[1:])

        y = norm(name="attention_norm")(x) if self.pre_norm else x
        heads = dense(y, (3, self.heads, features // self.heads), "query_key_value")
        query, key, value = (heads[:, :, part] for part in range(3))
        # Each head's steps lie together, as products over the cache want them: two thirds of the time of decoding.
        keys = _write(old_keys, jnp.swapaxes(positions.rotate(key, index), 1, 2), used, axis=2)
        values = _write(old_values, jnp.swapaxes(value, 1, 2), used, axis=2)
        y = attend(positions.rotate(query, index), jnp.swapaxes(keys, 1, 2), jnp.swapaxes(values, 1, 2))
        x = x + drop(dense(y, features, "attention_out", axis=(-2, -1)))
        if not self.pre_norm:
            x = norm(name="attention_norm")(x)

        weights = None
        if look is not None:
            y, weights = look(norm(name="source_norm")(x) if self.pre_norm else x)
            x = x + drop(y)
            if not self.pre_norm:
                x = norm(name="source_norm")(x)

        y = norm(name="feed_forward_norm")(x) if self.pre_norm else x
        y = self.activation(dense(y, self.expansion * features, "feed_forward_in"))
        x = x + drop(dense(y, features, "feed_forward_out"))
        if not self.pre_norm:
            x = norm(name="feed_forward_norm")(x)
        return (keys, values), x, weights


def _over_cache(query: Array, keys: Array, values: Array, *, mask: Array) -> Array:
    return dot_attention(query, keys, values, mask=mask)[0]


def _write(slots: Array, new: Array, used: Array, *, axis: int) -> Array:
    """`new` in the slots from `used` on; all of them at once where it fills the cache, as in a whole-sequence call."""
    if new.shape[axis] == slots.shape[axis]:
        return new
    return jax.lax.dynamic_update_slice_in_dim(slots, new, used, axis=axis)


def _check_room(cache: Cache, steps: int) -> None:
    length = cache.real.shape[1]
    try:
        used = int(cache.used)
    except jax.errors.ConcretizationTypeError:
        used = 0
    if used + steps > length:
        raise ValueError(f"the cache holds {length} steps: {used} are used and {steps} more were given")
