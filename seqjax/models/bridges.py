"""Bridges: the first state of a decoder, from the final state of an encoder."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.module import Module
from seqjax.types import InputError


def _numbers(state: Any) -> Float[Array, "batch width"]:
    """Every real number of a state in one row an example; what is no number, such as an index, is left out."""
    rows = []
    for leaf in jax.tree.leaves(state):
        if jnp.iscomplexobj(leaf):
            rows += [leaf.real, leaf.imag]
        elif jnp.issubdtype(leaf.dtype, jnp.floating):
            rows.append(leaf)
    return jnp.concatenate([row.reshape(row.shape[0], -1) for row in rows], axis=-1)


def _filled(like: Any, row: Callable[[int], Array]) -> Any:
    """A state with the structure and shapes of `like`, its numbers from `row(width)`, one row an example."""

    def fill(leaf: Array) -> Array:
        width = math.prod(leaf.shape[1:])
        if jnp.iscomplexobj(leaf):
            real, imaginary = jnp.split(row(2 * width), 2, axis=-1)
            return jax.lax.complex(real, imaginary).reshape(leaf.shape)
        return row(width).reshape(leaf.shape) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(fill, like)


class Bridge(Module):
    """tanh(W s + b), for states of any widths (Bahdanau et al. 2015, arXiv:1409.0473, app. A.2.2).

    Each part of each layer's state has its own W. s is the final state of the encoder's layer of that depth, or of its
    last layer: all its parts, and both directions, concatenated.
    """

    @nn.compact
    def __call__(self, final: tuple[Any, ...], like: tuple[Any, ...]) -> tuple[Any, ...]:
        """The first state, with the structure and widths of `like`, from the encoder's `final` one."""
        first = []
        for depth, state in enumerate(like):
            summary = _numbers(final[min(depth, len(final) - 1)])
            first.append(_filled(state, lambda width, summary=summary: jnp.tanh(nn.Dense(width)(summary))))
        return tuple(first)


class CopyState(Module):
    """The encoder's final state, unchanged (Sutskever et al. 2014): cells of both sides have one kind and width.

    Only shapes are compared: h of two directions is accepted as h and c of an LSTM.
    """

    def __call__(self, final: tuple[Any, ...], like: tuple[Any, ...]) -> tuple[Any, ...]:
        """The first state.

        Raises:
            InputError: the encoder's state has other shapes than the decoder's.
        """
        found, needed = (jax.tree.map(jnp.shape, state) for state in (final, like))
        if found != needed:
            raise InputError(f"CopyState needs an encoder that ends in states {needed}, got {found}: use Bridge()")
        return final


class LowRankBridge(Module):
    """A linear map of rank `rank`: code = Q s, and every part of the decoder's state is a P code.

    With linear cells on both sides y_t = sum_s (c' V^(t+1) P Q W^s U) x_{-s} has this rank over t and s, however wide
    the two sides are (Li, Jiang & Li 2022, ICLR).

    Attributes:
        rank: width of the code.
    """

    rank: int

    @nn.compact
    def __call__(self, final: tuple[Any, ...], like: tuple[Any, ...]) -> tuple[Any, ...]:
        code = nn.Dense(self.rank, use_bias=False, name="code")(_numbers(final))
        number = itertools.count()
        return _filled(like, lambda width: nn.Dense(width, use_bias=False, name=f"state_{next(number)}")(code))
