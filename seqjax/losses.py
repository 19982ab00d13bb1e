"""What training minimises, computed in float32 or wider.

Targets, masks and weights are checked where their values are known. Inside `jax.jit` only shapes and dtypes are: there
a target outside the vocabulary makes the loss NaN, and one that the model never predicts makes it infinite. Training
skips such an update, and counts it (`train.make_step`).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Scalar

from seqjax._checks import check_ids, check_mask, check_weight, fractions, integers, known
from seqjax.types import InputError

Values = Float[Array, "batch time targets"]
Mask = Bool[Array, "batch time"] | None


def squared_error(predictions: Values, targets: Values, weight: Float[Array, "batch time"] | None = None) -> Scalar:
    """Squared error, averaged over targets and, by weight (>= 0), over all steps of the batch.

    Steps of weight 0 may hold anything, NaN too: they change neither the value nor its gradient with respect to
    `predictions`. If no step counts the loss is 0.

    Raises:
        InputError: shapes that differ, or a negative weight.
    """
    _same_shape("predictions", predictions.shape, targets.shape)
    predictions, targets = _wide(predictions), _wide(targets)
    weight = jnp.ones_like(targets[..., 0]) if weight is None else weight
    check_weight(weight, targets.shape[:2])
    weight = _wide(weight)
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

    Raises:
        InputError: shapes that differ, a wrong mask or smoothing, or a target that is outside the vocabulary or never
            predicted, such as SOS in a `LanguageModel`.
    """
    fractions(smoothing=smoothing)
    _same_shape("logits, but for their last axis,", logits.shape[:-1], targets.shape)
    check_mask(mask, targets.shape, prefix=False)
    check_ids("targets", targets, logits.shape[-1], mask)
    mask = jnp.ones(targets.shape, bool) if mask is None else mask
    count = jnp.sum(mask)
    return jnp.sum(_costs(logits, targets, mask, smoothing)) / jnp.where(count > 0, count, 1)


CHUNK_BYTES = 2**26
"""Size of the logits that `chunked_cross_entropy` computes at a time, by default."""


def chunked_cross_entropy(
    readout: Callable[[Float[Array, "batch chunk width"]], Float[Array, "batch chunk vocab"]],
    features: Float[Array, "batch time width"],
    targets: Int[Array, "batch time"],
    mask: Mask = None,
    *,
    smoothing: float = 0.0,
    chunk: int | None = None,
) -> Scalar:
    """`cross_entropy(readout(features), targets, mask)`, without the logits of all steps in memory at once.

    For large vocabularies. Logits are computed for some steps at a time, and once more for the gradient: a third more
    work in the readout. Padding may hold anything that `readout` maps to finite numbers.

        features = model.apply(params, tokens, train=True, rngs={"dropout": key}, method="features")
        readout = partial(model.apply, params, method="logits")
        loss = losses.chunked_cross_entropy(readout, features[:, :-1], tokens[:, 1:])

    Args:
        chunk: steps at a time; None: as many as have `CHUNK_BYTES` of logits.

    Raises:
        InputError: as `cross_entropy`, but a target that is never predicted costs infinity; or chunk < 1.
    """
    fractions(smoothing=smoothing)
    _same_shape("features, but for their last axis,", features.shape[:-1], targets.shape)
    check_mask(mask, targets.shape, prefix=False)
    batch, time = targets.shape
    of_one = jax.eval_shape(readout, jax.ShapeDtypeStruct((batch, 1, features.shape[-1]), features.dtype))
    check_ids("targets", targets, of_one.shape[-1], mask)
    dtype = jnp.promote_types(of_one.dtype, jnp.float32)
    chunk = max(1, CHUNK_BYTES // max(1, of_one.size * dtype.itemsize)) if chunk is None else chunk
    integers(1, chunk=chunk)
    chunk = min(chunk, max(1, time))
    mask = jnp.ones(targets.shape, bool) if mask is None else mask
    count = jnp.sum(mask)

    def split(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, -time % chunk), *[(0, 0)] * (x.ndim - 2)))
        # Steps are split, and not the batch, which may be split among devices.
        return jnp.moveaxis(x.reshape(batch, x.shape[1] // chunk, chunk, *x.shape[2:]), 1, 0)

    @partial(jax.checkpoint, prevent_cse=False)
    def add(total: Array, some: tuple[Array, Array, Array]) -> tuple[Array, None]:
        features, targets, mask = some
        return total + jnp.sum(_costs(readout(features), targets, mask, smoothing)), None

    total, _ = jax.lax.scan(add, jnp.zeros((), dtype), (split(features), split(targets), split(mask)))
    return total / jnp.where(count > 0, count, 1)


def _costs(logits: Array, targets: Array, mask: Array, smoothing: float) -> Array:
    """The cross-entropy of each token; 0 for padding."""
    logits = _wide(logits)
    # Before anything is computed from them: a NaN that the sum leaves out would still reach the gradient.
    logits = jnp.where(mask[..., None], logits, 0.0)
    possible = jnp.isfinite(logits)
    total = jax.nn.logsumexp(logits, axis=-1)
    # A negative index would count from the end: NaN for it, as for one past the end.
    place = jnp.where(targets < 0, logits.shape[-1], targets)
    chosen = jnp.take_along_axis(logits, jnp.where(mask, place, 0)[..., None], axis=-1)[..., 0]
    if known(chosen, mask) and (never := np.asarray(targets)[np.asarray(mask & jnp.isneginf(chosen))]).size:
        raise InputError(f"targets must be ids that the model can predict (logit > -inf), got {never[0]}")
    cost = total - chosen
    if smoothing:
        even = jnp.where(possible, logits, 0).sum(axis=-1) / possible.sum(axis=-1)
        cost = (1 - smoothing) * cost + smoothing * (total - even)
    return jnp.where(mask, cost, 0)


def binary_cross_entropy(logits: Values, targets: Values, mask: Mask = None) -> Scalar:
    """-log of the probability of targets 0 or 1 in nats, summed over them, averaged over all real steps of the batch.

    Targets are independent, each 1 with probability sigmoid(logit). Padding may hold anything; the loss is 0 if no step
    is real.

    Raises:
        InputError: shapes that differ, a wrong mask, or a target outside [0, 1].
    """
    _same_shape("logits", logits.shape, targets.shape)
    check_mask(mask, targets.shape[:2], prefix=False)
    if known(targets, mask):
        real = np.asarray(targets) if mask is None else np.asarray(targets)[np.asarray(mask)]
        if wrong := real[~((real >= 0) & (real <= 1))].tolist():
            raise InputError(f"targets must lie in [0, 1], got {wrong[0]}")
    logits, targets = _wide(logits), _wide(targets)
    mask = jnp.ones(targets.shape[:2], bool) if mask is None else mask
    # Before anything is computed from them, as above.
    logits, targets = (jnp.where(mask[..., None], part, 0.0) for part in (logits, targets))
    # log(1 + e^x) - y x: no probability is rounded to 0 or 1 on the way.
    cost = jnp.sum(jax.nn.softplus(logits) - targets * logits, axis=-1)
    count = jnp.sum(mask)
    return jnp.sum(jnp.where(mask, cost, 0)) / jnp.where(count > 0, count, 1)


def _wide(x: Array) -> Array:
    """In float32 or wider: sums over many steps overflow in half precision, or lose their last terms."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _same_shape(name: str, shape: tuple[int, ...], targets: tuple[int, ...]) -> None:
    if shape != targets:
        raise InputError(f"{name} must have the targets' shape {targets}, got {shape}")
