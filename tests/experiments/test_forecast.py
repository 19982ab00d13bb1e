"""Forecasts of forecast.py: fed back as by hand, from data split in time, and better than linear ones."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.runs.scripts import import_script
from seqjax.types import InputError

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def forecast():
    return import_script(EXPERIMENTS / "memory" / "forecast.py")


def henon(length: int) -> np.ndarray:
    """x(t + 1) = 1 - 1.4 x(t)^2 + 0.3 x(t - 1), chaotic: a quadratic autoregression of order two."""
    x = [0.1, 0.2]
    while len(x) < length:
        x.append(1 - 1.4 * x[-1] ** 2 + 0.3 * x[-2])
    return np.array(x)


def series_of(forecast, values: np.ndarray):
    length = forecast.CONTEXT + 40
    starts = np.stack([values[place : place + length] for place in range(200, 300, 10)])[..., None]
    return forecast.Data(values[None, 400:, None], starts, starts, 1.0, None, 1.0)


class Record:
    parameters = 0

    def __init__(self, config):
        self.config = config


def test_a_quadratic_autoregression_finds_the_henon_map(forecast):
    made = series_of(forecast, henon(3_000))
    records = [Record(forecast.Config(model=kind)) for kind in ("linear", "quadratic")]
    good = []
    for record in records:
        (run,) = forecast.fit([record], made)
        context, truth = np.split(made.test, [forecast.CONTEXT], axis=1)
        good.append(np.median(forecast.good_steps(run(context, 40)[0], truth)))
        assert forecast.one_step_error(run, made) == pytest.approx(0, abs=[1, 1e-9][record.config.model == "quadratic"])
    assert good[0] < 6  # errors grow by e in 2.4 steps
    assert good[1] > 25
    assert records[1].parameters in [1 + n + n * (n + 1) // 2 for n in (2, 4, 8, 16, 32)]


@pytest.mark.parametrize(
    "model", ["gru", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lstm", "tcn", "transformer"))]
)
def test_outputs_are_fed_back_as_by_hand(forecast, model, key):
    config = forecast.Config(model=model)
    network = forecast.build(config, 2)
    context = jax.random.normal(key, (3, forecast.CONTEXT, 2))
    params = network.init(jax.random.key(1), context)
    found = jax.jit(lambda params: forecast.free_run(network, params, context, 0.3, 5))(params)
    # Networks are causal: what is not yet known is zero, so that all steps have one shape.
    apply, path = jax.jit(network.apply), jnp.concatenate([context, jnp.zeros((3, 5, 2))], axis=1)
    for now in range(forecast.CONTEXT, forecast.CONTEXT + 5):
        read = path[:, now - forecast.CONTEXT : now] if model == "transformer" else path
        change = apply(params, read)[:, -1 if model == "transformer" else now - 1]
        path = path.at[:, now].set(path[:, now - 1] + 0.3 * change)
    np.testing.assert_allclose(found, path[:, forecast.CONTEXT :], rtol=2e-4, atol=2e-5)


def test_a_file_takes_the_place_of_all_systems(forecast, tmp_path):
    options = {"csv": str(tmp_path / "own.csv"), "column": "x"}
    assert {forecast.Config(system=system, **options) for system in ("lorenz96", "csv")} == {
        forecast.Config(system="csv", **options)
    }
    for wrong in ({"column": "x"}, {"system": "csv"}):
        with pytest.raises(InputError, match="csv must name a file"):
            forecast.Config(**wrong)


def test_a_file_is_split_in_time(forecast, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("t,x\n" + "".join(f"{t},{t * t}\n" for t in range(1_500)))
    made = forecast.data("csv", 64, 100, str(path), "x")
    span = forecast.CONTEXT + forecast.HORIZON["csv"]
    assert made.train.shape == (1, 900, 1)
    assert made.validation.shape == made.test.shape == (100, span, 1)
    assert made.train.max() < made.validation.min() < made.validation.max() < made.test.min()
    assert made.train.mean() == pytest.approx(0)
    assert made.train.std() == pytest.approx(1)
    assert made.per_sample == 1
    path.write_text("t,x\n" + "".join(f"{t},{t * t}\n" for t in range(999)))
    with pytest.raises(InputError, match="expected 1000 numbers or more in x, found 999"):
        forecast.data("csv", 32, 100, str(path), "x")
    with pytest.raises(InputError, match=r"own\.csv:1: expected one column named y, found t, x"):
        forecast.data("csv", 64, 100, str(path), "y")


def test_the_climate_of_the_truth_is_its_own(forecast):
    truth = np.random.default_rng(0).normal(size=(8, 64, 2))
    row, arrays = forecast.climate(np.stack([truth, truth]), truth)
    assert row == {"histogram_error": 0, "spectrum_error": pytest.approx(0), "escaped": 0}
    width = 8 / len(arrays["histogram"])
    assert arrays["histogram"].sum() * width == pytest.approx(1, abs=0.01)
    frozen = np.zeros_like(truth)
    frozen[:2] = np.inf
    row, _ = forecast.climate(frozen[None], truth)
    assert row["escaped"] == 0.25
    assert row["histogram_error"] > 0.8
    assert row["spectrum_error"] > 50
    row, arrays = forecast.climate(np.full_like(truth, np.nan)[None], truth)
    assert row == {"histogram_error": None, "spectrum_error": None, "escaped": 1}
    assert "histogram" not in arrays


PUBLISHED = EXPERIMENTS / "figures" / "forecast.json"


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the figure is not published yet")
@pytest.mark.parametrize(("system", "factor"), [("lorenz96", 1.5), ("mackey_glass_17", 2.0)])
def test_the_best_network_predicts_much_longer_than_linear_autoregression(system, factor):
    """In its worst seed, than the better of the linear ones."""
    rows = [row for row in json.loads(PUBLISHED.read_text())["rows"] if row["system"] == system]
    linear = max(row["high"] for row in rows if row["model"] == "linear")
    assert max(row["low"] for row in rows if row["model"] not in ("linear", "quadratic")) >= factor * linear
