"""Tasks: input-output relations that make their own data, know their own mask, and know their own floor."""

from seqjax.tasks.addition import Addition
from seqjax.tasks.convolution import Convolution
from seqjax.tasks.creature import Creature
from seqjax.tasks.lorenz96 import Lorenz96
from seqjax.tasks.reversal import Reversal
from seqjax.tasks.shift import Shift
from seqjax.tasks.translation import Language, Translation

__all__ = ["Addition", "Convolution", "Creature", "Language", "Lorenz96", "Reversal", "Shift", "Translation"]
