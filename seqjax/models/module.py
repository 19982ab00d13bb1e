"""The base class of all models, and the rules that they have in common: for masks, for padding and for their parts."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, get_origin

import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool, Float, Int

from seqjax._checks import at_least, check_mask, fractions, integers
from seqjax.types import InputError

Part = TypeVar("Part")

Mask = Bool[Array, "batch _"] | None
"""Which steps are real, `(batch, time)`: the first ones of each row; None: all of them. `check_mask` checks it."""

Inputs = Float[Array, "batch time inputs"]
Features = Float[Array, "batch time features"]
Tokens = Int[Array, "batch time"]
"""Token ids; those in the padding may be anything."""


STATEFUL = (nn.BatchNorm, nn.SpectralNorm)
"""Linen's layers that keep variables besides parameters; those of others are seen when they are initialised."""

_STATELESS = (
    "must be a module without state, such as nn.GroupNorm or nn.LayerNorm (BatchNorm keeps running statistics, and "
    "seqjax's modules keep parameters alone)"
)


class Module(nn.Module):
    """A Flax module whose `init` and `apply` are typed as `Any`, where Flax declares unions that callers must narrow.

    Fields of the type `int` are sizes, and must be at least 1; `dropout` is a fraction. Parts are modules without
    state: batch statistics and the like are refused.

    A subclass may list fields that must be instances in `_parts`: their class, and an example for the error.
    """

    _parts: ClassVar[dict[str, tuple[type, str]]] = {}
    _least: ClassVar[dict[str, int]] = {}  # of other numbers, and of sizes where it is not 1
    _fractions: ClassVar[tuple[str, ...]] = ("dropout",)

    def __post_init__(self):
        for name, (kind, example) in self._parts.items():
            check_part(name, getattr(self, name), kind, example)
        for field in dataclasses.fields(self):
            value: Any = getattr(self, field.name)
            if field.type is int or (field.type == int | None and value is not None):
                integers(self._least.get(field.name, 1), **{field.name: value})
            elif field.name in self._least:
                at_least(self._least[field.name], **{field.name: value})
            elif field.name in self._fractions:
                fractions(**{field.name: value})
            elif get_origin(field.type) is Callable and not callable(value):
                raise TypeError(f"{field.name} must be a function, got {value!r}")
            if field.name != "parent" and isinstance(value, STATEFUL):
                raise InputError(f"{field.name} {_STATELESS}, got {type(value).__name__}")
        super().__post_init__()

    @nn.nowrap
    def init(self, rngs: Any, *args: Any, **options: Any) -> Any:
        """`{"params": …}`, as Flax's `init`.

        Raises:
            InputError: some part has other variables too, which training would neither update nor pass on.
        """
        variables = super().init(rngs, *args, **options)
        for collection in sorted(variables.keys() - {"params"}):
            path = next(iter(flatten_dict(dict(variables[collection]), sep=".")), "").rpartition(".")[0]
            raise InputError(f"{path or type(self).__name__} {_STATELESS}, got one with the collection {collection!r}")
        return variables

    if TYPE_CHECKING:

        def apply(self, variables: Any, *args: Any, **options: Any) -> Any: ...

        def __hash__(self) -> int: ...  # Linen defines it; the checker takes dataclasses for unhashable


def zero_padding(y: Features, mask: Mask) -> Array:
    """Zeros where a step is padding, whatever is there (NaN included).

    Models apply it to their inputs too: a NaN in the padding that no output shows would still reach the gradients.

    Raises:
        InputError: `y` is not three-dimensional, or has no step or no feature, or `mask` is not one (`check_mask`).
    """
    if y.ndim != 3 or 0 in y.shape[1:]:
        raise InputError(f"sequences must have the shape (batch, time >= 1, features >= 1), got {y.shape}")
    check_mask(mask, y.shape[:2])
    return y if mask is None else jnp.where(mask[..., None], y, 0.0)


def check_part(name: str, part: Any, kind: type[Part], example: str) -> Part:
    """Require a part of a model to be an instance, not the class or a partial of it.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(part, type):
        got = f"the class {part.__name__}"
    elif isinstance(part, partial):
        got = f"a partial of {getattr(part.func, '__name__', part.func)}"
    elif isinstance(part, kind):
        return part
    else:
        got = f"the function {part.__name__}" if hasattr(part, "__name__") else repr(part)
    raise TypeError(f"{name} must be an instance such as {example}, got {got}")


def check_causal(backbone: Any, user: str) -> None:
    """Require that no output of a backbone depends on a later input.

    Raises:
        InputError: the backbone is not causal, or does not declare whether it is.
    """
    causal, name = getattr(backbone, "causal", None), type(backbone).__name__
    if causal is None:
        raise InputError(
            f"{user} needs a causal backbone, and {name} does not declare whether it is one: "
            "set `causal = True` in its class if no output depends on a later input"
        )
    if not causal:
        raise InputError(f"{user} needs a causal backbone, got {name} with causal={causal}")


def widened(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """In single precision or more: outputs of models are, whatever they were computed with."""
    return y.astype(jnp.promote_types(y.dtype, jnp.float32))
