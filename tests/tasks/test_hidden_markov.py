import operator

import numpy as np

from seqjax.tasks import HiddenMarkov
from seqjax.theory import sources
from tests.draws import ROWS, draw
from tests.refusals import refuses


def test_tokens_are_those_of_the_source():
    """Frequencies of all words of four tokens at two places, and labels that are the next tokens."""
    task = HiddenMarkov(sources.mess3(), length=12)
    batch = draw(task)
    assert batch.inputs.shape == batch.labels.shape == (ROWS, 12)
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.labels[:, :-1])
    words = np.array(np.meshgrid(*[range(3)] * 4, indexing="ij")).reshape(4, -1).T
    first = task.source.stationary @ task.source.transitions.sum(axis=2).T
    predicted = task.source.predict(words)
    p = first[words[:, 0]] * np.prod([predicted[range(81), place, words[:, place + 1]] for place in range(3)], axis=0)
    for start in (0, 8):
        found = np.bincount(batch.inputs[:, start : start + 4] @ [27, 9, 3, 1], minlength=81)
        assert (((found - ROWS * p) ** 2 / (ROWS * p)).sum() - 80) / 160**0.5 < 4


def test_bayes_costs_the_entropy_rate():
    task = HiddenMarkov(length=40)
    batch = draw(task)
    p = task.bayes(batch)
    np.testing.assert_allclose(p.sum(axis=-1), 1)
    cost = -np.log(np.take_along_axis(p, batch.labels[..., None], axis=-1)[:, 24:, 0]).mean(axis=1)
    assert abs(cost.mean() - task.source.entropy_rate().low) < 4 * cost.std() / ROWS**0.5 + 1e-4


test_wrong_fields_are_refused = refuses(operator.call, (lambda: HiddenMarkov(length=0), "length must be >= 1, got 0"))
