import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import evaluate, models
from tests.contracts.common import parameters
from tests.refusals import refuses


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


def after_reading(backbone, rows, key):
    """The carry after a few steps of random input, and one of another batch."""
    params = parameters(backbone, key, width=3)
    read = jax.jit(lambda x: backbone.apply(params, backbone.start(rows, 3, 6), x, method="extend")[0])
    return [read(jax.random.normal(draw, (rows, 4, 3))) for draw in jax.random.split(key)]


@pytest.mark.parametrize(
    "backbone",
    [models.LSTM(5), models.LRU(3, layers=1), models.Transformer(4, heads=2, layers=1)],
    ids=lambda backbone: type(backbone).__name__,
)
def test_a_rounded_carry_has_as_many_bits_as_it_counts(backbone, key):
    """In any backbone: states, complex ones, and a cache with unused slots and a position."""
    calibration, carry = after_reading(backbone, 64, key)
    quantiser = evaluate.Quantiser.fit(calibration, 2)
    coarse = quantiser(carry)
    assert jax.tree.structure(coarse) == jax.tree.structure(carry)
    varied = 0
    for before, after in zip(jax.tree.leaves(carry), jax.tree.leaves(coarse), strict=True):
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
        if not jnp.issubdtype(before.dtype, jnp.inexact):
            np.testing.assert_array_equal(after, before)
            continue
        for number in np.array(after, complex if jnp.iscomplexobj(after) else float).reshape(64, -1).T:
            for part in [np.real(number), np.imag(number)] if np.iscomplexobj(number) else [number]:
                assert len(np.unique(part)) <= 4
                varied += len(np.unique(part)) > 1
    assert quantiser.numbers == varied > 0
    assert quantiser.bits == 2 * varied
    again = evaluate.rounded(carry, 2, calibration)
    jax.tree.map(np.testing.assert_array_equal, again, coarse)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_numbers_are_rounded_to_the_means_of_quantile_bins(bits, key):
    x = jax.random.normal(key, (512, 3))
    coarse = np.asarray(evaluate.rounded((x,), bits, (x,))[0], np.float64)
    for number, found in zip(np.asarray(x, np.float64).T, coarse.T, strict=True):
        order = number.argsort()
        blocks = np.split(order, 2**bits)
        expected = np.concatenate([np.full(len(block), number[block].mean()) for block in blocks])
        np.testing.assert_allclose(found[order], expected, atol=1e-5)
        assert len(np.unique(found)) == 2**bits


def test_equal_numbers_are_not_parted_and_different_ones_are():
    """One bit tells -1 from 1, whichever is more frequent; what is constant in calibration carries nothing."""
    x = jnp.stack([jnp.where(jnp.arange(8) < rare, 1.0, -1.0) for rare in (1, 4, 7)] + [jnp.full(8, 0.1)], axis=1)
    quantiser = evaluate.Quantiser.fit({"x": x, "place": jnp.array(3)}, 1)
    assert quantiser.bits == 3
    np.testing.assert_array_equal(quantiser({"x": x, "place": jnp.array(4)})["x"], x)
    other = quantiser({"x": x[::-1] * 0.7 + 0.01, "place": jnp.array(4)})
    np.testing.assert_array_equal(other["x"][:, :3], x[::-1, :3])
    np.testing.assert_array_equal(other["x"][:, 3], np.float32(0.1))
    assert other["place"] == 4


def test_straight_through_is_rounded_forwards_and_the_identity_backwards(key):
    calibration, x = jax.random.normal(key, (2, 16, 5))

    def read(x, straight_through):
        return evaluate.rounded(x, 1, calibration, straight_through=straight_through)

    np.testing.assert_array_equal(read(x, True), read(x, False))
    slope = jax.jit(jax.jacobian(read), static_argnums=1)
    np.testing.assert_array_equal(slope(x, True).reshape(80, 80), np.eye(80))
    np.testing.assert_array_equal(slope(x, False), 0)
    bins = jax.grad(lambda calibration: evaluate.rounded(x, 1, calibration, straight_through=True).sum())
    np.testing.assert_array_equal(bins(calibration), 0)


test_wrong_calibrations_are_refused = refuses(
    evaluate.Quantiser.fit,
    (jnp.zeros((4, 2)), 0, "bits must be >= 1, got 0"),
    (jnp.zeros((4, 2)), 9, "bits must be <= 8, got 9"),
    (jnp.zeros((4, 2)), 3, r"calibration must have >= 2\^bits = 8 rows, got 4"),
    (jnp.arange(4), 1, r"integers of a carry must be the same in all rows, got int32\(4,\)"),
)
test_other_carries_are_refused = refuses(
    evaluate.Quantiser.fit(jnp.zeros((4, 2)), 1),
    (jnp.zeros((4, 3)), r"the numbers of the calibration batch, \[2\], got \[3\]"),
    (jnp.arange(4), r"integers of a carry must be the same in all rows, got int32\(4,\)"),
)


def test_bins_are_fitted_for_every_run_of_a_sweep(key):
    """Inside a compiled call, where no value can be looked at; bits are counted run by run."""
    carries = {"h": jax.random.normal(key, (2, 16, 3)) * jnp.array([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]])}
    quantisers = jax.jit(jax.vmap(lambda carry: evaluate.Quantiser.fit(carry, 2)))(carries)
    one, two = (jax.tree.map(lambda leaf, run=run: leaf[run], quantisers) for run in (0, 1))
    assert (one.bits, two.bits) == (4, 6)
    with pytest.raises(ValueError, match=r"bins must be those of one run, \(bins, numbers\), got \(2, 4, 3\)"):
        _ = quantisers.bits


def test_rounding_takes_memory_for_the_carry_and_not_for_all_its_bins():
    x = jax.ShapeDtypeStruct((512, 64), jnp.float32)
    counted = jax.jit(lambda x: evaluate.rounded(x, 8, x)).lower(x).compile().memory_analysis()
    assert counted is not None
    assert counted.temp_size_in_bytes < 32 * 512 * 64 * 4
