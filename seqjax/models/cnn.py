"""The convolutional network for images, and a classifier on top of it."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from seqjax.models.module import Module, check_part
from seqjax.types import InputError


class CNN(Module):
    """Convolution, relu and 2x2 max pooling, repeated: an image as a grid of features.

    Convolutions, padded with zeros, keep the size; pooling halves it, and drops an odd last row or column.

    Attributes:
        channels: of each convolution; the last are the features of the grid. Empty: the image itself, so that a
            linear readout of it is multinomial logistic regression.
        kernel_size: height and width of the kernels.
        norm: a module without state between convolution and relu, such as `nn.GroupNorm(num_groups=4)` (Wu & He 2018,
            arXiv:1803.08494) or `nn.LayerNorm()`, of which each convolution has a copy; None: none.
        dropout: fraction of activations dropped after each pooling in training.
        pool: whether there is pooling.
    """

    channels: tuple[int, ...] = (16, 32)
    kernel_size: int = 3
    norm: nn.Module | None = None
    dropout: float = 0.0
    pool: bool = True

    def __post_init__(self):
        if not all(isinstance(c, int) and c >= 1 for c in self.channels):
            raise InputError(f"channels must be integers >= 1, got {self.channels}")
        if self.norm is not None:
            check_part("norm", self.norm, nn.Module, "nn.LayerNorm()")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch rows columns features"]:
        """The grid of features.

        Raises:
            InputError: the image is smaller than one place of the grid.
        """
        height, width = x.shape[1:3]
        least = 2 ** len(self.channels) if self.pool else 1
        if min(height, width) < least:
            raise InputError(f"images must be at least {least} pixels high and wide, got {height} x {width}")
        # The batch axis last: shifted slices and their maxima are then copied in long runs.
        x = x.transpose(3, 1, 2, 0)
        for number, features in enumerate(self.channels):
            x = Conv(features, self.kernel_size)(x)
            if self.norm is not None:
                norm = self.norm.clone(parent=self, name=f"{type(self.norm).__name__}_{number}")
                x = norm(x.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0)
            x = jax.nn.relu(x)
            x = nn.Dropout(self.dropout)(max_pool(x) if self.pool else x, deterministic=not train)
        return x.transpose(3, 1, 2, 0)


class ImageClassifier(Module):
    """One class for each image: a linear readout of the whole grid."""

    backbone: CNN
    classes: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        grid = self.backbone(x, train=train)
        return nn.Dense(self.classes, name="readout")(grid.reshape(grid.shape[0], -1))


class Conv(Module):
    """Convolution of images with the batch axis last, padded with zeros: `nn.Conv` in another layout.

    The shifted images are concatenated and multiplied once. On CPU, XLA's own convolution is 30 times slower inside a
    loop such as training, and 5 to 10 times under `vmap` over models.
    """

    features: int
    kernel_size: int

    @nn.compact
    def __call__(self, x: Float[Array, "channels height width batch"]) -> Float[Array, "features height width batch"]:
        channels, height, width, batch = x.shape
        size = self.kernel_size
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, size, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        around = ((size - 1) // 2, size // 2)
        x = jnp.pad(x, ((0, 0), around, around, (0, 0)))
        shifted = [x[:, row : row + height, column : column + width] for row in range(size) for column in range(size)]
        window = jnp.concatenate(shifted).reshape(-1, height * width * batch)
        y = kernel.reshape(-1, self.features).T @ window + bias[:, None]
        return y.reshape(-1, height, width, batch)


def max_pool(x: Float[Array, "channels height width batch"]) -> Float[Array, "channels rows columns batch"]:
    """The largest of each block of 2x2 pixels; an odd last row or column is dropped.

    Maxima of slices: the gradient of a windowed reduction, as in `nn.max_pool`, would take half of a training step on
    a CPU. Pixels that are equal share the gradient.
    """
    channels, height, width, batch = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(channels, height // 2, 2, width // 2, 2, batch)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])
