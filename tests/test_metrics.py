import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu

from seqjax import metrics
from tests.refusals import refuses

TARGETS = np.array([[[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]], [[1.0, 1.0], [3.0, 5.0], [9.0, 9.0]]])
PREDICTIONS = TARGETS + np.array([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [[0.0, 0.0], [3.0, 1.0], [0.0, 2.0]]])
WEIGHT = np.array([[1.0, 0.5, 0.0], [2.0, 1.0, 0.0]])


def unchecked_refuses(*arguments):
    return pytest.mark.usefixtures("unchecked")(refuses(*arguments))


def test_mse():
    assert metrics.mse(PREDICTIONS, TARGETS) == pytest.approx(21 / 12)
    assert metrics.mse(PREDICTIONS, TARGETS, WEIGHT) == pytest.approx((1 * 1 + 0.5 * 4 + 1 * 10) / 2 / 4.5)


def test_r2_is_one_minus_pooled_error_over_pooled_spread():
    spread = sum(((TARGETS[..., i] - TARGETS[..., i].mean()) ** 2).sum() for i in range(2))
    assert metrics.r2(PREDICTIONS, TARGETS) == pytest.approx(1 - 21 / spread)


def test_weights_count_repetitions():
    repeated = np.repeat(np.arange(6), (2 * WEIGHT).ravel().astype(int))
    predictions, targets = (part.reshape(1, 6, 2)[:, repeated] for part in (PREDICTIONS, TARGETS))
    assert metrics.mse(PREDICTIONS, TARGETS, WEIGHT) == pytest.approx(metrics.mse(predictions, targets))
    assert metrics.r2(PREDICTIONS, TARGETS, WEIGHT) == pytest.approx(metrics.r2(predictions, targets))


@pytest.mark.parametrize("metric", [metrics.mse, metrics.r2])
def test_steps_of_weight_zero_may_hold_anything(metric):
    predictions, targets = PREDICTIONS.copy(), TARGETS.copy()
    predictions[:, 2], targets[:, 2] = np.nan, np.inf
    assert metric(predictions, targets, WEIGHT) == metric(PREDICTIONS, TARGETS, WEIGHT)


