"""Captioning: sentences about images, or about features of them, from a collection held in memory."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Num, UInt8

from seqjax.data.batching import Epochs, pad
from seqjax.data.language import Language
from seqjax.data.tokenizers import Tokenizer, Whitespace
from seqjax.data.vocabulary import Vocabulary
from seqjax.tasks import worlds
from seqjax.tasks.scenes import Captioned
from seqjax.types import EOS, PAD, InputError

LENGTH = 16
"""Tokens of the longest caption of a world: "a red square is to the left of a blue square ." and its EOS, and three to
spare."""

Change = Callable[[Key[Array, ""], Captioned], Captioned]
"""A random change of a batch."""


@dataclass(frozen=True, eq=False)
class Captioning:
    """Images, or the features that another network made of them, each with captions.

        photographs = data.read_flickr8k(captions, features, names)
        task = Captioning.count(photographs.features, photographs.captions, data.Words(), least=5)
        task.batches(64).batch(key, step).target        # (64, longest): words, EOS, PAD
        held_out = Captioning.of(others.features, others.captions, task.language)

    A row is one caption with its image.

    Attributes:
        images: bytes are pixels, and become numbers from 0 to 1; all others are features, and stay what they are.
        image: index of each row's image in `images`.
        target: the ids of its caption's words, followed by EOS.
        language: tokenizer and vocabulary of the captions.
        references: the captions of each image, as the tokenizer sees them: what BLEU compares with.
    """

    images: Num[np.ndarray, "images *shape"]
    image: Int[np.ndarray, " rows"]
    target: Int[np.ndarray, "rows target"]
    language: Language
    references: list[list[str]]

    @classmethod
    def count(
        cls,
        images: Num[np.ndarray, "images *shape"],
        captions: Sequence[Sequence[str]],
        tokenizer: Tokenizer,
        *,
        least: int = 1,
    ) -> "Captioning":
        """Training rows, on which the vocabulary is counted; see `of`.

        Args:
            least: smallest count of a word with an id of its own.
        """
        words = (tokenizer.split(caption) for given in captions for caption in given)
        return cls.of(images, captions, Language(tokenizer, Vocabulary.count(words, least=least)))

    @classmethod
    def of(
        cls,
        images: Num[np.ndarray, "images *shape"],
        captions: Sequence[Sequence[str]],
        language: Language,
        *,
        length: int | None = None,
    ) -> "Captioning":
        """Any sentences, any number for each image; those of held-out images in the language of the training rows.

        Args:
            length: tokens of a target, EOS included; None: as the longest caption needs.

        Raises:
            InputError: not as many lists of captions as images, no caption at all, or one without a word.
        """
        if len(captions) != len(images):
            raise InputError(f"captions must be given for each of {len(images)} images, got {len(captions)}")
        rows = [(number, caption) for number, given in enumerate(captions) for caption in given]
        if not rows:
            raise InputError("captions must hold at least one, got none")
        ids = [language.ids(caption) for _, caption in rows]
        if not all(ids):
            number, caption = rows[[*map(bool, ids)].index(False)]
            raise InputError(f"captions must hold a word, got {caption!r} of image {number}")
        target, _ = pad([[*row, EOS] for row in ids], length)
        tokenizer = language.tokenizer
        references = [[tokenizer.join(tokenizer.split(caption)) for caption in given] for given in captions]
        return cls(images, np.array([number for number, _ in rows]), target, language, references)

    @classmethod
    def of_worlds(
        cls, images: UInt8[np.ndarray, "images height width channels"], captions: Sequence[Sequence[str]]
    ) -> "Captioning":
        """Images of coloured shapes, with captions of the kinds that `worlds.parse` knows: `change_world` changes both.

        Raises:
            InputError: as `of`, or a caption of another kind.
        """
        for caption in (caption for given in captions for caption in given):
            if worlds.parse(caption) is None:
                raise InputError(f"captions must be of the kinds that are known, got {caption!r}")
        return cls.of(images, captions, Language(Whitespace(), worlds.WORDS), length=LENGTH)

    def batches(self, batch_size: int, change: Change | None = None) -> "CaptionBatches":
        """Batches for training: every row once in an epoch, each changed at random if there is a change."""
        return CaptionBatches(self.images, Epochs((self.image, self.target), batch_size), change)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class CaptionBatches:
    """Batches of captions with their images; see `Captioning.batches`."""

    images: Num[Array | np.ndarray, "images *shape"]
    epochs: Epochs
    change: Change | None = field(default=None, metadata={"static": True})

    def batch(self, key: Key[Array, ""], step: Int[Array, ""] | int) -> Captioned:
        """The rows of batch `step`."""
        order_key, change_key = jax.random.split(key)
        image, target = self.epochs.batch(order_key, step)
        images = jnp.asarray(self.images)[image]
        images = images / 255.0 if images.dtype == jnp.uint8 else images.astype(jnp.float32)
        batch = Captioned(images, target, target != PAD)
        return batch if self.change is None else self.change(jax.random.fold_in(change_key, step), batch)


def change_world(key: Key[Array, ""], batch: Captioned) -> Captioned:
    """Change images of worlds at random in ways that keep their captions true, and the captions with them.

    An image is flipped up and down, left and right, and its channels are permuted, 24 variants in all; the words for
    sides and colours change with it. Gray stays, and so do all shapes.
    """
    images, target, mask = batch
    change = jax.random.randint(key, (len(images),), 0, len(CHANGES))
    upside_down, mirrored, order = (jnp.array(part)[change] for part in zip(*CHANGES, strict=True))
    images = jnp.where(upside_down[:, None, None, None], images[:, ::-1], images)
    images = jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    images = jnp.take_along_axis(images, order[:, None, None, :], axis=3)
    return Captioned(images, jnp.array(WORDS_AFTER)[change[:, None], target], mask)


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
