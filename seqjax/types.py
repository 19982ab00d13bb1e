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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class SpecialTokens:
    """The ids with a meaning of their own: by default those of every `data.Vocabulary`.

    Other ones are for models that were trained elsewhere: `SpecialTokens(pad=None, sos=0, eos=1, never=())` fits many
    PyTorch tutorials, whose models can predict every id.

    Attributes:
        pad: fills the places after a sentence; None: no id is reserved for it, and EOS fills them.
        sos: read before the first token of a target.
        eos: the end of a sentence.
        never: ids that a model gives the logit -inf, for they are never predicted; None: `pad` and `sos`.
    """

    pad: int | None = PAD
    sos: int = SOS
    eos: int = EOS
    never: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.sos == self.eos or self.pad in (self.sos, self.eos):
            raise InputError(f"special ids must differ, got pad={self.pad}, sos={self.sos} and eos={self.eos}")
        if self.eos in self.impossible:
            raise InputError(f"never must not hold eos={self.eos}, or no sentence would end, got {self.never}")

    @property
    def impossible(self) -> tuple[int, ...]:
        """The ids that are never predicted."""
        if self.never is not None:
            return self.never
        return (self.sos,) if self.pad is None else (self.pad, self.sos)

    @property
    def filler(self) -> int:
        """The id in the places after a sentence."""
        return self.eos if self.pad is None else self.pad

    def check(self, vocab: int) -> None:
        """Require all of them to be ids of a vocabulary of this size.

        Raises:
            InputError: one is not.
        """
        ids = [("pad", self.filler), ("sos", self.sos), ("eos", self.eos)]
        for name, token in [*ids, *(("never", token) for token in self.impossible)]:
            if not 0 <= token < vocab:
                raise InputError(f"special ids must lie in [0, {vocab}), the vocabulary, got {name}={token}")


SPECIAL = SpecialTokens()
"""Those of every `data.Vocabulary`."""


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
        scored: True where the label counts, in losses and accuracies. None: at all real steps.
    """

    inputs: Any
    labels: Int[Array, "batch *time"]
    mask: Bool[Array, "batch time"] | None = None
    scored: Bool[Array, "batch time"] | None = None


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
