"""Memory kernels that several scripts of this chapter use, with the same constants."""

from typing import Literal, assert_never

import numpy as np

from seqjax.theory import targets

Name = Literal["four exponentials", "power law", "two parts", "Airy", "bump"]


def kernel(name: Name, length: int) -> np.ndarray:
    """The kernel's weight at each of `length` lags."""
    match name:
        case "four exponentials":
            return targets.exponentials((0.5, 0.7, 0.85, 0.95), length)
        case "power law":
            return targets.power_law(1.1, length)
        case "two parts":
            return targets.two_parts(length)
        case "Airy":
            return targets.airy(6.0, length)
        case "bump":
            return targets.bump(20.0, 2.0, length)
        case _:
            assert_never(name)
