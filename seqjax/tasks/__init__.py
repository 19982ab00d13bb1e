"""Tasks: input-output relations that make their own data, know their own mask, and know their own floor."""

from seqjax.tasks.adding_problem import AddingProblem
from seqjax.tasks.agreement import Agreement
from seqjax.tasks.captioning import Captioning
from seqjax.tasks.chomsky import (
    CycleNavigation,
    EvenPairs,
    MissingDuplicate,
    ModularArithmetic,
    OddsFirst,
    ReverseString,
    StackManipulation,
)
from seqjax.tasks.convolution import Convolution
from seqjax.tasks.copy_memory import CopyMemory
from seqjax.tasks.copy_string import CopyString, SelectiveCopy
from seqjax.tasks.creature import Creature
from seqjax.tasks.delayed_xor import DelayedXor
from seqjax.tasks.digit_sums import DigitSums
from seqjax.tasks.hidden_markov import HiddenMarkov
from seqjax.tasks.image_classification import ImageClassification, Shapes
from seqjax.tasks.in_context import ContextChain, ContextRegression
from seqjax.tasks.lorenz96 import Lorenz96
from seqjax.tasks.lorenz96_one_level import OneLevelLorenz96
from seqjax.tasks.mackey_glass import MackeyGlass
from seqjax.tasks.memorise import Memorise
from seqjax.tasks.multi_delay import MultiDelay
from seqjax.tasks.music import Music
from seqjax.tasks.parity import Parity
from seqjax.tasks.recall import Recall
from seqjax.tasks.reversal import Reversal
from seqjax.tasks.scenes import Scenes
from seqjax.tasks.sentiment import Sentiment
from seqjax.tasks.shift import Shift
from seqjax.tasks.tagging import Speller, Tagging
from seqjax.tasks.text_generation import TextGeneration
from seqjax.tasks.translation import Translation
from seqjax.tasks.word_problem import WordProblem

__all__ = [
    "AddingProblem", "Agreement", "Captioning", "ContextChain", "ContextRegression", "Convolution", "CopyMemory",
    "CopyString", "Creature", "CycleNavigation", "DelayedXor", "DigitSums", "EvenPairs", "HiddenMarkov",
    "ImageClassification", "Lorenz96", "MackeyGlass", "Memorise", "MissingDuplicate", "ModularArithmetic", "MultiDelay",
    "Music", "OddsFirst", "OneLevelLorenz96", "Parity", "Recall", "Reversal", "ReverseString", "Scenes",
    "SelectiveCopy", "Sentiment", "Shapes", "Shift", "Speller", "StackManipulation", "Tagging", "TextGeneration",
    "Translation", "WordProblem",
]  # fmt: skip
