"""One run: a step by hand, fused steps, resuming, and what a caller may do with its own state."""

from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import checkpoint, mesh, train
from seqjax.data import Epochs
from tests.refusals import refuses
from tests.regressions import (
    ADAM,
    BUCKETS,
    assert_bitwise,
    assert_close,
    compilations,
    copied,
    initialise,
    looped,
    loss,
    sample,
    token_loss,
)


class BadAt(NamedTuple):
    """`sample`, with a NaN or an infinity in the batches of some steps."""

    steps: tuple[int, ...]

    def batch(self, key, step):
        batch = sample(jax.random.fold_in(key, step))
        bad = jnp.any(step == jnp.array(self.steps))
        garbage = jnp.where(step % 2, jnp.inf, jnp.nan)
        return batch._replace(targets=batch.targets.at[0, 0, 0].set(jnp.where(bad, garbage, batch.targets[0, 0, 0])))


@pytest.fixture
def state(key):
    return train.init(initialise(key), ADAM, key)


def test_step_equals_optax_by_hand(state):
    step, batch = jax.jit(train.make_step(loss, ADAM)), sample(jax.random.key(7))
    params, opt_state = state.params, ADAM.init(state.params)
    _, loss_key = jax.random.split(state.key)
    graded, updated = jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.jit(ADAM.update)
    for number in range(3):
        (value, _), gradient = graded(params, batch, jax.random.fold_in(loss_key, number))
        updates, opt_state = updated(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        state, metrics = step(state, batch)
        assert state.step == number + 1
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
        jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5), state.params, params)


def test_scan_is_single_steps(state):
    """Bitwise with jaxlib 0.10; later ones round some sums of a loop otherwise."""
    fused, metrics = jax.jit(train.scan(loss, ADAM, sample, 5))(state)
    step, values = jax.jit(train.make_step(loss, ADAM)), []
    data_key, _ = jax.random.split(state.key)
    for _ in range(5):
        state, now = step(state, sample(jax.random.fold_in(data_key, state.step)))
        values.append(now)
    if version("jaxlib").startswith("0.10."):
        assert_bitwise(fused, state)
    else:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), fused[:2], state[:2])
    np.testing.assert_allclose(metrics["loss"], np.mean([now["loss"] for now in values]), rtol=1e-6)
    np.testing.assert_allclose(metrics["noise"], np.mean([now["noise"] for now in values]), rtol=1e-5)


def test_parts_of_a_batch_give_the_update_of_the_whole(state):
    """For a mean loss; each part has noise of its own, and a number of parts that leaves a rest is refused."""

    def spread(params, batch, key):
        return jnp.mean((batch.inputs @ params["kernel"] - batch.targets) ** 2), {
            "rows": jnp.float32(len(batch.inputs))
        }

    whole, metrics = jax.jit(train.scan(spread, ADAM, sample, 5))(state)
    parts, seen = jax.jit(train.scan(spread, ADAM, sample, 5, accumulate=2))(state)
    assert_close(parts[:3], whole[:3])
    np.testing.assert_allclose(seen["loss"], metrics["loss"], rtol=1e-5)
    assert (metrics["rows"], seen["rows"]) == (4, 2)
    _, noisy = jax.jit(train.scan(loss, ADAM, sample, 1, accumulate=4))(state)
    _, loss_key = jax.random.split(state.key)
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(loss_key, 0)))(jnp.arange(4))
    np.testing.assert_allclose(noisy["noise"], np.mean([jax.random.normal(k, (2, 1))[0, 0] for k in keys]), rtol=1e-5)
    with pytest.raises(ValueError, match="accumulate must divide the rows of a batch, 4, got 3"):
        train.scan(loss, ADAM, sample, 1, accumulate=3)(state)
    with pytest.raises(ValueError, match="accumulate must be >= 1, got 0"):
        train.make_step(loss, ADAM, accumulate=0)


