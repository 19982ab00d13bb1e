"""Memory kernels as targets of linear models: float64 arrays with one weight for each lag.

A kernel rho of `length` lags is the target y_t = sum_s rho(s) x_{t-s}. A matrix rho(t, s) is that of an
encoder-decoder, y_t = sum_s rho(t, s) x_{-s}: t counts the output steps, s the input steps backwards from the last one.
"""

import jax
import numpy as np
from jaxtyping import Array, Float64, Key

from seqjax._checks import integers
from seqjax.types import InputError


def exponentials(bases: tuple[float, ...], length: int) -> Float64[np.ndarray, " lags"]:
    """rho(s) = sum_j bases_j^s: a linear RNN of as many states is exact."""
    return (np.array(bases)[:, None] ** _lags(length)[None, :]).sum(axis=0)


def random_cosines(
    key: Key[Array, ""], poles: int, length: int, moduli: tuple[float, float] = (0.9, 1.0)
) -> Float64[np.ndarray, " lags"]:
    """rho(s) = sum_j weights_j radii_j^s cos(angles_j s + phases_j): a linear RNN of two states a pole is exact.

    Radii (in `moduli`), angles and phases are uniform, weights normal.
    """
    integers(1, poles=poles)
    modulus_key, angle_key, phase_key, weight_key = jax.random.split(key, 4)
    low, high = moduli

    def uniform(key: Key[Array, ""]) -> Float64[np.ndarray, " poles"]:
        return np.asarray(jax.random.uniform(key, (poles,)), np.float64)

    radii = low + (high - low) * uniform(modulus_key)
    angles, phases = np.pi * uniform(angle_key), 2 * np.pi * uniform(phase_key)
    weights = np.asarray(jax.random.normal(weight_key, (poles,)), np.float64)
    lags = _lags(length)[None, :]
    waves = np.cos(angles[:, None] * lags + phases[:, None])
    return (weights[:, None] * radii[:, None] ** lags * waves).sum(axis=0)


def power_law(exponent: float, length: int, scale: float = 0.1) -> Float64[np.ndarray, " lags"]:
    """rho(s) = (1 + scale s)^-exponent; exponent 1.1 and scale .1 are "pol" of arXiv:2305.19190."""
    return (1 + scale * _lags(length)) ** -exponent


def shift(delay: int, length: int) -> Float64[np.ndarray, " lags"]:
    """rho(s) = [s = delay], for a delay in [0, length)."""
    if not 0 <= delay < length:
        raise InputError(f"delay must lie in [0, {length}), got {delay}")
    return (_lags(length) == delay).astype(np.float64)


def bump(centre: float, width: float, length: int) -> Float64[np.ndarray, " lags"]:
    """rho(s) = exp(-(s - centre)^2 / (2 width^2)): a blurred delay."""
    _require_positive(width)
    return np.exp(-((_lags(length) - centre) ** 2) / (2 * width**2))


def two_parts(length: int) -> Float64[np.ndarray, " lags"]:
    """rho(s) = e^-s + e^-(s-9)^2: a decay and a later bump ("twoparts" of arXiv:2305.19190)."""
    return np.exp(-_lags(length)) + bump(9.0, 0.5**0.5, length)


def airy(centre: float, length: int) -> Float64[np.ndarray, " lags"]:
    """rho(s) = Ai(s - centre): oscillates up to lag `centre`, then fades faster than any exponential."""
    return _airy(_lags(length) - centre)


def _airy(x: Float64[np.ndarray, " points"]) -> Float64[np.ndarray, " points"]:
    """Ai(x), to 1e-12 of its largest value for x > -10.

    Ai(x) = exp(c^3/3 - c x)/pi int_0^oo exp(-c t^2) cos(t^3/3 + (x - c^2) t) dt for every c > 0: for large x, sqrt(x)
    is the saddle point. The integrand is even and entire, so that the trapezoidal rule converges exponentially.
    """
    height = np.sqrt(np.maximum(x, 0.25))[:, None]
    t = np.linspace(0, 1, 801)[None, :] * 6.5 / np.sqrt(height)
    values = np.exp(-height * t**2) * np.cos(t**3 / 3 + (x[:, None] - height**2) * t)
    height = height[:, 0]
    return np.exp(height**3 / 3 - height * x) / np.pi * np.trapezoid(values, t, axis=1)


def noise(key: Key[Array, ""], length: int) -> Float64[np.ndarray, " lags"]:
    """Independent standard normal weights: a kernel without structure."""
    integers(1, length=length)
    return np.asarray(jax.random.normal(key, (length,)), np.float64)


def reversal(length: int) -> Float64[np.ndarray, "target source"]:
    """rho(t, s) = [t = s]: the last input is the first output."""
    integers(1, length=length)
    return np.eye(length)


def hankel(kernel: Float64[np.ndarray, " lags"], rows: int) -> Float64[np.ndarray, "target source"]:
    """rho(t, s) = kernel(t + s), for t < rows and all s that the lags of the kernel allow.

    The outputs of an RNN of that kernel after the input has ended.

    Raises:
        InputError: rows outside [1, lags].
    """
    if not 1 <= rows <= len(kernel):
        raise InputError(f"rows must lie in [1, {len(kernel)}], got {rows}")
    return np.array(np.lib.stride_tricks.sliding_window_view(kernel, len(kernel) - rows + 1))


def gaussian(width: float, length: int) -> Float64[np.ndarray, "target source"]:
    """rho(t, s) = exp(-(t - s)^2 / (2 width^2)): a blurred reversal."""
    _require_positive(width)
    t, s = np.meshgrid(_lags(length), _lags(length), indexing="ij")
    return np.exp(-((t - s) ** 2) / (2 * width**2))


def cosine(frequency: float, length: int) -> Float64[np.ndarray, "target source"]:
    """rho(t, s) = cos(frequency t s)."""
    return np.cos(frequency * np.outer(_lags(length), _lags(length)))


def orthonormal(bases: Float64[np.ndarray, " rank"], length: int) -> Float64[np.ndarray, "length rank"]:
    """Orthonormal functions of t < length that span the exponentials bases_i^t, in the order of Gram and Schmidt."""
    return np.linalg.qr(bases[None, :] ** _lags(length)[:, None])[0]


def low_rank(
    strengths: Float64[np.ndarray, " rank"],
    target: Float64[np.ndarray, "target rank"],
    source: Float64[np.ndarray, "source rank"],
) -> Float64[np.ndarray, "target source"]:
    """rho(t, s) = sum_n strengths_n target_n(t) source_n(s) (as in Li, Jiang & Li 2022, ICLR).

    With `orthonormal` functions the strengths are the singular values.
    """
    return np.einsum("n,tn,sn->ts", strengths, target, source)


def _require_positive(width: float) -> None:
    if not width > 0:
        raise InputError(f"width must be > 0, got {width}")


def _lags(length: int) -> Float64[np.ndarray, " lags"]:
    integers(1, length=length)
    return np.arange(length, dtype=np.float64)
