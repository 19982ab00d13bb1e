"""What the experiment computes of chains and linear maps, against definitions and the theory's predictors."""

import operator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models, tasks
from seqjax.runs.scripts import import_script
from seqjax.theory import in_context
from tests.refusals import refuses

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "theory" / "in_context.py")
EXAMPLES = 5


@pytest.fixture(scope="module")
def batch():
    return tasks.ContextRegression(SCRIPT.INPUTS, EXAMPLES).sample(jax.random.key(0), 32)


@pytest.mark.parametrize(
    ("model", "predict"),
    [
        ("linear_attention_by_hand", in_context.predict_linear_attention),
        ("delta_rule_by_hand", in_context.predict_delta_rule),
    ],
)
def test_weights_by_hand_are_the_exact_predictors(model, predict, batch):
    maps = SCRIPT.Maps.of(batch)
    found = np.asarray(SCRIPT.by_hand(model, batch.inputs))[:, ::2]
    for n in range(EXAMPLES + 1):
        np.testing.assert_allclose(found[:, n], predict(maps.x[:, :n], maps.y[:, :n], maps.x[:, n]), atol=1e-5)


def test_maps_show_examples_and_ask_for_the_next(batch):
    maps = SCRIPT.Maps.of(batch)
    np.testing.assert_array_equal(maps.shown[:, :-1], batch.inputs[:, 1::2])
    one = maps.after(2)
    np.testing.assert_array_equal(one[:, :2], batch.inputs[:, 1:4:2])
    np.testing.assert_array_equal(one[:, 2], batch.inputs[:, 4])
    np.testing.assert_array_equal(maps.y, batch.targets[:, ::2, 0])


def test_the_trained_layer_can_be_the_best_linear_attention(batch):
    """With q = k = x and v = y as its weights, and c = d - 1."""
    config = SCRIPT.Config(model="divided", features=SCRIPT.INPUTS, examples=EXAMPLES)
    model = SCRIPT.build(config)
    eye, last = np.eye(SCRIPT.INPUTS + 1, SCRIPT.INPUTS), np.zeros((SCRIPT.INPUTS + 1, SCRIPT.INPUTS))
    last[-1, 0] = 1
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), batch.inputs))
    inner = params["params"]["regressor"]
    (kernel,) = jax.tree.leaves(inner["backbone"])
    width = SCRIPT.INPUTS**0.5  # which the layer divides keys by
    q_k_v = jnp.asarray(np.concatenate([eye, width * eye, last], axis=1), kernel.dtype)
    assert q_k_v.shape == kernel.shape
    inner["backbone"] = jax.tree.map(lambda _: q_k_v, inner["backbone"])
    inner["readout"]["kernel"] = inner["readout"]["kernel"].at[0, 0].set(1)
    params["params"]["log_c"] = jnp.log(SCRIPT.INPUTS - 1.0)
    found = model.apply(params, batch.inputs)[:, ::2, 0]
    expected = SCRIPT.by_hand("linear_attention_by_hand", batch.inputs)[:, ::2]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert isinstance(model.regressor, models.Regressor)


def test_unigram_phase():
    steps = np.array([10.0, 20, 30, 40])
    bayes = np.array([[0.2, 0.13, 0.13, 0.01], [0.2, 0.1, 0.1, 0.1], [0.15, 0.14, 0.15, 0.14]])
    unigram = np.array([[0.1, 0.03, 0.02, 0.01], [0.1, 0.03, 0.02, 0.01], [0.1, 0.05, 0.03, 0.03]])
    first, last = SCRIPT.phase(steps, bayes, unigram)
    np.testing.assert_array_equal(first, [20, 30])  # the second seed has none
    np.testing.assert_array_equal(last, [30, 40])


test_wrong_fields_are_refused = refuses(
    operator.call,
    (
        lambda: SCRIPT.Config(task="chain", model="divided"),
        "--model must be transformer or gru for chains, got divided",
    ),
)
