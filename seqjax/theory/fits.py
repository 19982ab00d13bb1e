"""Weights and filters that reach a floor: the other side of `bounds`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Float64

_CHUNK = 2**22
"""Numbers in one block of the design matrix: 32 MiB of float64."""


class LinearRNN(NamedTuple):
    """h_t = W h_{t-1} + U x_t, y_t = c' h_t from h_{-1} = 0, so that y_t = sum_s (c' W^s U) x_{t-s}."""

    W: Float64[np.ndarray, "order order"]
    U: Float64[np.ndarray, " order"]
    c: Float64[np.ndarray, " order"]


def delay_line(order: int) -> LinearRNN:
    """The linear RNN of `order` states that is the shift by order - 1 exactly: c' W^s U = 1 at s = order - 1, else 0.

    Each state hands its value to the next. It reaches the floor 0 of `bounds.shift` with the fewest states.

    Raises:
        ValueError: order < 1.
    """
    if order < 1:
        raise ValueError(f"order must be >= 1, got {order}")
    first, last = np.eye(order)[[0, -1]]
    return LinearRNN(W=np.eye(order, k=-1), U=first, c=last)


class FIR(NamedTuple):
    """Linear filter of finite memory: y_t = bias + sum_{s < window} filter[s]' x_{t-s}, x = 0 before the start."""

    filter: Float64[np.ndarray, "window inputs targets"]
    bias: Float64[np.ndarray, " targets"]

    def predict(
        self, inputs: Float[Array | np.ndarray, "rows time inputs"]
    ) -> Float64[np.ndarray, "rows time targets"]:
        """Filter every row from its own start."""
        inputs = np.asarray(inputs, np.float64)
        rows, time, _ = inputs.shape
        predictions = np.tile(self.bias, (rows, time, 1))
        for lag, taps in enumerate(self.filter[:time]):
            predictions[:, lag:] += inputs[:, : time - lag] @ taps
        return predictions


def fir(
    inputs: Float[Array | np.ndarray, "rows time inputs"],
    targets: Float[Array | np.ndarray, "rows time targets"],
    window: int,
    weight: Float[Array | np.ndarray, "rows time"] | None = None,
) -> FIR:
    """The best linear filter over the last `window` inputs plus a constant: weighted least squares in float64.

    The baseline that tells a nonlinear task from a linear one. The design matrix is reduced a
    block of rows at a time to the triangle of its QR factorisation, so memory does not grow with the number of rows,
    and the triangle is solved by a singular value decomposition that drops directions below round-off. The normal
    equations would square the condition number: with smooth inputs, whose Gram matrix is singular to float64,
    they lose the residuals of 1e-8 that are of interest here.

    Args:
        weight: of each step in the sum of squares, >= 0. Steps of weight 0 are left out, whatever their target,
            but their inputs are still the past of later steps.

    Raises:
        ValueError: window < 1, or a weight that is negative or 0 everywhere.
    """
    if window < 1:
        raise ValueError(f"window must be >= 1, got {window}")
    rows, time, channels = inputs.shape
    weight = np.ones((rows, time)) if weight is None else np.asarray(weight, np.float64)
    if not (weight >= 0).all() or not weight.any():
        raise ValueError(f"weight must be >= 0 and not 0 everywhere, got {weight.min()} to {weight.max()}")

    columns = window * channels + 1
    triangle = np.zeros((0, columns + targets.shape[-1]))
    rows_per_block = max(1, _CHUNK // (time * triangle.shape[1]))
    for start in range(0, rows, rows_per_block):
        block = slice(start, start + rows_per_block)
        counted = weight[block] > 0
        design = _lags(np.asarray(inputs[block], np.float64), window)[counted]
        ones = np.ones((len(design), 1))
        equations = np.concatenate([design, ones, np.asarray(targets[block], np.float64)[counted]], axis=1)
        equations *= np.sqrt(weight[block][counted])[:, None]
        triangle = np.asarray(np.linalg.qr(np.concatenate([triangle, equations]), mode="r"))

    solution = np.linalg.lstsq(triangle[:, :columns], triangle[:, columns:], rcond=None)[0]
    return FIR(filter=solution[:-1].reshape(window, channels, -1), bias=solution[-1])


def _lags(inputs: Float64[np.ndarray, "rows time inputs"], window: int) -> Float64[np.ndarray, "rows time lags"]:
    """x_t, x_{t-1}, ..., x_{t-window+1} side by side, zeros before the start."""
    rows, time, channels = inputs.shape
    padded = np.concatenate([np.zeros((rows, window - 1, channels)), inputs], axis=1)
    views = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)  # [rows, time, inputs, window]
    return views[..., ::-1].swapaxes(-1, -2).reshape(rows, time, window * channels)
