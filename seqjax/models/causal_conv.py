"""Causal convolutions, over whole sequences and step by step: dilated ones, and short ones of single channels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from seqjax.models.module import Features, Mask, Module


class Taps(NamedTuple):
    """The last inputs of a causal convolution: a ring, so that one more step costs no copy.

    Attributes:
        values: the last `reach` inputs of each row.
        oldest: index in the ring of each row's oldest input.
    """

    values: Float[Array, "batch reach inputs"]
    oldest: Int[Array, " batch"]


class CausalConv(Module):
    """Dilated causal convolution, y[t] = bias + sum_j kernel[j] x[t - j dilation], zeros before the start.

    The shifted inputs are laid side by side and multiplied once: unlike `nn.Conv` that stays one (batched) matrix
    product under `vmap` over models, where XLA's grouped convolutions are 5 to 10 times slower on CPU. Sequences have
    their axes reversed, `(inputs, time, batch)`: shifts then move long runs of memory, and the product needs no
    transposed copy.

    Attributes:
        features: channels out.
        kernel_size: taps.
        dilation: steps between taps.
        weight_norm: learn direction and length of each output channel's kernel separately, w = g v / |v|
            (Salimans & Kingma 2016, arXiv:1602.07868); g starts as |v|, so that w starts as v.
        use_bias: whether to add a bias.
        dtype: of the computation and of the stored inputs; None: that of inputs and parameters.
    """

    features: int
    kernel_size: int
    dilation: int = 1
    weight_norm: bool = False
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @property
    def reach(self) -> int:
        """Number of steps before the current one that reach an output."""
        return (self.kernel_size - 1) * self.dilation

    def empty(self, batch: int, inputs: int) -> Taps:
        """The past of a sequence that begins: zeros."""
        return Taps(jnp.zeros((batch, self.reach, inputs), self.dtype), jnp.zeros((batch,), jnp.int32))

    @nn.compact
    def convolve(
        self, taps: Taps | None, x: Float[Array, "inputs time batch"], *, mask: Mask = None
    ) -> tuple[Taps, Float[Array, "features time batch"]]:
        """Convolve further steps: `kernel_size` products for a single one, whatever the dilation.

        Args:
            taps: the steps before; None: there are none, which is faster than zeros.
        """
        x, kernel = promote_dtype(x, self._kernel(x.shape[0]), dtype=self.dtype)
        if taps is None or x.shape[1] > 1:
            taps, window = self._chunk(taps, x, mask)
        else:
            taps, window = self._step(taps, x, mask)
        taken, time, batch = window.shape
        y = (kernel.reshape(taken, -1).T @ window.reshape(taken, -1)).reshape(-1, time, batch)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y += bias.astype(y.dtype)[:, None, None]
        return taps, y

    def _kernel(self, inputs: int) -> Float[Array, "kernel_size inputs features"]:
        # Tap j multiplies x[t - j dilation].
        direction = self.param(
            "kernel", nn.initializers.lecun_normal(in_axis=(0, 1)), (self.kernel_size, inputs, self.features)
        )
        if not self.weight_norm:
            return direction
        length = jnp.sqrt(jnp.sum(direction**2, axis=(0, 1)))
        gain = self.param("gain", lambda _, value: value, jax.lax.stop_gradient(length))
        return direction * (gain / jnp.maximum(length, 1e-12)).reshape(1, 1, -1)

    def _chunk(self, taps: Taps | None, x: Array, mask: Array | None) -> tuple[Taps, Array]:
        _, time, batch = x.shape
        ring, line = jnp.arange(self.reach)[None, :], x
        if taps is None:
            line = jnp.pad(x, ((0, 0), (self.reach, 0), (0, 0)))
        elif self.reach:
            past = taps.values[jnp.arange(batch)[:, None], (taps.oldest[:, None] + ring) % self.reach]
            line = jnp.concatenate([past.transpose(2, 1, 0), x], axis=1)
        delays = [self.reach - tap * self.dilation for tap in range(self.kernel_size)]
        window = jnp.concatenate([line[:, start : start + time] for start in delays])
        if mask is None:
            kept = line[:, time:]
        else:
            kept = jnp.take_along_axis(line, (mask.sum(axis=1)[:, None] + ring).T[None], axis=1)
        return Taps(kept.transpose(2, 1, 0), jnp.zeros((batch,), jnp.int32)), window

    def _step(self, taps: Taps, x: Array, mask: Array | None) -> tuple[Taps, Array]:
        newest = x[:, 0].T
        rows = jnp.arange(len(newest))
        seen = [newest]
        for tap in range(1, self.kernel_size):
            seen.append(taps.values[rows, (taps.oldest - tap * self.dilation) % self.reach])
        window = jnp.concatenate(seen, axis=-1).T[:, None]
        if not self.reach:
            return taps, window
        if mask is not None:
            newest = jnp.where(mask, newest, taps.values[rows, taps.oldest])
        moved = 1 if mask is None else mask[:, 0].astype(jnp.int32)
        return Taps(taps.values.at[rows, taps.oldest].set(newest), (taps.oldest + moved) % self.reach), window


class DepthwiseConv(Module):
    """Causal convolution of each channel by itself, y[t] = bias + sum_j kernel[j] x[t - j], zeros before the start.

    Attributes:
        kernel_size: taps, few of them: the past is a copy of the last inputs, not a ring.
        dtype: of the computation and of the stored inputs; None: that of inputs and parameters.
    """

    kernel_size: int
    dtype: DTypeLike | None = None

    def empty(self, batch: int, features: int) -> Float[Array, "batch reach features"]:
        """The past of a sequence that begins: zeros."""
        return jnp.zeros((batch, self.kernel_size - 1, features), self.dtype)

    @nn.compact
    def __call__(
        self, past: Float[Array, "batch reach features"], x: Features, mask: Mask
    ) -> tuple[Float[Array, "batch reach features"], Features]:
        """Convolve further steps: the last `kernel_size - 1` real inputs, and the outputs."""
        time, features = x.shape[1:]
        kernel = self.param("kernel", nn.initializers.lecun_normal(in_axis=0), (self.kernel_size, features))
        bias = self.param("bias", nn.initializers.zeros_init(), (features,))
        new, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        reach = self.kernel_size - 1
        line = jnp.concatenate([past.astype(new.dtype), new], axis=1)
        y = bias[None, None]
        for tap in range(self.kernel_size):
            y += kernel[tap][None, None] * line[:, reach - tap : reach - tap + time]
        if mask is None:
            kept = line[:, time:]
        else:
            last = mask.sum(axis=1)[:, None] + jnp.arange(reach)[None, :]
            kept = jnp.take_along_axis(line, last[..., None], axis=1)
        return kept.astype(past.dtype), y
