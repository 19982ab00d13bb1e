import itertools
from array import array
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.batching import (
    Buckets,
    Epochs,
    Mixture,
    _shuffled,
    bounded,
    by_length,
    close_up,
    epoch_rows,
    pad,
    pairs,
)
from seqjax.types import EOS, PAD, UNK, Batches, Bucketed
from tests.refusals import refuses

compiled = jax.jit(epoch_rows, static_argnums=(2, 3))


def epoch(key, number, rows, batch_size):
    batches = rows // batch_size
    return np.stack([compiled(key, number * batches + place, rows, batch_size) for place in range(batches)])


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
    later = compiled(key, jnp.int32(8), 12, 4)
    compiled(key, jnp.int32(0), 12, 4)
    np.testing.assert_array_equal(compiled(key, jnp.int32(8), 12, 4), later)
    np.testing.assert_array_equal(epoch_rows(key, 8, 12, 4), later)
    assert not np.array_equal(compiled(jax.random.key(1), jnp.int32(8), 12, 4), later)


test_batches_that_cannot_be_are_refused = refuses(
    lambda batch_size: epoch_rows(jax.random.key(0), 0, 5, batch_size),
    *((size, rf"batch_size must lie in \[1, 5\], got {size}") for size in (0, 6)),
)


ROWS = {"x": np.arange(24).reshape(12, 2), "y": np.arange(12.0)}


def test_batches_of_arrays_are_their_rows_in_fresh_order(key):
    draw = jax.jit(Epochs(ROWS, 4).batch)
    for step in (0, 2, 5):
        rows = np.asarray(compiled(key, step, 12, 4))
        jax.tree.map(np.testing.assert_array_equal, draw(key, step), {k: v[rows] for k, v in ROWS.items()})


def test_augmentation_has_a_new_key_at_every_step_and_keeps_rows(key):
    batches = Epochs(ROWS, 12, lambda key, batch: (batch, jax.random.uniform(key)))
    (first, one), (second, other) = map(partial(jax.jit(batches.batch), key), range(2))
    assert one != other
    for rows in (first, second):
        np.testing.assert_array_equal(np.sort(rows["y"]), ROWS["y"])
    assert not np.array_equal(first["y"], second["y"])


def test_a_mixture_concatenates(key):
    parts = Epochs(ROWS, 4), Epochs({"x": -ROWS["x"], "y": -ROWS["y"]}, 6)
    found, one, other = (jax.jit(part.batch)(key, 1) for part in (Mixture(parts), *parts))
    jax.tree.map(lambda a, b, c: np.testing.assert_array_equal(a, np.concatenate([b, c])), found, one, other)


def test_batches_are_pytrees_whose_arrays_are_arguments(key):
    """No array of a data set is a constant of the compiled program."""
    buckets = bucketed(LENGTHS, batch_size=2, count=3)
    for batches, draw in (
        (Epochs(ROWS, 4), lambda batches, step: batches.batch(key, step)),
        (Mixture((Epochs(ROWS, 4), Epochs(ROWS, 6))), lambda batches, step: batches.batch(key, step)),
        (buckets, lambda batches, step: [sample(key, step) for sample in batches.samples]),
    ):
        assert isinstance(batches, Bucketed if batches is buckets else Batches)
        traced = jax.make_jaxpr(draw)(batches, 3)
        assert max((np.size(constant) for constant in traced.consts), default=0) <= 3
        assert jax.tree.structure(jax.tree.map(lambda _: None, batches)).num_leaves == 0
        jax.tree.map(np.testing.assert_array_equal, jax.jit(draw)(batches, 3), jax.jit(partial(draw, batches))(3))


# Token sequences


def test_rows_are_padded_on_the_right():
    ids, mask = pad([[5, 6], [], [7]])
    np.testing.assert_array_equal(ids, [[5, 6], [PAD, PAD], [7, PAD]])
    np.testing.assert_array_equal(mask, [[True, True], [False, False], [True, False]])
    assert (ids.dtype, mask.dtype) == (np.int32, np.bool_)
    assert pad([[5]], 3)[0].tolist() == [[5, PAD, PAD]]
    assert pad([])[0].shape == (0, 0)
    for wide in (array("q", [5, 6]), (5, 6)):
        assert pad([wide, [7]])[0].tolist() == [[5, 6], [7, PAD]]
    with pytest.raises(ValueError, match="rows must have at most 2 tokens, got 3 in row 1"):
        pad([[5], [5, 6, 7]], 2)
    with pytest.raises(ValueError, match="length must be >= 0, got -1"):
        pad([], -1)


