"""The language is read back by a parser of its own, which knows the lexicon and the grammar of the docstring only."""

import functools
import re
from collections import Counter
from typing import NamedTuple

import jax
import numpy as np
import pytest

from seqjax.tasks import Creature
from seqjax.tasks.creature_words import ADJECTIVES, ADVERBS, ENGLISH, NOUNS, VERBS, Lexicon
from seqjax.types import EOS, PAD, SOS, UNK, Seq2SeqBatch
from tests.refusals import refuses

ROWS = 4_000
TASK, OTHER = Creature(), Creature(seed=5)
PLURAL_NOUNS = {forms[0]: forms[1] for forms in NOUNS}
TRANSITIVE = [forms[0] for forms in VERBS[16:]]
PLURAL_DETERMINERS = {"a": "some", "the": "the", "this": "these", "my": "my"}


class Noun(NamedTuple):
    english: str
    plural: bool
    words: list[str]


class Parser:
    """Translates a sentence of the creature, given as text, by recursive descent.

    Fails on anything ungrammatical: a wrong ending, a wrong vowel, a missing object, words left over.
    """

    def __init__(self, lexicon: Lexicon):
        self.english = {"".join(syllables): word for word, syllables in lexicon.words.items()}
        assert len(self.english) == len(lexicon.words)
        self.endings = lexicon.endings

    def parse(self, text: str) -> tuple[str, list[str]]:
        """The translation, and the stems that the sentence is made of."""
        self.rest = text.split()
        negated = self.take({"not"})
        verb, tense, they = self.verb()
        adverb = self.take(ADVERBS[1:])
        object_ = self.noun(is_object=True) if verb in TRANSITIVE else None
        subject = self.noun(is_object=False)
        words = [verb, adverb, *(object_.words if object_ else []), *subject.words]
        assert subject.plural == they
        relative, tail = "", ""
        if link := self.take({"that", "and", "but"}):
            second, second_tense, second_they = self.verb()
            second_object = self.noun(is_object=True) if second in TRANSITIVE else None
            words += [second, *(second_object.words if second_object else [])]
            predicate = conjugate(second, second_tense, second_they, False) + said(second_object)
            if link == "that":
                assert second_they == subject.plural
                relative = " that" + predicate
            else:
                second_subject = self.noun(is_object=False)
                assert second_they == second_subject.plural
                words += second_subject.words
                tail = f" {link}{said(second_subject)}{predicate}"
        assert not self.rest
        main = conjugate(verb, tense, they, bool(negated)) + said(object_) + (f" {adverb}" if adverb else "")
        return subject.english + relative + main + tail, [word for word in words if word]

    def take(self, words) -> str:
        if self.rest and (word := self.english.get(self.rest[0], "")) in words:
            self.rest.pop(0)
            return word
        return ""

    def divide(self, text: str, meanings: str) -> tuple[str, tuple[str, ...]]:
        """A word as its stem, of two syllables of two letters, and its endings, each of which may be absent."""
        stem = text[:4]
        front = bool(re.fullmatch("([klmnprst][eiy])+", stem))
        assert front or re.fullmatch("([klmnprst][aou])+", stem), "one kind of vowel"
        groups = ("|".join(self.endings[m][front] for m in group.split("/")) for group in meanings.split())
        found = re.fullmatch("".join(f"({group})?" for group in groups), text[4:])
        assert found, f"endings of {text}"
        names = {self.endings[meaning][front]: meaning for meaning in re.split("[ /]", meanings)}
        return self.english[stem], tuple(names[ending] for ending in found.groups() if ending)

    def verb(self) -> tuple[str, str, bool]:
        verb, endings = self.divide(self.rest.pop(0), "past/future they")
        assert verb in [forms[0] for forms in VERBS]
        tense = next((name for name in ("past", "future") if name in endings), "present")
        return verb, tense, "they" in endings

    def noun(self, *, is_object: bool) -> Noun:
        noun, endings = self.divide(self.rest.pop(0), "plural object")
        plural = "plural" in endings
        assert ("object" in endings) == is_object
        adjectives = []
        while word := self.take(ADJECTIVES[1:]):
            adjectives.insert(0, word)
        assert len(adjectives) == len(set(adjectives)) <= 2
        determiner = self.take({"the", "this", "my"}) or "a"
        first = PLURAL_DETERMINERS[determiner] if plural else determiner
        english = " ".join([first, *adjectives, PLURAL_NOUNS[noun] if plural else noun])
        return Noun(english, plural, [noun, *adjectives])


