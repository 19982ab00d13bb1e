"""What could be learned at best: rigorous floors, and the weights and filters that reach them."""

from seqjax.theory import bounds, fits

__all__ = ["bounds", "fits"]
