"""Checks of arguments."""

import numpy as np


class InputError(ValueError):
    """A value, a file or a configuration that seqjax refuses; the message names the rule and the value."""


def at_least(least: int, /, **values: float | int | np.number) -> None:
    """Refuse numbers below `least`, and NaN; each is given under the name that the error shows.

    Raises:
        InputError: the first such number.
    """
    for name, value in values.items():
        if not value >= least:
            raise InputError(f"{name} must be >= {least}, got {value}")
