"""Floors of linear RNNs from the singular values of a weighted Hankel matrix.

Let a, b >= 0 with (a * b)_n <= w_n at every lag n, * the convolution, and G_ij = sqrt(a_i b_j) rho(i+j). A linear RNN
of m states, with any W, has khat(i+j) = (c' W^i) (W^j U), a Hankel matrix of rank m, also when weighted. For the error
e = rho - khat then

    sum_n w_n e_n^2 >= sum_ij a_i b_j e_{i+j}^2 = |G - Ghat|^2 >= sum_{k>m} sigma_k(G)^2        (Eckart & Young 1936).

All lags must lie in the window, i + j < T: zeros after it would be another, harder target.
"""

import numpy as np
from jaxtyping import Float64

from seqjax.theory import targets


def isometric(kernel: Float64[np.ndarray, " lags"], order: int, weight: Float64[np.ndarray, " lags"]) -> float:
    """With a_n = b_n = C(2n, n)/4^n, each over half of the window: tight for kernels that decay smoothly.

    a * a = 1, as the generating function of a is (1 - z)^-1/2.
    """
    rows = (len(kernel) + 1) // 2
    a, b = central_binomials(rows), central_binomials(len(kernel) - rows + 1)
    return _floor(kernel, order, weight, a, b)


def uniform(kernel: Float64[np.ndarray, " lags"], order: int, weight: Float64[np.ndarray, " lags"]) -> float:
    """The best of a = 1/p on p entries, b = 1 on q: tight for delays, where p = k + 1 is best for a shift by k.

    q reaches the end of the window, or is p, better for a weight that falls with the lag. Every p gives a valid floor;
    they are searched on a grid that is refined around the best.
    """
    lags = len(kernel)
    found: dict[int, float] = {}

    def floor(p: int) -> float:
        lengths = {p, lags - p + 1}
        return max(_floor(kernel, order, weight, np.full(p, 1 / p), np.ones(q)) for q in lengths)

    low, high = 1, (lags + 1) // 2
    while True:
        grid = np.unique(np.linspace(low, high, 33).astype(int)).tolist()
        found |= {p: floor(p) for p in grid if p not in found}
        if len(grid) > high - low:
            return max(found.values())
        best = max(range(len(grid)), key=lambda place: found[grid[place]])
        low, high = grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)]


def central_binomials(length: int) -> Float64[np.ndarray, " lags"]:
    """C(2n, n)/4^n, n < length: their convolution with themselves is 1 at every lag."""
    n = np.arange(1, length)
    return np.cumprod(np.concatenate([[1.0], (2 * n - 1) / (2 * n)]))


def tail(values: Float64[np.ndarray, " values"], rank: int) -> float:
    """sum_{k > rank} sigma_k^2 of decreasing singular values, reduced by the largest possible round-off: rigorous."""
    roundoff = len(values) * np.finfo(np.float64).eps * values[:1].sum()
    return float((np.maximum(0, values[rank:] - roundoff) ** 2).sum())


def _floor(
    kernel: Float64[np.ndarray, " lags"],
    order: int,
    weight: Float64[np.ndarray, " lags"],
    a: Float64[np.ndarray, " rows"],
    b: Float64[np.ndarray, " columns"],
) -> float:
    """The floor of one weighting, scaled so that a * b <= weight."""
    used = len(a) + len(b) - 1
    if order >= min(len(a), len(b)):
        return 0.0
    scale = np.min(weight[:used] / np.convolve(a, b))
    G = np.sqrt(a)[:, None] * targets.hankel(kernel[:used], len(a)) * np.sqrt(b)[None, :]
    return float(scale) * tail(np.linalg.svd(G, compute_uv=False), order)
