import functools
from contextlib import contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax import checkpoint, models, sweep, train
from seqjax.data import Buckets
from seqjax.types import Batch

TRUTH = jnp.array([[1.0], [-2.0]])


def initialise(key):
    return {"kernel": jax.random.normal(key, (2, 1)), "bias": jnp.zeros((1,))}


def loss(params, batch, key):
    """A noisy linear regression: the noise stands for dropout."""
    noise = jax.random.normal(key, (2, 1))
    error = batch.inputs @ (params["kernel"] + 0.1 * noise) + params["bias"].reshape(1, 1, 1) - batch.targets
    return jnp.mean(error**2), {"noise": noise[0, 0]}


def sample(key):
    x = jax.random.normal(key, (4, 3, 2))
    return Batch(inputs=x, targets=x @ TRUTH)


class BadAt(NamedTuple):
    """`sample`, with a NaN or an infinity in the batches of some steps."""

    steps: tuple[int, ...]

    def batch(self, key, step):
        batch = sample(jax.random.fold_in(key, step))
        bad = jnp.any(step == jnp.array(self.steps))
        garbage = jnp.where(step % 2, jnp.inf, jnp.nan)
        return batch._replace(targets=batch.targets.at[0, 0, 0].set(jnp.where(bad, garbage, batch.targets[0, 0, 0])))


ADAM = optax.adam(0.1)


@pytest.fixture
def state(key):
    return train.init(initialise(key), ADAM, key)


def copied(state):
    """A state whose optimiser state `train.run` may be given again."""
    return jax.tree.map(jnp.copy, state)


def assert_bitwise(first, second):
    def bits(leaf):
        return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)

    jax.tree.map(lambda a, b: np.testing.assert_array_equal(bits(a), bits(b)), first, second)


def test_step_equals_optax_by_hand(state):
    step, batch = jax.jit(train.make_step(loss, ADAM)), sample(jax.random.key(7))
    params, opt_state = state.params, ADAM.init(state.params)
    _, loss_key = jax.random.split(state.key)
    for number in range(3):
        key = jax.random.fold_in(loss_key, number)
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
        updates, opt_state = ADAM.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        state, metrics = step(state, batch)
        assert state.step == number + 1
        np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
        jax.tree.map(lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5), state.params, params)


def test_scan_is_single_steps_bitwise(state):
    fused, metrics = jax.jit(train.scan(loss, ADAM, sample, 5))(state)
    step, values = jax.jit(train.make_step(loss, ADAM)), []
    data_key, _ = jax.random.split(state.key)
    for _ in range(5):
        state, now = step(state, sample(jax.random.fold_in(data_key, state.step)))
        values.append(now)
    assert_bitwise(fused, state)
    np.testing.assert_allclose(metrics["loss"], np.mean([now["loss"] for now in values]), rtol=1e-6)
    np.testing.assert_allclose(metrics["noise"], np.mean([now["noise"] for now in values]), rtol=1e-5)


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


def test_run_refuses_to_overshoot(state):
    runs = train.run(train.scan(loss, ADAM, sample, 3), state, 4)
    next(runs)
    with pytest.raises(ValueError, match="steps per call must divide the steps left: wanted 4, reached 6"):
        next(runs)


class Settings(NamedTuple):
    learning_rate: jax.Array
    scale: jax.Array


def optimizer(settings):
    return optax.adam(settings.learning_rate)


def scaled(key, settings):
    batch = sample(key)
    return batch._replace(targets=settings.scale * batch.targets)


def settings_of(runs):
    return Settings(jnp.linspace(0.01, 0.3, runs), jnp.linspace(1.0, 2.0, runs))


def swept(keys):
    return sweep.sweep(initialise, loss, optimizer, scaled, keys=keys, settings=settings_of(len(keys)), steps=4)


