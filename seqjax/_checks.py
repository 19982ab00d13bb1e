"""Checks of arguments."""

import math
import operator
from typing import Any

import jax.core
import numpy as np

from seqjax.types import InputError


def at_least(least: int, /, **values: Any) -> None:
    """Refuse numbers below `least`, infinity and NaN; each is given under the name that the error shows.

    Raises:
        InputError: the first such number.
    """
    for name, value in values.items():
        if not value >= least:
            raise InputError(f"{name} must be >= {least}, got {value}")
        if value == math.inf:
            raise InputError(f"{name} must be finite, got {value}")


def integers(least: int, /, **values: Any) -> None:
    """Refuse what is no integer, or an integer below `least`, as `at_least`."""
    for name, value in values.items():
        try:
            operator.index(value)
        except TypeError as error:
            raise InputError(f"{name} must be an integer, got {value!r}") from error
        at_least(least, **{name: value})


def fractions(**values: Any) -> None:
    """Refuse numbers outside [0, 1], and NaN, as `at_least`."""
    for name, value in values.items():
        try:
            inside = bool(0 <= value <= 1)
        except TypeError:
            inside = False
        if not inside:
            raise InputError(f"{name} must lie in [0, 1], got {value}")


def finite(**arrays: Any) -> None:
    """Refuse arrays without a number, or with one that is infinite or NaN, as `at_least`."""
    for name, array in arrays.items():
        if not np.size(array) or not np.isfinite(array).all():
            shown = np.array2string(np.asarray(array), threshold=8)
            raise InputError(f"{name} must hold one number or more, all finite, got {shown}")


def known(*arrays: Any) -> bool:
    """Whether the values of these arrays can be looked at: inside `jax.jit` and its like only shape and dtype can."""
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)


def check_mask(mask: Any, shape: tuple[int, ...], *, prefix: bool = True, axes: str = "(batch, time)") -> None:
    """Require a mask to be Bool[batch time], and each of its rows True for the first steps and False after them.

    Values are checked where they are known: inside `jax.jit` only dtype and shape are.

    Args:
        prefix: whether to check the values.
        axes: names of the axes of `shape`.

    Raises:
        InputError: the mask has another dtype or shape, or a row has padding before a real step.
    """
    if mask is None:
        return
    if np.shape(mask) != tuple(shape):
        raise InputError(f"mask must have the shape {axes} = {tuple(shape)}, got {np.shape(mask)}")
    if getattr(mask, "dtype", None) != np.dtype(bool):
        got = getattr(mask, "dtype", type(mask).__name__)
        raise InputError(f"mask must be a boolean array, True where a step is real, got {got}")
    if not prefix or not known(mask):
        return
    rows = np.asarray(mask)
    wrong = (rows[:, 1:] > rows[:, :-1]).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"mask must be True for the first steps of each row and False after them (padding on the right), "
            f"got {rows[row].astype(int).tolist()} in row {row}"
        )


def check_weight(weight: Any, shape: tuple[int, ...], *, axes: str = "(batch, time)") -> None:
    """Require a weight of each step, of this shape, and >= 0 where its values are known.

    Raises:
        InputError: the weight has another shape, or is somewhere negative or NaN.
    """
    if np.shape(weight) != tuple(shape):
        raise InputError(f"weight must have the shape {axes} = {tuple(shape)}, got {np.shape(weight)}")
    if known(weight) and not (np.asarray(weight) >= 0).all():
        raise InputError(f"weight must be >= 0 everywhere, got {np.asarray(weight).min()}")


def check_ids(name: str, values: Any, vocab: int, mask: Any = None) -> None:
    """Require ids to lie in [0, vocab) where their values are known; those in the padding may be anything.

    Raises:
        InputError: an id outside.
    """
    if not known(values, mask):
        return
    values = np.asarray(values) if mask is None else np.asarray(values)[np.asarray(mask)]
    if wrong := values[(values < 0) | (values >= vocab)].tolist():
        raise InputError(f"{name} must lie in [0, {vocab}), got {wrong[0]}")
