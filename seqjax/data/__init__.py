"""What goes in: random inputs of known statistics, text as token ids, batches, and strict readers of public files."""

from seqjax.data.batching import Buckets, Epochs, Mixture
from seqjax.data.captions import CaptionedImages, read_coco, read_flickr8k
from seqjax.data.columns import read_column
from seqjax.data.corpora import Corpus, Pair, multi30k, tatoeba
from seqjax.data.files import DataError, data_folder
from seqjax.data.gaussian_process import GaussianProcess, Signal, WhiteNoise
from seqjax.data.images import Images, cifar, cifar_binary, mnist, read_folder
from seqjax.data.language import Language
from seqjax.data.music import Rolls, piano_rolls
from seqjax.data.shapeworld import ShapeWorld, read_shapeworld
from seqjax.data.sst2 import Example, Examples, read_sst2
from seqjax.data.tables import Table, read_table
from seqjax.data.tokenizers import Characters, MarkedWords, Subwords, Tokenizer, Whitespace, Words
from seqjax.data.treebank import Sentence, Treebank, conllu
from seqjax.data.vocabulary import Vocabulary

__all__ = [
    "Buckets", "CaptionedImages", "Characters", "Corpus", "DataError", "Epochs", "Example", "Examples",
    "GaussianProcess", "Images", "Language", "MarkedWords", "Mixture", "Pair", "Rolls", "Sentence", "ShapeWorld",
    "Signal", "Subwords", "Table", "Tokenizer", "Treebank", "Vocabulary", "WhiteNoise", "Whitespace", "Words", "cifar",
    "cifar_binary", "conllu", "data_folder", "mnist", "multi30k", "piano_rolls", "read_coco", "read_column",
    "read_flickr8k", "read_folder", "read_shapeworld", "read_sst2", "read_table", "tatoeba",
]  # fmt: skip
