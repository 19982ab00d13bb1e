"""Translation of real sentences: a corpus of pairs, split, tokenised and ready to be read in batches."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqjax.data import corpora
from seqjax.data.batching import Buckets, pad, pairs
from seqjax.data.prose import Spaced
from seqjax.data.text import Characters, MarkedWords, Subwords, Tokenizer, Vocabulary, Words
from seqjax.types import EOS, Seq2SeqBatch

TOKENIZERS = {kind.__name__: kind for kind in (Characters, Spaced, Words, MarkedWords, Subwords)}


@dataclass(frozen=True)
class Language:
    """How sentences of one side become ids and ids sentences; a run folder keeps it, so that weights keep a meaning."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary

    def ids(self, sentence: str) -> list[int]:
        """The ids of a sentence's tokens; UNK where the vocabulary has none."""
        return self.vocabulary.encode(self.tokenizer.split(sentence))

    def batch(self, sentences: Sequence[str], length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of some sentences to be read, EOS behind each.

        Raises:
            ValueError: a sentence has more than `length` tokens, EOS included.
        """
        return pad([[*self.ids(sentence), EOS] for sentence in sentences], length)

    def text(self, ids: Sequence[int] | np.ndarray) -> str:
        """The sentence up to the first EOS."""
        return self.tokenizer.join(self.vocabulary.decode(ids))

    def unknown(self, sentence: str) -> list[str]:
        """The tokens of a sentence that the vocabulary lacks."""
        return self.vocabulary.unknown(self.tokenizer.split(sentence))

    def warning(self, sentence: str) -> str | None:
        """What to tell whoever typed a sentence in which there are unknown words.

        Raises:
            ValueError: the sentence holds no word.
        """
        if not (ids := self.ids(sentence)):
            raise ValueError(f"the sentence must hold a word, got {sentence!r}")
        unknown = self.unknown(sentence)
        return f"read as <unk>: {', '.join(unknown)} ({len(unknown)} of {len(ids)} words)" if unknown else None

    def to_json(self) -> str:
        """Tokenizer and vocabulary as text."""
        kind, fields = type(self.tokenizer).__name__, dataclasses.asdict(self.tokenizer)  # pyright: ignore
        return json.dumps({"tokenizer": {kind: fields}, "vocabulary": json.loads(self.vocabulary.to_json())}, indent=0)

    @classmethod
    def from_json(cls, text: str) -> "Language":
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            kept = json.loads(text)
            ((kind, fields),) = kept["tokenizer"].items()
            tokenizer = TOKENIZERS[kind](**fields)
            symbols = json.dumps(kept["vocabulary"])
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"expected a tokenizer and a vocabulary in JSON, found {text[:60]!r} ({error!r})"
            ) from None
        return cls(tokenizer, Vocabulary.from_json(symbols))


@dataclass(frozen=True, eq=False)
class Translation:
    """Write the sentence of `target` that says what one of `source` says.

        pairs = corpora.tatoeba(path, source_column=2).pairs
        task = Translation.of(corpora.split(pairs, held_out=1000, seed=0), Words(), Words())
        task.batch(task.pairs.test).source      # (rows, longest + 1): ids of Spanish words, EOS, PAD
        task.source.text(ids)                   # and back

    Attributes:
        source, target: the two languages; their vocabularies are counted on the training pairs alone.
        pairs: sentences, as the tokenizers see them.
    """

    source: Language
    target: Language
    pairs: corpora.Split

    @classmethod
    def of(cls, split: corpora.Split, source: Tokenizer, target: Tokenizer, *, least: int = 1) -> "Translation":
        """Count the vocabularies of a corpus that is split already.

        Args:
            least: how often a word must be seen in training to have an id of its own.
        """
        return cls(
            Language(source, Vocabulary.count((source.split(p.source) for p in split.train), least=least)),
            Language(target, Vocabulary.count((target.split(p.target) for p in split.train), least=least)),
            split,
        )

    def batch(self, given: Sequence[corpora.Pair]) -> Seq2SeqBatch:
        """Some pairs as one batch."""
        sources, targets = self._ids(given)
        return pairs(sources, targets, **self._sizes)

    def buckets(self, batch_size: int, count: int) -> Buckets:
        """The training pairs in at most `count` shapes."""
        sources, targets = self._ids(self.pairs.train)
        return Buckets.of(sources, targets, batch_size=batch_size, count=count, **self._sizes)

    @property
    def _sizes(self) -> dict[str, int]:
        return {"source_vocab": len(self.source.vocabulary), "target_vocab": len(self.target.vocabulary)}

    def _ids(self, given: Sequence[corpora.Pair]) -> tuple[list[list[int]], list[list[int]]]:
        return [self.source.ids(p.source) for p in given], [self.target.ids(p.target) for p in given]
