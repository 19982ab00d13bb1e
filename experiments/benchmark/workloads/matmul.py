"""One large matrix product: the machine's peak, as either framework reaches it."""

# pyright: reportMissingImports=false

import sys
from collections.abc import Callable

import numpy as np
from workloads.work import Work

TIMES = 10

SIZE = 2048
"""Of the product that every process measures."""


def seqjax(name: str, smoke: bool, times: int = TIMES) -> Work:
    """XLA's."""
    import jax
    import jax.numpy as jnp

    a, b = (jnp.asarray(matrix) for matrix in _matrices(name, smoke))
    product = jax.jit(lambda a, b: a @ b)
    return _work(lambda: product(a, b), len(a), times)


def torch(name: str, smoke: bool, times: int = TIMES) -> Work:
    """PyTorch's."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.from_numpy(matrix).to(device) for matrix in _matrices(name, smoke))
    return _work(lambda: a @ b, len(a), times)


def peak(clock: Callable[[], float], smoke: bool) -> float:
    """GFLOP/s of the product by the framework of this process, at its best of five; 0 if it has none."""
    side = torch if "torch" in sys.modules else seqjax if "jax" in sys.modules else None
    if side is None:
        return 0.0
    work, seconds = side(str(SIZE), smoke, times=1), []
    work.run()
    for _ in range(5):
        began = clock()
        work.run()
        seconds.append(clock() - began)
    return work.flops / max(min(seconds), 1e-9) / 1e9


def _matrices(name: str, smoke: bool) -> np.ndarray:
    size = 64 if smoke else int(name)
    return np.random.default_rng(0).normal(size=(2, size, size)).astype(np.float32)


def _work(product: Callable, size: int, times: int) -> Work:
    def run() -> float:
        for _ in range(times):
            c = product()
        return float(c[0, 0])

    return Work(run, times, flops=times * 2.0 * size**3)
