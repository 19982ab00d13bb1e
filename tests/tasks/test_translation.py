import json
import random

import numpy as np
import pytest

from seqjax.data import corpora
from seqjax.data.corpora import Pair, Split
from seqjax.data.language import TOKENIZERS, Language
from seqjax.data.tokenizers import Characters, MarkedWords, Subwords, Whitespace, Words
from seqjax.data.vocabulary import Vocabulary
from seqjax.tasks import Translation
from seqjax.types import EOS, PAD, UNK
from tests.files import needs_data, public

SENTENCES = ["Él vio 3 Ñus, ¿no?", "Ein T-Shirt, bitte!", "one two  two two", "x"]
PAIRS = Split(
    train=[Pair("a b", "x y z"), Pair("a", "x"), Pair("b a a", "z"), Pair("a c", "x x x x")],
    validation=[Pair("d", "w x"), Pair("c a b a", "v")],
    test=[Pair("a e", "u u u")],
)


def tokenizers():
    return [
        Characters(),
        Whitespace(),
        Words(),
        Words(lower=False, fold=False, punctuation="¿?"),
        MarkedWords(lower=False),
        Subwords.train(SENTENCES * 3, size=60),
    ]


@pytest.fixture(params=tokenizers(), ids=lambda tokenizer: type(tokenizer).__name__)
def language(request) -> Language:
    """It knows the words of all sentences but the last."""
    tokenizer = request.param
    return Language(tokenizer, Vocabulary.count(tokenizer.split(sentence) for sentence in SENTENCES[:-1]))


def test_ids_are_text_and_back(language):
    for sentence in SENTENCES[:-1]:
        ids = language.ids(sentence)
        assert ids
        assert min(ids) > UNK
        assert language.unknown(sentence) == []
        seen = language.tokenizer.join(language.tokenizer.split(sentence))
        assert language.text([*ids, EOS, *ids]) == language.text(np.array(ids)) == seen
    read = language.tokenizer.split("x")
    assert language.unknown("x") == [token for token in read if token not in language.vocabulary.symbols]
    assert language.unknown("x")
    assert language.ids("x").count(UNK) == len(language.unknown("x"))


def test_some_sentences_make_a_batch(language):
    ids, mask = language.encode(SENTENCES)
    for sentence, row, real in zip(SENTENCES, ids.tolist(), mask.tolist(), strict=True):
        read = [*language.ids(sentence), EOS]
        assert row == [*read, *[PAD] * (len(row) - len(read))]
        assert real == [place < len(read) for place in range(len(row))]
    longest = ids.shape[1]
    assert language.encode(["x"], longest)[0].shape == (1, longest)
    with pytest.raises(ValueError, match=f"rows must have at most {longest - 1} tokens, got {longest} in row"):
        language.encode(SENTENCES, longest - 1)


def test_a_language_comes_back_from_json(language):
    again = Language.from_json(language.to_json())
    assert again == language
    for sentence in [*SENTENCES, "none of these", "", "\u2028 \ud800"]:
        if sentence.isascii() or not isinstance(language.tokenizer, Subwords):  # which takes no lone surrogate
            assert again.ids(sentence) == language.ids(sentence)
            assert again.text(again.ids(sentence)) == language.text(language.ids(sentence))


def test_every_tokenizer_can_be_kept():
    assert {type(tokenizer) for tokenizer in tokenizers()} == set(TOKENIZERS.values())


GOOD = json.loads(Language(Words(), Vocabulary.count([["a"]])).to_json())


OTHER_TEXTS = ["", "nonsense", "[" * 100_000, "null", "[]", "3", '"tokenizer"', "{}"]
WRONG = {
    "tokenizer": [
        *({}, "Words", [["Words", {}]], {"Words": {}, "Characters": {}}, {"Phonemes": {}}, {"Subwords": {}}),
        *({"Words": fields} for fields in ({"upper": True}, [], None, {"punctuation": "a"})),
        {"Vocabulary": {"symbols": []}},
    ],
    "vocabulary": [None, "abc", ["a"], *([*GOOD["vocabulary"], symbol] for symbol in ("a", 4))],
}


