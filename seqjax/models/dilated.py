"""The dilated linear network of the approximation theory: nothing but convolutions."""

from flax import linen as nn
from jaxtyping import Array, Bool, Float

from seqjax.models.layers import Causal, CausalConv, Taps, zero_padding


class LinearDilatedCNN(Causal):
    """Causal convolutions of dilation base^k, k < layers, and all channels mixed: no bias, no shortcut, no nonlinearity
    (Jiang, Li & Li 2021, arXiv:2107.09355).

    Its filter has base^layers lags, and as a base x ... x base tensor the ranks of a tensor train of that many
    `channels`, so that `theory.bounds.tensor_train` is its floor; `theory.fits.tensor_train` gives weights near it.

    Attributes:
        channels: between the layers.
        layers: convolutions.
        base: taps of each one, and by what the dilation grows.
        features: width of the output.
    """

    channels: int
    layers: int
    base: int = 2
    features: int = 1

    def __post_init__(self):
        for name, least in (("channels", 1), ("layers", 1), ("base", 2), ("features", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        super().__post_init__()

    @property
    def receptive_field(self) -> int:
        """Time steps that reach one output: base^layers."""
        return self.base**self.layers

    def start(self, batch: int, inputs: int, length: int) -> tuple[Taps, ...]:
        """Empty buffers, one a layer; their size does not depend on `length`."""
        widths = (inputs, *(self.channels for _ in range(self.layers - 1)))
        convs = (CausalConv(1, self.base, self.base**layer, parent=None) for layer in range(self.layers))
        return tuple(conv.start(batch, width) for conv, width in zip(convs, widths, strict=True))

    @nn.compact
    def extend(
        self,
        carry: tuple[Taps, ...],
        x: Float[Array, "batch time inputs"],
        *,
        mask: Bool[Array, "batch time"] | None = None,
        train: bool = False,
    ) -> tuple[tuple[Taps, ...], Float[Array, "batch time features"]]:
        """Read further steps; `base` products a layer for a single one."""
        # Padding may hold anything, and a NaN that no output shows would still reach the kernels' gradients.
        left, x = [], zero_padding(x, mask)
        for layer, taps in enumerate(carry):
            features = self.channels if layer < self.layers - 1 else self.features
            conv = CausalConv(features, self.base, self.base**layer, use_bias=False, name=f"layer_{layer}")
            taps, x = conv.extend(taps, x, mask=mask)
            left.append(taps)
        return tuple(left), zero_padding(x, mask)
