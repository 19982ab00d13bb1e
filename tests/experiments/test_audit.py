"""The audit's own code: its table, the defects it reproduces, and the floors it computes."""

import importlib
import json
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax import models

SCRIPTS = Path(__file__).parents[2] / "experiments" / "tutorials"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def settings(*numbers):
    return importlib.import_module("_claims.finding").Settings(*numbers)


def test_every_row_quotes_a_claim():
    script = importlib.import_module("audit")
    assert tuple(script.CLAIMS) == get_args(script.Row)
    assert [config.row for config in script.configs("laptop")] == list(get_args(script.Row))


def test_no_claim_has_two_rows():
    claims = importlib.import_module("audit").CLAIMS.values()
    assert len({claim.words for claim in claims}) == len({claim.test for claim in claims}) == len(claims) == 40


def test_the_first_axis_is_taken_for_time():
    """An input of sequence 2 at step 5 affects later sequences at step 5, and nothing else."""
    axis = importlib.import_module("_claims.approximation_batch_axis")
    network = axis.over_batch(models.Regressor(models.LSTM(4)))
    x = jax.random.normal(jax.random.key(0), (6, 9, 1))
    params, apply = jax.jit(network.init)(jax.random.key(1), x), jax.jit(network.apply)
    felt = np.argwhere(np.asarray(apply(params, x) != apply(params, x.at[2, 5].add(1.0)))[..., 0])
    np.testing.assert_array_equal(felt, [[row, 5] for row in range(2, 6)])


def test_what_the_axis_costs():
    """The published numbers: the network of `approximation` is at the memoryless floor, the right one far below."""
    numbers = json.loads((SCRIPTS.parent / "figures" / "audit.json").read_text())
    rows = {row["row"]: row for row in numbers["rows"]}
    assert rows["D1"]["parameters"] == 789_761
    assert rows["D1"]["floor"] == pytest.approx(0.018136, abs=5e-7)
    assert 0.98 < rows["D1"]["low"] / rows["D1"]["floor"] <= rows["D1"]["high"] / rows["D1"]["floor"] < 1.02
    for row in ("D1", "D1b", "D1c"):
        assert rows[row]["also"]["over time, worst seed"] < rows[row]["floor"] / 10


def test_what_lies_beyond_tanh():
    modules = importlib.import_module("_claims.approximation_modules")
    x = np.linspace(-12, 12, 400_001)
    for deviation in (0.5, 1.0, 3.0):
        lost = np.square(np.maximum(np.abs(deviation * x) - 1, 0)) * np.exp(-(x**2) / 2)
        assert modules.beyond_tanh(deviation) == pytest.approx(lost.sum() * (x[1] - x[0]) / (2 * np.pi) ** 0.5)
    assert modules.beyond_tanh(1.0) == pytest.approx(0.1507, abs=5e-5)


def test_second_biases_add_up():
    modules, training = (importlib.import_module(f"_claims.{name}") for name in ("approximation_modules", "training"))
    model = models.Regressor(models.LSTM(3))
    x = jax.random.normal(jax.random.key(0), (2, 4, 1))
    twice = modules.twice_biased(model)
    weights = twice.init(jax.random.key(1), x)
    ((name, twin),) = weights["twins"].items()
    assert "readout" not in name
    weights["twins"][name] = twin + 0.5
    single = {"params": jax.tree.map(jnp.copy, weights["params"])}
    single["params"]["backbone"]["layer_0"]["bias"] += 0.5
    np.testing.assert_allclose(twice.apply(weights, x), jnp.asarray(model.apply(single, x)), atol=1e-6)
    assert training.torch_count(256) == 791_809


def test_weight_norm_forgets_what_is_drawn_after_it():
    normed = importlib.import_module("_claims.approximation_modules").WeightNormed(jax.random.key(0), 4, 3, 5)
    before = normed.used()
    normed.weight = jnp.zeros_like(before)
    np.testing.assert_allclose(normed.used(), before)
    normed.v, normed.g = -before, 2 * normed.g
    np.testing.assert_allclose(normed.used(), -2 * before, rtol=1e-6)


def test_the_printed_rnn_lacks_its_activation():
    printed_by = importlib.import_module("_claims.approximation_modules").Printed
    model, x = models.RNN(3), jax.random.normal(jax.random.key(0), (1, 7, 2))
    params = model.init(jax.random.key(1), x)
    printed = printed_by(params["params"]["layer_0"])
    with pytest.raises(AttributeError, match="activation"):
        printed(np.asarray(x[0]))
    printed.activation, printed.projections = np.tanh, 0
    np.testing.assert_allclose(printed(np.asarray(x[0])), model.apply(params, x)[0], atol=1e-6)
    assert printed.projections == 7 * 7


