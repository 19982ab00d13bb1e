import operator

import numpy as np

from seqjax.tasks import WordProblem
from seqjax.theory import groups
from tests.draws import ROWS, draw
from tests.refusals import refuses


def test_labels_are_products_so_far():
    """Of permutations, applied one after the other; and sums modulo 3."""
    task = WordProblem(groups.symmetric(4), (3, 7, 20), length=9)
    permutations = groups.reflections(4).readout  # matrices in another basis, but they multiply alike
    batch = draw(task, 50)
    assert batch.inputs.max() < task.vocab == 3
    for tokens, labels in zip(batch.inputs, batch.labels, strict=True):
        product = np.eye(3)
        for token, label in zip(tokens, labels, strict=True):
            product = product @ permutations[task.elements[token]]
            assert np.abs(permutations - product).sum(axis=(1, 2)).argmin() == label
    sums = draw(WordProblem(groups.cyclic(3), length=5), 64)
    np.testing.assert_array_equal(sums.labels, sums.inputs.cumsum(axis=1) % 3)


def test_chance_is_the_most_frequent_product():
    task = WordProblem(groups.symmetric(3), groups.adjacent_transpositions(3), length=6)
    batch = draw(task)
    for length in (1, 2, 5, 6):
        found = np.bincount(batch.labels[:, length - 1]).max() / ROWS
        assert abs(found - task.chance(length)) < 4 * 0.5 / ROWS**0.5
    assert task.chance() == task.chance(6)
    assert task.commutative_ceiling() == groups.commutative_ceiling(task.group, task.elements, 6)


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: WordProblem(length=0), "length must be >= 1, got 0"),
    (lambda: WordProblem(tokens=(6,)), r"tokens must be elements in \[0, 6\), got \(6,\)"),
)
