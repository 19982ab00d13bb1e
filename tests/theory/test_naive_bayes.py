import math
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.theory.naive_bayes import NaiveBayes

WORDS = st.lists(st.sampled_from("abc"), max_size=5).map(" ".join)


@settings(max_examples=50)
@given(st.lists(st.tuples(WORDS, st.booleans()), min_size=1, max_size=6), WORDS, st.sampled_from([1, 2]))
def test_naive_bayes_is_bayes_rule(drawn, asked, words):
    """P(class) times, over the distinct n-grams, their fraction of all of the class (smoothed), compared by hand."""
    smoothing = 0.5
    rows = [("a", 0), ("b", 1), *[(sentence, int(label)) for sentence, label in drawn]]

    def ngrams(sentence):
        tokens = sentence.split()
        return set(tokens) | ({*pairwise(tokens)} if words == 2 else set())

    every = set().union(*[ngrams(sentence) for sentence, _ in rows])
    likelihood = []
    for label in (0, 1):
        of_class = [ngrams(sentence) for sentence, of in rows if of == label]
        total = sum(map(len, of_class)) + smoothing * len(every)
        fractions = [(sum(n in found for found in of_class) + smoothing) / total for n in ngrams(asked) & every]
        likelihood.append(len(of_class) / len(rows) * math.prod(fractions))
    sentences, labels = zip(*((sentence.split(), label) for sentence, label in rows), strict=True)
    model = NaiveBayes.fit(sentences, labels, longest=words, smoothing=smoothing)
    assert math.isclose(model(asked.split()), math.log(likelihood[1] / likelihood[0]), rel_tol=1e-9, abs_tol=1e-9)
    assert model(["never", "seen"]) == model([])