@pytest.mark.parametrize(("runs", "devices"), [(3, 1), (4, 2)])
def test_each_run_of_a_sweep_equals_that_run_alone(key, runs, devices):
    keys = jax.random.split(key, runs)
    state, advance = swept(keys)
    together, metrics = jax.jit(advance)(state)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves((state, together))} == {devices}

    @jax.jit
    def alone(key, setting):
        init_key, train_key = jax.random.split(key)
        first = train.init(initialise(init_key), optimizer(setting), train_key)
        advance = train.scan(loss, optimizer(setting), lambda key: scaled(key, setting), 4)
        return first.params, *advance(first)

    for run, setting in enumerate(zip(*settings_of(runs), strict=True)):
        first, last, expected = alone(keys[run], Settings(*setting))
        pairs = [(state.params, first), (together.params, last.params), (metrics, expected)]
        for ours, theirs in pairs:
            for leaf, expected_leaf in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
                np.testing.assert_allclose(leaf[run], expected_leaf, rtol=1e-4, atol=1e-7)


def test_settings_of_a_sweep_are_each_run_s_own(key):
    """Equal keys: the same start, data and noise; only the settings differ. Adam's first step is the learning rate."""
    keys = jnp.stack([key, key])
    settings = Settings(jnp.array([0.01, 0.2]), jnp.ones(2))
    state, advance = sweep.sweep(initialise, loss, optimizer, scaled, keys=keys, settings=settings, steps=1)
    first, second = np.asarray(state.params["kernel"])
    np.testing.assert_array_equal(first, second)
    moved = np.abs(np.asarray(jax.jit(advance)(state)[0].params["kernel"]) - first)
    np.testing.assert_allclose(moved[0], 0.01, rtol=1e-3)
    np.testing.assert_allclose(moved[1], 0.2, rtol=1e-3)


