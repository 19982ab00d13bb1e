"""The diagrams: what the receptive fields are made of, and that they are drawn the same each time."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import models
from seqjax.runs.scripts import import_script

SCRIPTS = Path(__file__).parents[2] / "experiments" / "tutorials"


@pytest.fixture
def diagrams() -> Any:
    return import_script(SCRIPTS / "diagrams.py")


def offsets(layer: np.ndarray) -> list[int]:
    """How far back the last step reads, if every step reads as far, where there is so much past."""
    (reads,) = layer[-1].nonzero()
    lags = len(layer) - 1 - reads
    for step in range(len(layer)):
        assert layer[step].nonzero()[0].tolist() == [step - lag for lag in lags if step >= lag]
    return sorted(lags.tolist())


def test_what_each_layer_reads_and_that_these_numbers_are_committed(diagrams):
    options = diagrams.Options()
    linear = diagrams.linear_reads(diagrams.LINEAR_LAYERS)
    assert (linear.parameters, linear.stated, linear.found) == (8, 16, 16)  # the picture of the tutorial
    assert [offsets(layer) for layer in linear.layers] == [[0, 1], [0, 2], [0, 4], [0, 8]]
    assert offsets(linear.inputs) == list(range(16))
    tcn = diagrams.tcn_reads(options.kernel_size, options.dilations)
    assert [offsets(layer) for layer in tcn.layers] == [[0, 1, 2], [0, 2, 4], [0, 4, 8]]
    assert tcn.found == tcn.stated == 15
    rows = json.loads((SCRIPTS.parent / "figures" / "diagrams.json").read_text())["rows"]
    found = [(row["model"], row["parameters"], row["stated"], row["receptive_field"]) for row in rows]
    assert found == [(one.name, one.parameters, one.stated, one.found) for one in (linear, tcn)]


def test_what_is_drawn_is_the_models_own(diagrams, key):
    """A wider network with random weights has gradients where the drawn one has, and nowhere else."""
    model = models.TCN(4, 2, (1, 2))
    x = jax.random.normal(key, (8, 11, 1))
    params = jax.jit(model.init)(jax.random.key(1), x)
    gradient = jax.jit(jax.grad(lambda x: jnp.asarray(model.apply(params, x))[:, -1].sum()))(x)
    felt = (np.asarray(gradient)[..., 0] != 0).any(axis=0)
    assert felt.tolist() == diagrams.tcn_reads(2, (1, 2)).inputs[-1].tolist()


@pytest.mark.slow
def test_other_kernels_and_dilations(diagrams):
    network = diagrams.tcn_reads(3, (1, 3))
    assert [offsets(layer) for layer in network.layers] == [[0, 1, 2, 3, 4], [0, 3, 6, 9, 12]]
    assert network.found == network.stated == 1 + 2 * (3 - 1) * (1 + 3)
    gaps = diagrams.tcn_reads(2, (3,))
    assert offsets(gaps.inputs) == [0, 3, 6]
    assert gaps.found == 3 < gaps.stated == 7


@pytest.mark.slow
def test_files(diagrams, tmp_path, capsys):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        diagrams.draw(diagrams.Options(out=tmp_path / folder))
    assert "TCN: sees 15 steps, 15 stated, 18 parameters" in capsys.readouterr().out
    rows = json.loads((tmp_path / "first" / "diagrams.json").read_text())["rows"]
    assert [row["receptive_field"] for row in rows] == [16, 15]
    assert (tmp_path / "first" / "diagrams.png").read_bytes().startswith(b"\x89PNG")
    names = "shapes recurrence encoder_decoder captioner applications attention receptive_field"
    assert {path.stem for path in (tmp_path / "first" / "diagrams").glob("*.svg")} == {*names.split()}
    for name in names.split():
        first, second = ((tmp_path / out / "diagrams" / f"{name}.svg").read_bytes() for out in ("first", "second"))
        assert ElementTree.fromstring(first).tag == "{http://www.w3.org/2000/svg}svg"
        assert first == second
