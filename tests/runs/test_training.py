"""Resuming to the last bit: after kills, signals, full disks and damaged checkpoints."""

import json
import logging
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import jax
import numpy as np
import pytest

from seqjax import checkpoint, runs
from seqjax.runs import process, training
from seqjax.runs.folder import read_history
from seqjax.runs.progress import Report
from tests.runs import regression
from tests.runs.conftest import Lab, program
from tests.runs.regression import Config

STEPS = 1000
COMMAND = ("--steps", str(STEPS), "--scale", "smoke")
PAIR = [Config(learning_rate=rate, steps=30) for rate in (0.05, 0.2)]


FULL_DISK = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def begin(folder: Path, configs: Sequence[Config]) -> list[runs.Record]:
    session = training.Session(Report(len(configs)))
    records = [runs.Record(config, folder / f"rate={config.learning_rate}", session) for config in configs]
    for record in records:
        record.begin(resume=True)
    return records


def fit(folder: Path, configs: Sequence[Config] = PAIR, steps: int = 30) -> None:
    """Train in this process as far as `steps`, as one command would; compiled once for all tests."""
    training.fit(begin(folder, configs), *program(configs), steps)


def saved(run: Path) -> str:
    """The sha256 of the newest state on disk, parameters and optimiser's state and all, whose files are good."""
    step = checkpoint.steps(run / "checkpoint")[-1]
    assert checkpoint._faults(run / "checkpoint", step) == []
    return json.loads((run / "checkpoint" / f"{step:08d}" / "MANIFEST").read_text().partition("\n")[2])["fingerprint"]


def everything(run: Path) -> list:
    """All that a run must not depend on how often it was killed."""
    parameters = np.load(run / "parameters.npz")
    arrays = {name: parameters[name].tobytes() for name in parameters.files}
    return [saved(run), (run / "history.csv").read_text(), arrays]


