"""Random scalar inputs of known covariance: a Gaussian process, and white noise."""

import functools
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Key

from seqjax._checks import at_least
from seqjax.types import InputError


@runtime_checkable
class Signal(Protocol):
    """A zero-mean stationary Gaussian input; hashable, so that a task can hold it as a static field."""

    def covariance(self, length: int) -> Float64[np.ndarray, "time time"]:
        """Covariance of any `length` consecutive steps."""
        ...

    def sample(self, key: Key[Array, ""], batch_size: int, length: int) -> Float[Array, "batch time"]:
        """Draw independent sequences of `length` steps."""
        ...


@dataclass(frozen=True)
class WhiteNoise:
    """Independent standard normal steps: no step can be predicted from others, so a task needs true memory."""

    def covariance(self, length: int) -> Float64[np.ndarray, "time time"]:
        """The identity."""
        return np.eye(length)

    def sample(self, key: Key[Array, ""], batch_size: int, length: int) -> Float[Array, "batch time"]:
        """Draw independent sequences of `length` steps."""
        return jax.random.normal(key, (batch_size, length))


@dataclass(frozen=True)
class GaussianProcess:
    """Smooth input of unit variance: covariance exp(-(t - s)^2 / (2 length_scale^2)) + jitter [t = s].

    Its past can be extrapolated from its present, which hides whether a model remembers; how well depends on the
    jitter.

    Attributes:
        length_scale: in steps, > 0.
        jitter: variance of the white noise on top, >= 0; part of the signal, also in `covariance`.
    """

    length_scale: float = 10.0
    jitter: float = 1e-10

    def __post_init__(self) -> None:
        if not self.length_scale > 0:
            raise InputError(f"length_scale must be > 0, got {self.length_scale}")
        at_least(0, jitter=self.jitter)

    def covariance(self, length: int) -> Float64[np.ndarray, "time time"]:
        """Covariance of any `length` consecutive steps, jitter included."""
        step = np.arange(length)
        lag = (step[:, None] - step[None, :]) / self.length_scale
        return np.exp(-(lag**2) / 2) + self.jitter * np.eye(length)

    def sample(self, key: Key[Array, ""], batch_size: int, length: int) -> Float[Array, "batch time"]:
        """Draw independent sequences of `length` steps."""
        noise = jax.random.normal(key, (batch_size, length))
        # The highest precision: the 10-bit products of some accelerators would add noise far above the jitter.
        return jnp.matmul(noise, jnp.asarray(_root(self, length)), precision=jax.lax.Precision.HIGHEST)

    def twins(
        self, key: Key[Array, ""], batch_size: int, past: int, length: int
    ) -> tuple[Float64[np.ndarray, "batch time"], Float64[np.ndarray, "batch time"]]:
        """Pairs of sequences that share their last `length` steps, and whose `past` steps are independent given those.

        A second sample is corrected by the conditional mean of the difference between the windows (Matheron's rule). In
        float64 on the host, since a smooth window determines its past through directions of very small variance.
        """
        noise = np.asarray(jax.random.normal(key, (2, batch_size, past + length)), np.float64)
        first, second = noise @ _root(self, past + length)
        second[:, :past] += (first[:, past:] - second[:, past:]) @ _hindcast(self, past, length)
        second[:, past:] = first[:, past:]
        return first, second


@functools.lru_cache(maxsize=32)
def _hindcast(process: GaussianProcess, past: int, length: int) -> Float64[np.ndarray, "time past"]:
    """The best linear estimate of the past from the window that follows it, without directions that are round-off."""
    covariance = process.covariance(past + length)
    values, vectors = np.linalg.eigh(covariance[past:, past:])
    kept = values > 1e-13 * values[-1]
    return (vectors[:, kept] / values[kept]) @ (vectors[:, kept].T @ covariance[past:, :past])


@functools.lru_cache(maxsize=32)
def _root(process: GaussianProcess, length: int) -> Float64[np.ndarray, "source time"]:
    """A matrix R with R'R = covariance.

    In float64 on the host, as the smallest eigenvalues are round-off in float32, and by `eigh`, not Cholesky, because
    without jitter some are slightly negative.
    """
    values, vectors = np.linalg.eigh(process.covariance(length))
    return np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
