"""What every sequence architecture must pass; `contracts.backbone(model, key)` in a test is all that is needed.

Each function draws its own parameters and inputs. Sequences of one step are among them: there, code that takes a
shortcut for a single step, or squeezes an axis, goes wrong.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.models import Regressor
from tests.contracts.common import BATCH, INPUTS, compiled, inputs, overfits, parameters, upto

CLOSE: Any = {"rtol": 1e-4, "atol": 2e-5}
"""Where the same sum is taken in another order."""


def backbone(model, key):
    """All of it, for a backbone or a `Regressor`: either it streams, or each output depends on each input."""
    preserves_time(model, key)
    rows_are_independent(model, key)
    ignores_padding(model, key)
    if model.causal:
        within = model.backbone if isinstance(model, Regressor) else model
        is_causal(model, key, reach=getattr(within, "receptive_field", None))
        streams(model, key)
    else:
        sees_both_ways(model, key)


def preserves_time(model, key):
    """(batch, time, inputs) -> (batch, time, features), however short; also in training."""
    features = model.targets if isinstance(model, Regressor) else model.features
    params = parameters(model, key)
    for time in (1, 2, 7):
        trained = functools.partial(model.apply, train=True, rngs={"dropout": key})
        for apply in (forward(model).eval_shape, functools.partial(jax.eval_shape, trained)):
            assert apply(params, inputs(key, time)).shape == (BATCH, time, features)


def is_causal(model, key, *, reach=None):
    """y[t] depends on no x[s] with s > t, and on each of the last `reach` steps (None: on the whole past)."""
    seen = influence(model, key, time=7) > 0
    distance = np.arange(7)[:, None] - np.arange(7)[None, :]
    np.testing.assert_array_equal(seen, (distance >= 0) & (distance < (reach or 7)))


def sees_both_ways(model, key):
    """Each output depends on each input."""
    assert (influence(model, key, time=7) > 0).all()


def influence(model, key, time):
    """The largest |d y[t] / d x[s]|, as a matrix over t and s: exactly zero where no path leads.

    Over many rows, since in any one of them a relu may be shut.
    """
    params = parameters(model, key)
    jacobian = jax.jacfwd(lambda row: model.apply(params, row[None])[0])
    return np.abs(compiled(jax.vmap(jacobian))(inputs(key, time, rows=64))).max(axis=(0, 2, 4))


def rows_are_independent(model, key):
    """Permuted rows give permuted outputs, and another row's inputs change nothing: no batch axis read as time."""
    params, order = parameters(model, key), np.array([2, 0, 1])
    for time in (1, 7):
        x = np.array(inputs(key, time))
        y = np.asarray(forward(model)(params, x))
        np.testing.assert_allclose(forward(model)(params, x[order]), y[order], **CLOSE)
        x[0] = 100.0
        other = np.asarray(forward(model)(params, x))
        np.testing.assert_array_equal(other[1:], y[1:])
        assert not np.array_equal(other[0], y[0])


def ignores_padding(model, key):
    """What is in the padding changes nothing, NaN and infinity included, nor does more of it; gradients too.

    Outputs there are zero, except for the constant that a head's bias adds. One row of three has no real step.
    """
    params = parameters(model, key)
    for time, lengths in [(1, (0, 1, 1)), (7, (0, 4, 7)), (7, (0, 4, 4))]:
        x, mask = np.asarray(inputs(key, time)), np.asarray(upto(lengths, time))
        y = np.asarray(forward(model)(params, x, mask=mask))
        np.testing.assert_array_equal(y[~mask], y[:1, 0].repeat((~mask).sum(), axis=0))
        if not isinstance(model, Regressor):
            np.testing.assert_array_equal(y[0], 0)
        for garbage in (1e30, np.inf, np.nan):
            dirty = np.where(mask[..., None], x, np.float32(garbage))
            np.testing.assert_array_equal(forward(model)(params, dirty, mask=mask), y)
        for row, length in enumerate(lengths[1:], start=1):
            unpadded = np.asarray(forward(model)(params, x[:, :length]))
            np.testing.assert_allclose(y[row, :length], unpadded[row], **CLOSE)

    @compiled
    @jax.grad
    def gradient(variables):
        y = model.apply(variables["params"], variables["x"], mask=jnp.asarray(mask))
        return jnp.sum(jnp.where(jnp.asarray(mask)[..., None], y, 0.0) ** 2)

    clean = gradient({"params": params, "x": x})
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    np.testing.assert_array_equal(np.asarray(clean["x"])[~mask], 0)
    jax.tree.map(np.testing.assert_array_equal, gradient({"params": params, "x": dirty}), clean)


def streams(model, key):
    """Chunks of any sizes, single steps, padded chunks, a scan: all equal the whole-sequence call."""
    time = 7
    params, x = parameters(model, key), np.asarray(inputs(key, time))
    whole = np.asarray(forward(model)(params, x))
    every, start = np.ones((BATCH, time), bool), model.start(BATCH, INPUTS, 8)

    for sizes in [(1,) * 7, (3, 1, 3), (1, 3, 3)]:
        carry, pieces, done = start, [], 0
        for size in sizes:
            now = slice(done, done + size)
            carry, y = extend(model)(params, carry, x[:, now], mask=every[:, now])
            pieces.append(y)
            done += size
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, **CLOSE)

    @compiled
    def one_by_one(carry, x):
        def step(carry, now):
            carry, y = model.apply(params, carry, now[:, None], method="extend")
            return carry, y[:, 0]

        return jax.lax.scan(step, carry, x.swapaxes(0, 1))[1].swapaxes(0, 1)

    np.testing.assert_allclose(one_by_one(start, x), whole, **CLOSE)

    # Rows of 7, 3 and 5 steps in padded chunks: between real steps the carry must not feel the padding.
    carry, read, pieces = start, np.zeros(BATCH, int), [[] for _ in range(BATCH)]
    for size, counts in [(3, (3, 1, 0)), (1, (1, 0, 1)), (3, (3, 2, 3)), (1, (0, 0, 1))]:
        mask, chunk = upto(counts, size), np.full((BATCH, size, INPUTS), np.nan, np.float32)
        for row, count in enumerate(counts):
            chunk[row, :count] = x[row, read[row] : read[row] + count]
        carry, y = extend(model)(params, carry, chunk, mask=mask)
        for row, count in enumerate(counts):
            pieces[row].append(np.asarray(y)[row, :count])
        read += counts
    for row, parts in enumerate(pieces):
        np.testing.assert_allclose(np.concatenate(parts), whole[row, : read[row]], **CLOSE)


def learns(backbone, key):
    """Overfits one batch: say the input of the step before."""
    model = Regressor(backbone)
    x = inputs(key, 4, rows=2)
    y = jnp.asarray(np.pad(np.asarray(x)[:, :-1, :1], ((0, 0), (1, 0), (0, 0))))
    overfits(lambda params: jnp.mean((model.apply(params, x) - y) ** 2), compiled(model.init)(key, x), 300, to=0.02)


def forward(model) -> Any:
    """`model.apply`, compiled."""
    return _method(model, "__call__")


def extend(model) -> Any:
    """`model.extend` as a compiled function of parameters, carry and inputs."""
    return _method(model, "extend")


@functools.cache
def _method(model, name):
    """One function a model, so that all contracts share what is compiled: that takes most of their time."""
    return compiled(functools.partial(model.apply, method=name))
