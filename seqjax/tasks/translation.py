"""Translation of real sentences: a corpus of pairs, split, tokenised and ready to be read in batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from seqjax.data import corpora
from seqjax.data.batching import Buckets, Rows, pairs
from seqjax.data.language import Language
from seqjax.data.tokenizers import Tokenizer
from seqjax.types import Seq2SeqBatch


@dataclass(frozen=True, eq=False)
class Translation:
    """Translate sentences of `source` into `target`.

        pairs = corpora.tatoeba(path, source_column=2).pairs
        task = Translation.of(corpora.split(pairs, held_out=1000, seed=0), Words(), Words())
        task.encode(task.pairs.test).source      # (rows, longest + 1): ids of Spanish words, EOS, PAD
        task.source.text(ids)                   # and back

    Attributes:
        source, target: the two languages; their vocabularies are counted on the training pairs alone.
        pairs: sentences, as the tokenizers see them.
        known: pairs that are tokenised already, with their source ids and target ids; None: none.
    """

    source: Language
    target: Language
    pairs: corpora.Split
    known: tuple[Sequence[corpora.Pair], Rows, Rows] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, split: corpora.Split, source: Tokenizer, target: Tokenizer, *, least: int = 1) -> "Translation":
        """Count the vocabularies of a corpus that is split already.

        Args:
            least: smallest count in training of a word with an id of its own.
        """
        source_language, source_ids = Language.of(source, (pair.source for pair in split.train), least=least)
        target_language, target_ids = Language.of(target, (pair.target for pair in split.train), least=least)
        return cls(source_language, target_language, split, (split.train, source_ids, target_ids))

    def encode(self, given: Sequence[corpora.Pair]) -> Seq2SeqBatch:
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

    def _ids(self, given: Sequence[corpora.Pair]) -> tuple[Rows, Rows]:
        if self.known and given is self.known[0]:
            return self.known[1:]
        return self.source.rows(p.source for p in given), self.target.rows(p.target for p in given)
