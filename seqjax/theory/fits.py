"""Weights and filters that reach a floor: the other side of `bounds`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Float64

from seqjax._checks import at_least
from seqjax.theory.linear_rnn import LinearRNN, delay_line, kung, ring, two_level
from seqjax.theory.tensor_train import DilatedFilter, alternating, digits, tensor_train
from seqjax.theory.varpro import varpro
from seqjax.types import Params

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
    at_least(1, window=window)
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


class LinearEncoderDecoder(NamedTuple):
    """h_t = W h_{t-1} + U x_t to the end of the source, code = Q h, then g = P code, g' = V g, y = c' g' at each step.

    The code is all that the decoder knows: with x_0 read last, y_t = sum_s (c' V^(t+1) P Q W^s U) x_{-s}.
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
        # The decoder reads zeros: what weighs them does not matter.
        unread = np.zeros((1, len(self.V)))
        decoder = {"recurrent_kernel": self.V.T, "input_kernel": unread, "bias": np.zeros(len(self.V))}
        bridge = {"code": {"kernel": self.Q.T}, "state_0": {"kernel": self.P.T}}
        readout = {"kernel": self.c[:, None], "bias": np.zeros(1)}
        sides = {"encoder": {"layer_0": encoder}, "decoder": {"stack": {"layer_0": decoder}, "bridge": bridge}}
        return {"params": {**sides, "Dense_0": readout}}


def encoder_decoder(kernel_matrix: Float64[np.ndarray, "target source"], rank: int) -> LinearEncoderDecoder:
    """The linear encoder-decoder that reaches the floor of `bounds.truncation`: one whose code is the `rank` leading
    right singular vectors of rho(t, s), s counting the steps read backwards from the last one.

    The encoder is a delay line that holds the whole source, so that any code can be taken from it; the decoder is a
    ring into which the whole target is laid, and then said step by step.

    Raises:
        ValueError: rank outside [1, min(target, source)].
    """
    target, source = kernel_matrix.shape
    if not 1 <= rank <= min(target, source):
        raise ValueError(f"rank must lie in [1, {min(target, source)}], got {rank}")
    left, values, right = np.linalg.svd(kernel_matrix, full_matrices=False)
    line = delay_line(source)
    # One step of the ring comes before the first word: what is said at t starts at place t + 1.
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
    """One attention head that looks by position alone: logits_ts = (query p_t)' (key p_s), p_s = (cos, sin)(2 pi s/T).

    Attributes:
        query, key: from positions to the two dimensions of the head.
        length: T, steps to the circle.
    """

    query: Float64[np.ndarray, "head_dim positions"]
    key: Float64[np.ndarray, "head_dim positions"]
    length: int

    def positions(self) -> Float64[np.ndarray, "time positions"]:
        """(cos, sin)(2 pi s/T) of every step."""
        angle = 2 * np.pi * np.arange(self.length) / self.length
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def weights(self) -> Float64[np.ndarray, "target source"]:
        """Softmax of the logits over all steps: what each output makes of each input."""
        logits = self.positions() @ self.query.T @ self.key @ self.positions().T
        mass = np.exp(logits - logits.max(axis=1, keepdims=True))
        return mass / mass.sum(axis=1, keepdims=True)

    def params(self) -> Params:
        """Parameters of `models.MultiHeadAttention(2, heads=1)` from queries p_t to (p_s, x_s); y_t comes first."""
        # Its scores are divided by the square root of head_dim.
        query = np.sqrt(2) * self.query.T[:, None]
        key_value = np.zeros((3, 2, 1, 2))
        key_value[:2, 0, 0] = self.key.T
        key_value[2, 1, 0, 0] = 1
        zero = np.zeros((1, 2))
        return {
            "params": {
                "query": {"kernel": query, "bias": zero},
                "key_value": {"kernel": key_value, "bias": np.zeros((2, 1, 2))},
                "out": {"kernel": np.eye(2)[None], "bias": np.zeros(2)},
            }
        }


def position_attention(delay: int, length: int, sharpness: float) -> PositionAttention:
    """The shift by `delay` around a circle of `length` steps, as an attention whose logits have rank 2.

    logits_ts = sharpness cos(2 pi (t - s - delay) / T), largest at s = t - delay: one-hot in the limit. Beside the
    peak they fall by sharpness (2 pi/T)^2 / 2 only, so that white noise comes out with an error of 1e-2 at
    sharpness ~ T^2/(2 pi^2) ln 20: logits must grow like T^2.

    For t >= delay this is y_t = x_{t-delay}; earlier steps look around the circle, at the end of the sequence.

    Raises:
        ValueError: delay outside [0, length).
    """
    if not 0 <= delay < length:
        raise ValueError(f"delay must lie in [0, {length}), got {delay}")
    angle = 2 * np.pi * delay / length
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return PositionAttention(query=sharpness * back, key=np.eye(2), length=length)
