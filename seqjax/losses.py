"""What training minimises."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

Values = Float[Array, "batch time targets"]
Mask = Bool[Array, "batch time"] | None


def squared_error(predictions: Values, targets: Values, weight: Float[Array, "batch time"] | None = None) -> Scalar:
    """Squared error, averaged over targets and, by weight (>= 0), over all steps of the batch.

    Steps of weight 0 may hold anything, NaN too: they change neither the value nor its gradient with respect to
    `predictions`. If no step counts the loss is 0.
    """
    weight = jnp.ones_like(targets[..., 0]) if weight is None else weight
    error = jnp.where(weight[..., None] > 0, predictions - targets, 0)
    total = jnp.sum(weight)
    return jnp.sum(weight * jnp.mean(error**2, axis=-1)) / jnp.where(total > 0, total, 1)


def cross_entropy(
    logits: Float[Array, "batch time vocab"],
    targets: Int[Array, "batch time"],
    mask: Mask = None,
    *,
    smoothing: float = 0.0,
) -> Scalar:
    """-log softmax(logits)[target] in nats, averaged over all real tokens of the batch; 0 if there are none.

    Padding may hold anything. Tokens with the logit -inf are never predicted, and a target among them costs infinity.

    Args:
        smoothing: fraction of the target's probability that is spread evenly over all tokens that can be predicted
            (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).
    """
    mask = jnp.ones(targets.shape, bool) if mask is None else mask
    # Before anything is computed from them: a NaN that the sum leaves out would still reach the gradient.
    logits = jnp.where(mask[..., None], logits, 0.0)
    possible = jnp.isfinite(logits)
    total = jax.nn.logsumexp(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, jnp.where(mask, targets, 0)[..., None], axis=-1)[..., 0]
    cost = total - chosen
    if smoothing:
        even = jnp.where(possible, logits, 0).sum(axis=-1) / possible.sum(axis=-1)
        cost = (1 - smoothing) * cost + smoothing * (total - even)
    count = jnp.sum(mask)
    return jnp.sum(jnp.where(mask, cost, 0)) / jnp.where(count > 0, count, 1)


def binary_cross_entropy(logits: Values, targets: Values, mask: Mask = None) -> Scalar:
    """-log of the probability of targets 0 or 1 in nats, summed over them, averaged over all real steps of the batch.

    Targets are independent, each 1 with probability sigmoid(logit). Padding may hold anything; the loss is 0 if no step
    is real.
    """
    mask = jnp.ones(targets.shape[:2], bool) if mask is None else mask
    # Before anything is computed from them, as above.
    logits, targets = (jnp.where(mask[..., None], part, 0.0) for part in (logits, targets))
    # log(1 + e^x) - y x: no probability is rounded to 0 or 1 on the way.
    cost = jnp.sum(jax.nn.softplus(logits) - targets * logits, axis=-1)
    count = jnp.sum(mask)
    return jnp.sum(jnp.where(mask, cost, 0)) / jnp.where(count > 0, count, 1)
