import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import losses
from seqjax.tasks import AddingProblem
from tests.draws import ROWS, draw
from tests.refusals import refuses


def test_the_two_marked_numbers_are_added():
    batch = draw(AddingProblem(7))
    values, marks = batch.inputs[..., 0], batch.inputs[..., 1]
    assert set(np.unique(marks)) == {0, 1}
    np.testing.assert_array_equal(marks.sum(axis=1), 2)
    np.testing.assert_allclose(batch.targets[:, -1, 0], (values * marks).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(batch.weight, np.broadcast_to(np.arange(7) == 6, (ROWS, 7)))
    assert 0 <= values.min() < values.max() < 1
    np.testing.assert_allclose(values.mean(axis=0), 1 / 2, atol=4 / (12 * ROWS) ** 0.5)


def test_each_pair_of_steps_is_marked_equally_often():
    marks = draw(AddingProblem(7)).inputs[..., 1]
    together = marks.T @ marks
    counts = together[np.triu_indices(7, 1)]
    assert counts.sum() == ROWS
    statistic = np.sum((counts - ROWS / 21) ** 2 / (ROWS / 21))
    assert abs(statistic - 20) < 4 * 40**0.5


def test_constant_one_has_an_error_of_a_sixth():
    batch = draw(AddingProblem(2))
    errors = (batch.targets[:, -1, 0] - 1) ** 2
    assert errors.mean() == pytest.approx(AddingProblem(2).constant_loss(), abs=float(4 * errors.std() / ROWS**0.5))
    arguments = map(jnp.asarray, (np.ones_like(batch.targets), batch.targets, batch.weight))
    assert losses.squared_error(*arguments) == pytest.approx(errors.mean(), rel=1e-5)
    # No other constant does better: the integral over the unit square, by the midpoint rule.
    middles = (np.arange(1000) + 0.5) / 1000
    sums = middles[:, None] + middles[None, :]
    at = {constant: ((sums - constant) ** 2).mean() for constant in (0.9, 1.0, 1.1)}
    assert at[1.0] == pytest.approx(1 / 6, rel=1e-5)
    assert min(at, key=lambda constant: at[constant]) == 1


test_one_step_is_refused = refuses(AddingProblem, (1, "length must be >= 2, got 1"))
