"""What growth.py compares gives the same results, and what it computes on paper is the formula."""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from seqjax.data.batching import Rows

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch) -> Any:
    """A module of the benchmark's folder, by name."""
    monkeypatch.syspath_prepend(ROOT / "experiments" / "benchmark")
    return importlib.import_module


def test_loops_and_arrays_make_the_same_batches(script):
    growing, rng = script("_growing"), np.random.default_rng(0)
    lengths = rng.integers(1, 9, 300)
    lengths[7] = 40
    sides = tuple(Rows.of([rng.integers(3, 11, length).tolist() for length in lengths]) for _ in range(2))
    arrays = growing._by_arrays(sides, (11, 11))
    loops = growing._by_loops(tuple(map(growing._lists, sides)), (11, 11))
    of_loops = {np.asarray(array).tobytes() for array in loops}
    assert {np.asarray(array).tobytes() for array in jax.tree.leaves(arrays)} == of_loops
    assert len(arrays.parts) > 1


def test_the_loss_is_the_same_in_both_ways(script):
    growing, found = script("_growing"), []
    for way in ("before", "now"):
        program, given = growing.predicting(70, way, (2, 5))
        found.append(jax.tree.leaves(program(*growing._filled(given))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_way_that_was_never_taken_is_refused(script):
    """And is not measured as another, or a KeyError."""
    with pytest.raises(ValueError, match="way must be host, hosts, pod for what=paper, got now"):
        script("growth").Config(what="paper")
    with pytest.raises(ValueError, match="way must be before, now for what=data, got bfloat16"):
        script("growth").Config(what="data", way="bfloat16")


def test_scaling_by_hand(script):
    """10 M parameters: 2.485 ms of arithmetic; seven eighths of 40 MB twice over NVLink, a half of 5 MB over NDR."""
    paper = script("_on_paper")
    found = paper.scaling(10_000_000, paper.MACHINES["hosts"])
    assert found["compute_ms"] == pytest.approx(1e3 * 6e7 * 16_384 / 395.6e12)
    exchange = 2 * 35e6 / 450e9 + 14 * 2e-6 + 2 * 2.5e6 / 50e9 + 2 * 2e-6
    assert found["exchange_ms"] == pytest.approx(1e3 * exchange)
    alone = found["compute_ms"] + 0.5
    assert found["efficiency"] == pytest.approx(alone / (alone + found["exchange_ms"]))
    assert found["devices"] == 16
