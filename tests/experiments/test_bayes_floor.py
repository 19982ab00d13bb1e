"""What the experiment calls regret, and its models of few tokens."""

import itertools
import operator
from pathlib import Path

import numpy as np
import pytest

from seqjax.runs.scripts import import_script
from seqjax.theory import sources
from tests.refusals import refuses

SCRIPT = import_script(Path(__file__).parents[2] / "experiments" / "language" / "bayes_floor.py")


@pytest.mark.parametrize(("source", "reach"), [(sources.even_process(), 3), (sources.mess3(), 1), (sources.mess3(), 2)])
def test_regret_of_the_best_predictor_of_a_window_is_the_floor_of_its_position(source, reach):
    """By enumeration of all texts of 7 tokens with their probabilities: no sampling."""
    words = np.array(list(itertools.product(range(source.symbols), repeat=7)))
    beliefs = source.stationary[None].repeat(len(words), axis=0)
    for now in words.T:  # the forward algorithm, without normalising
        beliefs = np.einsum("wi,wij->wj", beliefs, source.transitions[now])
    p = beliefs.sum(axis=1)
    words, p = words[p > 0], p[p > 0]
    best = source.predict(words)
    regret = p @ SCRIPT.divergence(best, SCRIPT.window_predictor(source, words, reach))
    np.testing.assert_allclose(regret, source.position_floors(reach, 7), atol=1e-12)


def test_divergence():
    p, q = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(SCRIPT.divergence(p, q), [0.5 * np.log(2) + 0.5 * np.log(2 / 3), np.log(2)])
    assert SCRIPT.divergence(p, np.array([[1.0, 0.0]]))[0] == np.inf


def test_models_see_as_many_tokens_as_their_floor_supposes():
    limited = [config for config in SCRIPT.configs("laptop") if config.model in ("tcn", "window")]
    assert {config.reach for config in limited} == {1, 2, 3, 4, 5, 9}
    for config in limited:
        assert SCRIPT.backbone(config).receptive_field == config.reach


def test_what_follows_a_run(monkeypatch):
    monkeypatch.setattr(SCRIPT, "SETTLED", 1)
    tokens = np.array([[1, 1, 0, 1, 1, 0]])
    ones = np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0.5])
    found = SCRIPT.after_runs(tokens, np.stack([1 - ones, ones], axis=-1)[None, None])[0]
    np.testing.assert_allclose(found[:3], [(0.1 + 0.5) / 2, 0.2, 0.3])  # the first run began before the text
    assert np.isnan(found[3:]).all()


test_wrong_fields_are_refused = refuses(
    operator.call,
    (lambda: SCRIPT.Config(length=24), "--length must be > 24, got 24"),
    (lambda: SCRIPT.Config(model="tcn", reach=4), "--reach must be one of 1, 3, 5, 9 for tcn, got 4"),
    (lambda: SCRIPT.Config(model="window", reach=1), "--reach must be one of 2 to 23 for window, got 1"),
    (lambda: SCRIPT.Config(model="gru", reach=3), "--reach must be 0 for gru, which sees all tokens, got 3"),
)
