"""Position encodings of the Transformer: added to its inputs, rotating queries and keys, or added to the scores."""

import math
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from seqjax.models.module import Features, Module
from seqjax.types import InputError

Scores = Float[Array, "batch heads target source"]


class Positions(Module):
    """No position encoding; the base class of all others."""

    def embed(self, x: Features, index: Int[Array, "batch time"]) -> Array:
        """The embedded input with its positions."""
        return x

    def rotate(self, heads: Float[Array, "batch time heads head_dim"], index: Int[Array, "batch time"]) -> Array:
        """Queries or keys with their positions."""
        return heads

    def bias(
        self, heads: int, target: Int[Array, "batch target"], source: Int[Array, "batch source"], *, causal: bool
    ) -> Scores | None:
        """What is added to every block's scores, from the positions of queries and keys; None: nothing."""
        return None


class Sinusoidal(Positions):
    """Sines and cosines of geometric wavelengths, added to the input (arXiv:1706.03762, sec. 3.5).

    Attributes:
        longest: the wavelengths go from 2 pi to nearly 2 pi times this.
        interleaved: whether sine and cosine of one wavelength are neighbours, as in the paper and in most PyTorch code;
            otherwise all sines come first. An embedding learns either as well; imported weights need theirs.
    """

    longest: float = 10_000.0
    interleaved: bool = False
    _least: ClassVar = {"longest": 1}

    def embed(self, x: Features, index: Int[Array, "batch time"]) -> Array:
        angle = _angles(index, x.shape[-1], self.longest)
        waves = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1 if self.interleaved else -2)
        return x + waves.reshape(*index.shape, -1)[..., : x.shape[-1]].astype(x.dtype)


class Learned(Positions):
    """A trained vector for each of `length` positions; longer sequences are an error."""

    length: int = 512

    @nn.compact
    def embed(self, x: Features, index: Int[Array, "batch time"]) -> Array:
        if x.shape[1] > self.length:
            raise InputError(f"learned positions hold {self.length} steps, got {x.shape[1]}")
        table = self.param("table", nn.initializers.normal(0.02), (self.length, x.shape[-1]))
        # NaN for a position past the table, which only streaming can reach.
        return x + jnp.take(table, index, axis=0, mode="fill").astype(x.dtype)


class Rotary(Positions):
    """Queries and keys rotated by position: scores depend on distance (Su et al. 2021, arXiv:2104.09864)."""

    longest: float = 10_000.0
    _least: ClassVar = {"longest": 1}

    def rotate(self, heads: Float[Array, "batch time heads head_dim"], index: Int[Array, "batch time"]) -> Array:
        if heads.shape[-1] % 2:
            raise InputError(f"rotary positions rotate pairs: features / heads must be even, got {heads.shape[-1]}")
        angle = _angles(index, heads.shape[-1], self.longest)[:, :, None, :]
        first, second = jnp.split(heads, 2, axis=-1)
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        turned = jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
        return turned.astype(heads.dtype)


class ALiBi(Positions):
    """Scores that fall with distance, -slope |i - j| (Press, Smith & Lewis 2022, arXiv:2108.12409, sec. 3).

    Nothing is trained. For n heads, n a power of two, the slopes are 2^(-8/n), 2^(-16/n), …, 2^-8; for other numbers,
    those of the power below, followed by every other one of the power above, as in the authors' code.
    """

    def bias(
        self, heads: int, target: Int[Array, "batch target"], source: Int[Array, "batch source"], *, causal: bool
    ) -> Scores:
        slope = jnp.array(_slopes(heads), jnp.float32).reshape(1, heads, 1, 1)
        return -slope * jnp.abs(_distance(target, source))[:, None]


class RelativeBias(Positions):
    """A trained number for each head and bucket of distances, added to the scores.

    T5's (Raffel et al. 2020, arXiv:1910.10683, sec. 2.1): of the buckets of a direction, half hold one distance each,
    and the others grow geometrically up to `longest`; the last one holds all that is further. All blocks share the
    numbers. Causal attention has all buckets for the past, other attention half of them for each direction.

    Attributes:
        buckets: their number.
        longest: distance from which on all are in one bucket.
    """

    buckets: int = 32
    longest: int = 128
    _least: ClassVar = {"buckets": 4}

    def __post_init__(self):
        super().__post_init__()
        if self.longest <= self.buckets // 2:
            raise InputError(f"longest must be > buckets / 2, got {self.longest} and {self.buckets} buckets")

    @nn.compact
    def bias(
        self, heads: int, target: Int[Array, "batch target"], source: Int[Array, "batch source"], *, causal: bool
    ) -> Scores:
        table = self.param("table", nn.initializers.normal(0.02), (self.buckets, heads))
        bucket = relative_bucket(_distance(target, source), self.buckets, self.longest, causal=causal)
        return jnp.moveaxis(table[bucket], -1, 1)


def relative_bucket(
    distance: Int[Array, "*shape"], buckets: int, longest: int, *, causal: bool
) -> Int[Array, "*shape"]:
    """T5's bucket of a key `distance` steps before its query, or after it where negative; see `RelativeBias`."""
    within = buckets if causal else buckets // 2
    exact = within // 2
    far = jnp.maximum(distance, 0) if causal else jnp.abs(distance)
    growth = jnp.log(jnp.maximum(far, 1) / exact) / math.log(longest / exact)
    wide = jnp.minimum(exact + (growth * (within - exact)).astype(jnp.int32), within - 1)
    place = jnp.where(far < exact, far, wide)
    return place if causal else place + jnp.where(distance < 0, within, 0)


def _distance(
    target: Int[Array, "batch target"], source: Int[Array, "batch source"]
) -> Int[Array, "batch target source"]:
    """How many steps the key is before the query."""
    return target[:, :, None] - source[:, None, :]


def _slopes(heads: int) -> list[float]:
    below = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (head + 1) / below) for head in range(below)]
    return slopes + [2 ** (-4 * (head + 1) / below) for head in range(0, 2 * (heads - below), 2)]


def _angles(index: Int[Array, "batch time"], width: int, longest: float) -> Float[Array, "batch time half"]:
    half = (width + 1) // 2
    frequency = longest ** (-jnp.arange(half) / half)
    return index[..., None].astype(jnp.float32) * frequency[None, None, :]
