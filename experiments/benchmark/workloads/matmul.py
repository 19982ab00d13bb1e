"""One large matrix product: the machine's peak, as either framework reaches it."""

# pyright: reportMissingImports=false

import numpy as np
from workloads.work import Work

TIMES = 10


def seqjax(name: str, smoke: bool) -> Work:
    """XLA's."""
    import jax
    import jax.numpy as jnp

    a, b = (jnp.asarray(matrix) for matrix in _matrices(name, smoke))
    product = jax.jit(lambda a, b: a @ b)

    def run() -> float:
        for _ in range(TIMES):
            c = product(a, b)
        return float(c[0, 0])

    return Work(run, TIMES, flops=TIMES * 2.0 * a.shape[0] ** 3)


def torch(name: str, smoke: bool) -> Work:
    """PyTorch's."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.from_numpy(matrix).to(device) for matrix in _matrices(name, smoke))

    def run() -> float:
        for _ in range(TIMES):
            c = a @ b
        return float(c[0, 0])

    return Work(run, TIMES, flops=TIMES * 2.0 * a.shape[0] ** 3)


def _matrices(name: str, smoke: bool) -> np.ndarray:
    size = 16 if smoke else int(name)
    return np.random.default_rng(0).normal(size=(2, size, size)).astype(np.float32)
