"""What a state of b bits can hold: against all codes of small size, and against the codes that are known to be best."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import evaluate, models, tasks
from seqjax.theory import bounds, recall
from tests.draws import draw
from tests.refusals import refuses

ROWS = 1_500


def curve(bound, bits, items, symbols):
    return np.array([bound(float(number), items, symbols) for number in bits])


def words(items):
    """All binary words, and the number of places where any two agree, (words, words)."""
    bits = (np.arange(2**items)[:, None] >> np.arange(items)) & 1
    return bits, (bits[:, None] == bits[None]).sum(axis=-1).astype(np.uint8)


def best_code(bits, items):
    """Accuracy of the best set of 2^bits words, each word answered by its nearest, over all such sets.

    Up to translation and order of the places a set holds the word 0 and, for its nearest pair, 0…01…1.
    """
    _, agree = words(items)
    if 2**bits == 1:
        return agree[0].mean() / items
    best = 0.0
    # Of eight words of five places, some two are nearer than 3.
    for distance in range(1, 3 if bits == 3 else items + 1):
        pair = [0, 2**distance - 1]
        others = [word for word in range(2**items) if word not in pair]
        sets = list(itertools.combinations(others, 2**bits - 2))
        sets = np.array(sets, np.uint8).reshape(len(sets), 2**bits - 2)
        covered = np.maximum(agree[pair[0]], agree[pair[1]])[None]
        for column in sets.T:
            covered = np.maximum(covered, agree[column])
        best = max(best, covered.sum(axis=1, dtype=int).max() / (items * 2**items))
    return best


@pytest.mark.parametrize(("bits", "items", "sharp"), [(1, 4, 0.6875), (2, 4, 0.8125), (3, 4, 0.8750), (1, 6, 0.65625)])
def test_four_small_codes_are_on_the_ceiling(bits, items, sharp):
    assert best_code(bits, items) == sharp
    assert recall.accuracy(bits, items, 2) == pytest.approx(sharp, abs=1e-14)


@pytest.mark.parametrize(
    ("bits", "items"), [*((bits, items) for bits in (0, 1, 2) for items in range(2, 7)), (3, 4), (3, 5)]
)
def test_no_code_of_small_size_is_above_the_ceiling(bits, items):
    best = best_code(bits, items)
    assert recall.store(bits, items, 2) <= best <= recall.accuracy(bits, items, 2) + 1e-14


def test_no_partition_is_above_the_ceiling_with_teacher_forcing():
    """Each answer may use the values before it: all ways to give one bit to the 16 words of four bits."""
    inside = ((np.arange(2**15)[:, None] >> np.arange(16)) & 1).astype(np.int8)
    right = np.zeros(2**15, int)
    for half in (inside, 1 - inside):
        for known in range(4):  # the first places are the prefix, and the next is asked for
            counts = half.reshape(len(half), 2**known, 2, -1).sum(axis=-1, dtype=int)
            right = right + counts.max(axis=-1).sum(axis=-1)
    assert right.max() / 64 == pytest.approx(recall.accuracy(1, 4, 2), abs=1e-14)


def test_no_code_of_lloyd_is_above_the_ceiling():
    """Eight words of six places, by alternating the nearest word and the majority, from 300 starts."""
    bits, agree = words(6)
    rng = np.random.default_rng(0)
    best = 0.0
    for _ in range(300):
        code = rng.choice(64, 8, replace=False)
        for _ in range(8):
            nearest = agree[:, code].argmax(axis=1)
            for number in range(8):
                if (mine := bits[nearest == number]).size:
                    code[number] = (mine.mean(axis=0) > 0.5) @ (1 << np.arange(6))
        best = max(best, agree[:, code].max(axis=1).mean() / 6)
    assert recall.store(3, 6, 2) < best <= recall.accuracy(3, 6, 2)


def test_hamming_s_code_is_perfect():
    assert recall.accuracy(4, 7, 2) == pytest.approx(0.875, abs=1e-12)
    parity = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]])
    data = (np.arange(16)[:, None] >> np.arange(4)) & 1
    code = np.concatenate([data, data @ parity % 2], axis=1)
    everything, _ = words(7)
    agree = (everything[:, None] == code[None]).sum(axis=-1)
    assert agree.max(axis=1).mean() / 7 == 0.875


def test_published_ceilings_of_eight_values_of_sixteen():
    bits = np.arange(4, 33, 4.0)
    ceiling = [0.2734, 0.4044, 0.5241, 0.6375, 0.7537, 0.8096, 0.8828, 1.0]
    stored = [0.1797, 0.2969, 0.4141, 0.5312, 0.6484, 0.7656, 0.8828, 1.0]
    np.testing.assert_allclose(curve(recall.accuracy, bits, 8, 16), ceiling, atol=5e-5)
    np.testing.assert_allclose(curve(recall.store, bits, 8, 16), stored, atol=5.1e-5)  # .53125 is printed as .5312
    ratio = curve(recall.store, bits, 8, 16) / curve(recall.accuracy, bits, 8, 16)
    assert np.round(100 * ratio[[3, 5, 6, 7]]).tolist() == [83, 95, 100, 100]


def test_published_numbers_of_half_precision_state():
    """V = 4,096, D = 64, as in the experiments of zoology: 48 numbers of 16 bits for .99, and 21 for .5."""
    ceiling = curve(recall.accuracy, 16 * np.arange(60), 64, 4096)
    assert [int(np.argmax(ceiling >= goal)) for goal in (0.99, 0.5)] == [48, 21]


@pytest.mark.parametrize("symbols", [2, 3, 10, 16, 4096])
@pytest.mark.parametrize("items", [1, 2, 5, 64, 1000])
def test_storing_and_guessing_is_on_the_ceiling_one_value_short(items, symbols):
    bits = (items - 1) * math.log2(symbols)
    stored = recall.store(bits, items, symbols)
    assert stored == pytest.approx((items - 1 + 1 / symbols) / items, rel=1e-14)
    assert recall.accuracy(bits, items, symbols) == pytest.approx(stored, rel=1e-9)


@pytest.mark.parametrize(("items", "symbols"), [(1, 2), (4, 2), (8, 16), (64, 4096), (1000, 16)])
def test_rate_distortion_is_never_below_the_ball(items, symbols):
    bits = np.concatenate([np.linspace(0, items * math.log2(symbols), 100), [1e5]])
    ball, loose = (curve(bound, bits, items, symbols) for bound in (recall.accuracy, recall.rate_distortion))
    assert (loose >= ball - 1e-9).all()
    assert (curve(recall.store, bits, items, symbols) <= ball + 1e-9).all()
    assert (np.diff(ball) >= -1e-12).all()
    assert ball[0] == pytest.approx(1 / symbols, rel=1e-9)
    assert loose[0] == pytest.approx(1 / symbols, abs=1e-7)  # its slope is infinite there
    assert ball[-1] == loose[-1] == 1
    if items == 1000:  # with many values the two meet
        assert (loose - ball).max() < 0.02


def test_nats_are_the_bits_that_are_missing():
    assert recall.nats(0, 8, 16) == pytest.approx(math.log(16))
    np.testing.assert_allclose(curve(recall.nats, [16, 32, 1e5], 8, 16), [math.log(4), 0, 0], atol=1e-15)


def test_bag_is_the_mean_over_all_draws():
    found = recall.bag(8, 16)
    assert (round(found.accuracy, 6), round(found.nats, 6)) == (0.257865, 1.798397)
    counts = np.array([np.bincount(draw, minlength=3) for draw in itertools.product(range(3), repeat=5)])
    p = counts / 5
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1).mean()
    assert recall.bag(5, 3) == pytest.approx((p.max(axis=1).mean(), entropy), rel=1e-12)
    assert recall.bag(1, 7) == pytest.approx((1, 0), abs=1e-12)
    assert 1 / 16 < recall.bag(300, 16).accuracy < 0.1


@pytest.mark.parametrize(("bits", "published"), [(8, 0.392), (12, 0.518), (16, 0.630)])
def test_random_codes_come_within_two_points_of_the_ceiling(bits, published):
    accuracy, error = recall.random_code(bits, 8, 16, draws=2_000)
    assert abs(accuracy - published) < 4 * error
    assert 0 < recall.accuracy(bits, 8, 16) - accuracy < 0.02


@pytest.mark.parametrize(
    ("stored", "symbols", "accuracy"),
    [
        *[(4, 16, 0.53125), (7, 16, 0.8828125), (8, 16, 1)],
        *[pytest.param(*case, marks=pytest.mark.slow) for case in [(1, 16, 0.1796875), (6, 16, 0.765625), (3, 5, 0.5)]],
    ],
)
def test_gru_by_hand_is_on_storing_and_guessing(stored, symbols, accuracy):
    """With a carry rounded to one bit a number; of 7 of 8 values of 16 that is the ceiling of any model."""
    task = tasks.Recall(8, 8, symbols)
    params = jax.tree.map(jnp.asarray, recall.gru(stored, 8, symbols))
    model = models.Regressor(models.GRU(params["params"]["readout"]["kernel"].shape[0]), symbols)
    extend = jax.jit(partial(model.apply, params, method="extend"))

    batch = draw(task, 2 * ROWS)
    x = np.eye(task.vocab, dtype=np.float32)[batch.inputs].reshape(2, ROWS, task.time, task.vocab)
    empty = model.start(ROWS, task.vocab, task.time)
    calibration, carry = (extend(empty, jnp.asarray(part[:, : task.cut]))[0] for part in x)
    questions, labels = jnp.asarray(x[1, :, task.cut :]), batch.labels[ROWS:, task.cut :]
    quantiser = evaluate.Quantiser.fit(calibration, 1)
    assert quantiser.bits == stored * math.ceil(math.log2(symbols))
    logits = np.asarray(extend(quantiser(carry), questions)[1])
    right = (logits.argmax(axis=2) == labels).mean(axis=1)
    error = right.std() / ROWS**0.5
    assert abs(right.mean() - accuracy) <= 4 * error
    ceiling = task.ceiling(quantiser.bits)
    bounds.require_below(ceiling, right.mean(), error)
    if symbols == 16:
        assert recall.store(quantiser.bits, 8, 16) == accuracy
        assert (ceiling == pytest.approx(accuracy, rel=1e-9)) == (stored >= 7)
        p = np.exp(logits - logits.max(axis=2, keepdims=True))
        nats = -np.log(np.take_along_axis(p / p.sum(axis=2, keepdims=True), labels[..., None], axis=2))
        assert nats.mean() == pytest.approx(task.floor(quantiser.bits), abs=1e-6)


def test_a_window_guesses_what_it_does_not_see():
    assert recall.window(0.75, 4) == 0.8125


test_wrong_arguments_are_refused = refuses(
    recall.accuracy,
    (-1, 8, 16, "bits must be >= 0, got -1"),
    (math.nan, 8, 16, "bits must be >= 0, got nan"),
    (8, 0, 16, "items must be >= 1, got 0"),
    (8, 8, 1, "symbols must be >= 2, got 1"),
)
test_a_window_of_more_than_everything_is_refused = refuses(
    recall.window, (1.5, 4, r"inside must lie in \[0, 1\], got 1.5")
)
