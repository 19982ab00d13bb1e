"""What goes in: signals whose statistics are known exactly, and text as token ids."""

from seqjax.data.batching import Buckets
from seqjax.data.captions import ShapeWorld, shapeworld
from seqjax.data.corpora import Corpus, Pair, multi30k, tatoeba
from seqjax.data.files import DataError, data_folder
from seqjax.data.images import Images, cifar, mnist
from seqjax.data.labelled import Example, Examples, sst2
from seqjax.data.prose import Spaced
from seqjax.data.signals import GaussianProcess, Signal, WhiteNoise
from seqjax.data.text import Characters, MarkedWords, Subwords, Tokenizer, Vocabulary, Words
from seqjax.data.treebank import Sentence, Treebank, conllu

__all__ = [
    "Buckets",
    "Characters",
    "Corpus",
    "DataError",
    "Example",
    "Examples",
    "GaussianProcess",
    "Images",
    "MarkedWords",
    "Pair",
    "Sentence",
    "ShapeWorld",
    "Signal",
    "Spaced",
    "Subwords",
    "Tokenizer",
    "Treebank",
    "Vocabulary",
    "WhiteNoise",
    "Words",
    "cifar",
    "conllu",
    "data_folder",
    "mnist",
    "multi30k",
    "shapeworld",
    "sst2",
    "tatoeba",
]
