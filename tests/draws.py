"""Data of tasks: samples, each drawn once in a test run, and enumerations."""

import functools
import itertools

import jax
import numpy as np

from seqjax.types import EOS, PAD

ROWS = 20_000


@functools.cache
def draw(task, rows: int = ROWS, seed: int = 0):
    return jax.tree.map(np.asarray, jax.jit(task.sample, static_argnums=1)(jax.random.key(seed), rows))


def all_signs(length: int) -> np.ndarray:
    """Every sequence of +1 and -1."""
    return np.array(list(itertools.product((-1, 1), repeat=length)))


def before_eos(ids) -> list[list[int]]:
    """The tokens of each row, which EOS ends and nothing but PAD follows."""
    found = []
    for row in np.asarray(ids).tolist():
        end = row.index(EOS)
        assert row[end + 1 :] == [PAD] * (len(row) - end - 1)
        found.append(row[:end])
    return found
