"""Hidden Markov sources of symbols: the best predictor, the entropy rate, and what a model of R tokens must lose.

The state moves from i to j and emits symbol s with probability T_s[i, j]. The regret of a model is the mean of
ln p_Bayes - ln p_model over the same tokens, in nats a token, and its expectation is never negative. All in float64.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from seqjax._checks import check_ids, finite, fractions, integers
from seqjax.types import InputError

MOST_WORDS = 2**21
"""Words that are enumerated at once, at most: about 1 GiB at 16 states."""


class EntropyRate(NamedTuple):
    """An interval that contains the entropy rate, in nats a token."""

    low: float
    high: float

    @property
    def gap(self) -> float:
        """Width of the interval."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class Source:
    """A stationary hidden Markov source.

    Attributes:
        transitions: T_s[i, j], the probability of moving from state i to j and emitting s; each row i adds up to 1 over
            s and j, and every state can be reached from every other.

    Raises:
        InputError: on construction, if that is not so. Of a chain that is not irreducible the entropy rate depends on
            the start, and is not defined.
    """

    transitions: Float64[np.ndarray, "symbols states states"]

    def __post_init__(self) -> None:
        finite(transitions=self.transitions)
        if (least := self.transitions.min()) < 0:
            raise InputError(f"transitions must be >= 0, got {least}")
        rows = self.transitions.sum(axis=(0, 2))
        if (wrong := np.abs(rows - 1) > 1e-9).any():
            raise InputError(
                f"transitions must add up to 1 from every state, got {rows[wrong][0]} from {wrong.argmax()}"
            )
        reached = np.linalg.matrix_power(np.eye(self.states) + (self._moves > 0), self.states) > 0
        if not reached.all():
            start, end = np.argwhere(~reached)[0]
            raise InputError(
                "transitions must be irreducible, or the entropy rate is undefined, "
                f"got no path from state {start} to {end}"
            )

    @property
    def symbols(self) -> int:
        """Number of symbols."""
        return self.transitions.shape[0]

    @property
    def states(self) -> int:
        """Number of states."""
        return self.transitions.shape[1]

    @property
    def unifilar(self) -> bool:
        """Whether state and symbol determine the next state."""
        return bool(((self.transitions > 0).sum(axis=2) <= 1).all())

    @cached_property
    def stationary(self) -> Float64[np.ndarray, " states"]:
        """Distribution of the state at any one time."""
        equations = np.concatenate([self._moves.T - np.eye(self.states), np.ones((1, self.states))])
        solution = np.linalg.lstsq(equations, np.eye(self.states + 1)[-1], rcond=None)[0]
        return np.maximum(solution, 0) / np.maximum(solution, 0).sum()

    def filter(self, tokens: Int[np.ndarray, "rows time"]) -> Float64[np.ndarray, "rows time states"]:
        """Distribution of the state after each token, given it and those before (Baum et al. 1970, forward part).

        Raises:
            InputError: a token that is no symbol, or a sequence that the source never emits.
        """
        check_ids("tokens", tokens, self.symbols)
        beliefs = np.empty((*tokens.shape, self.states))
        belief = np.broadcast_to(self.stationary, (len(tokens), self.states))
        for time, now in enumerate(tokens.T):
            joint = np.einsum("ri,rij->rj", belief, self.transitions[now])
            total = joint.sum(axis=1, keepdims=True)
            if not (total > 0).all():
                raise InputError(f"tokens must be a sequence of the source, got an impossible one at step {time}")
            belief = beliefs[:, time] = joint / total
        return beliefs

    def predict(self, tokens: Int[np.ndarray, "rows time"]) -> Float64[np.ndarray, "rows time symbols"]:
        """The Bayes predictor: probabilities of the token after each, given it and those before; errors as `filter`."""
        return self.filter(tokens) @ self._emissions.T

    def conditional_entropies(self, longest: int) -> Float64[np.ndarray, " lengths"]:
        """H(X_{n+1} | X_1 … X_n) in nats, n = 0 … longest: the least cross-entropy of a model of n tokens.

        By enumeration of all words; those that leave the same belief, to 1e-12, are counted together.

        Raises:
            InputError: more than 2^21 words at a time.
        """
        return self._entropies(longest, self.stationary[None], np.ones(1))

    def block_entropies(self, longest: int) -> Float64[np.ndarray, " lengths"]:
        """H(X_1 … X_n) in nats, n = 0 … longest; errors as `conditional_entropies`."""
        integers(1, longest=longest)
        return np.concatenate([[0.0], np.cumsum(self.conditional_entropies(longest - 1))])

    def entropy_rate(self, length: int = 8) -> EntropyRate:
        """H(X_n | X_1 … X_{n-1}, S_0) <= h <= H(X_n | X_1 … X_{n-1}), n = `length`, from the state S_0 before X_1.

        Both decrease to h and increase to it with n (Cover & Thomas 2006, theorem 4.5.1). A unifilar source has
        h = H(X_1 | S_0), and the interval is that one number.

        Raises:
            InputError: length < 1, or as `conditional_entropies`.
        """
        integers(1, length=length)
        known = self._entropies(0 if self.unifilar else length - 1, np.eye(self.states), self.stationary)[-1]
        return EntropyRate(float(known), float(known if self.unifilar else self.conditional_entropies(length - 1)[-1]))

    def window_floor(self, window: int, length: int = 8) -> float:
        """Least regret of every model that predicts from the last `window` tokens, R, in nats a token.

        Inequality: E regret >= H(X_{R+1} | X_1 … X_R) - h. The discrete twin of `bounds.window`: the conditional
        distribution is the best predictor of all.
        Valid at positions t >= R where the Bayes predictor has settled, H(X_{t+1} | X_1 … X_t) = h; before, it has not
        reached h itself (`position_floors`). With the upper end of `entropy_rate(length)` for h.

        Raises:
            InputError: as `conditional_entropies`.
        """
        return float(max(0.0, self.conditional_entropies(window)[-1] - self.entropy_rate(length).high))

    def position_floors(self, window: int, length: int) -> Float64[np.ndarray, " time"]:
        """`window_floor` at each position t = 1 … length, which has seen t tokens: exact, and 0 up to `window`.

        H(X_{R+1} | X_1 … X_R) - H(X_{t+1} | X_1 … X_t), R = min(window, t); errors as `conditional_entropies`.
        """
        integers(1, length=length)
        integers(0, window=window)
        entropies = self.conditional_entropies(length)
        return (entropies[np.minimum(window, np.arange(length + 1))] - entropies)[1:]

    @property
    def _moves(self) -> Float64[np.ndarray, "states states"]:
        return self.transitions.sum(axis=0)

    @property
    def _emissions(self) -> Float64[np.ndarray, "symbols states"]:
        return self.transitions.sum(axis=2)

    def _entropies(
        self, longest: int, beliefs: Float64[np.ndarray, "words states"], weights: Float64[np.ndarray, " words"]
    ) -> Float64[np.ndarray, " lengths"]:
        """Mean entropy of the next token, n = 0 … longest tokens after beliefs that have these probabilities."""
        integers(0, longest=longest)
        found = np.empty(longest + 1)
        for length in range(longest + 1):
            if length:
                if (words := len(weights) * self.symbols) > MOST_WORDS:
                    raise InputError(f"lengths must leave <= {MOST_WORDS} words to enumerate, got {words} at {length}")
                joint = np.einsum("wi,sij->wsj", beliefs, self.transitions).reshape(-1, self.states)
                total = joint.sum(axis=1)
                possible = total > 0
                weights = (np.repeat(weights, self.symbols) * total)[possible]
                beliefs, weights = _merged(joint[possible] / total[possible, None], weights)
            found[length] = weights @ entropy(beliefs @ self._emissions.T)
        return found


