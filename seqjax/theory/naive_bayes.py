"""Naive Bayes: a linear classifier of sentences from counts of n-grams."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from seqjax._checks import integers
from seqjax.types import InputError


@dataclass(frozen=True, eq=False)
class NaiveBayes:
    """Log-odds that a sentence is positive, if its n-grams were independent given the class.

    A sum over the distinct n-grams of a sentence (Wang & Manning 2012, P12-2018, sec. 2.1, binarised).

    Attributes:
        longest: words of the longest n-grams.
        prior: log-odds of the positive class.
        evidence: what each n-gram adds; unseen n-grams add nothing.
    """

    longest: int
    prior: float
    evidence: dict[tuple[str, ...], float]

    @classmethod
    def fit(
        cls, sentences: Sequence[Sequence[str]], labels: Sequence[int], *, longest: int, smoothing: float
    ) -> "NaiveBayes":
        """Count the n-grams of sentences, each a sequence of words, with labels 0 or 1, both of which must occur.

        Args:
            smoothing: pseudo-count of each n-gram in both classes.
        """
        integers(1, longest=longest)
        if not smoothing > 0:
            raise InputError(f"smoothing must be > 0, got {smoothing}")
        if set(labels) != {0, 1}:
            raise InputError(f"labels must be 0 and 1, both of which occur, got {sorted(set(labels))}")
        counts = {label: Counter[tuple[str, ...]]() for label in (0, 1)}
        for sentence, label in zip(sentences, labels, strict=True):
            counts[label].update(_ngrams(sentence, longest))
        negative, positive = counts[0], counts[1]
        every = negative.keys() | positive.keys()
        total = math.log((negative.total() + smoothing * len(every)) / (positive.total() + smoothing * len(every)))
        evidence = {
            ngram: total + math.log((positive[ngram] + smoothing) / (negative[ngram] + smoothing)) for ngram in every
        }
        classes = Counter(labels)
        return cls(longest, math.log(classes[1] / classes[0]), evidence)

    def __call__(self, sentence: Sequence[str]) -> float:
        """Log-odds of the positive class."""
        found = _ngrams(sentence, self.longest)
        return self.prior + math.fsum(self.evidence.get(ngram, 0.0) for ngram in found)


def _ngrams(tokens: Sequence[str], longest: int) -> set[tuple[str, ...]]:
    return {
        tuple(tokens[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(tokens) - length + 1)
    }
