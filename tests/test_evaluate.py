import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import evaluate


def apply(params, x):
    return jnp.cumsum(x, axis=1) * params["scale"]


@pytest.mark.parametrize("rows", [1, 2, 4, 7])
def test_every_row_once_in_order_for_each_run(rows, key):
    """Chunks of four: fewer rows than that, just as many, and a remainder."""
    x, shapes = np.asarray(jax.random.normal(key, (rows, 3, 2))), []

    def watched(params, x):
        shapes.append(x.shape)
        return apply(params, x)

    y = evaluate.predict(watched, {"scale": jnp.array([1.0, -2.0])}, x, batch_size=4)
    np.testing.assert_allclose(y, np.stack([np.cumsum(x, axis=1), -2 * np.cumsum(x, axis=1)]), rtol=1e-6)
    assert shapes == [(min(rows, 4), 3, 2)], "one compiled shape"


@pytest.mark.parametrize("rows", [1, 3, 8, 11])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_function_in_chunks_is_the_function_of_everything(rows, batch_size):
    """Trees in and out, and outputs of several ranks and types."""
    table = {"ids": np.arange(rows * 3, dtype=np.int32).reshape(rows, 3), "mask": np.arange(rows) % 2 == 0}
    shapes = []

    def function(chunk):
        shapes.append(chunk["ids"].shape)
        total = jnp.where(chunk["mask"], chunk["ids"].sum(axis=1), -1)
        return {"total": total, "pair": (2 * chunk["ids"][:, None], total > 9)}

    found = evaluate.in_chunks(jax.jit(function), table, batch_size=batch_size)
    whole = function(table)
    assert shapes == [(min(rows, batch_size), 3), (rows, 3)], "one compiled shape"
    assert jax.tree.structure(found) == jax.tree.structure(whole)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(whole), strict=True):
        assert isinstance(ours, np.ndarray)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