def test_float32_inputs_are_summed_in_float64():
    """A mean of 1e4 and errors of 1e-2: float32 sums would lose the ratio."""
    targets = jnp.array(np.random.default_rng(0).normal(1e4, 1, (4, 100, 1)), jnp.float32)
    error = np.tile([0.0078125, -0.0078125], (4, 50))[..., None]  # exact in float32 at 1e4
    r2 = metrics.r2(targets + jnp.array(error, jnp.float32), targets)
    assert 1 - r2 == pytest.approx(0.0078125**2 / np.asarray(targets, np.float64).var(), rel=1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("metric", [metrics.mse, metrics.r2])
@pytest.mark.parametrize(
    ("predictions", "weight", "message"),
    [
        (PREDICTIONS[:1], None, r"predictions must have the targets' shape \(2, 3, 2\), got \(1, 3, 2\)"),
        (PREDICTIONS, WEIGHT[0], r"weight must have the shape \(batch, time\) = \(2, 3\), got \(3,\)"),
        (PREDICTIONS, 0 * WEIGHT, "weight must not be 0 everywhere"),
        (PREDICTIONS, -WEIGHT, "weight must be >= 0 everywhere, got -2.0"),
    ],
)
def test_wrong_arguments_are_refused(metric, predictions, weight, message):
    with pytest.raises(ValueError, match=message):
        metric(predictions, TARGETS, weight)


test_r2_of_constant_targets_is_refused = refuses(
    metrics.r2,
    (PREDICTIONS, np.ones_like(TARGETS), "r2 needs finite targets that vary"),
    (PREDICTIONS, np.full_like(TARGETS, 0.1), "r2 needs finite targets that vary"),  # the mean is not quite 0.1
    (PREDICTIONS, np.full_like(TARGETS, np.nan), "r2 needs finite targets that vary"),
)


# Translations


def sentences(count, seed=0):
    """Sentences of a small language, and references that share some of their words."""
    random = np.random.default_rng(seed)
    words = ["the", "a", "man", "woman", "dog", "runs", "sees", "eats", "house", "red", "big", "and"]
    references = [[str(word) for word in random.choice(words, random.integers(4, 9))] for _ in range(count)]
    hypotheses = [[w if random.random() < 0.8 else str(random.choice(words)) for w in given] for given in references]
    return [" ".join(said) for said in hypotheses], [" ".join(given) for given in references]


def test_bleu_by_hand():
    """4 of 5 words, 3 of 4 pairs, 2 of 3 triples and 1 of 2 quadruples: their geometric mean, times exp(1 - 6/5)."""
    found = metrics.translation(["a b c d e"], [["a b c d x"]])
    assert found.bleu.value == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    brief = metrics.translation(["a b c d e"], [["a b c d x y"]])
    assert brief.bleu.value == pytest.approx(found.bleu.value * np.exp(1 - 6 / 5))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_scores_are_sacrebleu_s_for_any_number_of_references(most):
    """Here lists are filled up with a reference that is there already, which changes neither score."""
    hypotheses, first = sentences(60)
    columns = [first, *(sentences(60, seed)[1] for seed in (1, 2))]
    given = [[column[row] for column in columns[: 1 + row % most]] for row in range(60)]
    found = metrics.translation(hypotheses, given, resamples=100)
    filled = [[row[min(n, len(row) - 1)] for row in given] for n in range(most)]
    assert found.bleu.value == pytest.approx(sacrebleu.corpus_bleu(hypotheses, filled).score, abs=1e-9)
    assert found.chrf.value == pytest.approx(sacrebleu.corpus_chrf(hypotheses, filled).score, abs=1e-9)
    assert f"nrefs:{1 if most == 1 else 'var'}|" in found.signature
    assert f"version:{sacrebleu.__version__}" in found.signature
    assert metrics.translation(hypotheses, given, resamples=100) == found


def test_exact_matches_are_counted_over_all_references():
    found = metrics.translation(["a b", "c", "d", "E"], [["x", "a b"], ["c"], ["x", "y", "c"], ["e"]])
    assert found.exact.value == 0.5


def test_intervals_are_as_wide_as_the_sample_is_small():
    for count in (50, 800):
        found = metrics.translation(*as_lists(*sentences(count)), resamples=1000)
        rate = found.exact.value
        # A proportion's interval in closed form; the resampled one has granularity and noise.
        half = 1.96 * np.sqrt(rate * (1 - rate) / count)
        assert (found.exact.high - rate, rate - found.exact.low) == pytest.approx((half, half), rel=0.2)
        for estimate in found[:3]:
            assert estimate.low < estimate.value < estimate.high
        if count == 50:
            narrower = [(e.high - e.low) / 4 for e in found[:3]]
    for estimate, expected in zip(found[:3], narrower, strict=True):
        assert estimate.high - estimate.low == pytest.approx(expected, rel=0.35)


def as_lists(hypotheses, references):
    return hypotheses, [[reference] for reference in references]


def test_what_is_said_in_full_is_perfect_and_nonsense_is_not():
    _, references = as_lists(*sentences(20))
    perfect = metrics.translation([given[0] for given in references], references, resamples=50)
    for estimate, full in zip(perfect[:3], (100, 100, 1), strict=True):
        assert estimate == pytest.approx((full, full, full))
    for estimate in metrics.translation(["q"] * 20, references, resamples=50)[:3]:
        assert estimate == (0, 0, 0)


test_translations_without_references_are_refused = refuses(
    metrics.translation,
    ([], [], "needs references for each sentence, got 0 and 0"),
    (["a"], [["a"], ["b"]], "needs references for each sentence, got 1 and 2"),
    (["a", "b", "c"], [["a"], [], ["c"]], "each sentence needs a reference, got none for sentence 1"),
    ([""], [[""]], "references must hold a word, got none"),
)


@pytest.mark.parametrize(("said", "meant"), [(["a b"], ["a b"]), ("a", ["a"]), (["a"], [[1]])])
@pytest.mark.usefixtures("unchecked")
def test_strings_are_no_lists_of_references(said, meant):
    with pytest.raises(TypeError, match="must be a list of strings"):
        metrics.translation(said, meant)


@pytest.mark.parametrize("sentence", ["a", "a b c", "a b c d e"])
def test_what_is_exactly_right_has_the_best_scores_however_short(sentence):
    found = metrics.translation([sentence] * 60, [[sentence]] * 60, resamples=5)
    assert [value for part in found[:2] for value in part] == pytest.approx([100] * 6)


def test_languages_without_spaces():
    """Of five characters the first four: as a word it is another one."""
    by_word, by_character = (
        metrics.translation(["abcdx"], [["abcde"]], resamples=1, tokenize=name).bleu.value for name in ("13a", "char")
    )
    assert by_word == 0
    assert by_character == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    with pytest.raises(ValueError, match=r"tokenize must be one of .*char.*, got 'words'"):
        metrics.translation(["a"], [["a"]], tokenize="words")


def test_one_sample_is_no_interval():
    """Without resampling there is the number alone."""
    for estimate in metrics.translation(*as_lists(*sentences(30)), resamples=1)[:3]:
        assert estimate.low == estimate.value == estimate.high


def test_accuracy_and_the_interval_that_its_test_would_accept():
    """Wilson's limits are the fractions p that a two-sided test at 5 % just accepts: |fraction - p| = z sd(p)."""
    for count, right in [(1, 0), (1, 1), (10, 3), (10_000, 9_920), (10_000, 0)]:
        labels = np.arange(count) % 7
        guesses = np.where(np.arange(count) < right, labels, labels + 1)
        found = metrics.accuracy(labels, guesses)
        assert found.value == pytest.approx(right / count)
        for limit in (found.low, found.high):
            z = abs(right / count - limit) / np.sqrt(max(limit * (1 - limit), 1e-300) / count)
            assert z == pytest.approx(1.96, abs=1e-3) or limit == pytest.approx(right / count, abs=1e-12)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert (found.low == 0) == (right == 0)
        assert (found.high == 1) == (right == count)
        assert found.low < found.high


def test_the_interval_of_an_accuracy_holds_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), []
    for _ in range(1000):
        right = rng.random(200) < 0.9
        found = metrics.accuracy(np.ones(200, int), right.astype(int))
        hits.append(found.low <= 0.9 <= found.high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.025)