def test_every_part_of_a_batch_has_its_scalars(state):
    """Such as a temperature that all rows share: an array, or a Python number."""

    def scaled(params, batch, key):
        rows, scale, number = batch
        assert number == 3
        return scale * jnp.mean((rows.inputs @ params["kernel"] - rows.targets) ** 2)

    def with_scalars(key):
        return sample(key), jnp.float32(2), 3

    for rows in (None, mesh.grid()):
        first = state if rows is None else mesh.replicated(state, rows)
        parts, whole = (train.scan(scaled, ADAM, with_scalars, 2, accumulate=n, rows=rows)(first)[0] for n in (2, 1))
        assert_close(parts[:3], whole[:3])


def test_randomness_of_a_step_is_its_own(state):
    """Noise differs from step to step, is the same whenever that step is done, and shares no key with the data."""
    step, batch = jax.jit(train.make_step(loss, ADAM)), sample(jax.random.key(7))
    noise = [step(state._replace(step=jnp.int32(number)), batch)[1]["noise"] for number in (0, 1, 2, 1)]
    assert len({float(value) for value in noise}) == 3
    data_key, loss_key = jax.random.split(state.key)
    from_loss, from_data = (jax.random.normal(jax.random.fold_in(k, 1), (2, 1))[0, 0] for k in (loss_key, data_key))
    assert noise[1] == noise[3] == from_loss != from_data


def test_bad_updates_are_skipped_and_counted(state):
    advance = jax.jit(train.scan(loss, ADAM, BadAt((2, 3, 5)), 1))
    skipped, losses = [], []
    for number in range(7):
        before = state
        state, metrics = advance(state)
        skipped.append(int(metrics["skipped"]))
        losses.append(float(metrics["loss"]))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
        if number in (2, 3, 5):
            assert_bitwise(state.params, before.params)
            assert_bitwise(state.opt_state, before.opt_state)
        else:
            assert not np.array_equal(state.params["kernel"], before.params["kernel"])
    assert skipped == [0, 0, 1, 2, 0, 1, 0]
    assert np.isfinite(losses).tolist() == [True, True, False, False, True, False, True]


def test_scan_tells_the_most_updates_skipped_in_a_row(state):
    _, metrics = jax.jit(train.scan(loss, ADAM, BadAt((2, 3, 5)), 7))(state)
    assert metrics["skipped"] == 2


def test_run_gives_every_state_and_learns(state):
    states = [(int(now.step), metrics) for now, metrics in train.run(train.scan(loss, ADAM, sample, 50), state, 200)]
    assert [step for step, _ in states] == [50, 100, 150, 200]
    assert states[-1][1]["loss"] < 0.1 * states[0][1]["loss"]


def test_run_resumes_bitwise(state):
    advance = train.scan(loss, ADAM, sample, 3)
    states = [copied(now) for now, _ in train.run(advance, copied(state), 12)]
    *_, (resumed, _) = train.run(advance, copied(states[1]), 12)
    assert_bitwise(resumed, states[-1])
    assert list(train.run(advance, states[-1], 12)) == []


def test_any_number_of_steps_ends_with_a_shorter_report(state):
    advance = train.scan(loss, ADAM, sample, 3)
    reports = [(copied(now), metrics) for now, metrics in train.run(advance, copied(state), 7)]
    assert [int(now.step) for now, _ in reports] == [3, 6, 7]
    single = [metrics["loss"] for _, metrics in train.run(train.scan(loss, ADAM, sample, 1), copied(state), 7)]
    expected = [np.mean(single[:3]), np.mean(single[3:6]), single[6]]
    np.testing.assert_allclose([metrics["loss"] for _, metrics in reports], expected, rtol=1e-5)


@pytest.mark.parametrize("pace", [0.0, 1e9])
def test_results_do_not_depend_on_how_long_a_call_is(state, monkeypatch, pace):
    """States and reports are the same to the bit, from one update a call to as many as are left."""
    advance = train.scan(loss, ADAM, sample, 20)
    *_, expected = train.run(advance, copied(state), 50)
    monkeypatch.setattr(train, "CALL_SECONDS", pace)
    lengths, done, seen = [], 0, None
    for now, _, metrics in train.calls(advance, copied(state), 50):
        lengths.append(int(now.step) - done)
        done, seen = int(now.step), (now, metrics)
    assert lengths == ([1] * 50 if pace == 0 else [1, 1, 8, 10, 20, 10])
    assert_bitwise(seen, expected)


