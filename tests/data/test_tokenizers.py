import dataclasses
import json
import subprocess
import sys
import unicodedata
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from seqjax.data.language import Language
from seqjax.data.tokenizers import (
    MARK,
    Characters,
    MarkedWords,
    Subwords,
    Tokenizer,
    Whitespace,
    Words,
    _attached,
    _characters,
)
from seqjax.data.vocabulary import RESERVED, Vocabulary
from seqjax.types import EOS, PAD, SOS, UNK
from tests.refusals import refuses

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
GERMAN = [
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "Ein Mann in einem T-Shirt sagt: „Das war's!“ (leise)",
    "Ein Kind, 3 Jahre alt, läuft über die Wiese.",
]


@pytest.fixture(scope="module")
def subwords():
    return Subwords.train(GERMAN * 3, size=120)


# Vocabularies


def test_the_reserved_ids_are_those_of_types():
    vocabulary = Vocabulary((*RESERVED, "a"))
    assert [vocabulary.symbols[number] for number in (PAD, SOS, EOS, UNK)] == ["<pad>", "<sos>", "<eos>", "<unk>"]
    assert vocabulary.encode(["a", "b", "a"]) == [4, UNK, 4]
    assert len(vocabulary) == 5


@given(st.lists(st.lists(st.sampled_from([*RESERVED, "a", "b", "c", ""]), max_size=6), max_size=5))
def test_text_cannot_forge_a_reserved_id(sentences):
    vocabulary = Vocabulary.count(sentences)
    for sentence in sentences:
        ids = vocabulary.encode(sentence)
        assert not {PAD, SOS, EOS} & set(ids)
        assert all((number == UNK) == (token in RESERVED) for token, number in zip(sentence, ids, strict=True))
        assert vocabulary.unknown(sentence) == list(dict.fromkeys(token for token in sentence if token in RESERVED))


@given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6), max_size=8), st.integers(1, 3))
def test_tokens_come_by_frequency_then_alphabet(sentences, least):
    counts = Counter("".join(map("".join, sentences)))
    ordered = sorted((-count, token) for token, count in counts.items() if count >= least)
    expected = (*RESERVED, *(token for _, token in ordered))
    assert Vocabulary.count(sentences, least=least).symbols == expected
    assert Vocabulary.count(reversed(sentences), least=least).symbols == expected


def test_decoding_stops_at_eos_and_passes_over_what_is_not_text():
    vocabulary = Vocabulary((*RESERVED, "a", "b"))
    assert vocabulary.decode([SOS, 4, PAD, 5, UNK, EOS, 4]) == ["a", "b", "<unk>"]
    assert vocabulary.decode(np.array([5, 4])) == vocabulary.decode(jnp.array([5, 4])) == ["b", "a"]
    for wrong in (-1, 6):
        with pytest.raises(ValueError, match=rf"ids must lie in \[0, 6\), got {wrong}"):
            vocabulary.decode([wrong])
    assert vocabulary.unknown(["x", "a", "y", "x"]) == ["x", "y"]


@given(st.lists(TEXT))
def test_a_vocabulary_comes_back_from_json(tokens):
    vocabulary = Vocabulary.count([tokens])
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    assert vocabulary.decode(vocabulary.encode(tokens)) == [t if t not in RESERVED else "<unk>" for t in tokens]


test_what_is_no_vocabulary_is_refused = refuses(
    Vocabulary.from_json,
    ("", "must be JSON"),
    ('["<pad>", "<sos>"', "must be JSON"),
    ("[" * 100_000, "must be JSON"),
    ("[" + "9" * 5000 + "]", "must be JSON"),
    ('{"a": 1}', "array of strings, got"),
    ('["<pad>", "<sos>", "<eos>", "<unk>", 4]', "array of strings, got"),
    ('["<pad>", "<eos>", "<sos>", "<unk>"]', "symbols must begin with"),
    ('["<pad>", "<sos>", "<eos>", "<unk>", "a", "a"]', "symbols must be unique, got more than one 'a'"),
    ('["<pad>", "<sos>", "<eos>", "<unk>", "<eos>"]', "got more than one '<eos>'"),
)


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="least must be >= 1, got 0"):
        Vocabulary.count([], least=0)


