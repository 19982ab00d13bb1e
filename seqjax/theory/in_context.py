"""Learning in context: the best predictors of a chain and of a linear map from examples, and three exact curves.

Regression: x on the sphere of radius sqrt(d), weights w ~ N(0, I/d), y = w'x without noise; after n examples (x_i, y_i)
a model predicts y of a new x. Errors are E(y - prediction)^2, 1 without examples. All in float64.
"""

import numpy as np
from jaxtyping import Float64, Int

from seqjax._checks import at_least, check_ids, integers
from seqjax.types import InputError

Examples = Float64[np.ndarray, "rows examples inputs"]
Values = Float64[np.ndarray, "rows examples"]
Query = Float64[np.ndarray, "rows inputs"]


def dirichlet_predictor(
    tokens: Int[np.ndarray, "rows time"], symbols: int, alpha: float = 1.0
) -> Float64[np.ndarray, "rows time symbols"]:
    """Probabilities of the token after each, for a Markov chain whose rows are drawn from a symmetric Dirichlet(alpha).

    The Bayes predictor: (n_ij + alpha)/(n_i + V alpha), with the counts n_ij of transitions so far from the present
    token i, n_i their sum (Edelman et al. 2024, arXiv:2402.11004, sec. 2). The first token tells nothing of the rows.

    Raises:
        InputError: alpha not positive, or a token outside of the symbols.
    """
    _check_symbols(tokens, symbols, alpha)
    rows = np.arange(len(tokens))
    counts, found = np.full((len(tokens), symbols, symbols), float(alpha)), []
    for time, now in enumerate(tokens.T):
        if time:
            counts[rows, tokens[:, time - 1], now] += 1
        found.append(counts[rows, now] / counts[rows, now].sum(axis=1, keepdims=True))
    return np.stack(found, axis=1)


def unigram_predictor(
    tokens: Int[np.ndarray, "rows time"], symbols: int, alpha: float = 1.0
) -> Float64[np.ndarray, "rows time symbols"]:
    """Probabilities of the token after each, from how often each token came so far: (n_j + alpha)/(n + V alpha).

    What a model does that counts in context, but does not look at the present token; add-one smoothing at alpha = 1.

    Raises:
        InputError: as `dirichlet_predictor`.
    """
    _check_symbols(tokens, symbols, alpha)
    counts = alpha + np.cumsum(np.eye(symbols)[tokens], axis=1)
    return counts / counts.sum(axis=2, keepdims=True)


def ridge(examples: int, inputs: int) -> float:
    """Error of the Bayes predictor, ridge regression of vanishing penalty: 1 - n/d, and 0 from n = d on.

    What is left of w outside of the span of n examples; no model is below.
    """
    _check_sizes(examples, inputs)
    return max(0.0, 1 - examples / inputs)


def linear_attention(examples: int, inputs: int, *, gaussian: bool = False) -> float:
    """Least error of one layer of linear attention, x'G sum_i x_i y_i, over all G: (d - 1)/(n + d - 1).

    The risk is convex in G and invariant under rotations, so that G = c I is best, with c = 1/(n + d - 1): one trained
    for another n is worse. For x ~ N(0, I): (d + 1)/(n + d + 1) with c = 1/(n + d + 1).

    Source: Ahn et al. 2023, arXiv:2306.00297, and Zhang et al. 2024, arXiv:2306.09927, have the Gaussian case.

    Args:
        gaussian: whether x is normal, and not on the sphere.
    """
    _check_sizes(examples, inputs)
    spread = inputs + 1 if gaussian else inputs - 1
    return spread / (examples + spread) if spread else float(examples == 0)


def delta_rule(examples: int, inputs: int, *, beta: float = 1.0) -> float:
    """Error of the delta rule S' = S + beta (y - S k) k', keys k = x / sqrt(d), from zero: (1 - (2 beta - beta^2)/d)^n.

    Each example removes a part of the error of w along its own direction, all of it at beta = 1, and the mean square
    along a random direction is 1/d of the whole.
    """
    _check_sizes(examples, inputs)
    if not 0 <= beta <= 2:
        raise InputError(f"beta must lie in [0, 2], got {beta}")
    return (1 - (2 * beta - beta**2) / inputs) ** examples


def predict_ridge(x: Examples, y: Values, query: Query, penalty: float = 0.0) -> Float64[np.ndarray, " rows"]:
    """Ridge regression: minimises |y - X w|^2 + penalty |w|^2; the shortest solution at 0.

    With noise of variance s^2 on y the Bayes predictor has the penalty d s^2.

    Raises:
        InputError: penalty < 0.
    """
    at_least(0, penalty=penalty)
    if penalty:
        gram = np.einsum("rni,rnj->rij", x, x) + penalty * np.eye(x.shape[-1])
        weights = np.linalg.solve(gram, np.einsum("rni,rn->ri", x, y)[..., None])[..., 0]
    else:
        weights = np.einsum("rin,rn->ri", np.linalg.pinv(x), y)
    return np.einsum("ri,ri->r", weights, query)


def predict_linear_attention(
    x: Examples, y: Values, query: Query, gain: float | None = None
) -> Float64[np.ndarray, " rows"]:
    """One layer of linear attention with G = gain I; None: the best one on the sphere, 1/(n + d - 1)."""
    if gain is None:
        gain = 1 / max(1, x.shape[1] + x.shape[2] - 1)
    return gain * np.einsum("rni,rn,ri->r", x, y, query)


def predict_delta_rule(x: Examples, y: Values, query: Query, beta: float = 1.0) -> Float64[np.ndarray, " rows"]:
    """The delta rule with keys x / sqrt(d), read by the query of the same length."""
    scale = x.shape[-1] ** 0.5
    state = np.zeros_like(query)
    for key, value in zip(np.moveaxis(x, 1, 0) / scale, y.T, strict=True):
        state = state + beta * (value - np.einsum("ri,ri->r", state, key))[:, None] * key
    return np.einsum("ri,ri->r", state, query) / scale


def _check_symbols(tokens: np.ndarray, symbols: int, alpha: float) -> None:
    integers(1, symbols=symbols)
    if not alpha > 0:
        raise InputError(f"alpha must be > 0, got {alpha}")
    check_ids("tokens", tokens, symbols)


def _check_sizes(examples: int, inputs: int) -> None:
    integers(0, examples=examples)
    integers(1, inputs=inputs)
