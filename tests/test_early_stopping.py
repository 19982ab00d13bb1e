"""The parameters with the smallest validation loss: what a loop finds, resumed too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

from seqjax import checkpoint, early_stopping, sweep, train
from tests.regressions import (
    assert_bitwise,
    compilations,
    copied,
    initialise,
    loss,
    sample,
)
from tests.test_sweep import Settings, optimizer, scaled

REPORTS = 8


def scripted(losses):
    """A sweep whose runs count their reports; the number of a report decides its validation loss."""
    runs = len(losses)
    params = {"report": jnp.zeros(runs, jnp.int32), "losses": jnp.array(losses, jnp.float32)}
    state = train.TrainState(params, None, jnp.zeros(runs, jnp.int32), jax.random.split(jax.random.key(0), runs))

    def count(state, totals, n):
        params = state.params | {"report": state.params["report"] + 1}
        return state._replace(params=params, step=state.step + n), totals

    def start(state):
        return train.Totals({}, jnp.zeros(runs, jnp.int32))

    advance = train.Advance(
        Partial(count), Partial(lambda state, totals: (state, {"loss": 0.0 * state.step})), start, 1
    )
    return early_stopping.keep_best(state, advance, validation_of_report)


def validation_of_report(params):
    return params["losses"][params["report"] - 1], {"reports": params["report"]}


@jax.jit
def advance_scripted(state):
    _, advance = scripted(np.zeros((2, REPORTS)))
    return advance(state)


LOSSES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, np.inf, np.nan]), min_size=REPORTS, max_size=REPORTS)


@settings(max_examples=50)
@given(st.tuples(LOSSES, LOSSES))
def test_the_first_of_the_smallest_validation_losses_is_remembered(losses):
    """For each run its own; a loss that is NaN or infinite never wins, and one that is never finite is an error."""
    state, _ = scripted(losses)
    for report in range(REPORTS):
        state, metrics = advance_scripted(state)
        assert set(metrics) == {"loss", "validation", "reports"}
        np.testing.assert_array_equal(metrics["validation"], np.array([run[report] for run in losses], np.float32))
        np.testing.assert_array_equal(state.params["report"], report + 1)
        finite = [[(value, n) for n, value in enumerate(run[: report + 1], 1) if np.isfinite(value)] for run in losses]
        if not all(finite):
            with pytest.raises(ValueError, match="validation losses must be finite at one report at least"):
                early_stopping.chosen(state)
            continue
        values, best = zip(*map(min, finite), strict=True)
        np.testing.assert_array_equal(early_stopping.chosen(state)["report"], best)
        np.testing.assert_array_equal(state.opt_state.loss, np.array(values, np.float32))


def validate(params):
    """The error on eight sequences that training never sees, without noise."""
    batch = sample(jax.random.key(99))
    error = batch.inputs @ params["kernel"] + params["bias"].reshape(1, 1, 1) - batch.targets
    return jnp.mean(error**2), {}


def noisy_sweep(key, *, best):
    """Learning rates that overshoot, so that the last parameters are not the best."""
    rates = Settings(jnp.array([0.5, 1.5, 0.01]), jnp.ones(3))
    keys = jax.random.split(key, 3)
    noisy = sweep.sweep(initialise, loss, optimizer, scaled, keys=keys, settings=rates, steps=2, chunk=1)
    return early_stopping.keep_best(*noisy, validate) if best else noisy


def test_the_best_parameters_are_those_a_loop_finds(key):
    state, advance = noisy_sweep(key, best=False)
    states = [copied(now) for now, _ in train.run(advance, state, 16)]
    losses = np.stack([jax.vmap(validate)(now.params)[0] for now in states])
    state, advance = noisy_sweep(key, best=True)
    *_, (last, metrics) = train.run(advance, state, 16)
    np.testing.assert_allclose(metrics["validation"], losses[-1], rtol=1e-4)
    np.testing.assert_allclose(last.opt_state.loss, losses.min(axis=0), rtol=1e-4)
    assert (losses.argmin(axis=0) < 7).sum() >= 2
    for name, found in early_stopping.chosen(last).items():
        expected = [states[call].params[name][run] for run, call in enumerate(losses.argmin(axis=0))]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(last.params[name], states[-1].params[name], rtol=1e-4, atol=1e-6)
    assert early_stopping.chosen(states[-1]) is states[-1].params


def test_the_best_parameters_are_resumed_and_compiled_once(key, tmp_path):
    state, advance = noisy_sweep(key, best=True)
    with compilations() as seen:
        calls = train.run(advance, state, 16)
        for _ in range(5):
            middle, _ = next(calls)
        checkpoint.save(tmp_path, 10, middle, {})
        *_, (last, _) = calls
    assert [name for name in seen if "compiled" in name] == ["jit(compiled)"]
    like, advance = noisy_sweep(key, best=True)
    restored = checkpoint.restore(tmp_path, like, {}).state
    assert isinstance(restored.opt_state, early_stopping.Best)
    *_, (resumed, _) = train.run(advance, restored, 16)
    assert checkpoint.fingerprint(resumed) == checkpoint.fingerprint(last)
    assert_bitwise(early_stopping.chosen(resumed), early_stopping.chosen(last))
