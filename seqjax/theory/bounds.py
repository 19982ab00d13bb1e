"""Lower bounds ("floors") of the mean squared error of a class of models: float64, in expectation, without training."""

import numpy as np
from jaxtyping import Float, Float64

from seqjax._checks import at_least, check_weight, finite, integers
from seqjax.theory.hankel import isometric, tail, uniform
from seqjax.theory.tensor_train import fitting
from seqjax.theory.tensor_train import tensor_train as decompose
from seqjax.types import InputError

Values = float | Float[np.ndarray, "*runs"]


def require_above(floor: Values, loss: Values, standard_error: Values = 0.0) -> None:
    """Check a trained loss against a rigorous floor: below it there is an error in the code, or in the proof.

    Args:
        standard_error: of a loss measured on a sample, which may be 4 standard errors below the floor; an exact loss
            may be below by a relative 1e-9.

    Raises:
        ArithmeticError: a loss is below its floor, or NaN.
    """
    floor, loss, spread = np.broadcast_arrays(floor, loss, standard_error)
    _refuse(~(loss >= floor * (1 - 1e-9) - 4 * spread), "loss {} is below the floor {}", loss, spread, floor)


def require_below(ceiling: Values, score: Values, standard_error: Values = 0.0) -> None:
    """Check a trained model's score against a rigorous ceiling, as `require_above`.

    Raises:
        ArithmeticError: a score is above its ceiling, or NaN.
    """
    ceiling, score, spread = np.broadcast_arrays(ceiling, score, standard_error)
    _refuse(~(score <= ceiling * (1 + 1e-9) + 4 * spread), "score {} is above the ceiling {}", score, spread, ceiling)


def mean_and_error(
    values: Float[np.ndarray, "runs rows"],
) -> tuple[Float[np.ndarray, " runs"], Float[np.ndarray, " runs"]]:
    """The mean of each run over rows and its standard error, as `require_above` and `require_below` take them."""
    return values.mean(axis=-1), values.std(axis=-1) / values.shape[-1] ** 0.5


def _refuse(
    wrong: np.ndarray | np.bool, message: str, value: np.ndarray, spread: np.ndarray, bound: np.ndarray
) -> None:
    if wrong.any():
        value, spread, bound = value[wrong][0], spread[wrong][0], bound[wrong][0]
        raise ArithmeticError(message.format(f"{value} +- {spread}" if spread else f"{value}", bound))


def shift(delay: int, length: int, order: int) -> float:
    """Floor of every linear RNN with `order` states on the shift y_t = x_{t-delay} of unit white noise.

    Inequality: E >= (1 - k/T) (1 - m/(k+1)), never below 0, with k = delay, T = length, m = order, and E averaged over
    the T steps of a sequence that starts from a zero state. A delay line reaches 0 at m = k+1.
    Idea: the error kernel e = rho - khat costs E = sum_s (1 - s/T) e_s^2. Spread over the (k+1) x (k+1) Hankel
    matrix G_ij = e_{i+j}/sqrt(k+1) that cost is at least (1 - k/T) |G|^2, and the Hankel matrix of any m states, of
    any W, stable or not, has rank m, while that of the shift has k+1 singular values of one size (Eckart-Young).
    Source: Eckart & Young 1936; for an infinite past, the memory capacities of Jaeger 2001 (arXiv:2305.01457).

    Raises:
        InputError: length < 2 delay + 1. All lags of G must lie in the window: in a shorter one an unstable W fakes
            the last lags, and the inequality is false.
    """
    integers(0, delay=delay, order=order)
    integers(1, length=length)
    if length < 2 * delay + 1:
        raise InputError(f"length must be >= 2 delay + 1 = {2 * delay + 1}, got {length}")
    return (1 - delay / length) * max(0.0, 1 - order / (delay + 1))


