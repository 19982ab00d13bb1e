"""What must agree before a ratio counts, and which processor it holds for."""

import ctypes
import functools
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from seqjax.runs.folder import Record, run_name
from seqjax.types import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "experiments" / "benchmark")
    return importlib.import_module("benchmark")


def side(*seconds: float, **other: Any) -> dict[str, Any]:
    """What one process measured: work of two units."""
    same = {"first_seconds": 9.0, "start": 1.0, "value": 0.5, "parameters": 7, "flops": 4e9}
    memory = {"page_faults": 6.0, "peak_megabytes": 100.0, "device": "cpu"}
    machine = {"cpu": "A", "instruction_set": "AVX2", "physical_cores": 2, "hardware_threads": 4, "product": 100.0}
    return {"seconds": list(seconds), "units": 2.0, "versions": "jax 1"} | same | memory | machine | other


def test_a_row_is_the_median_of_rounds_each_of_medians(benchmark):
    config = benchmark.Config("train_step.rnn", "torch")
    ours = [side(1.0, 2.0, 50.0), side(2.0), side(2.0)]
    theirs = [side(4.0, 6.0, 5.0), side(3.0), side(8.0)]
    row = benchmark.compare(config, ours, theirs)
    assert (row["ratio"], row["low"], row["high"]) == (2.5, 1.5, 4.0)
    assert (row["seconds"], row["peer_seconds"]) == (1.0, 2.5)
    assert (row["gflops"], row["page_faults"], row["goal"]) == (2.0, 3.0, 1.05)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"parameters": 8}, "parameters must agree within 0.03, got 7 and 8"),
        ({"start": 1.1}, "start must agree within 0.0001, got 1.0 and 1.1"),
        ({"value": 0.6}, "value must agree within 0.02, got 0.5 and 0.6"),
        ({"value": float("nan")}, "value must agree within 0.02, got 0.5 and nan"),
    ],
)
def test_other_results_are_no_row(benchmark, other, message):
    with pytest.raises(RuntimeError, match=f"train_step.rnn: {message}"):
        benchmark.compare(benchmark.Config("train_step.rnn", "torch"), [side(1.0)], [side(1.0, **other)])


def test_units_of_the_two_sides_may_differ(benchmark):
    row = benchmark.compare(benchmark.Config("lorenz96.k1_j10", "scipy"), [side(1.0)], [side(3.0, units=0.5)])
    assert row["ratio"] == 12.0
    assert row["goal"] == 1000.0


def test_the_limit_is_the_time_at_the_faster_product(benchmark):
    """2 GFLOP a unit take .01 s at 200 GFLOP/s, of our .5 s."""
    config = benchmark.Config("train_step.rnn", "linen")
    row = benchmark.compare(config, [side(1.0)], [side(1.0, product=200.0, versions="jax 2")])
    assert row["limit"] == pytest.approx(0.02)
    assert (row["product"], row["peer_product"], row["cpu"], row["physical_cores"]) == (100.0, 200.0, "A", 2)
    assert (row["versions"], row["peer_versions"], row["mkl"]) == ("jax 1", "jax 2", "")


@pytest.mark.parametrize(("what", "found"), [("start", 1.001), ("value", 0.52)])
def test_other_work_is_refused(benchmark, what: str, found: float):
    config = benchmark.Config("train_step.rnn", "torch")
    benchmark.compare(config, [side(1.0)], [side(1.0, **{what: 1.00001 if what == "start" else 0.505})])
    with pytest.raises(RuntimeError, match=f"train_step.rnn: {what} must agree within"):
        benchmark.compare(config, [side(1.0)], [side(1.0, **{what: found})])
    benchmark.compare(benchmark.Config("train_step.rnn", "haiku"), [side(1.0)], [side(1.0, **{what: found})])