def test_a_state_saved_with_its_totals_goes_on_within_a_report(state):
    advance = train.scan(loss, ADAM, sample, 10)
    *_, expected = train.run(advance, copied(state), 10)
    calls = train.calls(advance, copied(state), 10)
    now, totals, _ = [copied(next(calls)) for _ in range(2)][-1]
    *_, (last, _, metrics) = train.calls(advance, now, 10, totals)
    assert_bitwise((last, metrics), expected)


@pytest.mark.parametrize("steps", [0, -1])
def test_reports_are_at_least_a_step_apart(steps):
    with pytest.raises(ValueError, match=f"steps must be >= 1, got {steps}"):
        train.scan(loss, ADAM, sample, steps)


def test_a_loss_that_is_never_finite_is_an_error_and_not_the_untrained_start(state):
    advance = train.scan(lambda params, batch, key: loss(params, batch, key)[0] * jnp.nan, ADAM, sample, 2)
    with pytest.raises(ValueError, match="the loss must be finite, got NaN or infinity at each of the 4 steps"):
        list(train.run(advance, state, 4))


def test_parameters_that_overflow_are_not_taken(state):
    """Also where loss and gradient are finite: the step size alone is too large."""
    huge = optax.sgd(3e38)
    step, batch = jax.jit(train.make_step(loss, huge)), sample(jax.random.key(7))
    after, metrics = step(state._replace(opt_state=huge.init(state.params)), batch)
    for _ in range(3):
        assert np.isfinite(metrics["loss"]) or metrics["skipped"]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))
        after, metrics = step(after, batch)


def test_one_program_for_all_buckets_equals_a_loop_and_goes_on_bitwise():
    first, last, widths = looped()
    advance = train.scan(token_loss, ADAM, BUCKETS, 3)
    with compilations() as seen:
        calls = [(copied(now), metrics) for now, metrics in train.run(advance, copied(first), 12)]
    assert seen.count("jit(compiled)") == 1
    np.testing.assert_allclose([m["width"] for _, m in calls], widths.reshape(4, 3).mean(axis=1), rtol=1e-6)
    assert_close(calls[-1][0][:3], last[:3])
    *_, (resumed, _) = train.run(advance, copied(calls[1][0]), 12)
    assert_bitwise(resumed, calls[-1][0])


def test_descent_on_a_formula_is_its_closed_form():
    """Gradient descent on (x - 3)^2 / 2 with rate r leaves (1 - r)^n of the distance after n steps."""
    times = np.array([0, 1, 2, 5, 40])

    @jax.jit
    def descend(start):
        key = jax.random.key(0)
        return train.descend(lambda x, key: (x - 3) ** 2 / 2, optax.sgd(0.1), start, key, times, watch=lambda x: x)

    params, seen = descend(jnp.array(1.0))
    np.testing.assert_allclose(seen, 3 - 2 * 0.9**times, rtol=1e-5)
    assert params == seen[-1]


def test_descent_draws_afresh_at_every_step_and_watches_the_loss():
    """With rate 1 on (x - noise)^2 / 2 the parameter is the last step's noise."""
    key, times = jax.random.key(3), np.array([1, 4])
    noise = [jax.random.normal(jax.random.fold_in(key, step)) for step in range(5)]
    _, seen = train.descend(
        lambda x, key: 0.5 * (x - jax.random.normal(key)) ** 2, optax.sgd(1.0), jnp.array(0.0), key, times
    )
    np.testing.assert_allclose(seen, [0.5 * (noise[n - 1] - noise[n]) ** 2 for n in times], rtol=1e-5)


test_descent_needs_increasing_times = refuses(
    partial(train.descend, lambda x, key: x**2, optax.sgd(0.1), jnp.array(0.0), jax.random.key(0)),
    *((np.array(times, np.int64), "times must increase from 0") for times in ([], [-1, 2], [0, 3, 3])),
)