@pytest.mark.parametrize("least", [1, 2])
def test_a_language_of_sentences_counts_them_and_gives_their_ids(least):
    sentences = ["b a b <eos>", "", "c a", "d <pad> <eos> b"]
    language, rows = Language.of(Whitespace(), iter(sentences), least=least)
    counted = Vocabulary.count(map(str.split, sentences), least=least)
    assert language == Language(Whitespace(), counted)
    assert rows.lengths.tolist() == [4, 0, 2, 4]
    assert rows.ids.tolist() == [number for sentence in sentences for number in language.ids(sentence)]
    assert {UNK} == {*language.ids("<eos> <pad>")}


# Tokenizers


@pytest.mark.parametrize(
    ("words", "sentence", "tokens"),
    [
        (Words(punctuation=""), "I'm very excited.", "i m very excited"),
        (Words(punctuation=""), "You're an imbecile!", "you re an imbecile"),
        (Words(), "¿Estás  muy emocionada?", "estas muy emocionada ?"),
        (Words(punctuation=".!?¿"), "¿Qué?", "¿ que ?"),
        (Words(lower=False), "Él vio 3 Ñus...", "El vio Nus . . ."),
        (Words(fold=False), "Él vio 3 Ñus_x.", "él vio ñus x ."),
        (Words(fold=False), "u\u0308ber", "über"),
        (Words(), "İĞ Ñu\u0308 Ελλάδα Ё", "ig nu ελλαδα е"),
        (Words(), "x² 5ª ½ Ⅷ \u0301", "x"),
        (Words(), " \u200b 12 ", ""),
    ],
)
def test_words_as_in_the_tutorial(words, sentence, tokens):
    assert words.split(sentence) == tokens.split()
    assert words.join(words.split(sentence)) == tokens


