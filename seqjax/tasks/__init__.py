"""Tasks: input-output relations that make their own data, know their own mask, and know their own floor."""

from seqjax.tasks.addition import Addition
from seqjax.tasks.agreement import Agreement
from seqjax.tasks.captioning import Captioning
from seqjax.tasks.classic import Adding, CopyMemory, DelayedXor, MultiDelay, Parity
from seqjax.tasks.convolution import Convolution
from seqjax.tasks.creature import Creature
from seqjax.tasks.image_classification import ImageClassification, Shapes
from seqjax.tasks.lorenz96 import Lorenz96
from seqjax.tasks.music import Music
from seqjax.tasks.reversal import Reversal
from seqjax.tasks.scenes import Scenes
from seqjax.tasks.sentiment import NaiveBayes, Sentiment
from seqjax.tasks.shift import Shift
from seqjax.tasks.tagging import Speller, Tagging
from seqjax.tasks.text_generation import TextGeneration
from seqjax.tasks.translation import Language, Translation

__all__ = [
    "Adding",
    "Addition",
    "Agreement",
    "Captioning",
    "Convolution",
    "CopyMemory",
    "Creature",
    "DelayedXor",
    "ImageClassification",
    "Language",
    "Lorenz96",
    "MultiDelay",
    "Music",
    "NaiveBayes",
    "Parity",
    "Reversal",
    "Scenes",
    "Sentiment",
    "Shapes",
    "Shift",
    "Speller",
    "Tagging",
    "TextGeneration",
    "Translation",
]
