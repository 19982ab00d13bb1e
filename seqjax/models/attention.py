"""Scaled dot-product attention over heads."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def dot_attention(
    query: Float[Array, "batch target heads head_dim"],
    keys: Float[Array, "batch source heads head_dim"],
    values: Float[Array, "batch source heads values"],
    *,
    mask: Bool[Array, "batch target source"],
) -> tuple[Float[Array, "batch target heads values"], Float[Array, "batch heads target source"]]:
    """Weighted average of `values` by similarity of `query` to `keys`, each head for itself.

    Scaled dot product, softmax(q k' / sqrt(head_dim)) v (Vaswani et al. 2017, arXiv:1706.03762, eq. 1). A target that
    may see no source at all gets equal weights: finite, and so are its gradients; its output means nothing.

    Returns:
        The averages, and the weights, which sum to 1 over source.
    """
    logits = jnp.einsum("bthd,bshd->bhts", query * query.shape[-1] ** -0.5, keys)
    # A large finite number, not -inf: softmax over a row of -inf is NaN.
    weights = jax.nn.softmax(jnp.where(mask[:, None], logits, jnp.finfo(logits.dtype).min), axis=-1)
    return jnp.einsum("bhts,bshv->bthv", weights, values), weights
