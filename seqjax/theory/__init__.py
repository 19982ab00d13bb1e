"""What could be learned at best: rigorous floors, and the weights and filters that reach them."""

from seqjax.theory import (
    bounds,
    censored,
    coding,
    dilated,
    fits,
    lyapunov,
    ngrams,
    perturbation,
    plateau,
    population,
    recall,
    targets,
)

__all__ = [
    "bounds", "censored", "coding", "dilated", "fits", "lyapunov", "ngrams", "perturbation", "plateau", "population",
    "recall", "targets",
]  # fmt: skip