def entropy(p: Float64[np.ndarray, "*points symbols"]) -> Float64[np.ndarray, "*points"]:
    """-sum p ln p over the last axis, in nats."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def even_process(p: float = 0.5) -> Source:
    """Runs of 1 have even length: 0 with probability p, otherwise 1 1. No finite window determines the parity of a run.

    h = -(p ln p + (1 - p) ln(1 - p)) / (2 - p): (2/3) ln 2 at p = 1/2 (Weiss 1973).

    Raises:
        InputError: p outside (0, 1).
    """
    if not 0 < p < 1:
        raise InputError(f"p must lie in (0, 1), got {p}")
    return Source(np.array([[[p, 0.0], [0.0, 0.0]], [[0.0, 1 - p], [1.0, 0.0]]]))


def mess3(alpha: float = 0.85, x: float = 0.05) -> Source:
    """Three states and symbols: a state is left for each other one with probability x, and the state that is reached
    shows its own symbol with probability alpha. Its beliefs form a fractal (Marzen & Crutchfield 2017,
    arXiv:1702.08565; Shai et al. 2024, arXiv:2405.15943).

    Raises:
        InputError: alpha outside [0, 1], or x outside (0, 1/2].
    """
    fractions(alpha=alpha)
    if not 0 < x <= 0.5:
        raise InputError(f"x must lie in (0, 1/2], got {x}")
    moves, shown = (
        np.full((3, 3), off) + (on - off) * np.eye(3) for on, off in ((1 - 2 * x, x), (alpha, (1 - alpha) / 2))
    )
    return Source(np.einsum("ij,js->sij", moves, shown))


def random_source(states: int = 8, symbols: int = 4, *, concentration: float = 0.3, seed: int = 1) -> Source:
    """Rows of moves and emissions from a symmetric Dirichlet distribution; the state that is left emits the symbol.

    Raises:
        InputError: sizes < 1, a concentration that is not positive, or a chain that is not irreducible.
    """
    integers(1, states=states, symbols=symbols)
    integers(0, seed=seed)
    if not concentration > 0:
        raise InputError(f"concentration must be > 0, got {concentration}")
    rng = np.random.default_rng(seed)
    moves, shown = (rng.dirichlet(np.full(size, concentration), states) for size in (states, symbols))
    return Source(np.einsum("ij,is->sij", moves, shown))


def _merged(
    beliefs: Float64[np.ndarray, "words states"], weights: Float64[np.ndarray, " words"]
) -> tuple[Float64[np.ndarray, "beliefs states"], Float64[np.ndarray, " beliefs"]]:
    # Sorted by one number, so that equal beliefs follow each other; whether they are equal is then seen.
    order = np.argsort(beliefs @ np.sqrt(np.arange(2, beliefs.shape[1] + 2)), kind="stable")
    beliefs, weights = beliefs[order], weights[order]
    new = np.append(True, (np.abs(np.diff(beliefs, axis=0)) > 1e-12).any(axis=1))
    return beliefs[new], np.bincount(np.cumsum(new) - 1, weights=weights)
