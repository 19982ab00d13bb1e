"""Mean squared errors that no model of a given class can beat: float64, exact for the population, no training."""

import numpy as np
from jaxtyping import Float64


def shift(delay: int, length: int, order: int) -> float:
    """Floor of every linear RNN with `order` states on the shift y_t = x_{t-delay} of unit white noise.

    Inequality: E >= (1 - k/T) (1 - m/(k+1)), never below 0, with k = delay, T = length, m = order, and E the error
    averaged over the T steps of a sequence that starts from a zero state. A delay line reaches 0 at m = k+1.

    Idea: the error kernel e = rho - khat costs E = sum_s (1 - s/T) e_s^2. Spread over the (k+1) x (k+1) Hankel
    matrix G_ij = e_{i+j}/sqrt(k+1) that cost is at least (1 - k/T) |G|^2, and the Hankel matrix of any m states, of
    any W, stable or not, has rank m, while that of the shift has k+1 singular values of one size (Eckart-Young).

    Source: Eckart & Young 1936 on a weighted Hankel matrix; for an infinite past the same number follows from the
    memory capacities of a linear state (Jaeger 2001; arXiv:2305.01457).

    Raises:
        ValueError: length < 2 delay + 1. All lags of G must lie in the window: in a shorter one an unstable W fakes
            the last lags, and the inequality is false.
    """
    if delay < 0:
        raise ValueError(f"delay must be >= 0, got {delay}")
    if order < 0:
        raise ValueError(f"order must be >= 0, got {order}")
    if length < 2 * delay + 1:
        raise ValueError(f"length must be >= 2 delay + 1 = {2 * delay + 1}, got {length}")
    return (1 - delay / length) * max(0.0, 1 - order / (delay + 1))


def memoryless(covariance: Float64[np.ndarray, "time time"], delay: int) -> float:
    """Floor of every model whose output at t is one fixed function of x_t alone, on y_t = x_{t-delay}.

    Inequality: E >= q v - (q r v)^2 / v, with v the variance, q = 1 - k/T the fraction of steps with a target that
    is not zero and r = corr(x_t, x_{t-k}); E is averaged over the T steps. Reached by the line of slope q r.

    Idea: a step drawn at random has, given x_t, the target 0 with probability 1 - q, and otherwise a Gaussian of
    mean r x_t; that conditional mean, q r x_t, is the best of all functions, linear or not.

    Valid for a zero-mean stationary Gaussian signal and any window length.

    Args:
        covariance: of the T steps of a sequence, as `Signal.covariance(length)` gives it.
        delay: k >= 0; from k = T on every target is zero, and so is the floor.
    """
    if delay < 0:
        raise ValueError(f"delay must be >= 0, got {delay}")
    length = len(covariance)
    if delay >= length:
        return 0.0
    kept = 1 - delay / length
    variance = covariance[0, 0]
    return float(kept * variance - (kept * covariance[0, delay]) ** 2 / variance)


def window(covariance: Float64[np.ndarray, "time time"], delay: int, window: int) -> float:
    """Floor at one step of every model that sees only the last `window` inputs, for the target x_{t-delay}.

    Inequality: E_t >= Var(x_{t-k} | x_t, ..., x_{t-w+1}), the Schur complement of the covariance. This is the error
    of a single step in mid-stream, t >= max(k, w-1), not an average over a sequence with its zeros at the start: for
    that multiply by 1 - k/T, the fraction of steps with a target (the early ones see fewer inputs, never more).

    Idea: the conditional mean is the best estimator of all, linear or not, and for a Gaussian it is linear.

    Valid for a zero-mean stationary Gaussian signal; zero once window > delay. For a smooth
    signal the number is set by the jitter of the covariance; far below a jitter of 1e-10 it is round-off.

    Args:
        covariance: of at least max(delay + 1, window) consecutive steps.
    """
    if delay < 0:
        raise ValueError(f"delay must be >= 0, got {delay}")
    if window < 0:
        raise ValueError(f"window must be >= 0, got {window}")
    steps = max(delay + 1, window)
    if len(covariance) < steps:
        raise ValueError(f"covariance must span max(delay + 1, window) = {steps} steps, got {len(covariance)}")
    if window > delay:
        return 0.0
    # Stationary, so row i stands for x_{t-i}.
    seen, cross = covariance[:window, :window], covariance[:window, delay]
    return float(max(0.0, covariance[delay, delay] - cross @ np.linalg.solve(seen, cross)))


def truncation(kernel_matrix: Float64[np.ndarray, "target source"], rank: int) -> float:
    """Floor of every linear encoder-decoder whose context vector has `rank` numbers.

    Inequality: E >= sum_{n > rank} sigma_n^2, for y_t = sum_s rho(t, s) x_s with unit white noise x, sigma the singular
    values of rho, and E the squared error summed over all t.

    Idea: what the decoder says is linear in the context vector, and that is linear in the input, so the whole map
    is a matrix of that rank; white noise makes its error the Frobenius distance to rho (Eckart & Young 1936). Weights
    that reach it follow from the singular vectors, if encoder and decoder have as many states as the sequence has
    steps. Reversal has T singular values of 1: rank N leaves T - N.

    Raises:
        ValueError: rank < 0.
    """
    if rank < 0:
        raise ValueError(f"rank must be >= 0, got {rank}")
    return float((np.linalg.svd(kernel_matrix, compute_uv=False)[rank:] ** 2).sum())
