"""Creature: the unknown language of a creature, to be translated for the villagers (the story of seed S3 made real)."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from seqjax.data.batching import close_up
from seqjax.data.text import RESERVED, Vocabulary
from seqjax.types import EOS, PAD, Seq2SeqBatch


def _forms(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(word.split()) for word in text.split(","))


# English. A word's number is its place in its list, and the number 0 of the optional ones is their absence. No noun
# or adjective begins with a vowel, so the article is always "a".
NOUNS = _forms(
    """
    bird birds, cat cats, dog dogs, fox foxes, wolf wolves, bear bears, horse horses, mouse mice, frog frogs,
    snake snakes, cow cows, goat goats, lamb lambs, child children, man men, woman women, king kings, queen queens,
    farmer farmers, baker bakers, sailor sailors, hunter hunters, doctor doctors, teacher teachers, friend friends,
    stranger strangers, dragon dragons, ghost ghosts, river rivers, mountain mountains, forest forests,
    house houses, door doors, boat boats, tree trees, stone stones, flower flowers, lantern lanterns,
    letter letters, song songs
    """
)
INTRANSITIVE = 16
"""So many verbs, the first ones, have no object; the others always have one."""
VERBS = _forms(
    """
    sleep sleeps slept, sing sings sang, run runs ran, fall falls fell, laugh laughs laughed, dance dances danced,
    swim swims swam, wait waits waited, smile smiles smiled, jump jumps jumped, fly flies flew, cry cries cried,
    work works worked, rest rests rested, dream dreams dreamed, shout shouts shouted, see sees saw,
    find finds found, follow follows followed, carry carries carried, help helps helped, love loves loved,
    fear fears feared, hear hears heard, catch catches caught, hide hides hid, know knows knew,
    remember remembers remembered, watch watches watched, call calls called, greet greets greeted,
    forget forgets forgot, bring brings brought, build builds built, buy buys bought, sell sells sold,
    paint paints painted, guard guards guarded, teach teaches taught, thank thanks thanked
    """
)
ADJECTIVES = (
    *("", "big", "small", "red", "green", "blue", "white", "black", "young", "wise", "brave"),
    *("quiet", "hungry", "happy", "sad", "tall", "strange", "clever", "gentle", "lazy", "proud"),
)
ADVERBS = ("", "slowly", "quickly", "quietly", "gladly", "bravely", "sadly", "loudly", "secretly")
DETERMINERS = (("a", "some"), ("the", "the"), ("this", "these"), ("my", "my"))
LINKS = ("", "that", "and", "but")
THAT = LINKS.index("that")

ENGLISH = Vocabulary(
    tuple(
        dict.fromkeys(
            [
                *RESERVED,
                *[form for forms in (*NOUNS, *VERBS, *DETERMINERS) for form in forms],
                *[*ADJECTIVES[1:], *ADVERBS[1:], *LINKS[1:], "do", "does", "did", "will", "not"],
            ]
        )
    )
)

# The creature's sounds: back vowels, and the front vowels that take their place in words with front vowels.
CONSONANTS, BACK, FRONT = "klmnprst", "aou", "eiy"
SYLLABLES = tuple(consonant + vowel for consonant in CONSONANTS for vowel in BACK + FRONT)
CREATURE = Vocabulary((*RESERVED, *SYLLABLES, *("▁" + syllable for syllable in SYLLABLES)))
"""Syllables; "▁" marks the first of a word."""

SOURCE_LENGTH, TARGET_LENGTH = 37, 19
"""Tokens of the longest sentences, EOS included."""


class Lexicon(NamedTuple):
    """The creature's words, by their English ones.

    Attributes:
        words: nouns, verbs, adjectives, adverbs and particles, each as its syllables.
        endings: "past", "future", "plural", "they" (a verb's plural) and "object", each after back vowels and after
            front vowels.
    """

    words: dict[str, tuple[str, ...]]
    endings: dict[str, tuple[str, str]]


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


class _Tables(NamedTuple):
    """Tokens of every form of every word in one language, PAD where a form is shorter."""

    noun: Int[Array, "word plural object form"]
    verb: Int[Array, "word tense plural negated form"]
    adjective: Int[Array, "word form"]
    adverb: Int[Array, "word form"]
    determiner: Int[Array, "word plural form"]
    link: Int[Array, "word form"]


NOMINAL = _Phrase(determiner=len(DETERMINERS), outer=1, inner=1, noun=len(NOUNS), plural=2)
CHOICES = _Sentence(
    negated=4,
    adverb=2 * len(ADVERBS[1:]),
    adjectives=3,
    link=2 * len(LINKS[1:]),
    first=_Clause(
        verb=len(VERBS),
        tense=3,
        subject=NOMINAL._replace(outer=len(ADJECTIVES[1:]), inner=len(ADJECTIVES[2:]), noun=len(NOUNS) - 1),
        object=NOMINAL._replace(inner=2 * len(ADJECTIVES[1:])),
    ),
    second=_Clause(verb=len(VERBS), tense=3, subject=NOMINAL, object=NOMINAL),
)
"""How many values are drawn of each choice, all equally likely; `_sentences` says what they mean."""


@dataclass(frozen=True)
class Creature:
    """Sentences of a made-up language, to be translated into English; each has exactly one translation.

    Example, for seed 0: "rasumu pype pulo repi su tiky tymine ke" -> "a big man that follows this king will dance
    quietly", word by word: dance-future quietly man big that follow king-object this.

    A sentence is [not] verb [adverb] [object] subject, then perhaps a second clause: "that" verb [object], which
    belongs to the subject and in English stands in the middle of the sentence, or "and" / "but" verb [object]
    subject. In a phrase the noun comes first, then the adjectives, English's last one first, then the determiner;
    "a" and "some" have no word. Words have endings: a noun those of the plural and then of an object, a verb those of
    tense (the present has none) and then of a plural subject. As in Finnish, the vowel of an ending follows the stem:
    a, o, u after a, o, u, but e, i, y after e, i, y. The words and endings are drawn by `seed`, the grammar is not.

    Tokens are syllables on the creature's side, so that what an ending means has to be learned, and words on the
    English side; EOS (2) ends both, PAD (0) fills them up to `SOURCE_LENGTH` and `TARGET_LENGTH`. There are more than
    10^19 sentences. One is held out exactly if the numbers of its words (places in `NOUNS`, `VERBS`, `ADJECTIVES` and
    `ADVERBS`) have a sum divisible by 40, the number of nouns; that is one in 40. "bird" and "sleep" are 0 and "big"
    is 1, so "the bird slept" is held out and "the big bird slept" is not. Number, tense, determiners and negation do
    not enter: no sentence held out is another form of one for training.

    Attributes:
        seed: of the lexicon.

    Raises:
        ValueError: seed < 0.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be >= 0, got {self.seed}")

    @property
    def lexicon(self) -> Lexicon:
        """All words and endings of the creature."""
        return _lexicon(self.seed)

    @property
    def source_vocabulary(self) -> Vocabulary:
        """The creature's syllables from id 4 on, those that begin a word with "▁" before them."""
        return CREATURE

    @property
    def target_vocabulary(self) -> Vocabulary:
        """The English words from id 4 on."""
        return ENGLISH

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
        return "".join(CREATURE.decode(np.asarray(ids).tolist())).replace("▁", " ").strip()

    def read_target(self, ids: Int[np.ndarray | Array, " target"]) -> str:
        """One row of the English side as text, up to EOS."""
        return " ".join(ENGLISH.decode(np.asarray(ids).tolist()))

    def _batch(self, drawn: _Sentence, remainder: Int[Array, " batch"]) -> Seq2SeqBatch:
        """The sentences of what was drawn, whose words leave this remainder."""
        sentences = _sentences(drawn, remainder)
        source = _creature(_Tables(**jax.tree.map(jnp.asarray, _creature_tables(self.seed))), sentences)
        target = _english(_Tables(**jax.tree.map(jnp.asarray, _english_tables())), sentences)
        return Seq2SeqBatch(source, target, source != PAD, target != PAD)


def _draw(key: Key[Array, ""], batch_size: int) -> _Sentence:
    most, choices = jax.tree.flatten(CHOICES)
    return jax.tree.unflatten(choices, list(jax.random.randint(key, (batch_size, len(most)), 0, jnp.array([most])).T))


def _sentences(drawn: _Sentence, remainder: Int[Array, " batch"]) -> _Sentence:
    """What the drawn values mean; the subject's noun is what makes the sum of the words leave `remainder`."""

    def optional(value: Int[Array, " batch"], words: int) -> Int[Array, " batch"]:
        return jnp.maximum(value - words + 1, 0)  # of 2 words values: none for half, then each for one

    negated = jnp.where(drawn.negated == 0, 1, 0)
    adverb = optional(drawn.adverb, len(ADVERBS[1:]))
    link = optional(drawn.link, len(LINKS[1:]))
    first, second = drawn.first, drawn.second
    inner = (first.subject.outer + 1 + first.subject.inner) % len(ADJECTIVES[1:])  # any but the outer one
    subject = first.subject._replace(
        outer=jnp.where(drawn.adjectives > 0, first.subject.outer + 1, 0),
        inner=jnp.where(drawn.adjectives > 1, inner + 1, 0),
    )
    object_ = first.object._replace(inner=optional(first.object.inner, len(ADJECTIVES[1:])))
    others = adverb + first.verb + subject.outer + subject.inner
    others += jnp.where(first.verb < INTRANSITIVE, 0, object_.noun + object_.inner)
    others += jnp.where(link > 0, second.verb, 0) + jnp.where(link > THAT, second.subject.noun, 0)
    others += jnp.where((link > 0) & (second.verb >= INTRANSITIVE), second.object.noun, 0)
    subject = subject._replace(noun=(remainder - others) % len(NOUNS))
    # The verb of "that" agrees with the subject that it shares.
    plural = jnp.where(link > THAT, second.subject.plural, subject.plural)
    return drawn._replace(
        negated=negated,
        adverb=adverb,
        link=link,
        first=first._replace(subject=subject, object=object_),
        second=second._replace(subject=second.subject._replace(plural=plural)),
    )


def _creature(words: _Tables, sentence: _Sentence) -> Int[Array, "batch source"]:
    def phrase(of: _Phrase, case: int) -> Int[Array, "batch form"]:
        adjectives = words.adjective[of.inner], words.adjective[of.outer]
        return _join(words.noun[of.noun, of.plural, case], *adjectives, words.determiner[of.determiner, of.plural])

    def clause(of: _Clause, negated: Array, adverb: Array, has_subject: Array) -> Int[Array, "batch form"]:
        return _join(
            words.verb[of.verb, of.tense, of.subject.plural, negated],
            words.adverb[adverb],
            _where(of.verb >= INTRANSITIVE, phrase(of.object, 1)),
            _where(has_subject, phrase(of.subject, 0)),
        )

    always, none = jnp.ones_like(sentence.link, bool), jnp.zeros_like(sentence.link)
    first = clause(sentence.first, sentence.negated, sentence.adverb, always)
    second = _join(words.link[sentence.link], clause(sentence.second, none, none, sentence.link > THAT))
    return _close(SOURCE_LENGTH, first, _where(sentence.link > 0, second))


def _english(words: _Tables, sentence: _Sentence) -> Int[Array, "batch target"]:
    def phrase(of: _Phrase, case: int) -> Int[Array, "batch form"]:
        adjectives = words.adjective[of.outer], words.adjective[of.inner]
        return _join(words.determiner[of.determiner, of.plural], *adjectives, words.noun[of.noun, of.plural, case])

    def predicate(of: _Clause, negated: Array) -> Int[Array, "batch form"]:
        verb = words.verb[of.verb, of.tense, of.subject.plural, negated]
        return _join(verb, _where(of.verb >= INTRANSITIVE, phrase(of.object, 1)))

    first, second, link = sentence.first, sentence.second, words.link[sentence.link]
    second_predicate = predicate(second, jnp.zeros_like(sentence.link))
    return _close(
        TARGET_LENGTH,
        phrase(first.subject, 0),
        _where(sentence.link == THAT, _join(link, second_predicate)),
        predicate(first, sentence.negated),
        words.adverb[sentence.adverb],
        _where(sentence.link > THAT, _join(link, phrase(second.subject, 0), second_predicate)),
    )


def _join(*parts: Int[Array, "batch _"]) -> Int[Array, "batch form"]:
    return jnp.concatenate(parts, axis=1)


def _where(present: Bool[Array, " batch"], tokens: Int[Array, "batch form"]) -> Int[Array, "batch form"]:
    return jnp.where(present[:, None], tokens, PAD)


def _close(length: int, *parts: Int[Array, "batch _"]) -> Int[Array, "batch time"]:
    """One sentence of its parts, without the holes of what is absent, and EOS behind it."""
    return close_up(_join(*parts, jnp.full((len(parts[0]), 1), EOS)))[:, :length]


@functools.lru_cache(maxsize=8)
def _lexicon(seed: int) -> Lexicon:
    """Draw distinct stems of two syllables, particles of one, and endings.

    A stem has vowels of one kind only, back or front. All stems are of one length, and endings that can stand in the
    same place differ, so a word can be divided in one way only.
    """
    bits = np.random.PCG64(seed)

    def some(of: list[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
        # By raw bits, since what NumPy's distributions make of them may change.
        return [of[place] for place in np.argsort(bits.random_raw(len(of)), kind="stable")[:count]]

    kinds = [[consonant + vowel for consonant in CONSONANTS for vowel in vowels] for vowels in (BACK, FRONT)]
    stems = [stem for kind in kinds for stem in itertools.product(kind, kind)]
    particles = [(syllable,) for syllable in SYLLABLES]
    endings = list(zip(*kinds, strict=True))
    words = [forms[0] for forms in (*NOUNS, *VERBS)] + [*ADJECTIVES[1:], *ADVERBS[1:]]
    particle_words = [forms[0] for forms in DETERMINERS[1:]] + [*LINKS[1:], "not"]
    meanings = ("past", "future", "plural", "they", "object")
    return Lexicon(
        words=dict(
            zip(
                words + particle_words,
                some(stems, len(words)) + some(particles, len(particle_words)),
                strict=True,
            )
        ),
        endings={meaning: (back, front) for meaning, (back, front) in zip(meanings, some(endings, 5), strict=True)},
    )


@functools.lru_cache(maxsize=8)
def _creature_tables(seed: int) -> dict[str, np.ndarray]:
    """The fields of `_Tables`, on the host."""
    lexicon = _lexicon(seed)

    def word(english: str, *endings: str) -> list[str]:
        if english in ("", "a"):
            return []
        first, *rest = lexicon.words[english]
        kind = int(first[-1] in FRONT)
        return ["▁" + first, *rest, *(lexicon.endings[ending][kind] for ending in endings)]

    def noun(number: int, plural: int, case: int) -> list[str]:
        return word(NOUNS[number][0], *["plural"] * plural, *["object"] * case)

    def verb(number: int, tense: int, plural: int, negated: int) -> list[str]:
        endings = [[], ["past"], ["future"]][tense] + ["they"] * plural
        return word("not") * negated + word(VERBS[number][0], *endings)

    return {
        "noun": _table(CREATURE, noun, len(NOUNS), 2, 2),
        "verb": _table(CREATURE, verb, len(VERBS), 3, 2, 2),
        "adjective": _table(CREATURE, lambda number: word(ADJECTIVES[number]), len(ADJECTIVES)),
        "adverb": _table(CREATURE, lambda number: word(ADVERBS[number]), len(ADVERBS)),
        "determiner": _table(CREATURE, lambda number, _: word(DETERMINERS[number][0]), len(DETERMINERS), 2),
        "link": _table(CREATURE, lambda number: word(LINKS[number]), len(LINKS)),
    }


@functools.lru_cache(maxsize=1)
def _english_tables() -> dict[str, np.ndarray]:
    """The fields of `_Tables`, on the host."""

    def verb(number: int, tense: int, plural: int, negated: int) -> list[str]:
        base, third, past = VERBS[number]
        simple = [base if plural else third, past][tense:][:1]
        helper = ["do" if plural else "does", "did", "will"][tense]
        return [helper, *["not"] * negated, base] if negated or not simple else simple

    return {
        "noun": _table(ENGLISH, lambda number, plural, _: [NOUNS[number][plural]], len(NOUNS), 2, 2),
        "verb": _table(ENGLISH, verb, len(VERBS), 3, 2, 2),
        "adjective": _table(ENGLISH, lambda number: [ADJECTIVES[number]] * (number > 0), len(ADJECTIVES)),
        "adverb": _table(ENGLISH, lambda number: [ADVERBS[number]] * (number > 0), len(ADVERBS)),
        "determiner": _table(ENGLISH, lambda number, plural: [DETERMINERS[number][plural]], len(DETERMINERS), 2),
        "link": _table(ENGLISH, lambda number: [LINKS[number]] * (number > 0), len(LINKS)),
    }


def _table(vocabulary: Vocabulary, form: Callable[..., list[str]], *sizes: int) -> Int[np.ndarray, "... form"]:
    """The ids of `form(*place)` for every place of an array of these sizes, PAD behind the shorter ones."""
    forms = [form(*place) for place in np.ndindex(*sizes)]
    width = max(map(len, forms))
    ids = [vocabulary.encode(one) + [PAD] * (width - len(one)) for one in forms]
    return np.array(ids, np.int32).reshape(*sizes, width)
