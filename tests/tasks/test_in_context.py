import operator

import jax
import numpy as np
import pytest

from seqjax.tasks import ContextChain, ContextRegression
from seqjax.theory import in_context
from tests.draws import ROWS, draw
from tests.refusals import refuses


def test_each_sequence_follows_its_own_chain():
    task, count = ContextChain(symbols=3, length=20), 2_000
    batch, transitions = jax.tree.map(np.asarray, jax.jit(task.chains, static_argnums=1)(jax.random.key(0), count))
    np.testing.assert_array_equal(batch.inputs[:, 1:], batch.labels[:, :-1])
    assert abs(np.bincount(batch.inputs[:, 0]) - count / 3).max() < 4 * (count * 2 / 9) ** 0.5
    np.testing.assert_allclose(transitions.sum(axis=2), 1, rtol=1e-5)
    # Rows are uniform on the simplex: the second moment of an entry is 2 / (V (V + 1)).
    square = transitions[:, 0, 0] ** 2
    assert abs(square.mean() - 1 / 6) < 4 * square.std() / count**0.5
    rows = np.take_along_axis(transitions, batch.inputs[..., None], axis=1)
    chance = np.take_along_axis(rows, batch.labels[..., None], axis=2)[..., 0]
    assert chance.min() > 0
    for token in range(3):  # what follows is as frequent as the chains say
        found, expected = batch.labels == token, rows[..., token]
        error = (found - expected).mean(axis=1)
        assert abs(error.mean()) < 4 * error.std() / count**0.5
        assert abs((found - expected)[expected > 0.8].mean()) < 0.02
    np.testing.assert_array_equal(task.bayes(batch), in_context.dirichlet_predictor(batch.inputs, 3))
    np.testing.assert_array_equal(task.unigram(batch), in_context.unigram_predictor(batch.inputs, 3))


@pytest.mark.parametrize("gaussian", [False, True])
def test_examples_and_questions_of_one_linear_map(gaussian):
    task = ContextRegression(inputs=3, examples=4, gaussian=gaussian)
    batch = draw(task)
    assert batch.inputs.shape == (ROWS, 9, 4)
    np.testing.assert_array_equal(batch.inputs[:, :-1:2, :3], batch.inputs[:, 1::2, :3])
    np.testing.assert_array_equal(batch.inputs[:, ::2, 3], 0)
    np.testing.assert_array_equal(batch.inputs[:, 1::2, 3], batch.targets[:, 1::2, 0])
    np.testing.assert_array_equal(batch.weight[0], [1, 0, 1, 0, 1, 0, 1, 0, 1])
    x, y = np.asarray(batch.inputs[:, ::2, :3], np.float64), np.asarray(batch.targets[:, ::2, 0], np.float64)
    found = in_context.predict_ridge(x[:, :4], y[:, :4], x[:, 4])  # four examples determine three weights
    assert np.median(abs(found - y[:, 4])) < 1e-5
    squares = (x**2).sum(axis=2)
    if gaussian:
        assert abs(squares.var() - 6) < 1
    else:
        np.testing.assert_allclose(squares, 3, rtol=1e-5)
    assert abs((y**2).mean() - task.zero_loss()) < 4 * (y**2).mean(axis=1).std() / ROWS**0.5
    assert task.floor(1) == pytest.approx(2 / 3)


def test_one_question_after_all_examples():
    batch = draw(ContextRegression(inputs=3, examples=4, every=False), 16)
    assert batch.inputs.shape == (16, 5, 4)
    np.testing.assert_array_equal(batch.weight[0], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(batch.inputs[:, :4, 3], batch.targets[:, :4, 0])
    np.testing.assert_array_equal(batch.inputs[:, 4, 3], 0)


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: ContextChain(symbols=1), "symbols must be >= 2, got 1"),
    (lambda: ContextChain(alpha=0.0), "alpha must be > 0, got 0.0"),
    (lambda: ContextRegression(examples=0), "examples must be >= 1, got 0"),
)
