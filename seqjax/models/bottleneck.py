"""The narrow way from an encoder to a decoder: a code of a few numbers, all that the one leaves to the other."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


class Narrow(nn.Module):
    """A bridge through `code` numbers, linear both ways: code = Q h, every part of the decoder's state is a P code.

    With linear cells on both sides y_t = sum_s (c' V^(t+1) P Q W^s U) x_{-s} has rank `code` over t and s, however
    wide the two sides are (Li, Jiang & Li 2022, ICLR). It stands where `Bridge` and `HandOver` do:
    `partial(Narrow, 4)`.

    Attributes:
        code: numbers that pass.
    """

    code: int

    @nn.compact
    def __call__(self, given: tuple[Any, ...], wanted: tuple[Any, ...]) -> tuple[Any, ...]:
        summary = jnp.concatenate(jax.tree.leaves(given), axis=-1)
        code = nn.Dense(self.code, use_bias=False, name="code")(summary)
        parts, tree = jax.tree.flatten(wanted)
        made = [nn.Dense(p.shape[-1], use_bias=False, name=f"state_{i}")(code) for i, p in enumerate(parts)]
        return tree.unflatten(made)