test_a_fraction_is_of_some_rows = refuses(
    metrics.wilson_interval,
    (0, 0, "rows must be >= 1, got 0"),
    (-1, 3, r"correct must lie in \[0, 3\], got -1"),
    (4, 3, r"correct must lie in \[0, 3\], got 4"),
)


test_an_accuracy_needs_guesses = unchecked_refuses(
    lambda labels, guesses: metrics.accuracy(np.zeros(labels, int), np.ones(guesses, int)),
    (0, 0, r"needs a guess for each row's label, and one at least, got \(0,\) for \(0,\)"),
    (2, 3, r"needs a guess for each row's label, and one at least, got \(3,\) for \(2,\)"),
    ((2, 3), (2, 3), r"needs a guess for each row's label, and one at least, got \(2, 3\) for \(2, 3\)"),
)


test_a_guess_is_a_class = unchecked_refuses(
    metrics.accuracy, ([0, 1], [0.2, 0.9], "labels and guesses must be classes, not int64 and float64")
)


def test_calibration_by_hand():
    """Of four bins, [0.5, 0.75) is empty: 0.1 and 0.2 with one positive, 0.25 with none, 0.9 and 1 with one."""
    labels, probability = jnp.array([1, 0, 0, 1, 0]), np.array([0.1, 0.2, 0.25, 0.9, 1.0])
    found = metrics.calibration(labels, probability, bins=4)
    np.testing.assert_allclose(found.predicted, [0.15, 0.25, 0.95])
    np.testing.assert_array_equal(found.observed, [0.5, 0, 0.5])
    np.testing.assert_array_equal(found.rows, [2, 1, 2])
    assert found.error == pytest.approx((2 * 0.35 + 1 * 0.25 + 2 * 0.45) / 5)
    intervals = [metrics.wilson_interval(right, of) for right, of in [(1, 2), (0, 1), (1, 2)]]
    np.testing.assert_array_equal(found.low, [interval.low for interval in intervals])
    np.testing.assert_array_equal(found.high, [interval.high for interval in intervals])