def test_the_callers_parameters_survive_training(key):
    """Those that `init` was given, and those of every state that `run` gave: the recipe for early stopping."""
    params = initialise(key)
    kept = [now.params for now, _ in train.run(train.scan(loss, ADAM, sample, 2), train.init(params, ADAM, key), 8)]
    for alive in (params, *kept):
        assert np.isfinite(alive["kernel"]).all()
    assert len({float(alive["kernel"][0, 0]) for alive in (params, *kept)}) == 5


def test_parameters_kept_by_an_optimiser_are_not_donated_with_its_state(key):
    def remember(params):
        return {"first": params}

    anchored = optax.GradientTransformation(remember, lambda updates, state, params=None: (updates, state))
    optimizer = optax.chain(anchored, optax.sgd(0.1))
    params = initialise(key)
    *_, (last, _) = train.run(train.scan(loss, optimizer, sample, 2), train.init(params, optimizer, key), 4)
    np.testing.assert_array_equal(last.opt_state[0]["first"]["kernel"], params["kernel"])


def test_every_step_has_a_batch_of_its_own(state):
    """A function of a key needs no step: forgetting it is not possible."""
    seen = []
    advance = train.scan(loss, ADAM, lambda key: _noted(sample(key), seen), 5)
    jax.block_until_ready(jax.jit(advance)(state))
    jax.effects_barrier()
    assert len(set(seen)) == 5


def _noted(batch, seen):
    jax.debug.callback(lambda first: seen.append(float(first)), batch.inputs[0, 0, 0])
    return batch


def test_arrays_of_a_data_set_are_arguments_of_the_program(state):
    rows = jax.tree.map(lambda array: jnp.tile(array, (50_000, 1, 1)), sample(jax.random.key(5)))

    def program(batches) -> str:
        advance = train.scan(loss, ADAM, batches, 2)
        return jax.jit(lambda advance, state: advance(state)).lower(advance, state).as_text()

    epochs = Epochs(rows, 4)
    assert len(program(epochs)) < rows.inputs.nbytes / 10 < len(program(lambda key: epochs.batch(key, 0)))
    *_, (last, _) = train.run(train.scan(loss, ADAM, epochs, 2), state, 40)
    assert last.step == 40


def test_a_loss_may_return_a_scalar_alone(state):
    with_metrics, _ = jax.jit(train.scan(loss, ADAM, sample, 3))(state)
    alone, metrics = jax.jit(train.scan(lambda *of: loss(*of)[0], ADAM, sample, 3))(state)
    assert set(metrics) == {"loss", "skipped"}
    assert_close(alone.params, with_metrics.params)


def test_a_state_made_by_hand_trains_as_one_from_init(state):
    """With the optimiser's own state."""
    by_hand = train.TrainState(state.params, ADAM.init(state.params), jnp.int32(0), state.key)
    step, batch = jax.jit(train.make_step(loss, ADAM)), sample(jax.random.key(7))
    assert_bitwise(step(by_hand, batch)[0], step(state, batch)[0])
    advance = train.scan(loss, ADAM, sample, 2)
    *_, (ours, _) = train.run(advance, by_hand, 4)
    *_, (theirs, _) = train.run(advance, state, 4)
    assert_bitwise(ours, theirs)


def test_the_schedule_of_a_single_step_moves(state):
    """All others start from 0."""
    for steps in (1, 2, 3, 40):
        optimizer = train.adam(0.1, steps)
        updates: Any = jax.jit(optimizer.update)(state.params, optimizer.init(state.params))[0]
        assert (jnp.abs(updates["kernel"]).max() > 0.09) == (steps == 1)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        train.adam(0.1, 0)


def test_weight_decay_is_decoupled(state):
    """Where there is no gradient, AdamW shrinks each weight by the learning rate times the decay, and Adam none."""
    still = jax.tree.map(jnp.zeros_like, state.params)
    plain, decayed = (train.adam(0.1, 1, weight_decay=decay) for decay in (0.0, 0.5))
    moves: list[Any] = [each.update(still, each.init(state.params), state.params)[0] for each in (plain, decayed)]
    np.testing.assert_array_equal(moves[0]["kernel"], still["kernel"])
    np.testing.assert_allclose(moves[1]["kernel"], -0.05 * state.params["kernel"], rtol=1e-6)
    with pytest.raises(ValueError, match="weight_decay must be >= 0, got -1"):
        train.adam(0.1, 1, weight_decay=-1.0)


