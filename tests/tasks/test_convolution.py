import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seqjax.data import GaussianProcess
from seqjax.tasks import Convolution
from seqjax.tasks.convolution import BUMP, convolve, parse_filter
from tests.refusals import refuses


def test_parse_the_published_filter():
    taps = parse_filter(BUMP)
    assert taps == (0.002, 0.022, 0.097, 0.159, 0.097, 0.022, 0.002)
    assert sum(taps) == pytest.approx(0.401)


WRONG = [("0.1, abc", "abc", 2), ("", "", 1), ("0.1,", "", 2), ("1, 2, nan", "nan", 3), ("inf", "inf", 1)]
WRONG += [("-1e999, 0", "-1e999", 1), ("0.1 0.2", "0.1 0.2", 1)]
test_a_wrong_filter_is_refused_by_rule_position_and_text = refuses(
    parse_filter,
    *(
        (text, f"filter must be comma-separated finite numbers, got '{wrong}' at position {position}")
        for text, wrong, position in WRONG
    ),
)


@given(st.text() | st.text("0123456789.,-+einfa_ "))
@example("\ud800")
@example("9" * 5000)
def test_any_text_is_a_finite_filter_or_a_value_error(text):
    try:
        taps = parse_filter(text)
    except ValueError:
        return
    assert taps
    assert all(math.isfinite(tap) for tap in taps)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_parsing_inverts_printing(taps):
    assert parse_filter(", ".join(map(repr, taps))) == tuple(taps)


@pytest.mark.parametrize("taps", [1, 7, 32, 50])
def test_convolve_equals_numpy(taps, key):
    rng = np.random.default_rng(taps)
    x, kernel = rng.normal(size=(3, 32)), rng.normal(size=taps)
    expected = np.stack([np.convolve(row, kernel)[:32] for row in x])
    actual = convolve(jnp.array(x, jnp.float32), jnp.array(kernel, jnp.float32))
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_kernels_can_be_traced_side_by_side(key):
    x = jax.random.normal(key, (3, 16))
    kernels = jnp.array([[1.0, 0.5, 0.25], [0.0, 0.0, 1.0]])
    together = jax.jit(jax.vmap(convolve, in_axes=(None, 0)))(x, kernels)
    for kernel, y in zip(kernels, together, strict=True):
        np.testing.assert_allclose(y, convolve(x, kernel), atol=1e-6)


def test_sample(key):
    task = Convolution(taps=(1.0, 0.5), length=16, signal=GaussianProcess())
    inputs, targets = jax.jit(task.sample, static_argnums=1)(key, 4)[:2]
    assert inputs.shape == targets.shape == (4, 16, 1)
    np.testing.assert_array_equal(inputs[..., 0], GaussianProcess().sample(key, 4, 16))
    past = np.concatenate([np.zeros((4, 1, 1)), inputs[:, :-1]], axis=1)
    np.testing.assert_allclose(targets, inputs + 0.5 * past, atol=1e-6)


def test_normalised_taps_sum_to_one(key):
    plain, normalised = Convolution(parse_filter(BUMP)), Convolution(parse_filter(BUMP), normalise=True)
    assert plain.kernel == plain.taps
    assert sum(normalised.kernel) == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(np.divide(normalised.kernel, plain.kernel), 1 / 0.401)
    expected = plain.sample(key, 4).targets / 0.401
    np.testing.assert_allclose(normalised.sample(key, 4).targets, expected, rtol=1e-4, atol=1e-6)
    assert normalised.zero_loss() == pytest.approx(plain.zero_loss() / 0.401**2)


@pytest.mark.parametrize("taps", [(1.0, -2.0, 0.5), tuple(0.9**n for n in range(40))], ids=["short", "longer than T"])
def test_zero_loss_on_white_noise_is_the_closed_form(taps):
    length = 16
    closed_form = sum((1 - lag / length) * tap**2 for lag, tap in enumerate(taps[:length]))
    assert Convolution(taps, length).zero_loss() == pytest.approx(closed_form, rel=1e-12)


def test_zero_loss_is_the_power_of_the_targets(key):
    task = Convolution((1.0, -2.0, 0.5), length=16, signal=GaussianProcess(length_scale=2.0))
    power = np.mean(np.asarray(task.sample(key, 20_000).targets) ** 2, axis=(1, 2))
    assert power.mean() == pytest.approx(task.zero_loss(), abs=4 * power.std() / np.sqrt(len(power)))


test_wrong_fields_are_refused = refuses(
    Convolution,
    ({"taps": ()}, r"taps must be finite numbers, at least one, got \(\)"),
    ({"taps": (1.0, math.inf)}, r"taps must be finite numbers, at least one, got \(1.0, inf\)"),
    ({"taps": (1.0, -1.0), "normalise": True}, "taps must have a sum other than 0"),
    ({"taps": (1.0,), "length": 0}, "length must be >= 1, got 0"),
)
