"""The words of the task `creature`, in English and in the creature's language, with all their forms."""

import functools
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Int

from seqjax.data.vocabulary import RESERVED, Vocabulary
from seqjax.types import PAD


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


class Lexicon(NamedTuple):
    """The creature's words, by their English ones.

    Attributes:
        words: nouns, verbs, adjectives, adverbs and particles, each as its syllables.
        endings: "past", "future", "plural", "they" (a verb's plural) and "object", after back and front vowels.
    """

    words: dict[str, tuple[str, ...]]
    endings: dict[str, tuple[str, str]]


class Tables(NamedTuple):
    """Tokens of every form of every word in one language, PAD where a form is shorter."""

    noun: Int[Array, "word plural object form"]
    verb: Int[Array, "word tense plural negated form"]
    adjective: Int[Array, "word form"]
    adverb: Int[Array, "word form"]
    determiner: Int[Array, "word plural form"]
    link: Int[Array, "word form"]


@functools.lru_cache(maxsize=8)
def lexicon(seed: int) -> Lexicon:
    """The creature's words, drawn by a seed: distinct stems of two syllables, particles of one, and endings.

    A stem has back or front vowels only. Stems have one length and endings differ, so every word has one reading.
    """
    bits = np.random.PCG64(seed)

    def some(of: list[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
        # By raw bits, as NumPy's distributions may change.
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
            zip(words + particle_words, some(stems, len(words)) + some(particles, len(particle_words)), strict=True)
        ),
        endings={meaning: (back, front) for meaning, (back, front) in zip(meanings, some(endings, 5), strict=True)},
    )


@functools.lru_cache(maxsize=8)
def creature_tables(seed: int) -> dict[str, np.ndarray]:
    """The fields of `Tables` for the creature's side, on the host."""
    drawn = lexicon(seed)

    def word(english: str, *endings: str) -> list[str]:
        if english in ("", "a"):
            return []
        first, *rest = drawn.words[english]
        kind = int(first[-1] in FRONT)
        return ["▁" + first, *rest, *(drawn.endings[ending][kind] for ending in endings)]

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
def english_tables() -> dict[str, np.ndarray]:
    """The fields of `Tables` for the English side, on the host."""

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
    """The ids of `form(*place)` for every place of an array of these sizes, the shorter ones padded with PAD."""
    forms = [form(*place) for place in np.ndindex(*sizes)]
    width = max(map(len, forms))
    ids = [vocabulary.encode(one) + [PAD] * (width - len(one)) for one in forms]
    return np.array(ids, np.int32).reshape(*sizes, width)
