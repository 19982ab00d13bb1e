"""What the experiment computes of groups, against permutations themselves and all words of small length."""

import itertools
import operator
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.runs.scripts import import_script
from tests.refusals import refuses

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "memory" / "state_tracking.py")
CYCLES = {"Z2": [(0, 1), (1, 0)], "S3": [(0, 2, 1), (1, 0, 2)], "A5": [(1, 2, 0, 3, 4), (0, 1, 3, 4, 2)]}


def even(p: tuple[int, ...]) -> bool:
    return sum(a > b for a, b in itertools.combinations(p, 2)) % 2 == 0


@pytest.mark.parametrize("name", CYCLES)
def test_constructed_weights_are_right_on_permutations(name):
    """Tokens are the permutations that the script says, and generate the group."""
    letters = SCRIPT.LETTERS[name]
    elements = [p for p in itertools.permutations(range(letters)) if name != "A5" or even(p)]
    of_token = [elements[token] for token in SCRIPT.TOKENS[name]]
    assert sorted(of_token) == sorted(CYCLES[name])
    tokens = np.random.default_rng(0).integers(2, size=(2, 300))
    expected = []
    for word in tokens:
        product = tuple(range(letters))
        for token in word:
            product = tuple(of_token[token][x] for x in product)
            expected.append(elements.index(product))
    found = SCRIPT.constructed(name, jnp.asarray(tokens))
    np.testing.assert_array_equal(found.ravel(), expected)
    assert len(set(expected)) == len(elements)


def test_the_ceiling_of_attention_is_that_of_all_words(monkeypatch):
    """The best answer from the tokens before the last, without their order, and the last."""
    monkeypatch.setitem(SCRIPT.at.__globals__, "LAST", 2)
    task = SCRIPT.task_of(SCRIPT.Config(), 24)
    found = []
    for length in (5, 6):
        seen = Counter()
        for word in itertools.product(range(2), repeat=length):
            product = task.group.identity
            for token in word:
                product = int(task.group.table[product, task.elements[token]])
            seen[tuple(sorted(word[:-1])), word[-1], product] += 1
        best = Counter()
        for (counts, last, _), times in seen.items():
            best[counts, last] = max(best[counts, last], times)
        found.append(best.total() / 2**length)
    assert SCRIPT.ceiling(task, 6) == pytest.approx(np.mean(found), abs=1e-12)


def test_what_counts_does_not_see_the_order_of_tokens_before_the_last():
    model = SCRIPT.build(SCRIPT.Config(model="counts"))
    tokens = jax.random.randint(jax.random.key(0), (1, 12), 0, 2)
    params = model.init(jax.random.key(1), jax.nn.one_hot(tokens, 2))
    mixed = jnp.concatenate([jnp.sort(tokens[:, :-1]), tokens[:, -1:]], axis=1)
    logits, others = (model.apply(params, jax.nn.one_hot(word, 2))[:, -1] for word in (tokens, mixed))
    assert (tokens != mixed).any()
    np.testing.assert_allclose(logits, others, atol=1e-5)


@pytest.mark.parametrize("name", ["gru", "signed_selective_ssm"])
def test_answers_to_one_token_are_those_of_whole_words(name):
    config = SCRIPT.Config(model=name, longest_word=9)
    model, word = SCRIPT.build(config), jax.nn.one_hot(jnp.ones((1, 9), int), 2)
    params = jax.vmap(lambda key: model.init(key, word))(jax.random.split(jax.random.key(2), 2))
    whole = jax.vmap(lambda run: model.apply(run, word)[0])(params)
    np.testing.assert_array_equal(SCRIPT.one_token(model, params, 2, config), whole.argmax(axis=-1))


def test_words_of_one_token():
    """Of a model that is right, of one that settles on the identity after three tokens, and of one that never does."""
    right, settles = np.arange(1, 41) % 2, np.array([1, 0, 1] + [0] * 37)
    np.testing.assert_array_equal(SCRIPT.powers("Z2"), [1, 0])
    assert SCRIPT.on_words(right[None], "Z2") == {
        "settled": 0, "earliest": None, "latest": None, "words": 1.0, "one_in": 0.5,
    }  # fmt: skip
    assert SCRIPT.on_words(np.stack([settles, settles, right]), "Z2") == {
        "settled": 2, "earliest": 4, "latest": 4, "words": 0.5, "one_in": 0.5,
    }  # fmt: skip
    assert len(SCRIPT.powers("A5")) == 3
    assert SCRIPT.on_words(np.zeros((1, 40), int), "A5")["words"] == pytest.approx(1 / 3)


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: SCRIPT.Config(length=11), "--length must be >= 12, got 11"),
    (lambda: SCRIPT.Config(longest_word=3), "--longest-word must be >= 4, got 3"),
)