def said(noun: Noun | None) -> str:
    return f" {noun.english}" if noun else ""


def conjugate(verb: str, tense: str, they: bool, negated: bool) -> str:
    _, third, past = next(forms for forms in VERBS if forms[0] == verb)
    if tense == "future":
        return f" will{' not' if negated else ''} {verb}"
    if negated:
        return f" {'did' if tense == 'past' else 'do' if they else 'does'} not {verb}"
    return f" {past if tense == 'past' else verb if they else third}"


LISTS = [forms[0] for forms in NOUNS], [forms[0] for forms in VERBS], ADJECTIVES, ADVERBS
NUMBERS = {word: place for words in LISTS for place, word in enumerate(words)}
"""The place of each word in its list."""


COMPILED = functools.cache(functools.partial(jax.jit, static_argnums=1))


def draw(part, seed: int = 1) -> Seq2SeqBatch:
    return COMPILED(part)(jax.random.key(seed), ROWS)


def pairs(task, batch) -> list[tuple[str, str]]:
    return [
        (task.read_source(source), TASK.read_target(target))
        for source, target in zip(np.asarray(batch.source), np.asarray(batch.target), strict=True)
    ]


@pytest.fixture(scope="module")
def parts():
    return [draw(part) for part in (TASK.sample, TASK.held_out)]


@pytest.fixture(scope="module")
def texts(parts):
    return [pairs(TASK, batch) for batch in parts]


def test_worked_example():
    source, target = "rasumu pype pulo repi su tiky tymine ke", "a big man that follows this king will dance quietly"
    story = " ".join((Creature.__doc__ or "").split())
    assert f'"{source}" -> "{target}"' in story
    english, words = Parser(TASK.lexicon).parse(source)
    assert english == target
    assert words == ["dance", "quietly", "man", "big", "follow", "king"]
    assert (5 + 3 + 14 + 1 + 18 + 16) % 40 == sum(NUMBERS[word] for word in words) % 40 == 17


def test_a_parser_of_its_own_translates_every_sentence(texts):
    for task, found in ((TASK, texts[0] + texts[1]), (OTHER, pairs(OTHER, draw(OTHER.sample)))):
        parser = Parser(task.lexicon)
        for source, target in found:
            assert parser.parse(source)[0] == target


def test_no_two_translations_share_a_sentence(texts):
    both = texts[0] + texts[1]
    assert len(dict(both)) == len(set(both)) == len({english for _, english in both})
    assert len(set(both)) > 0.99 * len(both), "hardly a sentence comes twice"


def test_train_and_held_out_share_no_words(texts):
    parser = Parser(TASK.lexicon)
    words = [[parser.parse(source)[1] for source, _ in part] for part in texts]
    remainders = [Counter(sum(NUMBERS[word] for word in sentence) % 40 for sentence in part) for part in words]
    assert set(remainders[0]) == set(range(1, 40))
    assert set(remainders[1]) == {0}
    train, test = ({tuple(sorted(sentence)) for sentence in part} for part in words)
    assert not train & test


def test_every_word_is_met_on_both_sides(texts):
    for part in texts:
        counts = Counter(word for _, english in part for word in english.split())
        assert set(counts) == set(ENGLISH.symbols[4:])
    # The subject's noun, which makes a sentence fall on its side, is as uniform as any.
    singular = {plural: noun for noun, plural in NOUNS}
    for part in texts:
        nouns = ([singular.get(word, word) for word in english.split()] for _, english in part)
        first = Counter(next(noun for noun in words if noun in PLURAL_NOUNS) for words in nouns)
        counts = np.array(list(first.values()))
        assert len(counts) == 40
        assert np.sum((counts - ROWS / 40) ** 2) / (ROWS / 40) < 39 + 4 * 78**0.5


