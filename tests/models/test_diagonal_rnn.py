import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.models import DiagonalRNN, reciprocal
from seqjax.theory import perturbation, targets
from tests import contracts

DIAGONAL = DiagonalRNN(4, order=3)


def test_contract_of_decaying_states(key):
    contracts.backbone(DIAGONAL, key)


def test_decaying_states_learn(key):
    contracts.learns(DiagonalRNN(1, order=8), key)


@pytest.mark.parametrize(
    ("rate", "closed_form"),
    [
        (jnp.exp, np.exp),
        (jax.nn.softplus, lambda w: np.log1p(np.exp(w))),
        (reciprocal, lambda w: 1 / (w**2 + 0.1)),
        (lambda w: w, lambda w: w),
    ],
    ids=["exp", "softplus", "reciprocal", "direct"],
)
@pytest.mark.parametrize("step", [1.0, 0.1])
def test_an_impulse_decays_as_euler_has_it(key, rate, closed_form, step):
    model = DiagonalRNN(1, order=2, rate=rate, step=step)
    params = contracts.parameters(model, key)
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["params"])
    impulse = jnp.zeros((1, 6, params["params"]["read"]["kernel"].shape[0])).at[0, 0].set(1.0)
    factors = (1 - step * closed_form(weights["w"])) ** np.arange(6)[:, None]
    expected = factors @ (step * weights["read"]["kernel"].sum(axis=0)[:, None] * weights["write"]["kernel"])
    np.testing.assert_allclose(contracts.forward(model)(params, impulse)[0], expected, rtol=1e-4, atol=1e-6)


def test_every_start_is_stable(key):
    for rate in (jnp.exp, jax.nn.softplus, reciprocal, lambda w: w):
        for step in (1.0, 30.0):
            w = DiagonalRNN(4, 400, rate=rate, step=step)._stable(key, (400,))
            assert (np.abs(1 - step * rate(w)) < 1).all()
            assert len(np.unique(w)) > 390
    params = DIAGONAL.init(key, jnp.zeros((1, 1, 1)))
    np.testing.assert_array_less(np.abs(1 - jnp.exp(params["params"]["w"])), 1)


def test_rates_of_the_theory_are_the_models():
    """`perturbation.decays` fits a kernel, and the module that loads it has that kernel."""
    fit = perturbation.best_decays(targets.power_law(1.1, 40), 4, np.geomspace(1e-3, 0.5, 8))
    impulse = jnp.zeros((1, 40, 1)).at[0, 0].set(1.0)
    params = jax.tree.map(jnp.asarray, fit.params())
    response = contracts.forward(DiagonalRNN(1, order=4, rate=lambda w: w))(params, impulse)
    np.testing.assert_allclose(np.asarray(response)[0, :, 0], fit.kernel(40), rtol=1e-4, atol=1e-6)
    weights = np.linspace(0.5, 3, 7)
    for ours, numpys in (
        (jnp.exp, perturbation.EXP),
        (jax.nn.softplus, perturbation.SOFTPLUS),
        (reciprocal, perturbation.BEST),
    ):
        np.testing.assert_allclose(ours(jnp.asarray(weights)), numpys.rate(weights), rtol=1e-5)