def test_a_target_ends_and_the_decoder_reads_it_one_step_late():
    batch = pairs([[4, 5], [6]], [[7], []], source_vocab=7, target_vocab=8, target_length=3)
    np.testing.assert_array_equal(batch.source, [[4, 5, EOS], [6, EOS, PAD]])
    np.testing.assert_array_equal(batch.source_mask, [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(batch.target, [[7, EOS, PAD], [EOS, PAD, PAD]])
    np.testing.assert_array_equal(batch.target_mask, [[1, 1, 0], [1, 0, 0]])
    assert pairs([[UNK, 5]], [[8]], source_vocab=6, target_vocab=9).source.shape == (1, 3)


test_ids_that_no_model_could_read_are_refused = refuses(
    partial(pairs, source_vocab=6, target_vocab=9, source_length=3),
    ([[4], [4, 6]], [[4], [4]], r"ids of sources must lie in \[3, 6\), got 6 in row 1"),
    ([[4], [], [5, 7**30]], [[4]] * 3, f"ids must have 32 bits, got {7**30} in row 2"),
    ([[4]], [[9]], r"ids of targets must lie in \[3, 9\), got 9 in row 0"),
    ([[-1]], [[4]], r"ids of sources must lie in \[3, 6\), got -1"),
    ([[4]], [[5, EOS]], r"ids of targets must lie in \[3, 9\), got 2"),
    ([[4]], [], "targets must be as many as sources, 1, got 0"),
    ([[4, 4, 4]], [[4]], "rows must have at most 3 tokens, got 4 in row 0"),
)


# Permutations without a sort


def permutations(rows, keys):
    draw = jax.jit(jax.vmap(lambda key: _shuffled(key, jnp.arange(rows), rows)))
    return np.asarray(draw(jax.random.split(jax.random.key(3), keys)))


@pytest.mark.parametrize("rows", [1, 2, 3, 12, 1_000])
def test_no_two_places_get_one_row(rows):
    orders = permutations(rows, 50)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(rows), orders.shape))


def test_all_orders_of_few_rows_are_about_equally_likely():
    counts = Counter(map(tuple, permutations(4, 6_000).tolist()))
    assert len(counts) == 24
    assert sum((count - 250) ** 2 / 250 for count in counts.values()) < 60, "chi-square with 23 degrees of freedom"


def test_neighbours_go_to_independent_places():
    orders, rows, keys = permutations(13, 20_000), 13, 20_000
    for one, other in ((0, 1), (0, 4), (5, 12)):
        table = np.zeros((rows, rows))
        np.add.at(table, (orders[:, one], orders[:, other]), 1)
        apart = table[~np.eye(rows, dtype=bool)]
        expected = keys / (rows * (rows - 1))
        assert ((apart - expected) ** 2 / expected).sum() < 155 + 5 * np.sqrt(2 * 155)


# Buckets


def sentences(lengths):
    """Pairs of these lengths, EOS not counted; the first source token tells which pair it is."""
    sources = [[10 + place] + [4] * (source - 1) for place, (source, _) in enumerate(lengths)]
    return sources, [[5] * target for _, target in lengths]


def bucketed(lengths, **options):
    return Buckets.of(*sentences(lengths), source_vocab=10 + len(lengths), target_vocab=6, **options)


LENGTHS = [(1, 2), (2, 1), (2, 2), (5, 1), (1, 6), (4, 4), (3, 9), (9, 3), (2, 2), (1, 1), (6, 6), (7, 2), (2, 3)]


