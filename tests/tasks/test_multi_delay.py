import operator

import numpy as np
import pytest

from seqjax.tasks import MultiDelay
from tests.draws import ROWS, draw
from tests.refusals import refuses


def test_worked_example_of_multi_delay():
    batch = draw(MultiDelay(delay=2, length=6), 4)
    x = batch.inputs[..., 0]
    for time in range(2, 6):
        np.testing.assert_array_equal(batch.targets[:, time], x[:, [time, time - 1, time - 2]])
    np.testing.assert_array_equal(batch.weight[0], [0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize("features", [0, 1, 3, 5, 8])
def test_no_linear_readout_of_a_state_explains_more_than_it_has_numbers(features):
    """The bound is reached by remembering the last inputs, and by no random state: least squares is exact."""
    task = MultiDelay(delay=4, length=5)
    batch = draw(task)
    targets = np.asarray(batch.targets[:, -1], np.float64)
    rng = np.random.default_rng(features)
    window = np.asarray(batch.inputs[..., 0], np.float64)

    def error(state):
        fit = np.linalg.lstsq(state, targets, rcond=None)[0] if state.shape[1] else np.zeros((0, 5))
        return ((targets - state @ fit) ** 2).mean()

    slack = 8 / ROWS**0.5
    last = window[:, ::-1][:, :features]
    assert error(last) == pytest.approx(task.floor(features), abs=slack)
    nonlinear = np.tanh(window @ rng.normal(size=(5, features)) + rng.normal(size=features))
    assert error(nonlinear) > task.floor(features) - slack
    assert error(np.zeros((ROWS, 0))) == pytest.approx(task.zero_loss(), abs=slack)


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: MultiDelay(delay=-1), "delay must be >= 0, got -1"),
    (lambda: MultiDelay(delay=4, length=4), "length must be > delay = 4, got 4"),
)