def memoryless(covariance: Float64[np.ndarray, "time time"], delay: int) -> float:
    """Floor of every model whose output at t is one fixed function of x_t alone, on y_t = x_{t-delay}.

    Inequality: E >= q v - (q r v)^2 / v, averaged over the T steps, with the variance v, q = 1 - k/T the fraction of
    steps with a target, and r = corr(x_t, x_{t-k}). Reached by the line of slope q r.
    Idea: a step drawn at random has, given x_t, the target 0 with probability 1 - q, and otherwise a Gaussian of
    mean r x_t; that conditional mean, q r x_t, is the best of all functions, linear or not.
    Valid for a zero-mean stationary Gaussian signal and any window length.

    Args:
        covariance: of the T steps of a sequence, as `Signal.covariance(length)` gives it.
        delay: k >= 0; from k = T on every target is zero, and so is the floor.
    """
    integers(0, delay=delay)
    finite(covariance=covariance)
    length = len(covariance)
    if delay >= length:
        return 0.0
    fraction = 1 - delay / length
    variance = covariance[0, 0]
    return float(fraction * variance - (fraction * covariance[0, delay]) ** 2 / variance)


def window(covariance: Float64[np.ndarray, "time time"], delay: int, window: int) -> float:
    """Floor at one step of every model of the last `window` inputs, for the target x_{t-delay}.

    Inequality: E_t >= Var(x_{t-k} | x_t, ..., x_{t-w+1}), the Schur complement of the covariance, at any single step
    t >= max(k, w-1). For the average over a sequence that starts with zeros, multiply by 1 - k/T.
    Idea: the conditional mean is the best estimator of all, linear or not, and for a Gaussian it is linear.
    Valid for a zero-mean stationary Gaussian signal; 0 once window > delay. For a smooth signal the floor is set by the
    jitter of its covariance; for a jitter far below 1e-10 it is round-off.

    Args:
        covariance: of at least max(delay + 1, window) consecutive steps.
    """
    integers(0, delay=delay, window=window)
    finite(covariance=covariance)
    steps = max(delay + 1, window)
    if len(covariance) < steps:
        raise InputError(f"covariance must span max(delay + 1, window) = {steps} steps, got {len(covariance)}")
    if window > delay:
        return 0.0
    # The signal is stationary, so row i is that of x_{t-i}.
    seen, cross = covariance[:window, :window], covariance[:window, delay]
    return float(max(0.0, covariance[delay, delay] - cross @ np.linalg.solve(seen, cross)))


def truncation(kernel_matrix: Float64[np.ndarray, "target source"], rank: int) -> float:
    """Floor of every linear encoder-decoder whose context vector has `rank` >= 0 numbers.

    Inequality: E >= sum_{n > rank} sigma_n^2, for y_t = sum_s rho(t, s) x_s with unit white noise x, sigma the singular
    values of rho, and E the squared error summed over all t.
    Idea: the whole map is a matrix of that rank; white noise makes its error the Frobenius distance to rho (Eckart &
    Young 1936). Reached by weights from the singular vectors, if encoder and decoder have as many states as the
    sequence has steps. Reversal has T singular values of 1: rank N leaves T - N.
    """
    integers(0, rank=rank)
    finite(kernel_matrix=kernel_matrix)
    return tail(np.linalg.svd(kernel_matrix, compute_uv=False), rank)


def hankel(
    kernel: Float64[np.ndarray, " lags"], order: int, weight: Float64[np.ndarray, " lags"] | None = None
) -> float:
    """Floor of every linear RNN with `order` >= 0 states on y_t = sum_s kernel[s] x_{t-s} of unit white noise.

    Inequality: sum_n w_n e_n^2 >= sum_{k > order} sigma_k(G)^2, where G is the Hankel matrix of the kernel, weighted so
    that no lag counts more than w_n; the larger of two weightings (`theory.hankel`). With w = 1 this is the error at
    the last step of a sequence of as many steps as the kernel has lags, from a zero state.
    Idea: the Hankel matrix of a linear RNN has rank `order`, and no matrix of that rank is nearer to G (Eckart & Young
    1936). Shift by k: 1 - order/(k+1), if the window has 2k + 1 steps.
    Valid for any W, stable or not, and white noise: coloured inputs can make every kernel easy. Round-off is
    subtracted; it limits the floor to about 1e-28 of the kernel's energy.

    Args:
        weight: w_n >= 0 of each lag; 1 - n/T for the error averaged over T steps (`population.averaged`). None: 1.
    """
    integers(0, order=order)
    finite(kernel=kernel)
    weight = np.ones(len(kernel)) if weight is None else weight
    check_weight(weight, kernel.shape, axes="(lags,)")
    if order == 0:
        return float(weight @ kernel**2)
    return max(isometric(kernel, order, weight), uniform(kernel, order, weight))