@contextmanager
def compilations():
    """Names of what the compiler was called for."""
    seen = []

    def listen(event: str, duration_secs: float, **kwargs: str | int):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(kwargs.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_sweep_compiles_once_for_all_runs_and_calls(key):
    counts = []
    for runs in (2, 6):
        state, advance = swept(jax.random.split(key, runs))
        calls = train.run(advance, state, 20)
        with compilations() as first:
            next(calls)
        with compilations() as later:
            assert len(list(calls)) == 4
        assert later == []
        counts.append(len(first))
    assert counts[0] == counts[1] > 0


# Batches of a few shapes


def token_rows(sizes, vocab):
    return [[4 + (row + place) % (vocab - 4) for place in range(size)] for row, size in enumerate(sizes)]


BUCKETS = Buckets.of(
    token_rows([1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6], 9),
    token_rows([2, 1, 2, 1, 3, 3, 4, 4, 2, 2, 2, 2], 8),
    batch_size=2,
    count=3,
    source_vocab=9,
    target_vocab=8,
)


def initialise_tokens(key):
    read_key, write_key = jax.random.split(key)
    return {"read": jax.random.normal(read_key, (9,)), "written": jax.random.normal(write_key, (8,))}


def token_loss(params, batch, key):
    """A mean over padded steps shows the shape that a batch came in."""
    read, written = (
        jnp.where(mask, params[name][ids], 0).mean(axis=1)
        for name, ids, mask in [("read", *batch[::2]), ("written", *batch[1::2])]
    )
    noise = jax.random.normal(key, ())
    return jnp.mean((read - written + 1 + 0.1 * noise) ** 2), {"width": jnp.float32(batch.source.shape[1])}


@functools.cache
def looped():
    """Twelve steps in plain Python: the first state, the last, and how wide the source of each batch was."""
    init_key, train_key = jax.random.split(jax.random.key(0))
    state = first = train.init(initialise_tokens(init_key), ADAM, train_key)
    step, widths = jax.jit(train.make_step(token_loss, ADAM)), []
    draw = jax.jit(lambda *of: (BUCKETS.choose(*of), [make(*of) for make in BUCKETS.samples]))
    data_key, _ = jax.random.split(train_key)
    for number in range(12):
        bucket, batches = draw(data_key, number)
        state, metrics = step(state, batches[int(bucket)])
        widths.append(float(metrics["width"]))
    assert len(set(widths)) == 3, "all shapes came"
    return first, state, np.array(widths)


def assert_close(first, second):
    """But for round-off; keys aside."""
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


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


def test_runs_of_a_sweep_may_wait_for_each_other(key):
    """The same numbers, one run after the other or side by side."""
    arguments = {"keys": jax.random.split(key, 3), "settings": settings_of(3), "steps": 4}
    found = []
    for vectorise in (True, False):
        state, advance = sweep.sweep(initialise, loss, optimizer, scaled, **arguments, vectorise=vectorise)
        found.append(jax.jit(advance)(state))
    (together, metrics), (alone, expected) = found
    assert_bitwise((together.key, together.step), (alone.key, alone.step))
    assert_close((together[:3], metrics), (alone[:3], expected))
    assert len({float(value) for value in alone.params["kernel"][:, 0, 0]}) == 3


def test_chunks_of_a_sweep_give_the_same(key):
    """But for rounding, as XLA's batched products depend on how many there are; the last chunk may be smaller."""
    model = models.Regressor(models.Recurrent(8, models.GRU))

    def squared(params, x, key):
        return jnp.mean((jnp.asarray(model.apply(params, x)) - jnp.roll(x, 1, axis=1)) ** 2), {}

    def trained(chunk: int | None):
        state, advance = sweep.sweep(
            lambda key: model.init(key, jnp.zeros((1, 5, 1))),
            squared,
            lambda rate: optax.adam(rate),
            lambda key, rate: jax.random.normal(key, (4, 5, 1)),
            keys=jax.random.split(key, 5),
            settings=jnp.linspace(1e-3, 1e-2, 5),
            steps=6,
            chunk=chunk,
        )
        return jax.jit(advance)(state)

    (whole, metrics), (chunked, expected) = trained(None), trained(2)
    assert_bitwise((chunked.key, chunked.step), (whole.key, whole.step))
    assert_close((chunked[:2], metrics), (whole[:2], expected))
    assert len({float(value) for value in whole.params["params"]["readout"]["kernel"][:, 0, 0]}) == 5
    with pytest.raises(ValueError, match="chunk must be >= 1"):
        trained(0)


def test_a_sweep_that_waits_chooses_between_buckets(key):
    state, advance = sweep.sweep(
        initialise_tokens,
        token_loss,
        optax.adam,
        BUCKETS,
        keys=key[None],
        settings=jnp.array([0.1]),
        steps=12,
        vectorise=False,
    )
    assert " cond[" in str(jax.make_jaxpr(advance)(state))
    found, metrics = jax.jit(advance)(state)
    _, last, widths = looped()
    assert_close(jax.tree.map(lambda leaf: leaf[0], found.params), last.params)
    np.testing.assert_allclose(metrics["width"], [widths.mean()], rtol=1e-6)


# The best parameters


CALLS = 8


def scripted(losses):
    """A sweep whose runs count their calls; the number of a call decides its validation loss."""
    runs = len(losses)
    params = {"call": jnp.zeros(runs, jnp.int32), "losses": jnp.array(losses, jnp.float32)}
    return train.TrainState(params, None, jnp.zeros(runs, jnp.int32), jax.random.split(jax.random.key(0), runs))


def count_call(state):
    params = state.params | {"call": state.params["call"] + 1}
    return state._replace(params=params, step=state.step + 1), {"loss": 0 * state.step}


def validation_of_call(params):
    return params["losses"][params["call"] - 1], {"calls": params["call"]}


@jax.jit
def advance_scripted(state):
    _, advance = sweep.keep_best(state, count_call, validation_of_call)
    return advance(state)


LOSSES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, np.inf, np.nan]), min_size=CALLS, max_size=CALLS)


@settings(max_examples=50, deadline=None)
@given(st.tuples(LOSSES, LOSSES))
def test_the_first_of_the_smallest_validation_losses_is_remembered(losses):
    """For each run its own; a loss that is NaN or infinite never wins, and without any other the start is kept."""
    state, _ = sweep.keep_best(scripted(losses), count_call, validation_of_call)
    np.testing.assert_array_equal(sweep.chosen(state)["call"], [0, 0])
    for call in range(CALLS):
        state, metrics = advance_scripted(state)
        assert set(metrics) == {"loss", "validation", "calls"}
        np.testing.assert_array_equal(metrics["validation"], np.array([run[call] for run in losses], np.float32))
        np.testing.assert_array_equal(state.params["call"], call + 1)
        np.testing.assert_array_equal(metrics["calls"], call + 1)
        for number, run in enumerate(losses):
            finite = [(value, n) for n, value in enumerate(run[: call + 1], start=1) if np.isfinite(value)]
            value, best = min(finite, default=(np.inf, 0))
            assert sweep.chosen(state)["call"][number] == best
            assert state.opt_state.loss[number] == value