def test_fractions_of_the_grammar(texts):
    parts = {("not",): 1 / 4, ("that",): 1 / 6, ("and",): 1 / 6, ("but",): 1 / 6, tuple(ADVERBS[1:]): 1 / 2}
    for words, fraction in parts.items():
        found = np.mean([not {*words}.isdisjoint(english.split()) for _, english in texts[0]])
        assert found == pytest.approx(fraction, abs=4 * (fraction * (1 - fraction) / ROWS) ** 0.5)
    parser = Parser(TASK.lexicon)
    tenses = Counter()
    for source, _ in texts[0]:
        parser.rest = source.split()
        parser.take({"not"})
        tenses[parser.verb()[1]] += 1
    for tense in ("past", "present", "future"):
        assert tenses[tense] / ROWS == pytest.approx(1 / 3, abs=4 * (2 / 9 / ROWS) ** 0.5)


def test_there_are_as_many_sentences_as_promised():
    subjects, objects, bare = 40 * 2 * 4 * (1 + 20 + 20 * 19), 40 * 2 * 4 * 21, 40 * 2 * 4
    first = subjects * 2 * 9 * 3 * (16 + 24 * objects)
    second = 3 * (16 + 24 * bare)
    assert first * (1 + second + 2 * second * bare) > 10**19
    assert (len(NOUNS), len(VERBS), len(ADJECTIVES), len(ADVERBS)) == (40, 40, 21, 9)


def test_both_sides_end_with_eos_and_fit(parts):
    for batch in parts:
        for ids, mask, longest in ((batch.source, batch.source_mask, 37), (batch.target, batch.target_mask, 19)):
            assert ids.shape == (ROWS, longest)
            ends = np.argmax(np.asarray(ids) == EOS, axis=1)
            time = np.arange(longest)[None]
            np.testing.assert_array_equal(np.sum(np.asarray(ids) == EOS, axis=1), 1)
            np.testing.assert_array_equal(mask, time <= ends[:, None])
            np.testing.assert_array_equal(np.asarray(ids) == PAD, time > ends[:, None])
            assert not np.isin(ids, (SOS, UNK)).any()
        assert np.max(batch.source) < len(TASK.source_vocabulary)
        assert np.max(batch.target) < len(TASK.target_vocabulary)
    assert np.asarray(parts[0].source_mask).sum(axis=1).max() >= 34
    assert np.asarray(parts[0].target_mask).sum(axis=1).max() == 19


def test_lexicon():
    lexicon, other = TASK.lexicon, OTHER.lexicon
    assert lexicon == Creature(seed=0).lexicon
    assert sum(lexicon.words[word] != other.words[word] for word in lexicon.words) > 100
    for one in (lexicon, other):
        assert len(set(one.words.values())) == len(one.words) == 40 + 40 + 20 + 8 + 7
        # Endings that compete for one place differ; so do those that may follow each other.
        for place in (0, 1):
            assert len({ending[place] for ending in one.endings.values()}) == len(one.endings) == 5
        for back, front in one.endings.values():
            assert back[0] == front[0]
            assert "aou".index(back[1]) == "eiy".index(front[1])
    forms = [form for forms in (*NOUNS, *VERBS) for form in forms] + [*ADJECTIVES[1:], *ADVERBS[1:]]
    assert len(set(forms)) == len(forms), "no word of English is a form of two"
    assert not any(word.startswith(tuple("aeiou")) for word in [*PLURAL_NOUNS, *ADJECTIVES[1:]])


def test_same_key_same_bits(parts):
    again, other = (draw(TASK.sample, seed) for seed in (1, 2))
    jax.tree.map(np.testing.assert_array_equal, again, parts[0])
    assert (other.target != again.target).any(axis=1).mean() > 0.99


def test_the_seed_changes_the_creature_and_not_what_is_said(parts):
    other = draw(OTHER.sample)
    np.testing.assert_array_equal(other.target, parts[0].target)
    assert (other.source != parts[0].source).any(axis=1).all()


def test_reading_stops_at_eos_and_names_what_is_unknown():
    (bird,) = TASK.target_vocabulary.encode(["bird"])
    assert TASK.read_target(np.array([bird, UNK, EOS, bird])) == "bird <unk>"
    syllables = TASK.source_vocabulary.encode(["▁pu", "lo", "▁re"])
    assert TASK.read_source(np.array([*syllables, EOS, PAD])) == "pulo re"


test_wrong_fields_are_refused = refuses(Creature, ({"seed": -1}, "seed must be >= 0, got -1"))
