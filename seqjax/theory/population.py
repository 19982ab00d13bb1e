"""Mean squared errors in expectation over the inputs, without sampling: differentiable functions of a kernel's error.

A linear model has a kernel khat, with error e = rho - khat. Inputs are independent over time with variance 1 and mean 0
unless stated otherwise. The functions compute in the precision of their arguments: float64 needs `jax_enable_x64`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def response(
    W: Float[Array, "order order"], U: Float[Array, " order"], c: Float[Array, " order"], length: int
) -> Float[Array, " lags"]:
    """The kernel of a linear RNN, c' W^s U for s < length; with gradients."""
    return powers(W, U, length) @ c


def powers(
    matrix: Float[Array, "order order"], vector: Float[Array, " order"], length: int
) -> Float[Array, "length order"]:
    """matrix^s vector for s < length.

    Each product with a power of the matrix doubles the number of rows: log2(length) products.
    """
    rows, power = vector[None], matrix.T
    while len(rows) < length:
        rows, power = jnp.concatenate([rows, rows @ power]), power @ power
    return rows[:length]


def decaying(factors: Float[Array, " order"], amplitudes: Float[Array, " order"], length: int) -> Float[Array, " lags"]:
    """The kernel of a diagonal linear RNN, sum_i amplitudes_i factors_i^s for s < length; with gradients."""
    powers, power = jnp.ones((1, len(factors))), factors
    while len(powers) < length:
        powers, power = jnp.concatenate([powers, power[None] * powers]), power**2
    return powers[:length] @ amplitudes


def last_step(error: Float[Array, " lags"]) -> Float[Array, ""]:
    """Error at the last of T steps from a zero state: sum_{s<T} e_s^2."""
    return jnp.sum(error**2)


def averaged(error: Float[Array, " lags"]) -> Float[Array, ""]:
    """Error averaged over T steps from a zero state, T - s of which have lag s: sum_{s<T} (1 - s/T) e_s^2."""
    length = len(error)
    return jnp.sum((1 - jnp.arange(length) / length) * error**2)


def coloured(error: Float[Array, " lags"], covariance: Float[Array, "lags lags"]) -> Float[Array, ""]:
    """Error at the last step for stationary inputs of this covariance: e' R e.

    Floors for white noise do not apply: smooth inputs have eigenvalues of R that are nearly 0.
    """
    return error @ (covariance @ error)


def infinite(
    W: Float[Array, "order order"],
    U: Float[Array, " order"],
    c: Float[Array, " order"],
    bases: Float[Array, " terms"],
    weights: Float[Array, " terms"],
) -> Float[Array, ""]:
    """Error after an infinite past on rho(s) = sum_j weights_j bases_j^s, in closed form.

    |rho|^2 - 2 <rho, khat> + |khat|^2, of which <a^s, khat> = c' (I - a W)^-1 U and |khat|^2 = c' P c, with the
    covariance of the state P = W P W' + U U' (`covariance`). Finite where W and all bases lie inside the unit circle.
    """
    energy = weights @ ((1 / (1 - bases[:, None] * bases[None, :])) @ weights)
    resolvents = jnp.eye(len(U))[None] - bases[:, None, None] * W[None]
    states = jnp.linalg.solve(resolvents, jnp.broadcast_to(U, (len(bases), len(U)))[..., None])[..., 0]
    return energy - 2 * weights @ (states @ c) + c @ covariance(W, U) @ c


def covariance(W: Float[Array, "order order"], U: Float[Array, " order"]) -> Float[Array, "order order"]:
    """Of the state after an infinite past: P = W P W' + U U' = sum_s W^s U U' W^s', a discrete Lyapunov equation.

    Summed by doubling the number of terms 40 times; not finite where W has an eigenvalue outside the unit circle.
    """

    def double(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        total, power = carry
        return (total + power @ total @ power.T, power @ power), None

    return jax.lax.scan(double, (U[:, None] * U[None, :], W), length=40)[0][0]
