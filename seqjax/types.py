"""The axis legend, the batches of tasks and data sets, and the function types of training and decoding.

Axes, written in full in every annotation:

    batch     independent examples            features  width of a representation
    time      steps of one sequence           targets   width of what is predicted
    inputs    width of what is observed       heads, head_dim   attention
    rows      examples of a whole data set    runs      models trained side by side by `sweep.sweep`
    source    steps of an input sequence      target    steps of an output sequence
    vocab     size of the vocabulary

`mask` is Bool[batch time]: True where a step is real, always a prefix (right padding); None means that every step is.
Tokens are integers below `vocab`, of which every vocabulary reserves the first four: PAD, SOS, EOS and UNK.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float, Int, Key, Scalar

Params = Any
"""A pytree of arrays: what `module.init` returns and optax updates."""

Carry = Any
"""A pytree of arrays: the memory of a causal model between two calls of `extend`."""

Metrics = dict[str, Array]
"""Scalars by name; in a sweep each has the leading axis `runs`."""

PAD, SOS, EOS, UNK = range(4)
"""Padding, start of sequence, end of sequence, and unknown symbol."""


class InputError(ValueError):
    """A value, a file or a configuration that seqjax refuses; the message names the rule and the value."""


class Batch(NamedTuple):
    """Sequences with what is to be predicted at each step.

    Attributes:
        mask: True where a step is real; an input of the model. None: all steps are real.
        weight: of each step in the loss: 0 in a washout or in padding. None: 1 everywhere.
    """

    inputs: Float[Array, "batch time inputs"]
    targets: Float[Array, "batch time targets"]
    mask: Bool[Array, "batch time"] | None = None
    weight: Float[Array, "batch time"] | None = None


class Labelled(NamedTuple):
    """Inputs with class labels: one for each row, or one for each step.

    Attributes:
        inputs: a pytree of arrays with the leading axis `batch`: images, tokens, words and their spelling.
        labels: below the number of classes; arbitrary in padding.
        mask: True where a step is real. None: all steps are real, or there is no time axis.
    """

    inputs: Any
    labels: Int[Array, "batch *time"]
    mask: Bool[Array, "batch time"] | None = None


class Seq2SeqBatch(NamedTuple):
    """Pairs of token sequences: the model reads the source and predicts the target.

    Attributes:
        source: followed by PAD.
        target: ends in EOS, which is unmasked; padded with PAD; does not include SOS.
    """

    source: Int[Array, "batch source"]
    target: Int[Array, "batch target"]
    source_mask: Bool[Array, "batch source"]
    target_mask: Bool[Array, "batch target"]


@runtime_checkable
class Batches(Protocol):
    """Training batches that depend on the step, such as those of `data.Epochs`.

    A pytree (`jax.tree_util.register_dataclass`), so that its arrays are arguments of compiled calls.
    """

    def batch(self, key: Key[Array, ""], step: Int[Array, ""]) -> Any:
        """The batch of a step; the same bits for the same key and step."""
        ...


@runtime_checkable
class Bucketed(Protocol):
    """Training batches of a few shapes, such as those of `data.Buckets`; a pytree, as `Batches`."""

    def choose(self, key: Key[Array, ""], step: Int[Array, ""], /) -> Int[Array, ""]:
        """Which of the samples makes the batch of a step."""
        ...

    @property
    def samples(self) -> tuple[Callable[[Key[Array, ""], Int[Array, ""]], Any], ...]:
        """For each shape, `(key, step) -> batch`."""
        ...


LossFn = Callable[[Params, Any, Key[Array, ""]], Scalar | tuple[Scalar, Metrics]]
"""`(params, batch, key) -> scalar`, or `(scalar, metrics)`: where a task meets a model; the batch is any pytree."""

StepFn = Callable[[Carry, Int[Array, " batch"]], tuple[Carry, Float[Array, "batch vocab"]]]
"""`(carry, token) -> (carry, logits of the next token)`: all that decoding knows of a model.

Each array of the carry has the leading axis `batch`, or is a scalar that all rows share."""