def validate(params):
    """The error on eight sequences that training never sees, without noise."""
    batch = sample(jax.random.key(99))
    error = batch.inputs @ params["kernel"] + params["bias"].reshape(1, 1, 1) - batch.targets
    return jnp.mean(error**2), {}


def noisy_sweep(key, *, best):
    """Learning rates that overshoot, so that the last parameters are not the best."""
    rates = Settings(jnp.array([0.5, 1.5, 0.01]), jnp.ones(3))
    keys = jax.random.split(key, 3)
    noisy = sweep.sweep(initialise, loss, optimizer, scaled, keys=keys, settings=rates, steps=2, vectorise=False)
    return sweep.keep_best(*noisy, validate) if best else noisy


def test_the_best_parameters_are_those_a_loop_finds(key):
    state, advance = noisy_sweep(key, best=False)
    states = [copied(now) for now, _ in train.run(advance, state, 16)]
    losses = np.stack([jax.vmap(validate)(now.params)[0] for now in states])
    state, advance = noisy_sweep(key, best=True)
    *_, (last, metrics) = train.run(advance, state, 16)
    np.testing.assert_allclose(metrics["validation"], losses[-1], rtol=1e-4)
    np.testing.assert_allclose(last.opt_state.loss, losses.min(axis=0), rtol=1e-4)
    assert (losses.argmin(axis=0) < 7).sum() >= 2
    for name, found in sweep.chosen(last).items():
        expected = [states[call].params[name][run] for run, call in enumerate(losses.argmin(axis=0))]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(last.params[name], states[-1].params[name], rtol=1e-4, atol=1e-6)
    assert sweep.chosen(states[-1]) is states[-1].params


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
    assert isinstance(restored.opt_state, sweep.Best)
    *_, (resumed, _) = train.run(advance, restored, 16)
    assert checkpoint.fingerprint(resumed) == checkpoint.fingerprint(last)
    assert_bitwise(sweep.chosen(resumed), sweep.chosen(last))


def test_descent_on_a_formula_is_its_closed_form():
    """Gradient descent on (x - 3)^2 / 2 with rate r leaves (1 - r)^n of the distance after n steps."""
    times = np.array([0, 1, 2, 5, 40])
    params, seen = jax.jit(
        lambda start: train.descend(
            lambda x, key: 0.5 * (x - 3) ** 2, optax.sgd(0.1), start, jax.random.key(0), times, watch=lambda x: x
        )
    )(jnp.array(1.0))
    np.testing.assert_allclose(seen, 3 - 2 * 0.9**times, rtol=1e-5)
    assert params == seen[-1]


def test_descent_draws_afresh_at_every_step_and_watches_the_loss():
    """With rate 1 on (x - noise)^2 / 2 the parameter is the last step's noise."""
    key, times = jax.random.key(3), np.array([1, 4])
    noise = [jax.random.normal(jax.random.fold_in(key, step)) for step in range(5)]
    _, seen = train.descend(
        lambda x, key: 0.5 * (x - jax.random.normal(key)) ** 2, optax.sgd(1.0), jnp.array(0.0), key, times
    )
    expected = [0.5 * (noise[n - 1] - noise[n]) ** 2 for n in times]
    np.testing.assert_allclose(seen, expected, rtol=1e-5)


@pytest.mark.parametrize("times", [[], [-1, 2], [0, 3, 3]])
def test_descent_needs_increasing_times(times):
    with pytest.raises(ValueError, match="times must increase from 0"):
        train.descend(lambda x, key: x**2, optax.sgd(0.1), jnp.array(0.0), jax.random.key(0), np.array(times, np.int64))
