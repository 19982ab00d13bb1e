"""What goes in: signals whose statistics are known exactly, and text as token ids."""

from seqjax.data.batching import Buckets
from seqjax.data.corpora import Corpus, Pair, multi30k, tatoeba
from seqjax.data.files import DataError, data_folder
from seqjax.data.signals import GaussianProcess, Signal, WhiteNoise
from seqjax.data.text import Characters, MarkedWords, Subwords, Tokenizer, Vocabulary, Words

__all__ = [
    "Buckets",
    "Characters",
    "Corpus",
    "DataError",
    "GaussianProcess",
    "MarkedWords",
    "Pair",
    "Signal",
    "Subwords",
    "Tokenizer",
    "Vocabulary",
    "WhiteNoise",
    "Words",
    "data_folder",
    "multi30k",
    "tatoeba",
]
