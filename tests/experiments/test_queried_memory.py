"""What queried_memory.py trains networks on, and how it judges what they remember."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, runs, tasks
from seqjax.runs.scripts import import_script
from seqjax.theory import fits

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "theory" / "queried_memory.py")
SHIFT = SCRIPT.kernel("shift")


def judged(mse, memory) -> dict:
    """The row of a network with this memory at every height."""
    by_height = np.repeat(np.asarray(memory)[:, None], len(SCRIPT.HEIGHTS), axis=1)
    record = runs.Record(SCRIPT.Config(), Path("nowhere"))
    return {"model": "gru", "target": "shift"} | SCRIPT.judge(record, SHIFT, np.asarray(mse), by_height)


def test_the_delay_is_the_task_shift(key):
    wanted = tasks.Shift(SCRIPT.DELAY, SCRIPT.LENGTH).sample(key, 4)
    found = SCRIPT.sample(key, jnp.asarray(SHIFT, jnp.float32), 4)
    np.testing.assert_array_equal(found.inputs, wanted.inputs)
    np.testing.assert_array_equal(found.targets, wanted.targets)


@pytest.mark.parametrize("target", ["exponential", "power law"])
def test_the_other_targets_have_variance_one(target):
    taps = tuple(SCRIPT.kernel(target).tolist())
    assert tasks.Convolution(taps, SCRIPT.LENGTH).zero_loss() == pytest.approx(1)


@pytest.mark.parametrize("name", SCRIPT.LEARNING_RATE)
def test_networks_have_equal_parameters(name):
    model = SCRIPT.build(SCRIPT.Config(model=name))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 1)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 305 if name == "linear" else abs(count / 7050 - 1) < 0.05


def test_a_delay_line_has_the_memory_of_the_target():
    """By every seed, at every height."""
    params = jax.tree.map(lambda leaf: jnp.float32(leaf)[None], fits.delay_line(SCRIPT.DELAY + 1).params())
    model = models.Regressor(models.RNN(SCRIPT.DELAY + 1, activation=jax.nn.identity))
    found = SCRIPT.memories(model, params)
    assert found.shape == (1, len(SCRIPT.HEIGHTS), SCRIPT.LENGTH)
    np.testing.assert_array_equal(found, np.broadcast_to(SHIFT, found.shape))


def test_only_what_has_learned_the_delay_counts():
    row = judged([1e-4, 0.5, 1e-3], [SHIFT, np.roll(SHIFT, -3), 0.98 * SHIFT])
    assert row["learned"] == 2
    assert (row["learned_place_low"], row["learned_place_high"]) == (8, 8)
    assert (row["learned_peak_low"], row["learned_peak_high"]) == (0.98, 1)
    assert row["distance"] == pytest.approx(0.02)
    assert row["high"] == 1
    assert "learned_place_low" not in judged([0.5], [SHIFT])


@pytest.mark.parametrize(
    ("memory", "place", "height"), [(SHIFT, True, True), (1.06 * SHIFT, True, False), (np.roll(SHIFT, 1), False, True)]
)
def test_the_peak_is_checked_in_place_and_height(memory, place, height):
    checks = SCRIPT.expect([judged([1e-4], [memory]), judged([0.5], [0 * SHIFT])])
    assert [check.holds for check in checks] == [place, height, None, None, None]