def test_what_is_as_sure_as_right_has_no_calibration_error():
    """Here each bin holds one probability, k / 5, of ten rows, of which 2 k are positive."""
    probability = np.repeat(np.arange(6) / 5, 10)
    labels = np.concatenate([np.arange(10) < 2 * k for k in range(6)]).astype(int)
    found = metrics.calibration(labels, probability, bins=6)
    assert found.error == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.predicted, found.observed)
    np.testing.assert_array_equal(found.rows, [10] * 6)


def test_sure_of_what_is_never_true_is_the_largest_error():
    for probability, label in [(1.0, 0), (0.0, 1)]:
        assert metrics.calibration(np.full(7, label), np.full(7, probability), bins=10).error == 1


@pytest.mark.parametrize("bins", [1, 7, 1000])
def test_bins_hold_all_rows_and_their_means_are_those_of_all(bins):
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    labels = (rng.random(300) < probability**2).astype(int)
    found = metrics.calibration(labels, probability, bins=bins)
    assert found.rows.sum() == 300
    assert found.rows.min() > 0
    assert found.rows @ found.predicted / 300 == pytest.approx(probability.mean())
    assert found.rows @ found.observed / 300 == pytest.approx(labels.mean())
    assert (np.diff(found.predicted) > 0).all()
    # With one bin, errors of both signs cancel; they never do in smaller ones.
    assert found.error >= abs((probability - labels).mean()) - 1e-9
    if bins == 1:
        assert found.error == pytest.approx(abs((probability - labels).mean()))


test_what_cannot_be_calibrated_is_refused = unchecked_refuses(
    lambda labels, probability, bins: metrics.calibration(np.array(labels, int), np.array(probability), bins=bins),
    ([0, 1], [0.5, 0.5], 0, "bins must be >= 1, got 0"),
    ([0, 1], [0.5], 2, r"needs a probability for each row's label, got \(1,\) for \(2,\)"),
    ([], [], 2, r"needs a probability for each row's label, got \(0,\) for \(0,\)"),
    ([0, 2], [0.5, 0.5], 2, "labels must be 0 or 1, got 0 to 2"),
    ([0, 1], [0.5, 1.5], 2, r"probability must lie in \[0, 1\], got 0.5 to 1.5"),
    ([0, 1], [0.5, -0.5], 2, r"probability must lie in \[0, 1\], got -0.5 to 0.5"),
    ([0, 1], [0.5, np.nan], 2, r"probability must lie in \[0, 1\], got nan to nan"),
)


def test_confusion_has_a_row_for_each_class():
    labels, guesses = np.array([[0, 0, 2], [2, 2, 1]]), jnp.array([[0, 1, 0], [2, 2, 1]])
    expected = [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0] * 4]
    np.testing.assert_array_equal(metrics.confusion(labels, guesses, 4), expected)
    weight = np.array([[3, 0, 1], [1, 1, 0]])
    np.testing.assert_array_equal(metrics.confusion(labels, guesses, 3, weight), [[3, 0, 0], [0, 0, 0], [1, 0, 2]])
    np.testing.assert_array_equal(metrics.confusion(labels, guesses, 3, weight > 0), [[1, 0, 0], [0, 0, 0], [1, 0, 2]])


def test_what_does_not_count_may_be_no_class():
    labels, guesses, weight = np.array([0, -1, 7]), np.array([1, 9, 0]), np.array([True, False, False])
    np.testing.assert_array_equal(metrics.confusion(labels, guesses, 2, weight), [[0, 1], [0, 0]])


test_what_is_no_confusion_is_refused = unchecked_refuses(
    lambda labels, guesses, *weight: metrics.confusion(np.array(labels), np.array(guesses), 3, *map(np.array, weight)),
    ([0, 3], [0, 1], r"labels must lie in \[0, 3\), got 0 to 3"),
    ([0, 1], [-1, 1], r"guesses must lie in \[0, 3\), got -1 to 1"),
    ([0, 1], [0], r"must have the labels' shape \(2,\), got \(1,\) and \(2,\)"),
    ([0, 1], [0, 1], [1], r"must have the labels' shape \(2,\), got \(2,\) and \(1,\)"),
    ([0, 1], [0, 1], [1, -1], "weight must be >= 0, got -1"),
    ([0, 1], [0, 1], [0.5, 0.5], "weight must be integers, got float64"),
    ([0.0, 1], [0, 1], "labels must be integers, got float64"),
)


