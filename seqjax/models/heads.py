"""Heads over any backbone: one class for a sequence, and real values at each step."""

from typing import ClassVar

from flax import linen as nn
from jaxtyping import Array, Float, Num

from seqjax.models.module import Inputs, Mask, Module, check_causal
from seqjax.models.pooling import Pooling, last
from seqjax.types import Carry


class Classifier(Module):
    """One class for each sequence: its steps pooled into one vector, and a linear readout.

        Classifier(TokenEmbedding(LSTM(64), vocab=1000, embedding=32), classes=2)

    Attributes:
        backbone: any sequence architecture.
        classes: number of classes.
        pooling: `last`, `ends`, `mean`, `maximum`, or a module such as `AttentionPooling()`.
        dropout: fraction of the pooled vector dropped in training.
    """

    _parts: ClassVar = {"backbone": (nn.Module, "LSTM(64)")}

    backbone: nn.Module
    classes: int
    pooling: Pooling = last
    dropout: float = 0.0

    def __post_init__(self):
        if isinstance(self.pooling, type):
            raise TypeError(
                "pooling must be a function such as mean or an instance such as AttentionPooling(), "
                f"got the class {self.pooling.__name__}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Num[Array, "batch time *inputs"], *, mask: Mask = None, train: bool = False
    ) -> Float[Array, "batch classes"]:
        pooled = self.pooling(self.backbone(x, mask=mask, train=train), mask)
        return nn.Dense(self.classes, name="readout")(nn.Dropout(self.dropout)(pooled, deterministic=not train))


class Regressor(Module):
    """Real-valued targets at each step: a linear readout of a backbone.

    Attributes:
        backbone: any sequence architecture; with a causal one the regressor has `start` and `extend` too.
        targets: number of values predicted at each step.
    """

    _parts: ClassVar = {"backbone": (nn.Module, "LSTM(64)")}

    backbone: nn.Module
    targets: int = 1

    @property
    def causal(self) -> bool | None:
        """Whether the backbone is."""
        return getattr(self.backbone, "causal", None)

    def setup(self):
        self.readout = nn.Dense(self.targets)

    def start(self, batch: int, inputs: int, length: int) -> Carry:
        """The backbone's empty carry.

        Raises:
            InputError: the backbone is not causal.
        """
        check_causal(self.backbone, "Regressor.start")
        return self.backbone.start(batch, inputs, length)

    def extend(
        self, carry: Carry, x: Inputs, *, mask: Mask = None, train: bool = False
    ) -> tuple[Carry, Float[Array, "batch time targets"]]:
        """Predict for further steps."""
        carry, y = self.backbone.extend(carry, x, mask=mask, train=train)
        return carry, self.readout(y)

    def __call__(self, x: Inputs, *, mask: Mask = None, train: bool = False) -> Float[Array, "batch time targets"]:
        return self.readout(self.backbone(x, mask=mask, train=train))