@pytest.mark.parametrize(
    "text",
    [
        *OTHER_TEXTS,
        *(json.dumps({part: GOOD[part]}) for part in GOOD),
        *(json.dumps(GOOD | {part: value}) for part, values in WRONG.items() for value in values),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_language_is_refused(text):
    assert Language.from_json(json.dumps(GOOD)).vocabulary.symbols[-1] == "a"
    with pytest.raises(ValueError, match=r"must|expected a tokenizer and a vocabulary in JSON, found"):
        Language.from_json(text)


def test_vocabularies_are_counted_on_the_training_pairs_alone():
    task = Translation.of(PAIRS, Words(), Characters())
    assert task.source.vocabulary.symbols[4:] == ("a", "b", "c")
    assert task.target.vocabulary.symbols[4:] == ("x", " ", "z", "y")
    assert (task.source.tokenizer, task.target.tokenizer) == (Words(), Characters())
    assert task.pairs is PAIRS
    often = Translation.of(PAIRS, Words(), Words(), least=2)
    assert often.source.vocabulary.symbols[4:] == ("a", "b")
    assert often.target.vocabulary.symbols[4:] == ("x", "z")
    assert often.source.unknown("c a d") == ["c", "d"]
    assert often.source.warning("c a d") == "read as <unk>: c, d (2 of 3 words)"
    assert often.source.warning("a a") is None
    with pytest.raises(ValueError, match="must hold a word, got ' '"):
        often.source.warning(" ")


def test_a_batch_holds_the_pairs_in_order():
    task = Translation.of(PAIRS, Words(), Words())
    batch = task.encode([*PAIRS.train[:2], *PAIRS.test])
    np.testing.assert_array_equal(batch.source, [[4, 5, EOS], [4, EOS, PAD], [4, UNK, EOS]])
    np.testing.assert_array_equal(batch.target, [[4, 6, 5, EOS], [4, EOS, PAD, PAD], [UNK, UNK, UNK, EOS]])
    np.testing.assert_array_equal(batch.source_mask, batch.source != PAD)
    np.testing.assert_array_equal(batch.target_mask, batch.target != PAD)


def texts(task, part) -> list[Pair]:
    """The pairs of a batch, after it was checked that the masks are those of the padding."""
    np.testing.assert_array_equal(part.source_mask, np.asarray(part.source) != PAD)
    np.testing.assert_array_equal(part.target_mask, np.asarray(part.target) != PAD)
    rows = zip(np.asarray(part.source), np.asarray(part.target), strict=True)
    return [Pair(task.source.text(source), task.target.text(target)) for source, target in rows]


def test_buckets_hold_the_training_pairs_in_few_shapes():
    generator = random.Random(0)
    train = [Pair("a " * generator.randint(1, 9), "b " * generator.randint(1, 12)) for _ in range(60)]
    train = [Pair(source.strip(), target.strip()) for source, target in train]
    task = Translation.of(Split(train, [Pair("a " * 30, "b " * 30)], []), Words(), Words())
    buckets = task.buckets(8, 3)
    assert buckets.batch_size == 8
    assert sorted(pair for part in buckets.parts for pair in texts(task, part)) == sorted(train)
    shapes = [(part.source.shape[1], part.target.shape[1]) for part in buckets.parts]
    assert len(set(shapes)) == 3
    assert tuple(np.max(shapes, axis=0)) == (10, 13), "nothing is as long as the validation pair"
    for part, shape in zip(buckets.parts, shapes, strict=True):
        assert (int(part.source_mask.sum(axis=1).max()), int(part.target_mask.sum(axis=1).max())) == shape
    assert len(task.buckets(8, 1).parts) == 1
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 60\], got 61"):
        task.buckets(61, 3)


@needs_data
def test_the_public_pairs_become_a_task():
    """What the tutorial `translation` trains on: Spanish to English, without accents, case and punctuation."""
    words = Words(punctuation="")
    read = corpora.tatoeba(public("translation/tatoeba/spa-eng.zip"), source_column=2).pairs[:20_000]
    pairs = corpora.dedup(corpora.normalise(read, words, words).pairs)
    task = Translation.of(corpora.split(pairs, held_out=300, seed=0), words, words, least=2)
    assert not {p.source for p in task.pairs.train} & {p.source for p in task.pairs.test}
    assert not {p.target for p in task.pairs.train} & {p.target for p in task.pairs.validation}
    for language, side in ((task.source, 0), (task.target, 1)):
        symbols = set(language.vocabulary.symbols[4:])
        assert all(symbol.isascii() and symbol.islower() for symbol in symbols)
        counts: dict[str, int] = {}
        for pair in task.pairs.train:
            for word in pair[side].split():
                counts[word] = counts.get(word, 0) + 1
        assert symbols == {word for word, count in counts.items() if count >= 2}
        shown = [pair[side] for pair in task.pairs.test[:100]]
        for sentence, row in zip(shown, language.encode(shown)[0], strict=True):
            assert language.text(row).split() == [w if w in symbols else "<unk>" for w in sentence.split()]
    buckets = task.buckets(64, 4)
    assert len(buckets.parts) == 4
    assert sum(len(part.source) for part in buckets.parts) == len(task.pairs.train)
    assert buckets.parts[-1].source.shape[1] == 1 + max(len(pair.source.split()) for pair in task.pairs.train)
