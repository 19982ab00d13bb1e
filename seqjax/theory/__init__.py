"""What could be learned at best: rigorous floors, and the weights and filters that reach them."""

from seqjax.theory import bounds, fits, population, targets

__all__ = ["bounds", "fits", "population", "targets"]
