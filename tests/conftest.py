"""Strict for all tests: shapes and types are checked at run time, and no axis is added silently.

There are two devices, which share the runs of sweeps, as several GPUs would. Most of the time goes into compiling what
a test runs a few times: XLA optimises little, in one piece, and without its newer emitters; garbage is left to lie.
"""

import gc
import os
from importlib.metadata import version

# XLA ends the process on a flag that it does not know: the emitters have none after jaxlib 0.10.
os.environ["XLA_FLAGS"] = f"""{os.environ.get("XLA_FLAGS", "")}
    {"--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""}
    --xla_cpu_parallel_codegen_split_count=1 --xla_backend_optimization_level=0"""

import jax  # XLA reads its flags when it is loaded
import jaxtyping
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 2)
install_import_hook("seqjax", "beartype.beartype")
gc.set_threshold(100_000, 20, 100)


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
