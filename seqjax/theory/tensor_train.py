"""Filters of dilated linear networks as tensor trains: the best approximation of a kernel, and its floor.

With the digits of a lag, n = sum_k i_k base^k, a network whose layer k has dilation base^k and taps w_k[i] weighs lag n
by the matrix product w_0[i_0] w_1[i_1] ...: the kernel, as a base x ... x base tensor, is a tensor train whose ranks
are at most the numbers of channels, and every such tensor is one (Oseledets 2011).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from seqjax._checks import finite, integers
from seqjax.types import InputError, Params

Taps = Float64[np.ndarray, "_base _inputs _channels"]
"""Of one layer. Widths differ between layers, so their axes have underscores."""


class DilatedFilter(NamedTuple):
    """Weights of a linear dilated network: layer k multiplies x_{t - i base^k} by taps[k][i], first layer first."""

    taps: tuple[Taps, ...]

    def kernel(self) -> Float64[np.ndarray, " lags"]:
        """Its impulse response, base^layers lags, of one input to one output."""
        return _product(self.taps)[:, 0]

    def params(self) -> Params:
        """The same as `models.LinearDilatedCNN(channels, layers, base)` has it."""
        return {"params": {f"layer_{layer}": {"kernel": taps} for layer, taps in enumerate(self.taps)}}


def tensor_train(
    kernel: Float64[np.ndarray, " lags"], channels: int, base: int = 2, layers: int | None = None
) -> DilatedFilter:
    """Weights of a dilated linear network close to a kernel, by one singular value decomposition per layer (TT-SVD).

    Layer after layer, the digits so far are split from the later ones and the `channels` leading singular vectors kept.
    With t_k = sum_{j > channels} sigma_j(unfolding k)^2 the squared error is at most sum_k t_k, and at least max_k t_k
    for any weights (Oseledets 2011, thm 2.2).

    Args:
        layers: None: as many as fit in the window. Lags from base^layers on cannot be reached.

    Raises:
        InputError: channels < 1, base < 2, or layers that do not fit: 1 <= layers, base^layers <= lags.
    """
    integers(1, channels=channels)
    finite(kernel=kernel)
    layers = fitting(len(kernel), base, layers)
    rest, taps = kernel[: base**layers].reshape(1, -1), []
    for _ in range(layers - 1):
        # Rows: the channels so far and one digit; columns: the digits to come.
        width = len(rest)
        rows = rest.reshape(width, -1, base).swapaxes(1, 2).reshape(width * base, -1)
        left, values, right = np.linalg.svd(rows, full_matrices=False)
        taps.append(left[:, :channels].reshape(width, base, -1).swapaxes(0, 1))
        rest = values[:channels, None] * right[:channels]
    taps.append(rest.T[..., None])
    return DilatedFilter(_widened(taps, channels))


def alternating(start: DilatedFilter, kernel: Float64[np.ndarray, " lags"], sweeps: int = 20) -> DilatedFilter:
    """Alternating least squares over one layer at a time, `sweeps` >= 1: never further from the kernel than the start.

    With the layers on either side made orthonormal, the best taps of a layer are the kernel projected on both (ALS;
    Holtz, Rohwedder & Schneider 2012). Stops when a sweep reduces the loss by less than a relative 1e-12.
    """
    integers(1, sweeps=sweeps)
    finite(kernel=kernel)
    layers, base = len(start.taps), len(start.taps[0])
    kernel = kernel[: base ** fitting(len(kernel), base, layers)]
    taps = list(start.taps)
    last = layers - 1
    for layer in range(last, 0, -1):
        _lean(taps, layer, layer - 1)
    loss = np.inf
    for _ in range(sweeps):
        for layer in range(last):
            taps[layer] = _nearest(taps, layer, kernel)
            _lean(taps, layer, layer + 1)
        for layer in range(last, 0, -1):
            taps[layer] = _nearest(taps, layer, kernel)
            _lean(taps, layer, layer - 1)
        taps[0] = _nearest(taps, 0, kernel)
        before, loss = loss, float(((kernel - _product(taps)[:, 0]) ** 2).sum())
        if loss >= before * (1 - 1e-12):
            break
    return DilatedFilter(_widened(taps, start.taps[0].shape[2]))


def digits(delay: int, layers: int, base: int = 2) -> DilatedFilter:
    """The shift by `delay` < base^layers through one channel: layer k has a single tap, the k-th digit of the delay.

    The delays of the layers add up to the delay (the example of arXiv:2107.09355): layers x base weights, where a
    linear RNN needs delay + 1 states.
    """
    integers(2, base=base)
    integers(1, layers=layers)
    if not 0 <= delay < base**layers:
        raise InputError(f"delay must lie in [0, {base**layers}), got {delay}")
    one_hot = np.eye(base)[..., None, None]
    return DilatedFilter(tuple(one_hot[delay // base**k % base] for k in range(layers)))


def fitting(lags: int, base: int, layers: int | None = None) -> int:
    """The number of layers: the given one, or the most that reach no further than the window."""
    integers(2, base=base)
    most = 0
    while base ** (most + 1) <= lags:
        most += 1
    layers = most if layers is None else layers
    if not 1 <= layers <= most:
        raise InputError(f"layers must lie in [1, {most}], so that base^layers <= {lags} lags, got {layers}")
    return layers


def _product(taps: Sequence[Taps]) -> Float64[np.ndarray, "lags channels"]:
    """The filter of these layers; later layers have the higher digits."""
    product = np.ones((1, 1))
    for part in taps:
        product = np.einsum("na,iab->inb", product, part).reshape(-1, part.shape[2])
    return product


def _nearest(taps: Sequence[Taps], layer: int, kernel: Float64[np.ndarray, " lags"]) -> Taps:
    """The best taps of a layer between orthonormal others."""
    before, after = _product(taps[:layer]), np.ones((1, 1))
    for part in reversed(taps[layer + 1 :]):
        after = np.einsum("iab,bh->ahi", part, after).reshape(part.shape[1], -1)
    parts = kernel.reshape(-1, len(taps[layer]), len(before))
    return np.einsum("hin,na,bh->iab", parts, before, after, optimize=True)


def _lean(taps: list[Taps], layer: int, neighbour: int) -> None:
    """Make a layer orthonormal towards a neighbour, which is multiplied by the triangular factor."""
    base, inputs, channels = taps[layer].shape
    if neighbour > layer:
        even, rest = np.linalg.qr(taps[layer].reshape(-1, channels))
        taps[layer] = even.reshape(base, inputs, -1)
        taps[neighbour] = np.einsum("rb,ibc->irc", rest, taps[neighbour])
    else:
        even, rest = np.linalg.qr(taps[layer].swapaxes(0, 1).reshape(inputs, -1).T)
        taps[layer] = even.T.reshape(-1, base, channels).swapaxes(0, 1)
        taps[neighbour] = np.einsum("iab,rb->iar", taps[neighbour], rest)


def _widened(taps: Sequence[Taps], channels: int) -> tuple[Taps, ...]:
    """Padded with zeros in the channels between layers that the ranks do not use."""
    widened, last = [], len(taps) - 1
    for layer, part in enumerate(taps):
        inputs = channels - part.shape[1] if layer > 0 else 0
        outputs = channels - part.shape[2] if layer < last else 0
        widened.append(np.pad(part, ((0, 0), (0, inputs), (0, outputs))))
    return tuple(widened)
