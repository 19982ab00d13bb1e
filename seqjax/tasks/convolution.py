"""Causal convolution: the target is a weighted sum of the past."""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from seqjax._checks import integers
from seqjax.data.gaussian_process import Signal, WhiteNoise
from seqjax.types import Batch, InputError

BUMP = "0.002, 0.022, 0.097, 0.159, 0.097, 0.022, 0.002"
"""The centre row of a two-dimensional Gaussian, as the text that `parse_filter` reads; it sums to .401."""


def parse_filter(text: str) -> tuple[float, ...]:
    """Read a filter from comma-separated finite numbers: "0.5, 0.25" -> (0.5, 0.25), the weight of lag 0 first.

    Raises:
        InputError: anything else, with the position (from 1) and the text of the first part that is wrong.
    """
    return tuple(_finite(part.strip(), position) for position, part in enumerate(text.split(","), start=1))


def _finite(text: str, position: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"filter must be comma-separated finite numbers, got {text!r} at position {position}")
    return number


def convolve(x: Float[Array, "batch time"], kernel: Float[Array, " taps"]) -> Float[Array, "batch time"]:
    """y_t = sum_s kernel[s] x_{t-s}, with x = 0 before the start; taps from lag `time` on reach nothing.

    The kernel is an array, so a sweep can trace it: `jax.vmap(convolve, in_axes=(None, 0))` is many targets at once.
    """
    taps, length = len(kernel), x.shape[1]
    lag = np.arange(length)[None, :] - np.arange(length)[:, None]
    # One product with a Toeplitz matrix: shorter rounding than an FFT, and under vmap a single matrix product.
    response = jnp.where((lag >= 0) & (lag < taps), kernel[np.clip(lag, 0, taps - 1)], 0)
    return jnp.matmul(x, response, precision=jax.lax.Precision.HIGHEST)


@dataclass(frozen=True)
class Convolution:
    """A weighted sum of the past: y_t = sum_s taps[s] x_{t-s}, with x = 0 before the start.

    Example: taps (1, 0.5), 2 4 0 -> 2 5 2.

    Attributes:
        taps: finite weights of lag 0, 1, ..., at least one; from text with `parse_filter`, or of `theory.targets`.
        length: steps of one sequence, at least 1.
        signal: the input.
        normalise: divide the taps by their sum, which must not be 0, so that a constant input stays unchanged.
    """

    taps: tuple[float, ...]
    length: int = 128
    signal: Signal = field(default=WhiteNoise())
    normalise: bool = False

    def __post_init__(self) -> None:
        if not self.taps or not all(map(math.isfinite, self.taps)):
            raise InputError(f"taps must be finite numbers, at least one, got {self.taps}")
        if self.normalise and math.fsum(self.taps) == 0:
            raise InputError(f"taps must have a sum other than 0 to be normalised, got {self.taps}")
        integers(1, length=self.length)

    @property
    def kernel(self) -> tuple[float, ...]:
        """The taps as they are applied: normalised if `normalise`."""
        total = math.fsum(self.taps) if self.normalise else 1.0
        return tuple(tap / total for tap in self.taps)

    @property
    def reach(self) -> int:
        """Steps that a target depends on, from the earliest to its own: to the last tap that is not 0."""
        return min(self.length, max((lag + 1 for lag, tap in enumerate(self.taps) if tap), default=1))

    def sample(self, key: Key[Array, ""], batch_size: int) -> Batch:
        """Draw fresh sequences; inputs and targets are [batch, time, 1]."""
        x = self.signal.sample(key, batch_size, self.length)
        return Batch(inputs=x[..., None], targets=convolve(x, jnp.array(self.kernel))[..., None])

    def zero_loss(self) -> float:
        """Error of predicting zero, averaged over steps; for white noise sum_s (1 - s/T) taps[s]^2."""
        response = np.stack([np.convolve(source, self.kernel)[: self.length] for source in np.eye(self.length)])
        return float(np.sum(response * (self.signal.covariance(self.length) @ response)) / self.length)
