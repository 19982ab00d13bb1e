"""Creature: a made-up language, to be translated into English (after the story of the tutorial `attention`)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from seqjax._checks import integers
from seqjax.data.batching import close_up
from seqjax.data.vocabulary import Vocabulary
from seqjax.tasks import creature_words as words
from seqjax.types import EOS, PAD, Seq2SeqBatch

SOURCE_LENGTH, TARGET_LENGTH = 37, 19
"""Tokens of the longest sentences, EOS included."""


Choice = Any
"""One choice of the grammar, Int[Array, "batch"]; in `CHOICES`, how many values it has."""


class _Phrase(NamedTuple):
    """A determiner, two adjectives (0: none) and a noun, in the order of English."""

    determiner: Choice
    outer: Choice
    inner: Choice
    noun: Choice
    plural: Choice


class _Clause(NamedTuple):
    verb: Choice
    tense: Choice
    subject: _Phrase
    object: _Phrase


class _Sentence(NamedTuple):
    """What is said, in neither language."""

    negated: Choice
    adverb: Choice
    adjectives: Choice
    link: Choice
    first: _Clause
    second: _Clause


NOMINAL = _Phrase(determiner=len(words.DETERMINERS), outer=1, inner=1, noun=len(words.NOUNS), plural=2)
CHOICES = _Sentence(
    negated=4,
    adverb=2 * len(words.ADVERBS[1:]),
    adjectives=3,
    link=2 * len(words.LINKS[1:]),
    first=_Clause(
        verb=len(words.VERBS),
        tense=3,
        subject=NOMINAL._replace(
            outer=len(words.ADJECTIVES[1:]), inner=len(words.ADJECTIVES[2:]), noun=len(words.NOUNS) - 1
        ),
        object=NOMINAL._replace(inner=2 * len(words.ADJECTIVES[1:])),
    ),
    second=_Clause(verb=len(words.VERBS), tense=3, subject=NOMINAL, object=NOMINAL),
)
"""How many values are drawn of each choice, all equally likely; `_sentences` says what they mean."""


@dataclass(frozen=True)
class Creature:
    """Sentences of a made-up language, to be translated into English; each has exactly one translation.

    Example, for seed 0: "rasumu pype pulo repi su tiky tymine ke" -> "a big man that follows this king will dance
    quietly", word by word: dance-future quietly man big that follow king-object this.

    A sentence is [not] verb [adverb] [object] subject, then perhaps a second clause: "that" verb [object], about the
    subject, or "and" / "but" verb [object] subject. In a phrase the noun comes first, then the adjectives in reverse
    order, then the determiner; "a" and "some" have no word. Nouns have endings for the plural, then for an object,
    verbs for the tense (none in the present), then for a plural subject. As in Finnish, the vowel of an ending follows
    the stem: a, o, u after a, o, u, but e, i, y after e, i, y. Words and endings are drawn by `seed`; the grammar is
    fixed.

    Tokens are syllables on the creature's side and words on the English side; EOS (2) ends both, PAD (0) fills them up
    to `SOURCE_LENGTH` and `TARGET_LENGTH`. Of more than 10^19 sentences, those are held out whose words' numbers
    (places in `NOUNS`, `VERBS`, `ADJECTIVES` and `ADVERBS`) have a sum divisible by 40: "the bird slept" (0 + 0) is
    held out, "the big bird slept" (1 + 0 + 0) is not. No sentence held out is another form of one for training.

    Attributes:
        seed: of the lexicon, at least 0.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        integers(0, seed=self.seed)

    @property
    def lexicon(self) -> words.Lexicon:
        """All words and endings of the creature."""
        return words.lexicon(self.seed)

    @property
    def source_vocabulary(self) -> Vocabulary:
        """The creature's syllables from id 4 on, those that begin a word with "▁" before them."""
        return words.CREATURE

    @property
    def target_vocabulary(self) -> Vocabulary:
        """The English words from id 4 on."""
        return words.ENGLISH

    def sample(self, key: Key[Array, ""], batch_size: int) -> Seq2SeqBatch:
        """Draw sentences for training."""
        drawn = _draw(key, batch_size)
        return self._batch(drawn, drawn.first.subject.noun + 1)

    def held_out(self, key: Key[Array, ""], batch_size: int) -> Seq2SeqBatch:
        """Draw sentences that `sample` never gives."""
        drawn = _draw(key, batch_size)
        return self._batch(drawn, jnp.zeros_like(drawn.first.subject.noun))

    def read_source(self, ids: Int[np.ndarray | Array, " source"]) -> str:
        """One row of the creature's side as text, up to EOS."""
        return "".join(words.CREATURE.decode(np.asarray(ids).tolist())).replace("▁", " ").strip()

    def read_target(self, ids: Int[np.ndarray | Array, " target"]) -> str:
        """One row of the English side as text, up to EOS."""
        return " ".join(words.ENGLISH.decode(np.asarray(ids).tolist()))

    def _batch(self, drawn: _Sentence, remainder: Int[Array, " batch"]) -> Seq2SeqBatch:
        """The sentences of what was drawn, whose words leave this remainder."""
        sentences = _sentences(drawn, remainder)
        source = _creature(words.Tables(**jax.tree.map(jnp.asarray, words.creature_tables(self.seed))), sentences)
        target = _english(words.Tables(**jax.tree.map(jnp.asarray, words.english_tables())), sentences)
        return Seq2SeqBatch(source, target, source != PAD, target != PAD)


