"""Weights and filters that reach a floor: the other side of `bounds`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Float64

from seqjax._checks import finite, integers
from seqjax.theory.linear_rnn import LinearRNN, delay_line, kung, ring, two_level
from seqjax.theory.tensor_train import DilatedFilter, alternating, digits, tensor_train
from seqjax.theory.varpro import varpro
from seqjax.types import InputError, Params

__all__ = [
    "FIR", "DilatedFilter", "LinearEncoderDecoder", "LinearRNN", "PositionAttention", "alternating", "delay_line",
    "digits", "encoder_decoder", "fir", "kung", "position_attention", "ring", "tensor_train", "two_level", "varpro",
]  # fmt: skip

_CHUNK = 2**22
"""Numbers in one block of the design matrix: 32 MiB of float64."""


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
    """The best linear filter over the last `window` >= 1 inputs plus a constant: weighted least squares in float64.

    Blocks of rows of the design matrix are reduced to the triangle of a QR factorisation, so memory does not grow with
    the rows, and the triangle is solved by a singular value decomposition that drops directions below round-off. Normal
    equations would lose residuals of 1e-8 on smooth inputs, whose Gram matrix is singular in float64.

    Args:
        weight: of each step, >= 0. The targets of steps with weight 0 are ignored; their inputs count for later steps.
    """
    integers(1, window=window)
    rows, time, channels = inputs.shape
    weight = np.ones((rows, time)) if weight is None else np.asarray(weight, np.float64)
    if not (weight >= 0).all() or not weight.any():
        raise InputError(f"weight must be >= 0 and not 0 everywhere, got {weight.min()} to {weight.max()}")

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


class LinearEncoderDecoder(NamedTuple):
    """h_t = W h_{t-1} + U x_t to the end of the source, code = Q h, then g = P code, g' = V g, y = c' g' at each step.

    With x_0 read last, y_t = sum_s (c' V^(t+1) P Q W^s U) x_{-s}.
    """

    W: Float64[np.ndarray, "encoder encoder"]
    U: Float64[np.ndarray, " encoder"]
    Q: Float64[np.ndarray, "code encoder"]
    P: Float64[np.ndarray, "decoder code"]
    V: Float64[np.ndarray, "decoder decoder"]
    c: Float64[np.ndarray, " decoder"]

    def kernel(self, target: int, source: int) -> Float64[np.ndarray, "target source"]:
        """rho(t, s) for t < target and s < source."""
        said, read = np.zeros((target, len(self.V))), np.zeros((source, len(self.W)))
        row, column = self.c, self.U
        for step in range(target):
            row = said[step] = row @ self.V
        for step in range(source):
            read[step] = column
            column = self.W @ column
        return said @ self.P @ self.Q @ read.T

    def params(self) -> Params:
        """As `models.EncoderDecoderRegressor` has it, both sides recurrent and linear, with a `LowRankBridge`."""
        encoder = {"recurrent_kernel": self.W.T, "input_kernel": self.U[None], "bias": np.zeros(len(self.W))}
        # The decoder's inputs are zeros, so their weights do not matter.
        unread = np.zeros((1, len(self.V)))
        decoder = {"recurrent_kernel": self.V.T, "input_kernel": unread, "bias": np.zeros(len(self.V))}
        bridge = {"code": {"kernel": self.Q.T}, "state_0": {"kernel": self.P.T}}
        readout = {"kernel": self.c[:, None], "bias": np.zeros(1)}
        sides = {"encoder": {"layer_0": encoder}, "decoder": {"stack": {"layer_0": decoder}, "bridge": bridge}}
        return {"params": {**sides, "Dense_0": readout}}


def encoder_decoder(kernel_matrix: Float64[np.ndarray, "target source"], rank: int) -> LinearEncoderDecoder:
    """The linear encoder-decoder that reaches the floor of `bounds.truncation`.

    Its code is the `rank` (1 to the smaller side) leading right singular vectors of rho(t, s), s counting input steps
    backwards from the last one. The encoder is a delay line that holds the whole source; the decoder is a ring that
    holds the whole target and outputs it step by step.
    """
    finite(kernel_matrix=kernel_matrix)
    target, source = kernel_matrix.shape
    if not 1 <= rank <= min(target, source):
        raise InputError(f"rank must lie in [1, {min(target, source)}], got {rank}")
    left, values, right = np.linalg.svd(kernel_matrix, full_matrices=False)
    line = delay_line(source)
    # The ring turns once before the first output, which thus starts at place 1.
    place = np.eye(target)
    return LinearEncoderDecoder(
        W=line.W,
        U=line.U,
        Q=right[:rank],
        P=np.roll(left[:, :rank] * values[:rank], 1, axis=0),
        V=np.roll(place, 1, axis=1),
        c=place[0],
    )


class PositionAttention(NamedTuple):
    """One attention head over positions alone: logits_ts = (query p_t)' (key p_s), p_s = (cos, sin)(2 pi s/T).

    Attributes:
        query, key: from positions to the two dimensions of the head.
        length: T, steps around the circle.
    """

    query: Float64[np.ndarray, "head_dim positions"]
    key: Float64[np.ndarray, "head_dim positions"]
    length: int

    def positions(self) -> Float64[np.ndarray, "time positions"]:
        """(cos, sin)(2 pi s/T) of every step."""
        angle = 2 * np.pi * np.arange(self.length) / self.length
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def weights(self) -> Float64[np.ndarray, "target source"]:
        """Softmax of the logits over all steps."""
        logits = self.positions() @ self.query.T @ self.key @ self.positions().T
        mass = np.exp(logits - logits.max(axis=1, keepdims=True))
        return mass / mass.sum(axis=1, keepdims=True)


def position_attention(delay: int, length: int, sharpness: float) -> PositionAttention:
    """The shift by `delay` < `length` around a circle of `length` steps, as an attention whose logits have rank 2.

    logits_ts = sharpness cos(2 pi (t - s - delay) / T), largest at s = t - delay: one-hot in the limit. Around the peak
    they fall by only sharpness (2 pi/T)^2 / 2: an error of 1e-2 on white noise takes sharpness ~ T^2/(2 pi^2) ln 20.

    For t >= delay this is y_t = x_{t-delay}; earlier steps attend around the circle to the end of the sequence.
    """
    if not 0 <= delay < length:
        raise InputError(f"delay must lie in [0, {length}), got {delay}")
    angle = 2 * np.pi * delay / length
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return PositionAttention(query=sharpness * back, key=np.eye(2), length=length)