@pytest.mark.parametrize(
    ("workload", "peer", "cores", "mkl", "goal"),
    [
        ("train_step.lstm", "haiku", "one", "", 1.05),
        ("train_step.gru", "torch", "one", "fast", 1.02),
        ("train_step.gru", "torch", "all", "slow", 1.95),
        ("train_step.gru", "torch_avx512", "all", "fast", 1.02),
        ("train_step.lstm", "guard_off", "one", "", 0.0),
        ("sweep.rnn_8", "torch_vmap", "one", "slow", 3.5),
        ("sweep.rnn_8", "torch_loop", "all", "fast", 4.2),
        ("sweep.tcn_32", "torch_loop", "one", "fast", 0.0),
        ("decoding.beam", "torch", "all", "slow", 3.0),
        ("lorenz96.k1_j10", "hand_scan", "one", "", 0.8),
        ("tutorials.rnn", "tutorial", "all", "", 20.0),
        ("startup.help", "torch", "all", "", 0.0),
    ],
)
def test_the_goal_is_that_of_the_kind_of_peer(benchmark, workload, peer, cores, mkl, goal):
    assert benchmark.Config(workload, peer, cores).goal("cpu", mkl) == goal


def begun(tmp_path: Path, *configs: Any) -> list[Record]:
    records = [Record(config, tmp_path / f"run{number}") for number, config in enumerate(configs)]
    for record in records:
        record.begin(resume=False)
    return records


def test_a_peer_that_is_missing_leaves_no_row(benchmark, tmp_path, monkeypatch, capsys):
    timed = []

    def time_side(_, name):
        timed.append(name)
        return side(1.0) if name == "seqjax" else {"unmeasured": "torch is not installed"}

    monkeypatch.setattr(benchmark, "time_side", time_side)
    benchmark.measure(begun(tmp_path, benchmark.Config("train_step.rnn", "torch", rounds=2)))
    assert timed == ["seqjax", "torch", "seqjax"]
    assert "torch is unmeasured: torch is not installed" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_misses_is_said(benchmark, monkeypatch):
    answer = SimpleNamespace(returncode=0, stdout='{"missing": "haiku"}\n')
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert benchmark.time_side(benchmark.Config(), "haiku") == {"unmeasured": "haiku is not installed"}


@pytest.fixture
def avx512(benchmark, monkeypatch):
    """A processor with these instructions, and a compiler for what turns them on in MKL."""
    processor = benchmark.machine()._replace(instruction_set="AVX-512")
    monkeypatch.setattr(benchmark, "machine", lambda: processor)
    monkeypatch.setattr(benchmark.mkl, "compiler", lambda: "cc")


@pytest.mark.parametrize(
    ("product", "compiler", "again"), [(89.0, "cc", True), (91.0, "cc", False), (89.0, None, False)]
)
def test_a_slow_mkl_is_measured_again_on_its_other_path(
    avx512, benchmark, tmp_path, monkeypatch, capsys, product: float, compiler: str | None, again: bool
):
    timed = []

    def time_side(_, name):
        timed.append(name)
        return side(1.0, product={"seqjax": 100.0, "torch": product}.get(name, 110.0))

    monkeypatch.setattr(benchmark, "time_side", time_side)
    monkeypatch.setattr(benchmark.mkl, "compiler", lambda: compiler)
    peers = ("torch", "torch_avx512")
    records = begun(tmp_path, *(benchmark.Config("train_step.rnn", peer, rounds=1) for peer in peers))
    benchmark.measure(records)
    assert timed == ["seqjax", "torch"] + ["torch_avx512"] * again
    assert records[0].result["mkl"] == ("slow" if product < 90 else "fast")
    if again:
        assert records[1].result["mkl"] == "fast"
    else:
        assert not records[1].complete
        assert f"torch_avx512 is unmeasured: {'PyTorch' if compiler else 'it needs'}" in capsys.readouterr().out


def test_the_first_round_decides_whether_the_other_path_is_measured(avx512, benchmark, tmp_path, monkeypatch):
    """Also where a product near the limit is on its other side in the next round."""
    products = iter((89.0, 99.0, 99.0))

    def time_side(_, name):
        return side(1.0, product=next(products) if name == "torch" else 100.0)

    monkeypatch.setattr(benchmark, "time_side", time_side)
    peers = ("torch", "torch_avx512")
    records = begun(tmp_path, *(benchmark.Config("train_step.rnn", peer, rounds=3) for peer in peers))
    benchmark.measure(records)
    assert [record.result["mkl"] for record in records] == ["fast", "fast"]