def require_whole_history(run: Path) -> None:
    """No half line, no row twice, none missing, whenever the process died."""
    if not (run / "history.csv").exists():
        return
    text = (run / "history.csv").read_text()
    assert text.endswith("\n")
    assert {line.count(",") for line in text.splitlines()} == {3}
    rows = [(row["step"], row["seed"]) for row in read_history(run / "history.csv")]
    assert rows == [(5 * (call + 1), seed) for call in range(len(rows) // 2) for seed in range(2)]


def damage(run: Path, step: int, how: str = "flip") -> None:
    files = [path for path in (run / "checkpoint" / f"{step:08d}").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size * (path.name != "MANIFEST"))
    if how == "manifest lost":
        (run / "checkpoint" / f"{step:08d}" / "MANIFEST").unlink()
    elif how == "lost":
        largest.unlink()
    else:
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= how == "flip"
        largest.write_bytes(content[:-1] if how == "truncated" else content)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def newest(lab: Lab) -> int:
    """The newest step that all runs have saved, 0 if there is none."""
    return min((max(checkpoint.steps(work / "checkpoint"), default=0) for work in lab.works()), default=0)


@pytest.fixture(autouse=True)
def save_after_every_call(monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Lab:
    """Two configurations, trained in one go."""
    lab = Lab(tmp_path_factory.mktemp("uninterrupted"))
    assert lab.run(*COMMAND).code == 0
    assert len(lab.finished()) == 2
    return lab


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Lab:
    """The same two, stopped by kill -9 somewhere on the way."""
    lab = Lab(tmp_path_factory.mktemp("interrupted"))
    child = lab.start(*COMMAND, save_every=0)
    until(lambda: newest(lab) >= 50)
    child.kill()
    child.communicate()
    return lab


def copy(lab: Lab, folder: Path) -> Lab:
    shutil.copytree(lab.folder, folder, dirs_exist_ok=True)
    return Lab(folder)


def test_kills_at_random_moments_change_no_bit(interrupted, uninterrupted, tmp_path):
    lab = copy(interrupted, tmp_path)
    for moment in range(2):
        before = newest(lab)
        child = lab.start(*COMMAND, save_every=0)
        until(lambda before=before: newest(lab) > before)
        time.sleep(random.Random(moment).uniform(0, 0.5))
        child.kill()
        assert f"resumed steps={STEPS} (2 runs) at step" in child.communicate()[1]
        assert child.returncode == -signal.SIGKILL
        for work in lab.works():
            require_whole_history(work)
            for step in checkpoint.steps(work / "checkpoint"):
                assert checkpoint._faults(work / "checkpoint", step) == []
    assert lab.finished() == []
    assert lab.run(*COMMAND).code == 0
    assert lab.works() == []
    assert not list(lab.home.rglob("*.tmp"))
    for run, other in zip(lab.finished(), uninterrupted.finished(), strict=True):
        require_whole_history(run)
        assert everything(run) == everything(other)
        assert (run / "result.json").read_text() == (other / "result.json").read_text()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_the_same_command_goes_on(uninterrupted, tmp_path, signum, code):
    lab = Lab(tmp_path)
    child = lab.start(*COMMAND, save_every=0)
    until(lambda: newest(lab) > 0)
    child.send_signal(signum)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert err.endswith("stopped; the state is saved: the same command goes on from it\n")
    steps = {read_history(work / "history.csv")[-1]["step"] for work in lab.works()}
    assert steps == {newest(lab)}
    if signum == signal.SIGTERM:
        assert lab.run(*COMMAND).code == 0
        assert [everything(run) for run in lab.finished()] == [everything(run) for run in uninterrupted.finished()]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [500, 2200])  # stops our own files, Orbax's
def test_full_disk_leaves_the_last_good_state(interrupted, tmp_path, limit):
    lab = copy(interrupted, tmp_path)
    before = newest(lab)
    code, _, err = lab.run(*COMMAND, save_every=0, options=("-c", FULL_DISK, str(limit)))
    assert code == process.ENVIRONMENT
    assert "File too large" in err.splitlines()[-1]
    assert str(lab.home.relative_to(lab.folder)) in err.splitlines()[-1]
    assert newest(lab) >= before
    for work in lab.works():
        require_whole_history(work)
        for step in checkpoint.steps(work / "checkpoint"):
            assert checkpoint._faults(work / "checkpoint", step) == []


def test_resumed_in_this_process_is_bitwise_the_same(tmp_path, capsys):
    fit(tmp_path / "once")
    fit(tmp_path / "twice", steps=15)
    fit(tmp_path / "twice")
    assert "at step 15" in capsys.readouterr().err
    for name in ("rate=0.05.partial", "rate=0.2.partial"):
        assert everything(tmp_path / "twice" / name) == everything(tmp_path / "once" / name)


@pytest.mark.parametrize("first_save", [True, False])
def test_kill_between_the_saves_of_two_runs(tmp_path, monkeypatch, first_save):
    """The first run is ahead of the second; both go on from where the second is, and save on the way."""
    fit(tmp_path / "once")
    save = checkpoint.save

    def dying(folder: Path, *rest) -> None:
        if "rate=0.2" in str(folder):
            raise KeyboardInterrupt
        save(folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(training, "SAVE_EVERY", float("inf"))
        if not first_save:
            fit(tmp_path / "torn", steps=10)
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "torn", steps=20)
    ahead, behind = (tmp_path / "torn" / f"rate={rate}.partial" for rate in (0.05, 0.2))
    assert checkpoint.steps(ahead / "checkpoint") == ([20] if first_save else [10, 20])
    assert checkpoint.steps(behind / "checkpoint") == ([] if first_save else [10])
    fit(tmp_path / "torn")
    for run in (ahead, behind):
        assert everything(run) == everything(tmp_path / "once" / run.name)


@pytest.mark.parametrize("how", ["flip", "truncated", "lost", "manifest lost"])
def test_damaged_newest_state_falls_back_with_a_warning(tmp_path, how):
    fit(tmp_path / "once")
    fit(tmp_path / "damaged", steps=15)
    damage(tmp_path / "damaged" / "rate=0.2.partial", 15, how)
    with pytest.warns(UserWarning, match=r"rate=0.2.partial/checkpoint/00000015 is damaged"):
        fit(tmp_path / "damaged")
    for name in ("rate=0.05.partial", "rate=0.2.partial"):
        assert everything(tmp_path / "damaged" / name) == everything(tmp_path / "once" / name)


@pytest.mark.parametrize("how", ["flip", "manifest lost"])
def test_never_from_scratch_when_all_states_are_damaged(tmp_path, how):
    fit(tmp_path, steps=15)
    for step in (10, 15):
        damage(tmp_path / "rate=0.2.partial", step, how)
    before = (tmp_path / "rate=0.05.partial" / "history.csv").read_text()
    with (
        pytest.warns(UserWarning, match="00000015 is damaged"),
        pytest.warns(UserWarning, match="00000010 is damaged") if how == "flip" else nullcontext(),
        pytest.raises(ValueError, match=r"no intact checkpoint in .*rate=0.2"),
    ):
        fit(tmp_path)
    assert (tmp_path / "rate=0.05.partial" / "history.csv").read_text() == before


def test_never_from_scratch_when_no_good_state_is_common(tmp_path):
    """Each run alone could go on, but as one program they have no step to start from."""
    fit(tmp_path, PAIR, steps=10)
    fit(tmp_path, PAIR[:1], steps=20)
    with pytest.warns(UserWarning, match="00000010"), pytest.raises(ValueError, match=r"rate=0.05.*\[10\] are damaged"):
        fit(tmp_path)


def test_all_states_damaged_is_exit_2(interrupted, tmp_path):
    lab = copy(interrupted, tmp_path)
    for work in lab.works():
        for step in checkpoint.steps(work / "checkpoint"):
            damage(work, step)
    code, _, err = lab.run(*COMMAND)
    assert code == process.USAGE
    assert "is damaged" in err
    assert err.splitlines()[-1].startswith("error: no intact checkpoint in")


def test_nan_stops_with_step_and_seed_and_is_never_saved(here, tmp_path):
    code, _, err = here("--fault", "nan", "--learning-rate", "0.2")
    assert code == process.DIVERGED
    first = regression.NAN_FROM + training.SKIPPED_AT_MOST
    assert err.splitlines()[-1] == (
        f"error: diverged: learning_rate=0.2 fault=nan, seed 1: {training.SKIPPED_AT_MOST} updates in a row not finite"
        f" at step {first}"
    )
    [work] = (tmp_path / "results" / "regression").glob("*.partial")
    [config] = [Config(fault="nan", learning_rate=0.2)]
    state, _ = regression.program([config])
    restored = checkpoint.restore(work / "checkpoint", state)
    assert restored.step == first - regression.STEPS_PER_CALL
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restored.state.params))
    assert all(np.isfinite(array).all() for array in np.load(work / "parameters.npz").values())


def test_one_program_for_a_group_and_none_more_on_resume(tmp_path, caplog):
    def compiled(configs: list[Config], steps: int) -> int:
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            training.fit(begin(tmp_path, configs), *regression.program(configs), steps)
        return sum("Finished XLA compilation of jit(compiled)" in m for m in caplog.messages)

    three = [Config(learning_rate=rate, steps=30) for rate in (0.05, 0.1, 0.2)]
    assert compiled(three, 15) == 1
    assert compiled(three, 30) == 1
    assert compiled(three, 30) == 0
