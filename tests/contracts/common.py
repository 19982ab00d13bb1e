"""What all contracts share: parameters, inputs and compiled calls of a model."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.models import EncoderDecoder

BATCH, INPUTS = 3, 2


compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Most of the time below is the compiler's: ask for little."""


def parameters(model, key, width=INPUTS) -> Any:
    """Random numbers in every parameter: biases that start at zero would hide what they do."""
    tokens = jnp.zeros((1, 1), jnp.int32)
    arguments = (tokens, tokens) if isinstance(model, EncoderDecoder) else (jnp.zeros((1, 1, width)),)
    return filled(jax.eval_shape(model.init, key, *arguments), key)


def filled(shapes, key) -> Any:
    """Random numbers in these shapes."""
    rng = numpy_rng(key)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.5, size=leaf.shape), leaf.dtype), shapes)


def inputs(key, time, width=INPUTS, rows=BATCH):
    return jnp.asarray(numpy_rng(key).normal(size=(rows, time, width)), jnp.float32)


def numpy_rng(key):
    """NumPy's random numbers and arrays where it can be: JAX would compile each small operation for each shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def upto(lengths, time):
    """The mask of rows of these lengths."""
    return jnp.asarray(np.arange(time)[None, :] < np.asarray(lengths)[:, None])
