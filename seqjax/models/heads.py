"""What stands on top of a backbone."""

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from seqjax.types import Carry


class Regressor(nn.Module):
    """A linear readout at each step: real-valued targets, one set a step.

    Attributes:
        backbone: any sequence architecture; a causal one makes the regressor stream too.
        targets: width of what is predicted.
    """

    backbone: nn.Module
    targets: int = 1

    def setup(self):
        self.readout = nn.Dense(self.targets)

    def start(self, batch: int, inputs: int, length: int) -> Carry:
        """The backbone's empty memory."""
        return self.backbone.start(batch, inputs, length)

    def extend(
        self,
        carry: Carry,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[Carry, Float[Array, "batch time targets"]]:
        """Predict for further steps."""
        carry, y = self.backbone.extend(carry, x, mask=mask, train=train)
        return carry, self.readout(y)

    def __call__(
        self,
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch time targets"]:
        return self.readout(self.backbone(x, mask=mask, train=train))
