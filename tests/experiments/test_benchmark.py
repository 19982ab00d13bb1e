"""What must agree before a ratio counts."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqjax.runs.folder import Record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "experiments" / "benchmark")
    return importlib.import_module("benchmark")


def side(*seconds: float, **other: Any) -> dict[str, Any]:
    """What one process measured: work of two units."""
    same = {"first_seconds": 9.0, "start": 1.0, "value": 0.5, "parameters": 7, "flops": 4e9}
    memory = {"page_faults": 6.0, "peak_megabytes": 100.0, "device": "cpu"}
    return {"seconds": list(seconds), "units": 2.0} | same | memory | other


def test_a_row_is_the_median_of_rounds_each_of_medians(benchmark):
    config = benchmark.Config("train_step.rnn", "torch")
    ours = [side(1.0, 2.0, 50.0), side(2.0), side(2.0)]
    theirs = [side(4.0, 6.0, 5.0), side(3.0), side(8.0)]
    row = benchmark.compare(config, ours, theirs)
    assert (row["ratio"], row["low"], row["high"]) == (2.5, 1.5, 4.0)
    assert (row["seconds"], row["peer_seconds"]) == (1.0, 2.5)
    assert (row["gflops"], row["page_faults"], row["goal"]) == (2.0, 3.0, 1.2)


def test_units_of_the_two_sides_may_differ(benchmark):
    row = benchmark.compare(benchmark.Config("lorenz96.k1_j10", "scipy"), [side(1.0)], [side(3.0, units=0.5)])
    assert row["ratio"] == 12.0
    assert row["goal"] == 1000.0


@pytest.mark.parametrize(("what", "found"), [("start", 1.001), ("value", 0.52)])
def test_other_work_is_refused(benchmark, what: str, found: float):
    config = benchmark.Config("train_step.rnn", "torch")
    benchmark.compare(config, [side(1.0)], [side(1.0, **{what: 1.00001 if what == "start" else 0.505})])
    with pytest.raises(RuntimeError, match=f"train_step.rnn: {what} must agree within"):
        benchmark.compare(config, [side(1.0)], [side(1.0, **{what: found})])


def test_a_peer_that_is_missing_leaves_no_row(benchmark, tmp_path, monkeypatch, capsys):
    config = benchmark.Config("train_step.rnn", "torch", rounds=2)
    record = Record(config, tmp_path / "run")
    record.begin(resume=False)
    timed = []

    def time_side(_, name):
        timed.append(name)
        return side(1.0) if name == "seqjax" else {"missing": "torch"}

    monkeypatch.setattr(benchmark, "time_side", time_side)
    benchmark.measure([record])
    assert timed == ["seqjax", "torch", "seqjax"]
    assert "torch is not installed" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_every_row_has_its_sides(benchmark):
    for config in benchmark.configs("laptop"):
        module, _, _ = config.workload.partition(".")
        source = (ROOT / "experiments" / "benchmark" / "workloads" / f"{module}.py").read_text()
        for name in ("seqjax", config.peer):
            assert name in benchmark.SETTINGS or f"\ndef {name}(" in source


@pytest.mark.timeout(120)
def test_a_peer_runs_in_a_process_without_jax():
    script = """
import runpy, sys
sys.argv = [sys.argv[1], "lorenz96.k1_j10", "scipy", "--smoke", "--repeats", "1"]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "jax" not in sys.modules
"""
    process = ROOT / "experiments" / "benchmark" / "workloads" / "process.py"
    done = subprocess.run([sys.executable, "-c", script, process], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["device"] == "cpu"
    assert measured["value"] > 0


def test_start_up_times_a_script_that_exists(benchmark):
    startup = importlib.import_module("workloads.startup")
    assert startup.SCRIPT.is_file()