def test_no_update_is_made_for_a_loss_that_is_not_finite(state):
    """Also where every gradient is finite."""

    def strange(params, batch, key):
        return loss(params, batch, key)[0] + jnp.nan

    after, metrics = jax.jit(train.make_step(strange, ADAM))(state, sample(jax.random.key(7)))
    assert metrics["skipped"] == 1
    assert_bitwise(after._replace(skipped=state.skipped), state._replace(step=after.step))


def test_batches_are_a_function_or_an_object_with_batches():
    with pytest.raises(TypeError, match="batches"):
        train.scan(loss, ADAM, BUCKETS.parts, 1)  # pyright: ignore[reportArgumentType]


PLATEAU = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(0.5, patience=2, accumulation_size=2))
"""Halves the rate where the mean loss of two batches has not improved twice in a row."""


def test_a_schedule_that_watches_the_loss_equals_optax_by_hand(state):
    """Bad batches are left out of what it watches; the scale falls more than once."""
    start = train.init(state.params, PLATEAU, state.key)
    watched, metrics = jax.jit(train.scan(loss, PLATEAU, BadAt((2, 3, 20)), 40))(start)
    params, opt_state = state.params, PLATEAU.init(state.params)
    data_key, loss_key = jax.random.split(state.key)
    graded, updated = jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.jit(PLATEAU.update)
    for number in range(40):
        if number in (2, 3, 20):
            continue
        batch = sample(jax.random.fold_in(data_key, number))
        (value, _), gradient = graded(params, batch, jax.random.fold_in(loss_key, number))
        updates, opt_state = updated(gradient, opt_state, params, value=value)
        params = optax.apply_updates(params, updates)
    assert metrics["skipped"] == 2
    assert float(watched.opt_state[1].scale) <= 0.25
    assert_close((watched.params, watched.opt_state), (params, opt_state))


def test_a_schedule_that_watches_the_loss_goes_on_from_a_checkpoint(state, tmp_path):
    advance, start = train.scan(loss, PLATEAU, sample, 5), train.init(state.params, PLATEAU, state.key)
    states = [copied(now) for now, _ in train.run(advance, copied(start), 40)]
    checkpoint.save(tmp_path, 20, states[3], {})
    restored = checkpoint.restore(tmp_path, start, {}).state
    *_, (resumed, _) = train.run(advance, restored, 40)
    assert float(states[3].opt_state[1].scale) > float(resumed.opt_state[1].scale)
    assert_bitwise(resumed, states[-1])


def squared(params, batch, key):
    return jnp.mean((batch.inputs @ params["kernel"] - batch.targets) ** 2)


@pytest.mark.parametrize(
    "optimizer",
    [optax.lbfgs(), optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(20)), optax.polyak_sgd(2.0)],
    ids=["line search by zoom", "backtracking", "Polyak"],
)
def test_what_asks_for_value_gradient_or_loss_function_reaches_least_squares(key, optimizer):
    start = train.init({"kernel": jnp.zeros((2, 1))}, optimizer, key)
    batch = sample(key)
    final, _ = jax.jit(train.scan(squared, optimizer, lambda key: batch, 60))(start)
    solution = np.linalg.lstsq(batch.inputs.reshape(-1, 2), batch.targets.reshape(-1, 1))[0]
    np.testing.assert_allclose(final.params["kernel"], solution, atol=1e-3)


def test_descent_tells_an_optimiser_the_loss():
    """Polyak's step (f - 0) / |f'|^2 on x^2 / 2 halves x."""
    halved, _ = train.descend(
        lambda x, key: x**2 / 2, optax.polyak_sgd(1e9), jnp.array(1.0), jax.random.key(0), np.array([3])
    )
    np.testing.assert_allclose(halved, 1 / 8, rtol=1e-6)
