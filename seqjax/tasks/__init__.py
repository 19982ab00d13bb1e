"""Tasks: input-output relations that make their own data, know their own mask, and know their own floor."""

from seqjax.tasks.convolution import Convolution
from seqjax.tasks.lorenz96 import Lorenz96
from seqjax.tasks.shift import Shift

__all__ = ["Convolution", "Lorenz96", "Shift"]
