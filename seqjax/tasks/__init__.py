"""Input-output relations to learn: frozen dataclasses that make their own data and know their floor."""

from seqjax.tasks.convolution import Convolution
from seqjax.tasks.shift import Shift

__all__ = ["Convolution", "Shift"]