def test_plateau_time_is_the_first_below_the_level():
    times = np.array([1, 2, 4, 8])
    losses = np.array([[3.0, 1.0, 2.0, 0.0], [3.0, 2.0, 2.0, 1.9], [0.0, 3.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(metrics.plateau_time(times, losses, 2.0), [2, 8, 1, np.inf])
    with pytest.raises(ValueError, match="times must increase"):
        metrics.plateau_time(times[::-1], losses, 2.0)


def test_valid_prediction_steps_end_where_the_error_first_exceeds_the_threshold():
    """Root mean squares over two targets, in units of 2: what comes after does not count, and NaN exceeds."""
    errors = [
        [0, 1, 1.1, 0, 0],
        [0, 0, 0, 0, 0.9],
        [1.2, 0, 0, 0, 0],
        [0.5, np.nan, 0, 0, 0],
        [0, 0, 0, np.inf, np.nan],
    ]
    predictions = np.stack([np.array(errors), np.array(errors)], axis=2) + TARGETS[0, 0]
    truth = np.broadcast_to(TARGETS[0, 0], predictions.shape)
    assert metrics.valid_prediction_steps(predictions, truth, scale=2.0).tolist() == [2, 5, 0, 1, 3]
    one_target = predictions.copy()
    one_target[..., 1] = truth[..., 1]  # the error of one target alone is smaller by the root of two
    assert metrics.valid_prediction_steps(one_target, truth, scale=2.0).tolist() == [5, 5, 5, 1, 3]
    assert metrics.valid_prediction_steps(predictions, truth, scale=2.0, threshold=0.2).tolist() == [1, 4, 0, 0, 3]


test_valid_prediction_steps_of_other_shapes = unchecked_refuses(
    lambda predictions, scale: metrics.valid_prediction_steps(predictions, TARGETS, scale=scale),
    (TARGETS[:, :2], 1.0, "predictions must have the truth's shape"),
    (TARGETS, 0.0, "scale and threshold must be > 0, got 0"),
)


def test_failure_is_the_first_error_above_the_level():
    delays = [2, 4, 8, 16]
    assert metrics.failure(delays, [0.0, 0.1, 0.3, 0.0], 0.1) == (4, 8)
    assert metrics.failure(delays, [0.2, 0.0, 0.0, 0.0], 0.1) == (0, 2)
    assert metrics.failure(delays, [0.0] * 4, 0.1) == (16, np.inf)
    assert metrics.failure(delays, [0.0, np.nan, 0.0, 0.0], 0.1) == (2, 4)


test_what_has_no_failure_is_refused = unchecked_refuses(
    metrics.failure,
    ([2, 4], [0.1], 0.1, "errors must be given for each of 2 settings, got 1"),
    ([4, 2], [0.1, 0.1], 0.1, r"settings must increase, got \[4, 2\]"),
)


def test_roughness_of_what_is_known():
    """Of a sine it is the squared amplitude; noise of variance v adds 6 v / (second difference of the targets)."""
    time = np.arange(200)[None, :, None]
    sine = np.sin(0.1 * time)
    assert metrics.roughness(3 * sine, sine) == pytest.approx(9)
    assert metrics.roughness(sine + 5 * time - 1, sine) == pytest.approx(1)
    assert metrics.roughness(0.1 * time, sine) == pytest.approx(0, abs=1e-12)
    targets = np.random.default_rng(0).normal(size=(400, 50, 2)).cumsum(axis=1).cumsum(axis=1)
    noisy = targets + np.random.default_rng(1).normal(size=targets.shape)
    assert metrics.roughness(noisy, targets) == pytest.approx(7, rel=0.05)  # second differences of variance 1


test_what_has_no_roughness_is_refused = unchecked_refuses(
    lambda predictions, targets: metrics.roughness(np.array(predictions, float), np.array(targets, float)),
    ([[[0], [1], [2]]], [[[0], [1]]], "one shape and at least 3 steps"),
    ([[[0], [1]]], [[[0], [1]]], "one shape and at least 3 steps"),
    ([[[0], [1], [5]]], [[[0], [1], [2]]], "not straight lines in time"),
)