def _draw(key: Key[Array, ""], batch_size: int) -> _Sentence:
    most, choices = jax.tree.flatten(CHOICES)
    return jax.tree.unflatten(choices, list(jax.random.randint(key, (batch_size, len(most)), 0, jnp.array([most])).T))


def _sentences(drawn: _Sentence, remainder: Int[Array, " batch"]) -> _Sentence:
    """What the drawn values mean; the subject's noun is what makes the sum of the words leave `remainder`."""

    def optional(value: Int[Array, " batch"], words: int) -> Int[Array, " batch"]:
        return jnp.maximum(value - words + 1, 0)  # of 2 words values: none for half, then each for one

    negated = jnp.where(drawn.negated == 0, 1, 0)
    adverb = optional(drawn.adverb, len(words.ADVERBS[1:]))
    link = optional(drawn.link, len(words.LINKS[1:]))
    first, second = drawn.first, drawn.second
    inner = (first.subject.outer + 1 + first.subject.inner) % len(words.ADJECTIVES[1:])  # any but the outer one
    subject = first.subject._replace(
        outer=jnp.where(drawn.adjectives > 0, first.subject.outer + 1, 0),
        inner=jnp.where(drawn.adjectives > 1, inner + 1, 0),
    )
    object_ = first.object._replace(inner=optional(first.object.inner, len(words.ADJECTIVES[1:])))
    others = adverb + first.verb + subject.outer + subject.inner
    others += jnp.where(first.verb < words.INTRANSITIVE, 0, object_.noun + object_.inner)
    others += jnp.where(link > 0, second.verb, 0) + jnp.where(link > words.THAT, second.subject.noun, 0)
    others += jnp.where((link > 0) & (second.verb >= words.INTRANSITIVE), second.object.noun, 0)
    subject = subject._replace(noun=(remainder - others) % len(words.NOUNS))
    # The verb of "that" agrees with the subject that it shares.
    plural = jnp.where(link > words.THAT, second.subject.plural, subject.plural)
    return drawn._replace(
        negated=negated,
        adverb=adverb,
        link=link,
        first=first._replace(subject=subject, object=object_),
        second=second._replace(subject=second.subject._replace(plural=plural)),
    )


def _creature(tables: words.Tables, sentence: _Sentence) -> Int[Array, "batch source"]:
    def phrase(of: _Phrase, case: int) -> Int[Array, "batch form"]:
        adjectives = tables.adjective[of.inner], tables.adjective[of.outer]
        return _join(tables.noun[of.noun, of.plural, case], *adjectives, tables.determiner[of.determiner, of.plural])

    def clause(of: _Clause, negated: Array, adverb: Array, has_subject: Array) -> Int[Array, "batch form"]:
        return _join(
            tables.verb[of.verb, of.tense, of.subject.plural, negated],
            tables.adverb[adverb],
            _where(of.verb >= words.INTRANSITIVE, phrase(of.object, 1)),
            _where(has_subject, phrase(of.subject, 0)),
        )

    always, none = jnp.ones_like(sentence.link, bool), jnp.zeros_like(sentence.link)
    first = clause(sentence.first, sentence.negated, sentence.adverb, always)
    second = _join(tables.link[sentence.link], clause(sentence.second, none, none, sentence.link > words.THAT))
    return _close(SOURCE_LENGTH, first, _where(sentence.link > 0, second))


def _english(tables: words.Tables, sentence: _Sentence) -> Int[Array, "batch target"]:
    def phrase(of: _Phrase, case: int) -> Int[Array, "batch form"]:
        adjectives = tables.adjective[of.outer], tables.adjective[of.inner]
        return _join(tables.determiner[of.determiner, of.plural], *adjectives, tables.noun[of.noun, of.plural, case])

    def predicate(of: _Clause, negated: Array) -> Int[Array, "batch form"]:
        verb = tables.verb[of.verb, of.tense, of.subject.plural, negated]
        return _join(verb, _where(of.verb >= words.INTRANSITIVE, phrase(of.object, 1)))

    first, second, link = sentence.first, sentence.second, tables.link[sentence.link]
    second_predicate = predicate(second, jnp.zeros_like(sentence.link))
    return _close(
        TARGET_LENGTH,
        phrase(first.subject, 0),
        _where(sentence.link == words.THAT, _join(link, second_predicate)),
        predicate(first, sentence.negated),
        tables.adverb[sentence.adverb],
        _where(sentence.link > words.THAT, _join(link, phrase(second.subject, 0), second_predicate)),
    )


def _join(*parts: Int[Array, "batch _"]) -> Int[Array, "batch form"]:
    return jnp.concatenate(parts, axis=1)


def _where(present: Bool[Array, " batch"], tokens: Int[Array, "batch form"]) -> Int[Array, "batch form"]:
    return jnp.where(present[:, None], tokens, PAD)


def _close(length: int, *parts: Int[Array, "batch _"]) -> Int[Array, "batch time"]:
    """One sentence of its parts, without the holes of what is absent, and followed by EOS."""
    return close_up(_join(*parts, jnp.full((len(parts[0]), 1), EOS)))[:, :length]
