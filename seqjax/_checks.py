"""Checks of arguments."""

import numpy as np


def at_least(least: int, /, **values: float | int | np.number) -> None:
    """Refuse numbers below `least`, and NaN; each is given under the name that the error shows.

    Raises:
        ValueError: the first such number.
    """
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name} must be >= {least}, got {value}")
