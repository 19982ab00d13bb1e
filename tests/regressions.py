"""A noisy linear regression and a regression on token pairs: what the tests of training and sweeps train."""

import functools
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import train
from seqjax.data import Buckets
from seqjax.types import Batch

TRUTH = jnp.array([[1.0], [-2.0]])


def initialise(key):
    return {"kernel": jax.random.normal(key, (2, 1)), "bias": jnp.zeros((1,))}


def loss(params, batch, key):
    """A noisy linear regression: the noise is in place of dropout."""
    noise = jax.random.normal(key, (2, 1))
    error = batch.inputs @ (params["kernel"] + 0.1 * noise) + params["bias"].reshape(1, 1, 1) - batch.targets
    return jnp.mean(error**2), {"noise": noise[0, 0]}


def sample(key):
    x = jax.random.normal(key, (4, 3, 2))
    return Batch(inputs=x, targets=x @ TRUTH)


ADAM = optax.adam(0.1)


def copied(state):
    """A state whose optimiser state `train.run` may be given again."""
    return jax.tree.map(jnp.copy, state)


def assert_bitwise(first, second):
    def bits(leaf):
        return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)

    jax.tree.map(lambda a, b: np.testing.assert_array_equal(bits(a), bits(b)), first, second)


def assert_close(first, second):
    """But for round-off; keys aside."""
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@contextmanager
def compilations():
    """Names of what the compiler was called for."""
    seen = []

    def listen(event: str, duration_secs: float, **kwargs: str | int):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(kwargs.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def token_rows(sizes, vocab):
    return [[4 + (row + place) % (vocab - 4) for place in range(size)] for row, size in enumerate(sizes)]


BUCKETS = Buckets.of(
    token_rows([1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6], 9),
    token_rows([2, 1, 2, 1, 3, 3, 4, 4, 2, 2, 2, 2], 8),
    batch_size=2,
    count=3,
    source_vocab=9,
    target_vocab=8,
)


def initialise_tokens(key):
    read_key, write_key = jax.random.split(key)
    return {"read": jax.random.normal(read_key, (9,)), "written": jax.random.normal(write_key, (8,))}


def token_loss(params, batch, key):
    """A mean over padded steps shows the shape that a batch came in."""
    read, written = (
        jnp.where(mask, params[name][ids], 0).mean(axis=1)
        for name, ids, mask in [("read", *batch[::2]), ("written", *batch[1::2])]
    )
    noise = jax.random.normal(key, ())
    return jnp.mean((read - written + 1 + 0.1 * noise) ** 2), {"width": jnp.float32(batch.source.shape[1])}


@functools.cache
def looped():
    """Twelve steps in plain Python: the first state, the last, and how wide the source of each batch was."""
    init_key, train_key = jax.random.split(jax.random.key(0))
    state = first = train.init(initialise_tokens(init_key), ADAM, train_key)
    step, widths = jax.jit(train.make_step(token_loss, ADAM)), []
    draw = jax.jit(lambda *of: (BUCKETS.choose(*of), [make(*of) for make in BUCKETS.samples]))
    data_key, _ = jax.random.split(train_key)
    for number in range(12):
        bucket, batches = draw(data_key, number)
        state, metrics = step(state, batches[int(bucket)])
        widths.append(float(metrics["width"]))
    assert len(set(widths)) == 3, "all shapes came"
    return first, state, np.array(widths)
