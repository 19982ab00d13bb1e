"""Dilated linear networks as JAX functions of their taps: what `fits.DilatedFilter` is in NumPy, with gradients."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seqjax._checks import integers

Taps = tuple[Float[Array, "_base _inputs _channels"], ...]
"""Of all layers, the first one first; each has its own widths, whence the underscores."""


def response(taps: Taps) -> Float[Array, " lags"]:
    """The kernel of `models.LinearDilatedCNN` with these taps, base^layers lags of one input to one output.

    Lag n = sum_k i_k base^k weighs taps[0][i_0] taps[1][i_1] .... Products from both ends meet in the middle, at a
    matrix of sqrt(lags) rows.
    """
    half = (len(taps) + 1) // 2
    low, high = jnp.ones((1, 1)), jnp.ones((1, 1))
    for part in taps[:half]:
        low = jnp.einsum("na,iab->inb", low, part).reshape(-1, part.shape[2])
    for part in reversed(taps[half:]):
        high = jnp.einsum("iab,hb->hia", part, high).reshape(-1, part.shape[1])
    return (high @ low.T).reshape(-1)


def random(key: Key[Array, ""], channels: Int[Array, ""] | int, widest: int, layers: int, base: int = 2) -> Taps:
    """Normal taps of variance 1/(base inputs), base >= 2, so that white noise keeps its variance from layer to layer.

    Channels from `channels` (at most `widest`; may be traced) on are zero in both layers that share them. Their
    gradients vanish, so training leaves them at zero: networks of several widths fit into one compiled program.
    """
    integers(1, widest=widest, layers=layers)
    integers(2, base=base)
    used = (jnp.arange(widest) < channels).astype(float)
    inside = used / jnp.sqrt(channels)
    taps = []
    for layer, layer_key in enumerate(jax.random.split(key, layers)):
        seen = inside if layer > 0 else jnp.ones(1)
        said = used if layer < layers - 1 else jnp.ones(1)
        normal = jax.random.normal(layer_key, (base, len(seen), len(said)))
        taps.append(normal * seen[None, :, None] * said[None, None, :] / math.sqrt(base))
    return tuple(taps)
