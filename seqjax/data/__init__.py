"""What goes in: signals whose statistics are known exactly, text as token ids, and strict readers of public files."""

from seqjax.data.batching import Buckets, Epochs, Mixture
from seqjax.data.captions import ShapeWorld, shapeworld
from seqjax.data.corpora import Corpus, Pair, multi30k, tatoeba
from seqjax.data.files import DataError, data_folder
from seqjax.data.images import Images, cifar, mnist
from seqjax.data.labelled import Example, Examples, sst2
from seqjax.data.music import Rolls, piano_rolls
from seqjax.data.photographs import Photographs, coco, flickr8k, image_features
from seqjax.data.prose import Spaced
from seqjax.data.signals import GaussianProcess, Signal, WhiteNoise
from seqjax.data.text import Characters, MarkedWords, Subwords, Tokenizer, Vocabulary, Words
from seqjax.data.treebank import Sentence, Treebank, conllu

__all__ = [
    "Buckets",
    "Characters",
    "Corpus",
    "DataError",
    "Epochs",
    "Example",
    "Examples",
    "GaussianProcess",
    "Images",
    "MarkedWords",
    "Mixture",
    "Pair",
    "Photographs",
    "Rolls",
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
    "coco",
    "conllu",
    "data_folder",
    "flickr8k",
    "image_features",
    "mnist",
    "multi30k",
    "piano_rolls",
    "shapeworld",
    "sst2",
    "tatoeba",
]
