"""Many runs as one program: each equals that run alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models, sweep, train
from tests.regressions import (
    BUCKETS,
    assert_bitwise,
    assert_close,
    compilations,
    initialise,
    initialise_tokens,
    looped,
    loss,
    sample,
    token_loss,
)


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


@pytest.mark.parametrize(("runs", "devices"), [(1, 1), (3, 2), (4, 2)])
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
        counts.append(first.count("jit(compiled)"))
    assert counts == [1, 1]


def test_runs_of_a_sweep_may_wait_for_each_other(key):
    """The same numbers, one run after the other or side by side."""
    arguments = {"keys": jax.random.split(key, 3), "settings": settings_of(3), "steps": 4}
    found = []
    for chunk in (3, 1):
        state, advance = sweep.sweep(initialise, loss, optimizer, scaled, **arguments, chunk=chunk)
        found.append(jax.jit(advance)(state))
    (together, metrics), (alone, expected) = found
    assert_bitwise((together.key, together.step), (alone.key, alone.step))
    assert_close((together[:3], metrics), (alone[:3], expected))
    assert len({float(value) for value in alone.params["kernel"][:, 0, 0]}) == 3


def test_chunks_of_a_sweep_give_the_same(key):
    """But for rounding, as XLA's batched products depend on how many there are; the last chunk may be smaller."""
    model = models.Regressor(models.GRU(8))

    def squared(params, x, key):
        return jnp.mean((jnp.asarray(model.apply(params, x)) - jnp.roll(x, 1, axis=1)) ** 2), {}

    options = {"keys": jax.random.split(key, 5), "settings": jnp.linspace(1e-3, 1e-2, 5), "steps": 6}

    def trained(chunk: int | None):
        state, advance = sweep.sweep(
            lambda key: model.init(key, jnp.zeros((1, 5, 1))),
            squared,
            optax.adam,
            lambda key, rate: jax.random.normal(key, (4, 5, 1)),
            **options,
            chunk=chunk,
        )
        return jax.jit(advance)(state)

    (whole, metrics), (chunked, expected) = trained(None), trained(2)
    assert_bitwise((chunked.key, chunked.step), (whole.key, whole.step))
    assert_close((chunked[:2], metrics), (whole[:2], expected))
    assert len({float(value) for value in whole.params["params"]["readout"]["kernel"][:, 0, 0]}) == 5
    with pytest.raises(ValueError, match="chunk must be >= 1"):
        trained(0)


@pytest.mark.parametrize(("cache", "batched"), [(2**20, True), (1, False)])
def test_runs_are_batched_while_their_activations_fit_into_a_cache(key, cache, batched, monkeypatch):
    monkeypatch.setattr(sweep, "CACHE_BYTES", cache)
    state, advance = swept(jax.random.split(key, 3))
    assert (" length=2" in str(jax.make_jaxpr(advance)(state))) is not batched


@pytest.mark.parametrize(("memory", "batched"), [(2**22, True), (16, False), (0, True)])
def test_on_accelerators_runs_are_batched_while_they_fit_into_the_memory(key, memory, batched, monkeypatch):
    """All of them where the device does not tell its memory."""
    assert sweep._memory() == 0, "a CPU is such a device"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(sweep, "_memory", lambda: memory)
    state, advance = swept(jax.random.split(key, 3))
    assert (" length=2" in str(jax.make_jaxpr(advance)(state))) is not batched


def test_a_sweep_that_waits_chooses_between_buckets(key):
    options = {"keys": key[None], "settings": jnp.array([0.1]), "steps": 12}
    state, advance = sweep.sweep(initialise_tokens, token_loss, optax.adam, BUCKETS, **options)
    assert " cond[" in str(jax.make_jaxpr(advance)(state))
    found, metrics = jax.jit(advance)(state)
    _, last, widths = looped()
    assert_close(jax.tree.map(lambda leaf: leaf[0], found.params), last.params)
    np.testing.assert_allclose(metrics["width"], [widths.mean()], rtol=1e-6)


def test_each_run_of_a_sweep_has_its_own_plateau(key):
    """The one with noisier targets stops improving at another time; each equals a loop in optax."""
    watch = optax.contrib.reduce_on_plateau(0.5, patience=2, accumulation_size=2)
    keys, settings = jax.random.split(key, 3), settings_of(3)

    def watched(setting):
        return optax.chain(optimizer(setting), watch)

    state, advance = sweep.sweep(initialise, loss, watched, scaled, keys=keys, settings=settings, steps=40)
    final, _ = jax.jit(advance)(state)
    scales = []
    for run, setting in enumerate(Settings(*pair) for pair in zip(*settings, strict=True)):
        data_key, loss_key = jax.random.split(jax.random.split(keys[run])[1])
        params = jax.tree.map(lambda leaf, run=run: leaf[run], state.params)
        opt_state: Any = watched(setting).init(params)

        @jax.jit
        def step(params, opt_state, number, setting=setting, data_key=data_key, loss_key=loss_key):
            batch = scaled(jax.random.fold_in(data_key, number), setting)
            of = jax.value_and_grad(loss, has_aux=True)
            (value, _), gradient = of(params, batch, jax.random.fold_in(loss_key, number))
            updates, opt_state = watched(setting).update(gradient, opt_state, params, value=value)
            return optax.apply_updates(params, updates), opt_state

        for number in range(40):
            params, opt_state = step(params, opt_state, number)
        scales.append(float(opt_state[1].scale))
        one = jax.tree.map(lambda leaf, run=run: leaf[run], (final.params, final.opt_state))
        assert_close(one, (params, opt_state))
    assert len(set(scales)) > 1
