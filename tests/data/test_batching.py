import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.data.batching import epoch_rows


def epoch(key, number, rows, batch_size):
    batches = rows // batch_size
    return np.stack([epoch_rows(key, number * batches + place, rows, batch_size) for place in range(batches)])


@pytest.mark.parametrize(("rows", "batch_size"), [(12, 4), (5, 5), (3, 1)])
def test_every_row_once_per_epoch_in_a_fresh_order(rows, batch_size, key):
    epochs = [epoch(key, number, rows, batch_size) for number in range(3)]
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order, axis=None), np.arange(rows))
    assert len({order.tobytes() for order in epochs}) > 1


def test_what_does_not_fill_a_batch_is_left_out_of_that_epoch_only(key):
    seen = [epoch(key, number, rows=7, batch_size=3).ravel() for number in range(10)]
    for order in seen:
        assert len(set(order.tolist())) == 6
    assert set(np.concatenate(seen).tolist()) == set(range(7))


def test_a_batch_is_a_function_of_key_and_step_alone(key):
    rows = jax.jit(epoch_rows, static_argnums=(2, 3))
    later = rows(key, jnp.int32(8), 12, 4)
    rows(key, jnp.int32(0), 12, 4)
    np.testing.assert_array_equal(rows(key, jnp.int32(8), 12, 4), later)
    np.testing.assert_array_equal(epoch_rows(key, 8, 12, 4), later)
    assert not np.array_equal(rows(jax.random.key(1), jnp.int32(8), 12, 4), later)


@pytest.mark.parametrize("batch_size", [0, 6])
def test_batches_that_cannot_be_are_refused(batch_size, key):
    with pytest.raises(ValueError, match=rf"batch_size must lie in \[1, 5\], got {batch_size}"):
        epoch_rows(key, 0, 5, batch_size)
