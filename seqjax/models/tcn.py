"""The dilated temporal convolutional network."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from seqjax.models.backbone import Causal
from seqjax.models.causal_conv import CausalConv, Taps
from seqjax.models.module import Module, widened, zero_padding
from seqjax.types import InputError


class TCN(Causal):
    """Temporal convolutional network (Bai, Kolter & Koltun 2018, arXiv:1803.01271, fig. 1).

    One residual block per dilation: two causal convolutions, each followed by relu and dropout, and a shortcut (a 1x1
    projection where the widths differ), relu over their sum.

    Attributes:
        features: channels of every block and of the output.
        kernel_size: taps per convolution.
        dilations: one block per entry; doubling makes the receptive field exponential in their number.
        dropout: fraction of activations dropped in training.
        weight_norm: whether kernels are weight-normalised, as in the paper; see `CausalConv`.
        dtype: of the computation, as in `Transformer`.
    """

    features: int
    kernel_size: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    dropout: float = 0.0
    weight_norm: bool = False
    dtype: DTypeLike | None = None

    def __post_init__(self):
        if not self.dilations or not all(isinstance(d, int) and d >= 1 for d in self.dilations):
            raise InputError(f"dilations must be one or more integers >= 1, got {self.dilations}")
        super().__post_init__()

    @property
    def receptive_field(self) -> int:
        """Number of steps that reach one output: 1 + 2 (kernel_size - 1) sum(dilations)."""
        return 1 + 2 * (self.kernel_size - 1) * sum(self.dilations)

    def _conv(self, dilation: int) -> CausalConv:
        return CausalConv(self.features, self.kernel_size, dilation, dtype=self.dtype, parent=None)

    def start(self, batch: int, inputs: int, length: int) -> tuple[tuple[Taps, Taps], ...]:
        """Empty buffers, two a block; their size does not depend on `length`."""
        widths = (inputs, *(self.features for _ in self.dilations[1:]))
        return tuple(
            (self._conv(d).empty(batch, width), self._conv(d).empty(batch, self.features))
            for d, width in zip(self.dilations, widths, strict=True)
        )

    def _call(self, x: Array, mask: Array | None, train: bool) -> Array:
        return self._extend(((None, None),) * len(self.dilations), x, mask, train)[1]

    @nn.compact
    def _extend(
        self, carry: tuple[tuple[Taps | None, Taps | None], ...], x: Array, mask: Array | None, train: bool
    ) -> tuple[tuple, Array]:
        read, x = [], x.transpose(2, 1, 0)  # as `CausalConv` has it
        for dilation, (first, second) in zip(self.dilations, carry, strict=True):
            block = Block(self.features, self.kernel_size, dilation, self.dropout, self.weight_norm, self.dtype)
            buffers, x = block((first, second), x, mask=mask, train=train)
            read.append(buffers)
        return tuple(read), zero_padding(widened(x.transpose(2, 1, 0)), mask)


class Block(Module):
    """Two causal convolutions and a shortcut, of a sequence with its axes reversed."""

    features: int
    kernel_size: int
    dilation: int
    dropout: float
    weight_norm: bool
    dtype: DTypeLike | None

    @nn.compact
    def __call__(
        self, buffers: tuple[Taps | None, Taps | None], x: Array, *, mask: Array | None, train: bool
    ) -> tuple[tuple[Taps, Taps], Array]:
        y, read = x, []
        for taps in buffers:
            conv = CausalConv(self.features, self.kernel_size, self.dilation, self.weight_norm, dtype=self.dtype)
            taps, y = conv.convolve(taps, y, mask=mask)
            y = nn.Dropout(self.dropout)(jax.nn.relu(y), deterministic=not train)
            read.append(taps)
        if len(x) != self.features:
            x = Projection(self.features, self.dtype, name="shortcut")(x)
        return (read[0], read[1]), jax.nn.relu(x + y)


class Projection(Module):
    """`nn.Dense` for each step of a sequence with its axes reversed."""

    features: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Float[Array, "inputs time batch"]) -> Float[Array, "features time batch"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (len(x), self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return jnp.einsum("io,itb->otb", kernel, x) + bias[:, None, None]
