"""The dilated linear network of approximation theory: convolutions without bias or nonlinearity."""

from typing import ClassVar

from flax import linen as nn
from jaxtyping import Array

from seqjax.models.backbone import Causal
from seqjax.models.causal_conv import CausalConv, Taps
from seqjax.models.module import zero_padding


class LinearDilatedCNN(Causal):
    """Causal convolutions of dilation base^k, k < layers, without bias, shortcut or nonlinearity.

    Jiang, Li & Li 2021, arXiv:2107.09355, but each convolution mixes all channels.

    Its filter has base^layers lags; as a base x ... x base tensor it has tensor-train ranks of at most `channels`, so
    that `theory.bounds.tensor_train` is a lower bound on its error; `theory.fits.tensor_train` gives weights near it.

    Attributes:
        channels: between the layers.
        layers: convolutions.
        base: taps of each convolution, and the factor by which the dilation grows.
        features: width of the output.
    """

    channels: int
    layers: int
    base: int = 2
    features: int = 1
    _least: ClassVar = {"base": 2}

    @property
    def receptive_field(self) -> int:
        """Number of steps that reach one output: base^layers."""
        return self.base**self.layers

    def start(self, batch: int, inputs: int, length: int) -> tuple[Taps, ...]:
        """Empty buffers, one a layer; their size does not depend on `length`."""
        widths = (inputs, *(self.channels for _ in range(self.layers - 1)))
        convs = (CausalConv(1, self.base, self.base**layer, parent=None) for layer in range(self.layers))
        return tuple(conv.empty(batch, width) for conv, width in zip(convs, widths, strict=True))

    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        return self._extend((None,) * self.layers, x, mask, train)[1]

    @nn.compact
    def _extend(self, carry: tuple[Taps | None, ...], x: Array, mask: Array | None, train: bool) -> tuple[tuple, Array]:
        read, x = [], x.transpose(2, 1, 0)  # as `CausalConv` has it
        for layer, taps in enumerate(carry):
            features = self.channels if layer < self.layers - 1 else self.features
            conv = CausalConv(features, self.base, self.base**layer, use_bias=False, name=f"layer_{layer}")
            taps, x = conv.convolve(taps, x, mask=mask)
            read.append(taps)
        return tuple(read), zero_padding(x.transpose(2, 1, 0), mask)