def test_an_epoch_has_every_row_once_but_for_the_rest_of_its_bucket(key):
    buckets = bucketed(LENGTHS, batch_size=2, count=3)
    homes = [set((np.asarray(part.source[:, 0]) - 10).tolist()) for part in buckets.parts]
    assert len(homes) == 3
    assert sorted(place for home in homes for place in home) == list(range(len(LENGTHS)))
    assert buckets.per_epoch == sum(len(home) // 2 for home in homes)
    choose = jax.jit(buckets.choose)
    samples = [jax.jit(sample) for sample in buckets.samples]
    epochs, chosen, left_out = [], [], []
    for epoch in range(6):
        seen, order = [], []
        for step in range(epoch * buckets.per_epoch, (epoch + 1) * buckets.per_epoch):
            number = int(choose(key, step))
            batch = samples[number](key, step)
            places = (np.asarray(batch.source[:, 0]) - 10).tolist()
            assert set(places) <= homes[number]
            seen += places
            order.append(number)
            rows = [LENGTHS[place] for place in places]
            np.testing.assert_array_equal(batch.source_mask.sum(axis=1), [source + 1 for source, _ in rows])
            np.testing.assert_array_equal(batch.target_mask.sum(axis=1), [target + 1 for _, target in rows])
            np.testing.assert_array_equal((np.asarray(batch.target) == EOS).sum(axis=1), 1)
        assert len(set(seen)) == len(seen)
        assert Counter(order) == {number: len(home) // 2 for number, home in enumerate(homes)}
        for home in homes:
            assert len(home & set(seen)) == len(home) // 2 * 2
        epochs.append(tuple(seen))
        chosen.append(tuple(order))
        left_out.append(frozenset(range(len(LENGTHS))) - set(seen))
    assert len(set(epochs)) == 6
    assert len(set(chosen)) > 1
    assert len(set(left_out)) > 1, "what is left out differs"


def test_shapes_are_those_of_the_longest_rows_and_padding_lies_behind():
    buckets = bucketed(LENGTHS, batch_size=2, count=3)
    for part in buckets.parts:
        assert part.source.shape[1] == part.source_mask.sum(axis=1).max()
        assert part.target.shape[1] == part.target_mask.sum(axis=1).max()
        for ids, mask in ((part.source, part.source_mask), (part.target, part.target_mask)):
            np.testing.assert_array_equal(np.asarray(ids) != PAD, mask)


def test_a_batch_is_the_same_inside_jit_where_switch_chooses(key):
    buckets = bucketed(LENGTHS, batch_size=2, count=3)
    branches = [lambda step, draw=draw: draw(key, step).source[:, 0] for draw in buckets.samples]
    steps = jnp.arange(2 * buckets.per_epoch)
    switched = jax.jit(lambda step: jax.lax.switch(buckets.choose(key, step), branches, step))
    found = jax.lax.map(switched, steps)
    choose = jax.jit(jax.vmap(buckets.choose, (None, 0)))
    chosen = choose(key, steps)
    alone = [jax.jit(branch) for branch in branches]
    for step in (0, 3, 2 * buckets.per_epoch - 1):
        np.testing.assert_array_equal(found[step], alone[chosen[step]](step))
    assert not np.array_equal(chosen, choose(jax.random.key(1), steps))
    assert not np.array_equal(found[: buckets.per_epoch], found[buckets.per_epoch :])


def cost(buckets, batch_size):
    """Padded steps; infinite if a bucket cannot fill a batch."""
    if min(map(len, buckets)) < batch_size:
        return np.inf
    return sum(len(bucket) * sum(map(max, zip(*bucket, strict=True))) for bucket in buckets)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=3, max_size=12)
    | st.lists(st.tuples(st.sampled_from([2, 3, 9, 60])), min_size=3, max_size=12),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_no_other_buckets_pad_less(lengths, batch_size, count):
    """Of one side, none at all; of two sides, none of rows that are all longer than those of the bucket before."""
    found = by_length(np.array(lengths).T, batch_size=batch_size, count=count)
    assert len(found) <= count
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    ordered = sorted(lengths, key=max)
    places = [n for n in range(1, len(ordered)) if len(ordered[0]) == 1 or max(ordered[n - 1]) < max(ordered[n])]
    best = min(
        cost([ordered[start:end] for start, end in itertools.pairwise((0, *chosen, len(ordered)))], batch_size)
        for number in range(count)
        for chosen in itertools.combinations(places, number)
    )
    buckets = [[lengths[row] for row in rows] for rows in found]
    assert cost(buckets, batch_size) <= best
    assert len(lengths[0]) == 2 or cost(buckets, batch_size) == best


def test_a_row_that_is_much_longer_pads_one_batch():
    lengths = [(1 + n % 10, 1 + n % 10) for n in range(2_000)]
    buckets = bucketed([*lengths, (1000, 9)], batch_size=64, count=4)
    assert [part.source.shape for part in buckets.parts][-1] == (64, 1001)
    assert sum(part.source.size for part in buckets.parts[:-1]) < 1.4 * sum(source + 1 for source, _ in lengths)


def test_long_rows_are_cut_or_left_out_and_counted():
    rows = ["a", "abc", "abcdef", ""]
    sides, cut = lambda row: [row, "ab"], lambda row, length: row[:length]
    for options, expected in (
        ({}, (rows, 0, 0)),
        ({"longest": 3}, (["a", "abc", ""], 1, 0)),
        ({"truncate": 3}, (["a", "abc", "abc", ""], 0, 1)),
        ({"truncate": 4, "longest": 3}, (["a", "abc", ""], 1, 1)),
    ):
        assert bounded(rows, sides, cut, **options) == expected
    with pytest.raises(ValueError, match="longest must leave some of 4 rows, got 1"):
        bounded(rows, sides, cut, longest=1)
    for name in ("longest", "truncate"):
        with pytest.raises(ValueError, match=f"{name} must be >= 0, got -1"):
            bounded(rows, sides, cut, **{name: -1})


test_buckets_that_cannot_be_are_refused = refuses(
    partial(bucketed, LENGTHS),
    ({"batch_size": 0, "count": 1}, r"batch_size must lie in \[1, 13\], got 0"),
    ({"batch_size": 14, "count": 1}, r"batch_size must lie in \[1, 13\], got 14"),
    ({"batch_size": 1, "count": 0}, "count must be >= 1, got 0"),
)
test_batches_that_no_bucket_holds_are_refused = refuses(
    lambda size: Buckets(bucketed(LENGTHS, batch_size=2, count=1).parts, size).choose(jax.random.key(0), 0),
    (14, "every bucket must hold a batch of 14, got one of 13 rows"),
    (0, "batch_size must be >= 1, got 0"),
)


def test_a_batch_may_be_all_rows():
    assert len(bucketed(LENGTHS, batch_size=13, count=4).parts) == 1


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_close_up(values):
    expected = [value for value in values if value] + [0] * values.count(0)
    np.testing.assert_array_equal(close_up(jnp.array([values, values[::-1]]))[0], expected)
