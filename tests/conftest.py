"""Strict for all tests: shapes and types are checked at run time, and no axis is added silently."""

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
install_import_hook("seqjax", "beartype.beartype")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