def test_what_was_needless_is_so_when_the_command_is_repeated(avx512, benchmark, tmp_path, monkeypatch):
    """PyTorch's own row is finished by then, and not measured again."""
    monkeypatch.setattr(benchmark, "time_side", lambda _, name: side(1.0))
    peers = ("torch", "torch_avx512")
    for record in begun(tmp_path, *(benchmark.Config("train_step.rnn", peer, rounds=1) for peer in peers)):
        benchmark.measure([record])
        assert record.complete == (record.config.peer == "torch")


@pytest.mark.slow  # it needs a C compiler
def test_mkl_is_told_so_in_the_process_of_the_peer_alone(benchmark, tmp_path, monkeypatch):
    assert ctypes.CDLL(str(benchmark.mkl.build(tmp_path))).mkl_serv_intel_cpu_true() == 1
    run, preloaded, commands = subprocess.run, [], []

    def observed(command, env=None, **options):
        if env is None:  # the compiler
            return run(command, **options)
        commands.append(command)
        preloaded.append(bool(env.get("LD_PRELOAD")) and Path(env["LD_PRELOAD"]).is_file())
        return SimpleNamespace(returncode=0, stdout="{}\n")

    monkeypatch.delenv("LD_PRELOAD", raising=False)
    monkeypatch.setattr(subprocess, "run", observed)
    for name in ("seqjax", "torch", "torch_avx512"):
        benchmark.time_side(benchmark.Config("train_step.rnn", name), name)
    assert preloaded == [False, False, True]
    assert [command[3] for command in commands] == ["seqjax", "torch", "torch"]


CPU_INFO = """processor\t: {}
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC 9B45
physical id\t: 0
core id\t\t: {}
flags\t\t: fpu avx avx2 avx512f
"""


def test_a_processor_is_named_by_its_model_and_cores(benchmark):
    machine = importlib.import_module("workloads.machine")

    text = "\n".join(CPU_INFO.format(thread, core) for thread, core in enumerate((0, 0, 1, 1)))
    found = machine.parse(text, [0, 1, 2])
    assert found == ("AMD EPYC 9B45 (cpu family 26, model 2)", "AVX-512", 2, 3)
    assert found.name == "AMD EPYC 9B45 (cpu family 26, model 2), 2 cores"
    assert machine.parse(text.replace(" avx512f", ""), [3]).instruction_set == "AVX2"
    assert machine.parse("", [0, 1]).hardware_threads == 2


def test_rows_of_two_machines_are_never_mixed(benchmark, tmp_path, monkeypatch):
    """Those of another machine have other names, so that they are measured again; they are not measured here."""
    here = benchmark.configs("laptop")
    other = benchmark.machine()._replace(cpu="another")
    monkeypatch.setattr(benchmark, "machine", lambda: other)
    there = benchmark.configs("laptop")
    assert len({config.machine for config in here}) == len({config.machine for config in there}) == 1
    names = [{run_name(config, benchmark.Config()) for config in configs} for configs in (here, there)]
    assert not names[0] & names[1]
    with pytest.raises(InputError, match=r"--machine must be this one to be measured, another, \d+ cores, got "):
        benchmark.measure(begun(tmp_path, here[0]))


def test_every_row_has_its_sides(benchmark):
    for config in benchmark.configs("laptop"):
        module, _, _ = config.workload.partition(".")
        source = (ROOT / "experiments" / "benchmark" / "workloads" / f"{module}.py").read_text()
        for name in ("seqjax", config.peer.removesuffix(benchmark.AVX512)):
            assert name in benchmark.SETTINGS or f"\ndef {name}(" in source


def test_on_a_gpu_elapsed_time_counts_and_no_setting_of_a_cpu(benchmark):
    found = benchmark.configs("gpu")
    assert {config.workload for config in found} == benchmark.ROWS.keys()
    assert {config.cores for config in found} == {"all"}
    assert not [config for config in found if config.peer.endswith((benchmark.AVX512, "allocator", "device"))]


