"""What all contracts share: parameters, inputs and compiled calls of a model."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax.models import EncoderDecoder

BATCH, INPUTS = 3, 2
compiled = jax.jit


def parameters(model, key, width=INPUTS) -> Any:
    """Random numbers in every parameter: biases that start at zero would hide what they do."""
    return filled(_shapes(model, width), key)


@functools.cache
def _shapes(model, width):
    """Traced once a model: that takes as long as a call of it, and every contract asks."""
    tokens = jnp.zeros((1, 1), jnp.int32)
    arguments = (tokens, tokens) if isinstance(model, EncoderDecoder) else (jnp.zeros((1, 1, width)),)
    return jax.eval_shape(model.init, jax.random.key(0), *arguments)


def filled(shapes, key) -> Any:
    """Random numbers in these shapes."""
    rng = numpy_rng(key)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(scale=0.5, size=leaf.shape), leaf.dtype), shapes)


def inputs(key, time, width=INPUTS, rows=BATCH):
    return jnp.asarray(numpy_rng(key).normal(size=(rows, time, width)), jnp.float32)


def numpy_rng(key):
    """NumPy's random numbers and arrays where it can be: JAX would compile each small operation for each shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def overfits(loss, params, steps, *, rate=2e-2, to=0.05):
    """Steps of Adam bring the loss down to this fraction of the first one."""
    optimizer = optax.adam(rate)

    @compiled
    def train(params):
        def step(state, _):
            params, opt_state = state
            value, gradient = jax.value_and_grad(loss)(params)
            updates, opt_state = optimizer.update(gradient, opt_state)
            return (optax.apply_updates(params, updates), opt_state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[1]

    values = train(params)
    assert values[-1] < to * values[0], (values[0], values[-1])


def drops_in_training_only(model, params, *inputs, **options):
    """In training outputs depend on the key of the dropout, otherwise they do not."""
    apply = jax.jit(functools.partial(model.apply, **options), static_argnames="train")
    used, again, trained, otherwise = (
        apply(params, *inputs, train=train, rngs={"dropout": jax.random.key(number)})
        for train in (False, True)
        for number in (1, 2)
    )
    np.testing.assert_array_equal(used, again)
    assert not np.allclose(trained, otherwise, atol=0.01)


def upto(lengths, time):
    """The mask of rows of these lengths."""
    return jnp.asarray(np.arange(time)[None, :] < np.asarray(lengths)[:, None])
