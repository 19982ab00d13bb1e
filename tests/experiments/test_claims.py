"""The verdicts on the seeds' claims: rules that can go either way, and numbers that come from committed files."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax import tasks
from seqjax.metrics import Band
from seqjax.types import EOS, PAD, SOS

SCRIPTS = Path(__file__).parents[2] / "experiments" / "tutorials"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


@pytest.fixture
def committed(monkeypatch, tmp_path):
    """The module that reads committed numbers, in an empty folder."""
    module = importlib.import_module("_claims.claims_committed")
    monkeypatch.setattr(module, "FIGURES", tmp_path)
    return module


def module(name: str):
    return importlib.import_module(f"_claims.claims_{name}")


def write(folder: Path, experiment: str, *rows: dict) -> None:
    (folder / f"{experiment}.json").write_text(json.dumps({"rows": rows}))


def test_a_missing_file_and_a_missing_row_name_the_command(committed, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"shift_memory.json is missing: `python experiments/memory/shift"):
        committed.rows("shift_memory", delay=8)
    write(tmp_path, "shift_memory", {"delay": 8, "mse": 1.0}, {"delay": 8, "mse": 2.0}, {"delay": 2, "mse": 3.0})
    assert [row["mse"] for row in committed.rows("shift_memory", delay=8)] == [1.0, 2.0]
    assert committed.row("shift_memory", delay=2)["mse"] == 3.0
    with pytest.raises(
        FileNotFoundError, match=r"no row with delay = 9, model = gru: `python experiments/memory/shift"
    ):
        committed.rows("shift_memory", delay=9, model="gru")
    with pytest.raises(ValueError, match="got 2"):
        committed.row("shift_memory", delay=8)


def test_a_row_says_what_is_missing(committed):
    with pytest.raises(FileNotFoundError, match=r"python experiments/theory/recurrent_width"):
        module("shift").hurts_linear_rnns()
    with pytest.raises(FileNotFoundError, match=r"python experiments/memory/shift_memory"):
        module("lorenz").the_missing_row()


def left(tcn: float, recurrent: dict[int, float], transformer: float = 0.5) -> dict[tuple[str, int], float]:
    """What is left of the error, by architecture and delay."""
    found = {(name, delay): share for name in ("rnn", "gru", "lstm") for delay, share in recurrent.items()}
    others = {("tcn", delay): tcn for delay in recurrent} | {("transformer", delay): transformer for delay in recurrent}
    return found | others


def test_who_learns_shifts():
    judge, smooth = module("shift").who_learns, left(0.01, {8: 0.01, 32: 0.9})
    assert judge(left(0.01, {8: 0.9, 32: 0.9}), smooth).startswith("stands")
    half = judge(left(0.01, {8: 0.01, 32: 0.9}), smooth)
    assert half.startswith("half: on white noise recurrent nets learn 8, 32 only TCN;")
    assert half.endswith("on S4's smooth input, shift 8 rnn/gru/lstm, shift 32 none")
    assert "TCN and Transformer" in judge(left(0.01, {8: 0.01, 32: 0.9}, transformer=0.01), smooth)
    assert "shift 8 none" in judge(left(0.01, {8: 0.01, 32: 0.9}), left(0.01, {8: 0.9, 32: 0.9}))
    assert judge(left(0.01, {8: 0.01, 32: 0.01}), smooth).startswith("no: some recurrent")
    assert judge(left(0.9, {8: 0.01, 32: 0.9}), smooth).startswith("no: the TCN itself learns nothing")


def test_rules_on_memory():
    shift = module("shift")
    assert shift.certificate(True, 0.0, 255, 16).startswith("stands")
    assert shift.certificate(False, 0.0, 255, 16).startswith("no")
    assert shift.certificate(True, 1e-5, 255, 16).startswith("no")
    floors = [(4, 0.6, 0.5), (8, 0.2, 0.1), (12, 0.0, 0.0)]
    assert shift.hurts(floors, 8, 0.0, 1.0).startswith(
        "stands for linear RNNs: 8 states leave 0.2 or more, more nothing"
    )
    assert shift.hurts(floors, 8, 0.0, 1.0).endswith("fail by training")
    assert shift.hurts([*floors[:2], (12, 0.3, 0.0)], 8, 0.0, 0.0).endswith("more up to 0.3; no bound for gated nets")
    assert shift.hurts([(8, 0.0, 0.0), (12, 0.0, 0.0)], 8, 0.0, 1.0).startswith("no")
    assert shift.hurts([(8, 0.2, 0.3), (12, 0.0, 0.0)], 8, 0.0, 1.0).startswith("no")
    slopes = {"descent": (0.6, 1.8), "Adam": (0.2, 0.8)}
    assert shift.exponential(slopes, {"GRU": 0.1, "LSTM": 0.4}, False).startswith("half: true of gradient descent")
    assert shift.exponential(slopes, {"GRU": 0.1, "LSTM": 0.4}, True).endswith("gated nets 0.4 a step or more")
    assert shift.exponential(slopes | {"Adam": (1.2, 1.5)}, {"GRU": 0.1}, False).startswith("stands")
    assert shift.exponential(slopes | {"descent": (0.1, 0.2)}, {"GRU": 0.1}, False).startswith("no")
    best = {"8/32": 0.6, "32/128": 0.99997}
    assert shift.near_zero(best, 0.601, 0.54).startswith("half: the mean given x_t alone is 0.54 x_t")
    assert shift.near_zero(best, 0.7, 0.54).startswith("open")
    assert shift.near_zero({"8/32": 0.995, "32/128": 0.99997}, 0.995, 0.0).startswith("stands")
    assert shift.near_zero(best | {"32/128": 0.8}, 0.601, 0.54).startswith("no")


def test_rules_on_convolutions():
    convolution = module("convolution")
    assert convolution.reach({2: 2, 8: 16}, 0.5).startswith("stands")
    assert convolution.reach({2: 2, 8: 15}, 0.5).startswith("no: 8 weights reach 15")
    floors = np.array([0.1, 0.2, 0.3, 0.4])
    assert convolution.by_rank(floors, 1.5 * floors, [0.1, 0.1]).endswith("does not mind")
    assert convolution.by_rank(floors, 1.5 * floors, [0.1, 0.3]).endswith("minds rank too")
    assert convolution.by_rank(floors, 0.9 * floors, [0.1, 0.1]).startswith("no: training got below")
    assert convolution.by_rank(floors, np.array([1.0, 0.5, 0.7, 0.6]), [0.1, 0.1]).startswith("no: rank correlation")
    assert convolution.agreement(floors, floors[::-1]) == pytest.approx(-1)

    def errors(delay: float, rough: float, power_law: float) -> dict[tuple[str, str, int], float]:
        found = {"delay": delay, "rough": rough, "power law": power_law}
        wide = {(memory, "rnn", 1): ratio for memory, ratio in found.items()}
        tcn = {(memory, "tcn", place): 1.0 for memory in found for place in (0, 1)}
        return wide | tcn | {(memory, "rnn", 0): 1e-9 for memory in found}  # the narrow ones do not count

    assert convolution.whose(errors(9, 3, 0.5)).startswith("stands")
    assert convolution.whose(errors(9, 3, 4)).startswith("half")
    assert convolution.whose(errors(9, 0.5, 0.2)).startswith("half")
    assert convolution.whose(errors(0.9, 0.5, 0.2)).startswith("no")


def test_memories_are_of_one_size():
    convolution = module("convolution")
    weight = 1 - np.arange(convolution.LENGTH) / convolution.LENGTH
    for kernel in convolution.kernels().values():
        assert weight @ kernel**2 == pytest.approx(1)


def test_what_is_left_of_the_variance(committed, tmp_path):
    row = {"model": "gru", "K": 4, "amplitude": 4.0, "r2": 0.75, "low": 0.5, "high": 0.875}
    write(tmp_path, "lorenz96_response", row, row | {"K": 1})
    assert module("lorenz").rung(4, 4.0) == {"gru": Band(0.25, 0.125, 0.5)}


def test_rules_on_lorenz96():
    lorenz = module("lorenz")
    assert lorenz.beats([0.2, 0.7], 50, True, 75).startswith("no: best recurrent 0.2 to 0.7 x the TCN's error")
    assert lorenz.beats([0.2, 1.7], 50, True, 75).startswith("half")
    assert lorenz.beats([1.2, 1.7], 50, False, 75).endswith("64 taps do not")
    assert lorenz.pattern(0.003, 0.2, 1e-7, 0.2).startswith("true, and little: 0.30% left")
    assert lorenz.pattern(0.003, 0.2, 0.1, 0.2).startswith("stands")
    assert lorenz.pattern(0.3, 0.4, 1e-7, 0.2).startswith("no")
    assert lorenz.rank({"gru": 0.1, "tcn": 0.3, "transformer": 0.2}) == 2
    few, same, many = Band(1, 0.9, 1.1), Band(1.05, 0.95, 1.15), Band(3, 2.9, 3.1)
    assert lorenz.measures([True] * 5, {4: few, 32: many}, few, 9).startswith("stands: K yes, in 5 of 5")
    assert "within seeds" in lorenz.measures([True] * 5, {4: few, 32: same}, few, 9)
    assert lorenz.measures([True] * 5, {4: few, 32: same}, few, 9).startswith("half")
    assert lorenz.measures([True, False], {4: few, 32: many}, few, 9).startswith("half")
    assert lorenz.measures([False] * 5, {4: few, 32: same}, few, 9).startswith("no: K, in 0 of 5")


def test_rules_on_language():
    language = module("language")
    ratios = np.array([0.9, 1.1, 1.0, 1.0, 0.95, 1.05, 1.0, 1.0])
    assert language.significant(language.interval(ratios)).startswith("stands")
    assert language.significant(language.interval(ratios + 0.2)).startswith("no, on reversal: it costs +20%")
    assert language.significant(language.interval(ratios - 0.2)).startswith("no, on reversal: it helps, -20%")
    # Against a t-test by hand: deviations .1, .1, .05, .05 squared and summed are .025, of 7 degrees of freedom.
    assert language.interval(ratios).high == pytest.approx(1 + 2.365 * (0.025 / 7 / 8) ** 0.5)
    falling, flat = [Band(99, 98, 100), Band(80, 70, 90), Band(20, 10, 30)], [Band(99, 98, 100)] * 3
    told = language.shorter_is_better(falling, flat)
    assert told.startswith("stands on reversal: 99 / 80 / 20 %")
    assert "attention cures it" in told
    assert "attention falls too" in language.shorter_is_better(falling, falling)
    assert language.shorter_is_better(flat, flat).startswith("no")
    good, bad, close = Band(90, 88, 92), Band(40, 30, 50), Band(89, 85, 95)

    def verdict(gru: Band, transformer: Band) -> str:
        names = (
            "GRU, encoder-decoder",
            "Transformer, encoder-decoder",
            "GRU, language model",
            "Transformer, language model",
        )
        return language.surpasses(dict(zip(names, (good, good, gru, transformer), strict=True)))

    assert verdict(bad, bad).startswith("stands")
    assert verdict(bad, close).startswith("half")
    assert verdict(close, close).startswith("no")


def test_source_and_target_stand_in_one_row_without_a_gap():
    language, batch = module("language"), tasks.Reversal(longest=5).sample(jax.random.key(0), 16)
    tokens, mask, places = (np.asarray(part) for part in language.joined(batch))
    for row in range(16):
        source, target = (
            side[row][side[row] != PAD].tolist() for side in (np.asarray(batch.source), np.asarray(batch.target))
        )
        expected = [*source, SOS, *target[:-1]]
        assert tokens[row][mask[row]].tolist() == expected
        assert (tokens[row][~mask[row]] == PAD).all()
        assert mask[row].sum() == len(expected)
        # What is read at a place is followed by the target's token there, whose last is EOS.
        follows = [*expected[1:], EOS]
        assert [follows[place] for place in places[row][: len(target)]] == target


def test_exact_matches_are_those_of_the_likeliest_tokens():
    language, batch = module("language"), tasks.Reversal(longest=3).sample(jax.random.key(0), 4)
    # Behind the end of a target anything may be said.
    right = 9.0 * jax.nn.one_hot(jnp.where(batch.target_mask, batch.target, 7), language.VOCAB)
    assert not batch.target_mask.all()
    wrong = right.at[1, 0].set(0.0)  # one token of one row
    learner = language.Learner(lambda key: None, lambda params, batch: jnp.where(params > 0, right, wrong))
    _, found = language.judged(learner, jnp.array([1, 0]), batch)
    assert found.tolist() == [[True] * 4, [True, False, True, True]]
