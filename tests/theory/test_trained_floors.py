"""Trained linear RNNs never go below the floor, and on the way they do learn."""

import jax
import jax.numpy as jnp
import pytest

from seqjax import evaluate, losses, models, sweep, tasks, train

RUNS, STEPS, SEQUENCES = 8, 400, 4096


@pytest.mark.parametrize(
    ("order", "delay", "length"),
    [
        (1, 1, 3),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [(2, 4, 16), (1, 0, 1), (6, 5, 11), (1, 4, 9), (4, 4, 9), (4, 8, 32)]
        ),
    ],
)
def test_no_run_ends_below_the_floor(key, order, delay, length):
    """The shortest window of each delay for which the floor holds is among them: there it is easiest to break."""
    task = tasks.Shift(delay, length)
    model = models.Regressor(models.RNN(order, activation=lambda x: x))

    def loss(params, batch, key):
        return losses.squared_error(jnp.asarray(model.apply(params, batch.inputs)), batch.targets), {}

    train_key, test_key = jax.random.split(key)
    state, advance = sweep.sweep(
        lambda key: model.init(key, jnp.zeros((1, length, 1))),
        loss,
        lambda rate: train.adam(rate, STEPS),
        lambda key, rate: task.sample(key, 64),
        keys=jax.random.split(train_key, RUNS),
        settings=jnp.geomspace(3e-3, 0.1, RUNS),
        steps=STEPS,
    )
    *_, (state, _) = train.run(advance, state, STEPS)
    batch = task.sample(test_key, SEQUENCES)
    predictions = evaluate.predict(model.apply, state.params, batch.inputs)
    errors = ((predictions - batch.targets[None]) ** 2).mean(axis=(2, 3))
    mean, standard_error = errors.mean(axis=1), errors.std(axis=1) / SEQUENCES**0.5
    assert (mean >= task.floor(order) - 4 * standard_error).all()
    if order > delay:
        assert mean.min() < 0.01  # the floor is 0, and is reached
    else:
        assert mean.min() < task.zero_loss() + 4 * standard_error.max()