def test_defects_of_encoder_decoders_leave_their_marks():
    """On gradients: a weight that a defect keeps out of the loss has none."""
    reversal = importlib.import_module("_claims.reversal")
    params = reversal.start(jax.random.key(0), 8, reversal.EOS + 1)
    source = jnp.array([[3, 4, 5, 6, 7]])
    gradient = jax.jit(jax.grad(lambda params, case: reversal.loss(params, (source, case))))

    def marks(**defects):
        return gradient(params, reversal.Case(*(jnp.asarray(name in defects) for name in reversal.Case._fields)))

    def rows(table):
        return set(np.flatnonzero(np.asarray(table).any(axis=1)).tolist())

    right, one, clash = marks(), marks(one_symbol=True), marks(clashes=True)
    assert rows(right["encoder_table"]) == {3, 4, 5, 6, 7}
    assert rows(one["encoder_table"]) == {3}
    assert rows(right["decoder_table"]) == {reversal.SOS, 7, 6, 5, 4, 3}
    assert rows(one["decoder_table"]) == {reversal.SOS}
    assert rows(marks(unshifted=True)["decoder_table"]) == {7, 6, 5, 4, 3, reversal.EOS}
    # A token that is never a target is only ever pushed down.
    assert right["readout_bias"][reversal.EOS] < 0 < clash["readout_bias"][reversal.EOS]
    assert one["readout_bias"][7] < 0 < one["readout_bias"][6]


def test_a_decoder_that_forgets_starts_anew_for_every_token():
    reversal = importlib.import_module("_claims.reversal")
    params = reversal.start(jax.random.key(0), 3, reversal.EOS + 1)
    source, given, target = jnp.array([[3, 4, 5, 6, 7]]), (0, 7, 6, 5, 4, 3), (7, 6, 5, 4, 3, reversal.EOS)
    state, write = jax.jit(reversal.read)(params, source), jax.jit(reversal.write)
    logits = [write(params, state, jnp.array([token]))[1][0] for token in given]
    alone = -np.mean([jax.nn.log_softmax(now)[token] for now, token in zip(logits, target, strict=True)])
    found = jax.jit(reversal.loss)(params, (source, reversal.Case(forgets=True)))
    np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_a_symbol_that_is_eos_cannot_be_written():
    reversal = importlib.import_module("_claims.reversal")
    params = reversal.start(jax.random.key(0), 3, reversal.EOS + 1)
    always = params | {"readout_bias": jnp.zeros(reversal.EOS + 1).at[1].set(100.0)}
    source, wrong = jnp.array([[1] * 5, [1, 1, 2, 1, 1]]), jax.jit(reversal.wrong)
    assert wrong(always, source, reversal.Case()).tolist() == [False, True]
    assert wrong(always, source, reversal.Case(clashes=True)).tolist() == [True, True]


@pytest.mark.slow
def test_costs_of_the_data_generator():
    """Against costs measured independently, with other random numbers."""
    found = importlib.import_module("_claims.approximation_lorenz96").generator(settings())
    expected = {"same at step 1": 1.5e-2, "same at step 8": 3e-4, "unknown, in the recorded units": 1.3e-3}
    assert {name: found.also[name] for name in expected} == pytest.approx(expected, rel=0.2)
    assert found.also["known, in the recorded units"] == pytest.approx(5e-5, rel=0.2)
    assert found.also["Euler, largest error"] == pytest.approx(8.8e-3, rel=0.5)
    assert found.verdict.startswith("an unknown initial state costs 6")


def test_floors_of_re_ordering_are_those_of_the_theory():
    found = importlib.import_module("_claims.approximation_transformer").re_ordering(settings(0.0357, 1, 2))
    assert found.floor == pytest.approx(0.0301, abs=5e-5)
    expected = {"linear and causal, swap": 0.0526, "same with an offset for all steps, swap": 0.0651}
    expected |= {"output variance": 0.0959, "constant predictor": 0.0988}
    assert {name: found.also[name] for name in expected} == pytest.approx(expected, abs=5e-5)


def test_the_tutorials_trajectories_continue_each_other():
    lorenz = importlib.import_module("_claims.approximation_lorenz96")
    inputs, targets, *_ = lorenz.tutorial_data(1024)
    np.testing.assert_array_equal(inputs[:, 0], targets[:, 0])
    np.testing.assert_array_equal(inputs[512:, 0], targets[:512, -1])  # of 512 chains
    assert 0.15 < np.var(targets) < 0.35
    assert np.abs(np.corrcoef(inputs[:, 1:, 0].ravel(), targets[:, 1:, 0].ravel())[0, 1] - 0.9) < 0.05


def test_the_scheduler_is_pytorchs():
    """Against its rule in plain Python: the eleventh epoch in a row without 1e-4 of progress lowers the rate."""
    plateau = importlib.import_module("_claims.approximation_plateau")
    losses, scales = plateau.descend(optax.adam(1e-3), 16.0, 1, 40 * plateau.EPOCH, scheduled=True)
    scale, best, bad, expected = 1.0, np.inf, 0, []
    for mean in losses[0].reshape(-1, plateau.EPOCH).mean(axis=1):
        if mean < best * (1 - 1e-4):
            best, bad = mean, 0
        else:
            bad += 1
        if bad > 10:
            scale, bad = max(scale / 10, 1e-5), 0
        expected.append(scale)
    assert expected[-1] < 0.1
    np.testing.assert_allclose(scales[0][plateau.EPOCH - 1 :: plateau.EPOCH], expected)
