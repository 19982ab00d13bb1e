"""The audit's own code: the defects it reproduces, the floors it computes itself, and that every row is quoted."""

import importlib
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models
from seqjax.types import Batch

SCRIPTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def test_every_row_quotes_a_claim():
    script = importlib.import_module("seed_audit")
    assert tuple(script.CLAIMS) == get_args(script.Row)
    assert [config.only for config in script.configs("laptop")] == list(get_args(script.Row))


def test_turned_batches_make_a_network_recur_over_sequences():
    """An input of sequence 2 at step 5 is felt there at step 5 and by later sequences at step 5, and nowhere else."""
    shift = importlib.import_module("audit.shift")
    model = models.Regressor(models.Recurrent(4, models.LSTM))
    x = jax.random.normal(jax.random.key(0), (64, 32, 1))
    params = model.init(jax.random.key(1), x)

    def outputs(x):
        turned = shift.across(Batch(x, x))
        y = jnp.asarray(model.apply(params, turned.inputs))
        return shift.across(Batch(y, y)).inputs[..., 0]

    felt = np.argwhere(np.asarray(outputs(x) != outputs(x.at[2, 5].add(1.0))))
    assert {step for _, step in felt} == {5}
    assert felt[0, 0] == 2
    assert felt[:, 0].max() <= 31  # the second block of 32 sequences is another batch


def test_floors_of_re_ordering_are_those_of_the_theory():
    found = importlib.import_module("audit.transformer").re_ordering(0.0357, 1, 2)
    assert found.floor == pytest.approx(0.0301, abs=5e-5)
    expected = {
        "linear and causal, swap": 0.0526,
        "same with an offset for all steps, swap": 0.0651,
        "output variance": 0.0959,
        "constant predictor": 0.0988,
    }
    assert {name: found.also[name] for name in expected} == pytest.approx(expected, abs=5e-5)


def test_the_seeds_trajectories_go_on_from_each_other():
    lorenz = importlib.import_module("audit.lorenz")
    inputs, targets, *_ = lorenz.seed_data(1024)
    chains = 512
    np.testing.assert_array_equal(inputs[:, 0], targets[:, 0])
    np.testing.assert_array_equal(inputs[chains:, 0], targets[:chains, -1])
    # Of one time unit after the start of a new forcing there is little in the present input alone.
    assert 0.15 < np.var(targets) < 0.35
    assert np.abs(np.corrcoef(inputs[:, 1:, 0].ravel(), targets[:, 1:, 0].ravel())[0, 1] - 0.9) < 0.05


def test_the_scheduler_is_pytorchs():
    """Against its rule in plain Python: 10 epochs without 1e-4 of progress are borne, the eleventh lowers the rate."""
    memory = importlib.import_module("audit.memory")
    steps = 40 * memory.EPOCH
    losses, scales = memory._descend(optax.adam(1e-3), np.array([16.0]), 1, steps, jnp.array([True]))
    scale, best, bad, expected = 1.0, np.inf, 0, []
    for mean in losses[0, 0, 0].reshape(-1, memory.EPOCH).mean(axis=1):
        if mean < best * (1 - 1e-4):
            best, bad = mean, 0
        else:
            bad += 1
        if bad > 10:
            scale, bad = max(scale / 10, 1e-5), 0
        expected.append(scale)
    assert expected[-1] < 0.1
    np.testing.assert_allclose(scales[0, 0, 0][memory.EPOCH - 1 :: memory.EPOCH], expected)
