"""Captioning: true statements about images of coloured shapes, from a collection held in memory."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from seqjax.data.batching import Epochs, pad
from seqjax.tasks import worlds
from seqjax.tasks.scenes import Captioned
from seqjax.types import EOS, PAD, InputError

LENGTH = 16
"""Tokens of the longest caption: "a red square is to the left of a blue square ." and its EOS, and three to spare."""


@dataclass(frozen=True, eq=False)
class Captioning:
    """Images, each with captions that are true of it.

        task = Captioning.of(images, [["there is a red square .", "a square is red ."], …])
        task.batches(32).batch(key, step).target        # (32, 16): words, EOS, PAD

    A row is one caption with its image. In training it is changed at random in ways that keep the caption true: the
    image is flipped up and down, left and right, and its channels are permuted, 24 variants in all; the words for sides
    and colours change with it. Gray stays, and so do all shapes.

    Attributes:
        images: from 0 to 255.
        image: the number of each row's image.
        target: the ids of its caption's words, followed by EOS.
    """

    images: UInt8[np.ndarray, "images height width channels"]
    image: Int[np.ndarray, " rows"]
    target: Int[np.ndarray, "rows target"]

    @classmethod
    def of(
        cls, images: UInt8[np.ndarray, "images height width channels"], captions: Sequence[Sequence[str]]
    ) -> "Captioning":
        """Captions of the kinds that `worlds.parse` knows, any number for each image.

        Raises:
            InputError: not as many lists of captions as images, no caption at all, or one of another kind.
        """
        if len(captions) != len(images):
            raise InputError(f"captions must be given for each of {len(images)} images, got {len(captions)}")
        rows = [(number, caption) for number, given in enumerate(captions) for caption in given]
        if not rows:
            raise InputError("captions must hold at least one, got none")
        for _, caption in rows:
            if worlds.parse(caption) is None:
                raise InputError(f"captions must be of the kinds that are known, got {caption!r}")
        target, _ = pad([[*worlds.WORDS.encode(caption.split()), EOS] for _, caption in rows], LENGTH)
        return cls(images, np.array([number for number, _ in rows]), target)

    def batches(self, batch_size: int) -> "AugmentedCaptions":
        """Batches for training: every row once in an epoch, each changed at random."""
        return AugmentedCaptions(self.images, Epochs((self.image, self.target), batch_size))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class AugmentedCaptions:
    """Batches of captions with their images, changed at random; see `Captioning.batches`."""

    images: UInt8[Array | np.ndarray, "images height width channels"]
    epochs: Epochs

    def batch(self, key: Key[Array, ""], step: Int[Array, ""] | int) -> Captioned:
        """The rows of batch `step`."""
        order_key, change_key = jax.random.split(key)
        image, target = self.epochs.batch(order_key, step)
        images = jnp.asarray(self.images)[image] / 255.0
        change = jax.random.randint(jax.random.fold_in(change_key, step), image.shape, 0, len(CHANGES))
        upside_down, mirrored, order = (jnp.array(part)[change] for part in zip(*CHANGES, strict=True))
        images = jnp.where(upside_down[:, None, None, None], images[:, ::-1], images)
        images = jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        images = jnp.take_along_axis(images, order[:, None, None, :], axis=3)
        target = jnp.array(WORDS_AFTER)[change[:, None], target]
        return Captioned(images, target, target != PAD)


CHANGES = tuple(itertools.product((False, True), (False, True), itertools.permutations(range(3))))
"""Upside down or not, left and right exchanged or not, and where each channel is taken from."""


def _after(upside_down: bool, mirrored: bool, order: tuple[int, ...]) -> list[int]:
    """What each word becomes."""
    instead: dict[str, str] = {}
    if upside_down:
        instead |= {"above": "below", "below": "above"}
    if mirrored:
        instead |= {"left": "right", "right": "left"}
    for colour, channels in zip(worlds.COLOURS, worlds.CHANNELS, strict=True):
        instead[colour] = worlds.COLOURS[worlds.CHANNELS.index(tuple(channels[source] for source in order))]  # pyright: ignore
    reserved = worlds.WORDS.symbols[:4]
    return [*range(len(reserved)), *worlds.WORDS.encode([instead.get(word, word) for word in worlds.WORDS.symbols[4:]])]


WORDS_AFTER = np.array([_after(*change) for change in CHANGES], np.int32)
"""For each change, the id that takes the place of each id."""
