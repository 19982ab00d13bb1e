"""Where arrays lie, on one device or on those of several processes, and how they come there and back."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import PyTree


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_key(numbers: Any, like: Any) -> Any:
    """Numbers as keys, where `like` holds keys."""
    return jax.random.wrap_key_data(jnp.asarray(numbers), impl=jax.random.key_impl(like)) if is_key(like) else numbers


def place(leaf: Any, sharding: Sharding | None) -> Any:
    """An array of this process, equal on all of them, a global or a traced one, or a key, where the sharding says."""
    if isinstance(leaf, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(leaf, sharding)
    if is_key(leaf):  # JAX refuses keys on devices of other processes
        return as_key(place(jax.random.key_data(leaf), sharding), leaf)
    if sharding is None or sharding.is_fully_addressable or spans(leaf):
        return jax.device_put(leaf, sharding)
    return jax.make_array_from_callback(np.shape(leaf), sharding, np.asarray(leaf).__getitem__)


def layout(tree: PyTree) -> PyTree:
    """Where the arrays lie that were placed on a grid; None for each that was not."""
    places = jax.tree.map(lambda leaf: getattr(leaf, "sharding", None), tree)
    return jax.tree.map(lambda place: place if isinstance(place, NamedSharding) else None, places)


def stay(tree: PyTree, layout: PyTree) -> PyTree:
    """Inside `jit`: arrays that lie as the arguments did, or the next call would compile again."""
    return jax.tree.map(lambda leaf, where: leaf if where is None else place(leaf, where), tree, layout)


def spans(tree: PyTree) -> bool:
    """Whether arrays lie on devices of several processes, all of which must then make the same calls."""
    return any(not getattr(leaf, "is_fully_addressable", True) for leaf in jax.tree.leaves(tree))


def whole(leaf: Any) -> np.ndarray:
    """All of an array, or of a key's numbers, on the host; if it spans processes, all must ask for it."""
    leaf = jax.random.key_data(leaf) if is_key(leaf) else leaf
    if spans(leaf) and not leaf.is_fully_replicated:
        leaf = jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
    return np.asarray(leaf)