def test_every_peer_of_a_figure_has_a_look_or_a_line(benchmark):
    row = {"ratio": 1.2, "low": 1.0, "high": 1.3, "limit": 0.5}
    records = [SimpleNamespace(config=config, result=row) for config in benchmark.configs("laptop")]
    figure = benchmark.draw(records)
    assert len(figure.axes) == 2 * len({record.config.cores for record in records})
    assert len(figure.legends[0].get_texts()) == len(importlib.import_module("_speed_figure").LOOKS) + 1
    ours = [record for record in records if record.config.peer == "guard_off"]
    labels = benchmark.draw(ours).axes[0].get_yticklabels()
    assert labels[0].get_text() == "train step: RNN, guard off"


@pytest.fixture
def quick_compiling():
    """The same numbers, compiled in half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@functools.cache
def ours(name: str) -> tuple[Any, float]:
    """A tiny model of ours, prepared once for all libraries, and its mean loss of five steps if it is the LSTM."""
    work = importlib.import_module("workloads.train_step").seqjax(name, True)
    return work, work.run() if name == "lstm" else 0.0


BIASES = {("gru", "nnx"), ("rnn", "torch"), ("gru", "torch"), ("lstm", "torch"), ("translator", "torch")}
"""Models of which a library has more biases, or fewer."""


# Haiku and PyTorch come with the extra `benchmark`; Diffrax brings Equinox.
@pytest.mark.parametrize(
    "library",
    ["equinox", *(pytest.param(name, marks=pytest.mark.slow) for name in ("linen", "nnx", "haiku", "torch"))],
)
def test_libraries_start_from_our_weights(benchmark, quick_compiling, library: str):
    train_step = importlib.import_module("workloads.train_step")

    for name in train_step.SIZES:
        row = f"train_step.{name}"
        if library in benchmark.ROWS[row].peers and (row, library) not in benchmark.OTHER_FUNCTIONS:
            theirs, (mine, value) = getattr(train_step, library)(name, True), ours(name)
            assert theirs.start == pytest.approx(mine.start, rel=benchmark.START_TOLERANCE), name
            assert (theirs.parameters == mine.parameters) == ((name, library) not in BIASES), name
            if name == "lstm":
                assert theirs.run() == pytest.approx(value, rel=benchmark.ROWS[row].tolerance)


def test_what_ours_is_measured_without_changes_no_loss(benchmark, quick_compiling):
    train_step = importlib.import_module("workloads.train_step")

    losses = [getattr(train_step, name)("lstm", True).run() for name in ("guard_off", "step_by_step")]
    assert losses == pytest.approx([ours("lstm")[1]] * 2, rel=1e-6)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("cores", ["one", "all"])
def test_a_peer_runs_in_a_process_without_jax(benchmark, cores: str):
    script = """
import os, runpy, sys
before = len(os.sched_getaffinity(0))
sys.argv = [sys.argv[1], "lorenz96.k1_j10", "scipy", "--smoke", "--repeats", "1", "--cores", sys.argv[2]]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "jax" not in sys.modules
assert len(os.sched_getaffinity(0)) == (1 if sys.argv[-1] == "one" else before)
"""
    process = ROOT / "experiments" / "benchmark" / "workloads" / "process.py"
    done = subprocess.run([sys.executable, "-c", script, process, cores], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["device"] == "cpu"
    assert measured["value"] > 0
    assert measured["product"] == 0.0, "it has no framework"
    assert benchmark.Machine(*(measured[name] for name in benchmark.Machine._fields)) == benchmark.machine()


def test_start_up_times_a_script_that_exists(benchmark):
    startup = importlib.import_module("workloads.startup")
    assert startup.SCRIPT.is_file()


def test_products_are_counted_once_on_the_platform_that_computes_them(benchmark):
    matmul_flops = importlib.import_module("workloads.work").matmul_flops

    def product(x):
        ways = {"cpu": lambda x: x @ x, "cuda": lambda x: x @ x @ x, "default": lambda x: x @ x @ x @ x}
        return jax.lax.platform_dependent(x, **ways)

    x = jnp.ones((3, 3))
    assert matmul_flops(product, x) == 2 * 3**3
    assert matmul_flops(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: product(x), x), x) == 5 * 2 * 3**3
