"""What could be learned at best: rigorous floors, and the weights and filters that reach them."""

from seqjax.theory import (
    bounds,
    censored,
    coding,
    dilated,
    fits,
    groups,
    in_context,
    lyapunov,
    ngrams,
    perturbation,
    plateau,
    population,
    queried_memory,
    recall,
    sources,
    targets,
)

__all__ = [
    "bounds", "censored", "coding", "dilated", "fits", "groups", "in_context", "lyapunov", "ngrams", "perturbation",
    "plateau", "population", "queried_memory", "recall", "sources", "targets",
]  # fmt: skip
