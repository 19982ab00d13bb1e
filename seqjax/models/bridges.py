"""Bridges: the first state of a decoder, from the final state of an encoder."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from seqjax.models.module import Module
from seqjax.types import InputError


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
            summary = jnp.concatenate(jax.tree.leaves(final[min(depth, len(final) - 1)]), axis=-1)
            parts, tree = jax.tree.flatten(state)
            first.append(tree.unflatten([jnp.tanh(nn.Dense(part.shape[-1])(summary)) for part in parts]))
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
        summary = jnp.concatenate(jax.tree.leaves(final), axis=-1)
        code = nn.Dense(self.rank, use_bias=False, name="code")(summary)
        parts, tree = jax.tree.flatten(like)
        first = [nn.Dense(p.shape[-1], use_bias=False, name=f"state_{i}")(code) for i, p in enumerate(parts)]
        return tree.unflatten(first)