def tensor_train(
    kernel: Float64[np.ndarray, " lags"], channels: int, base: int = 2, layers: int | None = None
) -> tuple[float, float]:
    """Floor of every `LinearDilatedCNN` of this many channels for white noise, and the error of one close to it.

    Inequality: max_k sum_{j > M} sigma_j(unfolding k)^2 + tail <= E <= sum_k sum_{j > M} sigma_j(unfolding k)^2 + tail,
    M = channels, where unfolding k is the kernel as a matrix of the lag's higher digits by its k lowest, and tail the
    energy of lags from base^layers on. The second number is the error of `fits.tensor_train`.
    Idea: the layers after k depend on the earlier digits of the lag through M channels only, so every unfolding of the
    filter has rank M (Eckart & Young 1936); summing over the cuts bounds the error above (Oseledets 2011, thm 2.2).
    Valid for all channels mixed, no bias, shortcut or nonlinearity. Round-off is taken off the first number only.

    Args:
        layers: None: the deepest network whose base^layers lags lie in the window.

    Raises:
        InputError: as `fits.tensor_train`.
    """
    weights = decompose(kernel, channels, base, layers)
    reached = base ** fitting(len(kernel), base, layers)
    near = kernel[:reached]
    beyond = float((kernel[reached:] ** 2).sum())
    cuts = [near.reshape(-1, base**cut) for cut in range(1, len(weights.taps))]
    tails = [tail(np.linalg.svd(cut, compute_uv=False), channels) for cut in cuts]
    return max(tails, default=0.0) + beyond, float(((near - weights.kernel()) ** 2).sum()) + beyond


def bessel(targets: int, features: int) -> float:
    """Floor of the total error over `targets` uncorrelated targets of unit variance, all read off the same features.

    Inequality: sum_j E_j >= targets - features, never below 0: the R_j^2 add up to no more than the number of features.
    Idea: the squared lengths of the projections of orthonormal vectors on a space add up to at most its dimension
    (Bessel). A constant is free, as the targets have mean zero.
    Valid for every model with a linear readout, if the targets are uncorrelated and stationary, as all delays 0..k of
    white noise are (Dambre, Verstraeten, Schrauwen & Massar 2012). One delay alone is not bounded in this way.
    """
    integers(0, targets=targets, features=features)
    return float(max(0, targets - features))


def causal(response: Float64[np.ndarray, "target source"], variance: float = 1.0) -> float:
    """Floor of every causal model on y_t = sum_s response[t, s] x_s, where s are times like t.

    Inequality: E >= variance/T sum_t sum_{s > t} response[t, s]^2, averaged over the T steps.
    Idea: inputs after t are independent of all inputs of the model, and their mean is the best prediction.
    Valid for independent inputs of this variance, of any distribution and any mean.
    """
    finite(response=response)
    at_least(0, variance=variance)
    return float(variance * (np.triu(response, 1) ** 2).sum() / len(response))


def homogeneous(response: Float64[np.ndarray, "time time"], variance: float = 1.0) -> float:
    """Floor of every linear model that is causal and the same at all times, on y_t = sum_s response[t, s] x_s.

    Inequality: E >= `causal` + variance/T sum_{s <= t} (response[t, s] - mean of its diagonal)^2, averaged over the T
    steps.
    Idea: such a model weighs x_s by khat(t - s), constant along a diagonal, for which its mean is best.
    Valid for independent inputs of this variance, and any number of states; reached with T of them.
    """
    finite(response=response)
    length = len(response)
    lags = [np.diagonal(response, -lag) for lag in range(length)]
    uneven = sum(float(((lag - lag.mean()) ** 2).sum()) for lag in lags)
    return causal(response, variance) + variance * uneven / length


def logits(target: Float64[np.ndarray, "target source"], head_dim: int) -> float:
    """Floor of the summed squared distance between the positional logits of one attention head and target logits.

    Inequality: min over constants r_t of |Q K' + r 1' - L|^2 >= sum_{k > head_dim} sigma_k(L - row means)^2.
    Idea: logits have rank head_dim, and softmax does not depend on what is added to a whole row; subtracting row means
    keeps the rank (Eckart & Young 1936). Reached by the truncated singular value decomposition.

    It bounds logits, not the attention weights after the softmax, which reach one-hot targets at rank 2
    (`fits.position_attention`).
    """
    integers(0, head_dim=head_dim)
    finite(target=target)
    return truncation(target - target.mean(axis=1, keepdims=True), head_dim)