@pytest.mark.parametrize("others", ["", "éß\u0301\u200dनि中𝒜½ª"])
def test_words_are_runs_of_letters_with_their_marks(others):
    """At random, with and without characters beyond ASCII: by the category of each character."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        text = unicodedata.normalize("NFC", "".join(rng.choice([*"aBz -_0.!\n\x1c", *others], 30)))
        tokens: list[str] = []
        inside = False
        for character in text:
            kind = unicodedata.category(character)[0]
            letter = kind == "L" and character != "ª"
            if (letter and not inside) or character in ".!":
                tokens.append("")
            inside = letter or (inside and (kind == "M" or character == "\u200d"))
            if inside or character in ".!":
                tokens[-1] += character
        assert Words(lower=False, fold=False, punctuation=".!").split(text) == tokens


test_punctuation_that_is_none_is_refused = refuses(
    Words,
    *(({"punctuation": bad}, "punctuation must contain neither letters nor spaces") for bad in (".a", ". ", ".\u0301")),
)


def test_marked_words_split_punctuation_off():
    cut = [*["ein", "t", "￭-￭", "shirt", "￭,", "„￭", "müde", "￭!", "￭“"], '￭"', "&"]
    assert MarkedWords().split('Ein T-Shirt, „müde!“" &') == cut
    assert MarkedWords().join(cut[:7]) == "ein t-shirt, „müde"


WHOLE = {
    "Hindi": "नमस्ते दुनिया",
    "pointed Hebrew": "שָׁלוֹם עֲלֵיכֶם",
    "pointed Arabic": "السَّلَامُ عَلَيْكُمْ",
    "Persian with a joiner": "می\u200cروم خانه",
    "Thai, Lao, Khmer, Myanmar": "กำลัง ພາສາລາວ ភាសាខ្មែរ မြန်မာဘာသာ",
    "Tamil, Malayalam": "தமிழ் അവന്\u200d",
    "a script beyond 16 bits": "𑄌𑄋𑄴𑄟𑄳𑄦 𑄃",
    "an accent without a letter of its own": "x\u0303y m\u0303",
    "apostrophes that are letters": "ʻokina cʼhoazh",
    "Japanese, Korean": "がんば 한국어",
    "Turkish, lower case of two code points": "i\u0307stanbul",
    "Latin letters beyond Z": "weiße cœur øl",
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_letter_keeps_its_marks(name):
    for words in (Words(fold=False), MarkedWords()):
        for form in ("NFC", "NFD"):
            assert words.split(unicodedata.normalize(form, WHOLE[name])) == WHOLE[name].split()
    assert Words().split(WHOLE[name]) == WHOLE[name].translate(dict.fromkeys([0x303, 0x307])).split()


@pytest.mark.parametrize(("kind", "found"), [("L", _characters("L")), ("M", _attached().replace("\u200c\u200d", ""))])
def test_every_letter_and_mark_of_unicode_is_known(kind, found):
    every = {n for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n))[0] == kind} - {0xAA, 0xBA}
    ranges = [(ord(first), ord(last)) for first, _, last in zip(*[iter(found)] * 3, strict=True)]
    assert {n for first, last in ranges for n in range(first, last + 1)} == every


@given(TEXT | st.text(alphabet='ab ü.-,"_', max_size=20) | st.text(alphabet="aन्ते\u0301\u200d!١ ", max_size=20))
def test_marked_words_are_joined_as_they_were(sentence):
    words = MarkedWords(lower=False)
    expected = " ".join(unicodedata.normalize("NFC", sentence).replace(MARK, " ").split())
    tokens = words.split(sentence)
    assert words.join(tokens) == expected
    assert words.split(expected) == tokens
    assert all(tokens)
    assert not any(" " in token for token in tokens)


@given(st.text(alphabet="aB .-'\n", max_size=20))
def test_marked_words_keep_line_ends_where_they_are_tokens(text):
    words = MarkedWords(lower=False, lines=True)
    tokens = words.split(text)
    assert words.join(tokens) == "\n".join(" ".join(line.split()) for line in text.split("\n"))
    assert tokens.count("\n") == text.count("\n")
    assert "\n" not in MarkedWords().split(text)


@given(st.lists(st.sampled_from(["a", "￭.", "(￭", "￭-￭", "￭", "\n"]), max_size=6))
def test_no_mark_is_left_whatever_a_model_writes(tokens):
    assert MARK not in MarkedWords().join(tokens)


def test_what_is_joined_is_a_perfect_translation(subwords):
    """BLEU against the raw text, case aside: a tokenizer costs nothing of it. One that loses something does."""
    for tokenizer in (MarkedWords(), subwords, Characters()):
        joined = [tokenizer.join(tokenizer.split(sentence)) for sentence in GERMAN]
        assert sacrebleu.corpus_bleu(joined, [GERMAN], lowercase=True, tokenize="13a").score == pytest.approx(100)
    joined = [Words().join(Words().split(sentence)) for sentence in GERMAN]
    assert sacrebleu.corpus_bleu(joined, [GERMAN], lowercase=True, tokenize="13a").score < 70


@given(TEXT)
def test_characters_lose_nothing(sentence):
    assert Characters().join(Characters().split(sentence)) == sentence


@settings(max_examples=200)
@given(sentence=TEXT | st.text(alphabet="einmaß ▁\u2581<unk>", max_size=30))
def test_subwords_are_joined_as_they_were(subwords, sentence):
    cased = dataclasses.replace(subwords, lower=False)
    expected = " ".join(unicodedata.normalize("NFC", sentence).replace("▁", " ").split())
    assert cased.join(cased.split(sentence)) == expected


def test_frequent_words_are_one_subword_and_rare_ones_several(subwords):
    tidy = Subwords.train(["das haus das haus das haus xyz"], size=60)
    assert tidy.split("das Haus") == ["▁das", "▁haus"]
    assert len(tidy.split("zyx")) > 1
    assert Subwords.train(GERMAN * 3, size=120) == subwords
    with pytest.raises(ValueError, match="sentences must hold some text, got none"):
        Subwords.train(["", " "], size=60)
    with pytest.raises(ValueError, match="size must hold the 6 characters and more, got 3"):
        Subwords.train(["ab cde"], size=3)
    with pytest.raises(ValueError, match="model must be sentencepiece's in base 64, got 'junk'"):
        Subwords("junk").split("a")


def test_tokenizers_are_plain_json(subwords):
    for tokenizer in (Characters(), Words(punctuation="!"), MarkedWords(lower=False, lines=True), subwords):
        again = type(tokenizer)(**json.loads(json.dumps(dataclasses.asdict(tokenizer))))
        assert again == tokenizer
        assert hash(again) == hash(tokenizer)
        assert again.split(GERMAN[1]) == tokenizer.split(GERMAN[1])
        assert isinstance(again, Tokenizer)


def test_without_sentencepiece_the_error_says_what_to_install():
    script = """
import sys
sys.modules["sentencepiece"] = None
from seqjax.data.tokenizers import Subwords
try:
    Subwords.train(["a"], size=9)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'seqjax[bpe]'" in done.stdout
