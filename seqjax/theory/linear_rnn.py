"""Linear RNNs with known weights: exact ones, and realisations of a kernel from its Hankel matrix."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from seqjax._checks import finite, integers
from seqjax.theory import targets
from seqjax.types import InputError, Params


class LinearRNN(NamedTuple):
    """h_t = W h_{t-1} + U x_t, y_t = c' h_t from h_{-1} = 0, so that y_t = sum_s (c' W^s U) x_{t-s}."""

    W: Float64[np.ndarray, "order order"]
    U: Float64[np.ndarray, " order"]
    c: Float64[np.ndarray, " order"]

    def kernel(self, length: int) -> Float64[np.ndarray, " lags"]:
        """c' W^s U, s < length."""
        state, weights = self.U, np.zeros(length)
        for lag in range(length):
            weights[lag] = self.c @ state
            state = self.W @ state
        return weights

    def params(self) -> Params:
        """The same as `models.Regressor(models.RNN(order, activation=identity))` has it."""
        layer = {"recurrent_kernel": self.W.T, "input_kernel": self.U[None], "bias": np.zeros(len(self.U))}
        readout = {"kernel": self.c[:, None], "bias": np.zeros(1)}
        return {"params": {"backbone": {"layer_0": layer}, "readout": readout}}


def delay_line(order: int) -> LinearRNN:
    """The shift by order - 1 with `order` >= 1 states, the fewest possible: each passes its value to the next."""
    return ring(order - 1, order)


def ring(delay: int, order: int) -> LinearRNN:
    """A delay line of too few states for the shift by `delay`, closed to a ring: values are output several times.

    With J = floor(delay / order), the last state feeds sqrt(J/(J+1)) of itself back to the first; a value comes by
    every `order` steps, the J-th time at lag `delay`. Over an infinite past E = 1 - J^J / (J+1)^(J+1), the optimum over
    all feedback strengths, and for one state over all linear RNNs; over a window E is less. From delay + 1 states on it
    is the exact delay line. Its eigenvalues lie evenly on a circle: a start from which training finds shifts.
    """
    integers(1, order=order)
    integers(0, delay=delay)
    rounds, place = divmod(delay, order)
    squared = rounds / (rounds + 1)
    first, last = np.eye(order)[[0, place]]
    W = np.eye(order, k=-1)
    W[0, -1] = np.sqrt(squared)
    # The least-squares size of sum_j q^j [s = place + j order] against [j = rounds].
    return LinearRNN(W=W, U=first, c=last * np.sqrt(squared) ** rounds * (1 - squared))


def two_level(eps: float, hx: float, hy: float, sample_step: float) -> LinearRNN:
    """Lorenz96 at K = 1 with equal fast variables, from forcing to y, as a linear RNN of two states (`tasks.Lorenz96`).

    dy/dt = -y + F + hx z, eps dz/dt = -z + hy y, eps > 0, hx hy != 1, with the forcing held over a sample step d: W =
    exp(A d), U = A^-1 (W - I) (1, 0)', y = first state. The continuous kernel is (exp(A t))_00: e^-t cos t at eps = 1,
    hx = -1, hy = 1.
    """
    if not eps > 0:
        raise InputError(f"eps must be > 0, got {eps}")
    if hx * hy == 1:
        raise InputError(f"hx hy must differ from 1, got {hx} and {hy}")
    A = np.array([[-1.0, hx], [hy / eps, -1 / eps]])
    W, first = _exponential(A * sample_step), np.array([1.0, 0.0])
    return LinearRNN(W=W, U=np.linalg.solve(A, (W - np.eye(2)) @ first), c=first)


def _exponential(A: Float64[np.ndarray, "order order"]) -> Float64[np.ndarray, "order order"]:
    """exp(A) by the Taylor series of a small fraction of A, squared repeatedly."""
    squarings = max(0, int(np.ceil(np.log2(max(np.abs(A).sum(axis=1).max(), 1e-300)))) + 3)
    small, term = A / 2**squarings, np.eye(len(A))
    total = term
    for power in range(1, 15):
        term = term @ small / power
        total = total + term
    return np.linalg.matrix_power(total, 2**squarings)


def kung(kernel: Float64[np.ndarray, " lags"], order: int, rows: int | None = None) -> LinearRNN:
    """A linear RNN from the leading singular vectors of the Hankel matrix (Kung 1978; Roy & Kailath 1989, ESPRIT).

    H_ij = rho(i + j) = (c' W^i) (W^j U) of an RNN of m states has rank m, and its columns are spanned by c' W^i, where
    a step down is a product with W. For any kernel, W and c follow from the m leading left singular vectors by least
    squares, then U by least squares over all lags. States are balanced (scaled by the square roots of the singular
    values), so that float32 can hold the weights. Exact where the rank allows, good for kernels that decay smoothly,
    poor for delays. States without a singular value above round-off, and those beyond half of the window, stay zero.


    Args:
        rows: of H, from 2 to all but one of the >= 3 lags; None: half of the window.
    """
    integers(1, order=order)
    finite(kernel=kernel)
    if len(kernel) < 3:
        raise InputError(f"kernel must have >= 3 lags, got {len(kernel)}")
    rows = (len(kernel) + 1) // 2 if rows is None else rows
    if not 2 <= rows < len(kernel):
        raise InputError(f"rows must lie in [2, {len(kernel)}), got {rows}")
    vectors, values, _ = np.linalg.svd(targets.hankel(kernel, rows), full_matrices=False)
    used = min(order, rows - 1, int((values > 1e-14 * values[0]).sum()))
    scale, vectors = np.sqrt(values[:used]), vectors[:, :used]
    rnn = LinearRNN(W=np.zeros((order, order)), U=np.zeros(order), c=np.zeros(order))
    W = np.linalg.lstsq(vectors[:-1], vectors[1:], rcond=None)[0]
    rnn.W[:used, :used] = W * scale[None, :] / scale[:, None]
    rnn.c[:used] = vectors[0] * scale
    seen, said = np.zeros((len(kernel), used)), rnn.c[:used]
    for row in seen:
        row[:] = said
        said = said @ rnn.W[:used, :used]
    rnn.U[:used] = np.linalg.lstsq(seen, kernel, rcond=None)[0]
    return rnn
