"""n-gram models: the lowest cross-entropy of their order, and interpolated Kneser-Ney smoothing.

An n-gram model predicts each token from the n - 1 before it: n = 1 is the unigram model.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from seqjax._checks import integers
from seqjax.types import InputError

NOTHING = -1
"""The token before a text begins."""


def plug_in_entropy(tokens: Int[np.ndarray, " time"], order: int) -> float:
    """Floor of every model that predicts these tokens from the `order` - 1 >= 0 before each, in nats a token.

    Inequality: the mean of -log p(token | context) is at least that of -log count(context token) / count(context), with
    the counts of this text, for any fixed p: the counts give the maximum-likelihood model of this order (Gibbs'
    inequality). At the beginning contexts are shorter, and differ from all others.
    It does not bound models with longer context. As an estimate of the entropy of the language it is too low: where
    each context is seen once, it is 0.
    """
    _check(tokens, order)
    grams = _grams(tokens, order)
    whole = np.unique(grams, axis=0, return_counts=True)[1]
    contexts = np.unique(grams[:, :-1], axis=0, return_counts=True)[1]
    # sum of -log(c / C) over all tokens: each gram is there c times, and each context C times.
    return float(((contexts * np.log(contexts)).sum() - (whole * np.log(whole)).sum()) / len(tokens))


class Level(NamedTuple):
    """The k-grams of a text, as the k-th level of a tree: each follows from its context and one more token.

    Attributes:
        keys: of each k-gram, in order: number of its first k - 1 tokens in the level above, times vocab, plus the last.
        kept: count of each k-gram after discounting.
        total: count of all that follow each (k-1)-gram.
        spread: the discounts of those, redistributed by the next lower order.
    """

    keys: Int64[np.ndarray, " grams"]
    kept: Float64[np.ndarray, " grams"]
    total: Float64[np.ndarray, " contexts"]
    spread: Float64[np.ndarray, " contexts"]


@dataclass(frozen=True, eq=False)
class KneserNey:
    """Interpolated Kneser-Ney smoothing (Kneser & Ney 1995; Chen & Goodman 1999).

    p_k(w | h) = max(c(h w) - D_k, 0) / c(h .) + D_k N(h .) / c(h .) p_{k-1}(w | h without its first token), where c
    counts occurrences at the highest order and different predecessors below it, and N(h .) counts what followed h; p_0
    is uniform. Each order has one discount, D = n_1 / (n_1 + 2 n_2), from the numbers of k-grams counted once and
    twice. Contexts reach over the ends of sentences.

    Attributes:
        vocab: tokens lie below it; all of them can follow.
        levels: of 1-grams, 2-grams, …
    """

    vocab: int
    levels: tuple[Level, ...]

    @classmethod
    def fit(cls, tokens: Int[np.ndarray, " time"], *, order: int, vocab: int) -> "KneserNey":
        """Count a text.

        Raises:
            InputError: order < 1, fewer tokens than that, or tokens outside of [0, vocab).
        """
        _check(tokens, order)
        if len(tokens) < order or tokens.min() < 0 or tokens.max() >= vocab:
            raise InputError(f"needs {order} tokens or more, all in [0, {vocab}), got {len(tokens)}")
        levels, above = [], np.zeros(len(tokens), np.int64)
        keys, number, first = [], [above], []
        for k in range(1, order + 1):
            # Entry t is the k-gram that begins at t.
            grams = number[-1][: len(tokens) - k + 1] * vocab + tokens[k - 1 :]
            unique, start, inverse = np.unique(grams, return_index=True, return_inverse=True)
            keys.append(unique)
            first.append(start)
            number.append(inverse)
        for k in range(1, order + 1):
            if k == order:
                count = np.bincount(number[k], minlength=len(keys[-1]))
            else:  # how many different tokens stand before it: the (k+1)-grams that end in it
                count = np.bincount(number[k][first[k] + 1], minlength=len(keys[k - 1]))
            levels.append(_level(keys[k - 1], count, vocab, 1 if k == 1 else len(keys[k - 2])))
        return cls(vocab, tuple(levels))

    def probability(self, grams: Int[np.ndarray, "rows order"]) -> Float64[np.ndarray, " rows"]:
        """p of the last token of each row, given those before it, which may be NOTHING."""
        p = np.full(len(grams), 1 / self.vocab)
        for k, level in enumerate(self.levels[: grams.shape[1]], start=1):
            context, known = self._find(grams[:, grams.shape[1] - k : -1])
            gram, seen = _search(level.keys, context * self.vocab + grams[:, -1])
            total = np.where(known, level.total[context], 0)
            safe = np.where(total > 0, total, 1)
            kept = np.where(seen & known, level.kept[gram], 0)
            p = np.where(total > 0, (kept + level.spread[context] * p) / safe, p)
        return p

    def surprise(self, tokens: Int[np.ndarray, " time"]) -> Float64[np.ndarray, " time"]:
        """-log p of each token of a text, given those before it, in nats."""
        return -np.log(self.probability(_grams(tokens, len(self.levels))))

    def _find(
        self, contexts: Int[np.ndarray, "rows context"]
    ) -> tuple[Int64[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
        """The number of each context in its level, and whether it was ever seen."""
        number, seen = np.zeros(len(contexts), np.int64), np.ones(len(contexts), bool)
        for level, token in zip(self.levels, contexts.T, strict=False):
            number, found = _search(level.keys, number * self.vocab + token)
            seen = seen & found & (token != NOTHING)
        return number, seen


def _level(keys: np.ndarray, count: np.ndarray, vocab: int, contexts: int) -> Level:
    once, twice = (count == 1).sum(), (count == 2).sum()
    # In a small alphabet no token may be rare: then there is no estimate, but the lower orders still need a part.
    discount = np.clip(once / max(once + 2 * twice, 1), 0.1, 0.9)
    context = keys // vocab
    total = np.bincount(context, weights=count, minlength=contexts)
    spread = discount * np.bincount(context, weights=count > 0, minlength=contexts)
    return Level(keys, np.maximum(count - discount, 0.0), total, spread)


def _search(keys: Int64[np.ndarray, " grams"], wanted: Int64[np.ndarray, " rows"]) -> tuple[np.ndarray, np.ndarray]:
    """The place of each one in the sorted keys, and whether it is there."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted


def _grams(tokens: Int[np.ndarray, " time"], order: int) -> Int[np.ndarray, "time order"]:
    """Each token after the `order` - 1 before it."""
    padded = np.concatenate([np.full(order - 1, NOTHING), tokens])
    return np.lib.stride_tricks.sliding_window_view(padded, order)


def _check(tokens: np.ndarray, order: int) -> None:
    integers(1, order=order)
    if not len(tokens):
        raise InputError("tokens must be one or more, got none")
