"""What training minimises."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar


def squared_error(
    predictions: Float[Array, "batch time targets"],
    targets: Float[Array, "batch time targets"],
    weight: Float[Array, "batch time"] | None = None,
) -> Scalar:
    """Squared error, averaged over targets and, by weight (>= 0), over all steps of the batch.

    Steps of weight 0 may hold anything, NaN too: they change neither the value nor its gradient with respect to
    `predictions`. If no step counts the loss is 0.
    """
    weight = jnp.ones_like(targets[..., 0]) if weight is None else weight
    error = jnp.where(weight[..., None] > 0, predictions - targets, 0)
    total = jnp.sum(weight)
    return jnp.sum(weight * jnp.mean(error**2, axis=-1)) / jnp.where(total > 0, total, 1)
