"""Strict for all tests: shapes and types are checked at run time, and no axis is added silently.

There are two devices, which share the runs of sweeps, as several GPUs would. Most of the time goes into compiling what
a test runs a few times: XLA optimises little, in one piece, and without its newer emitters; what one test compiled, in
whichever worker, the next reads from the disk; garbage is left to lie.
"""

import gc
import os
from importlib.metadata import version

# A core for each worker: the threads that XLA makes for every core would wait for those of the others.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

# XLA ends the process on a flag that it does not know: the emitters have none after jaxlib 0.10.
os.environ["XLA_FLAGS"] = f"""{os.environ.get("XLA_FLAGS", "")}
    {"--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""}
    --xla_cpu_parallel_codegen_split_count=1 --xla_backend_optimization_level=0"""

import hypothesis
import jax  # XLA reads its flags when it is loaded
import jaxtyping
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)
install_import_hook("seqjax", "beartype.beartype")
hypothesis.settings.register_profile("untimed", deadline=None)  # a machine may have other work
hypothesis.settings.load_profile("untimed")
gc.set_threshold(100_000, 20, 100)
gc.disable()  # until all tests are collected: what is imported stays


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def kept_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kept within one run of the tests, for all its workers; smaller ones compile as fast as they would be read."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    jax.config.update("jax_compilation_cache_dir", str(folder / "programs"))
    compilation_cache.reset_cache()  # whether there is one was decided when the first program was compiled


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def unchecked():
    """As users have it: without the type checks of the tests, which would refuse first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
