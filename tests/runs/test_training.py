"""Resuming to the last bit: after kills, signals, full disks and damage, alone and in other groups."""

import importlib.util
import logging
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

from seqjax import checkpoint, models, runs, tasks, train
from seqjax.runs import folder, process, training
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


def begin(home: Path, configs: Sequence[Config]) -> list[runs.Record]:
    session = training.Session(Report(len(configs)))
    records = [runs.Record(config, home / f"rate={config.learning_rate}", session) for config in configs]
    for record in records:
        record.begin(resume=True)
    return records


def fit(home: Path, configs: Sequence[Config] = PAIR, steps: int = 30) -> list[list]:
    """Train in this process as far as `steps`, as one command would; compiled once for all tests."""
    records = begin(home, configs)
    training.fit(records, *program(configs), steps)
    return [[checkpoint.fingerprint(record.state), record.history] for record in records]


def everything(run: Path) -> list:
    """All that a finished run must not depend on how often it was killed."""
    saved = checkpoint.read(run / "checkpoint").manifest["fingerprint"]
    parameters = np.load(run / "parameters.npz")
    arrays = {name: parameters[name].tobytes() for name in parameters.files}
    return [saved, (run / "history.csv").read_text(), (run / "result.json").read_text(), arrays]


def files(home: Path) -> list[Path]:
    """The checkpoints of all groups, the newest last."""
    return sorted(home.glob("checkpoints/*/*.safetensors"), key=lambda path: path.name)


def newest(lab: Lab) -> int:
    """The newest step that is on disk, 0 if there is none."""
    return int(files(lab.home)[-1].stem) if files(lab.home) else 0


def require_intact(lab: Lab) -> None:
    for path in files(lab.home):
        assert isinstance(checkpoint._read(path.parent, int(path.stem)), checkpoint.Saved)


def damage(path: Path, how: str = "flip") -> None:
    if how == "lost":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= how == "flip"
        path.write_bytes(content[:-1] if how == "truncated" else content)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def save_after_every_call(monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(training, "PAUSE", 0)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Lab:
    """Two configurations, trained in one go."""
    lab = Lab(tmp_path_factory.mktemp("uninterrupted"))
    assert lab.run(*COMMAND).code == 0
    assert len(lab.finished()) == 2
    assert files(lab.home) == []
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


def copy(lab: Lab, home: Path) -> Lab:
    shutil.copytree(lab.folder, home, dirs_exist_ok=True)
    return Lab(home)


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
        require_intact(lab)
    assert lab.finished() == []
    assert lab.run(*COMMAND).code == 0
    assert lab.works() == files(lab.home) == []
    assert not list(lab.home.rglob("*.tmp"))
    for run, other in zip(lab.finished(), uninterrupted.finished(), strict=True):
        assert everything(run) == everything(other)
        stretches = runs.load(run).provenance["stretches"]
        assert [stretch["from"] for stretch in stretches] == [0, *(stretch["to"] for stretch in stretches[:-1])]
        assert {(stretch["runs"], stretch["group"]) for stretch in stretches} == {(2, stretches[0]["group"])}


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_the_same_command_goes_on(uninterrupted, tmp_path, signum, code):
    lab = Lab(tmp_path)
    child = lab.start(*COMMAND, save_every=0)
    until(lambda: newest(lab) > 0)
    child.send_signal(signum)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert err.endswith("stopped; the state is saved: the same command goes on from it\n")
    if signum == signal.SIGTERM:
        assert lab.run(*COMMAND).code == 0
        assert [everything(run) for run in lab.finished()] == [everything(run) for run in uninterrupted.finished()]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="file size limits are POSIX")
def test_full_disk_leaves_the_last_good_state(interrupted, tmp_path):
    lab = copy(interrupted, tmp_path)
    before = newest(lab)
    code, _, err = lab.run(*COMMAND, save_every=0, options=("-c", FULL_DISK, "2200"))
    assert code == process.ENVIRONMENT
    [last] = [line for line in err.splitlines() if "File too large" in line]
    assert f"{lab.home.relative_to(lab.folder)}/checkpoints" in last
    assert "bytes are needed" in last
    assert newest(lab) >= before
    require_intact(lab)


def test_resumed_in_this_process_is_bitwise_the_same(tmp_path, capsys):
    once = fit(tmp_path / "once")
    fit(tmp_path / "twice", steps=15)
    assert fit(tmp_path / "twice") == once
    assert "at step 15" in capsys.readouterr().err


def test_any_run_of_a_group_goes_on_alone_and_in_other_groups(tmp_path):
    """Within rounding, as XLA's batched products depend on how many there are; nothing that is needed is deleted."""
    three = [*PAIR, Config(learning_rate=0.1, steps=30)]
    records = begin(tmp_path / "once", three)
    expected = {r.config.learning_rate: r for r in records}
    training.fit(records, *program(three), 30)
    fit(tmp_path / "apart", three, steps=10)
    fit(tmp_path / "apart", three[1:2], steps=20)  # one alone
    assert [path.name for path in files(tmp_path / "apart")] == ["00000005.safetensors", "00000010.safetensors"] + [
        f"000000{step}.safetensors" for step in (15, 20)
    ]
    others = begin(tmp_path / "apart", [three[2], three[0]])  # the others, in another order
    training.fit(others, *program([three[2], three[0]]), 30)
    for record in others:
        wanted = expected[record.config.learning_rate]
        assert [row["step"] for row in record.history] == [row["step"] for row in wanted.history]
        for ours, theirs in zip(
            jax.tree.leaves(record.state.params), jax.tree.leaves(wanted.state.params), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len({path.parent for path in files(tmp_path / "apart")}) == 2  # nobody needs the first group's any more


def test_runs_at_different_steps_never_start_again(here, tmp_path):
    """Neither the one ahead nor the one behind, whatever joins their group."""
    home = tmp_path / "results" / "regression"
    configs = [Config(learning_rate=rate, steps=20) for rate in (0.05, 0.2)]
    for config, steps in zip(configs, (15, 5), strict=True):
        record = runs.Record(config, home / folder.run_name(config, Config()), training.Session(Report(1)))
        record.begin(resume=True)
        training.fit([record], *program([config]), steps)
    code, _, err = here("--scale", "smoke", "--learning-rate", "0.05", "0.2", "0.1")
    assert code == 0, err
    assert "resumed steps=20 at step 15" in err
    assert "resumed steps=20 learning_rate=0.2 at step 5" in err
    for path in home.glob("*/result.json"):
        stretches = runs.load(path.parent).provenance["stretches"]
        assert [stretch["from"] for stretch in stretches] in ([0], [0, 5], [0, 15])
        assert stretches[-1]["to"] == 20
        assert [row["step"] for row in runs.load(path.parent).history[::2]] == [5, 10, 15, 20]


@pytest.mark.parametrize("how", ["flip", "truncated", "lost"])
def test_damaged_newest_state_falls_back_with_a_warning(tmp_path, how):
    once = fit(tmp_path / "once")
    fit(tmp_path / "damaged", steps=15)
    damage(files(tmp_path / "damaged")[-1], how)
    with pytest.warns(UserWarning, match=r"checkpoints/\w+/00000015.safetensors is damaged"):
        assert fit(tmp_path / "damaged") == once


@pytest.mark.parametrize("how", ["flip", "lost", "folder"])
def test_never_from_scratch_when_all_states_are_damaged(here, tmp_path, how):
    home = tmp_path / "results" / "regression"
    config = Config(learning_rate=0.2, steps=20)
    record = runs.Record(config, home / folder.run_name(config, Config()), training.Session(Report(1)))
    record.begin(resume=True)
    training.fit([record], *program([config]), 15)
    for path in files(home):
        damage(path, "lost" if how == "folder" else how)
    if how == "folder":
        shutil.rmtree(home / "checkpoints")
    code, _, err = here("--scale", "smoke", "--learning-rate", "0.2")
    assert code == process.USAGE
    assert "no intact checkpoint in" in err or "no checkpoint in" in err
    assert f"with --no-resume {record.folder.name} is started again" in err
    assert here("--scale", "smoke", "--learning-rate", "0.2", "--no-resume")[0] == 0


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "MANIFEST"])
@pytest.mark.parametrize("how", ["flip", "truncated", "lost"])
def test_every_damaged_file_of_an_interrupted_run_is_named(tmp_path, name, how):
    [record] = begin(tmp_path, PAIR[:1])
    record.keep("vocabulary.json", "[1, 2, 3, 4, 5, 6, 7, 8]")
    damage(record.work / name, how)
    named = (
        rf"rate=0.05.partial.*{name}" if name == "MANIFEST" else rf"rate=0.05.partial.*({name} (is|has)|{name} holds)"
    )
    with pytest.raises(ValueError, match=named):
        begin(tmp_path, PAIR[:1])


def test_a_run_that_diverges_harms_no_other(here, tmp_path):
    """It keeps its last good state, is not drawn, and is not tried again."""
    code, out, err = here("--fault", "nan", "--learning-rate", "0.2", "--seeds", "2")
    assert code == process.DIVERGED
    [run] = (tmp_path / "results" / "regression").glob("*/result.json")
    name = run.parent.name
    told = ["error: diverged: 1 of 1 runs, which are not drawn:", f"  {name}: seed 1 after step {regression.NAN_FROM}"]
    assert err.splitlines()[-2:] == told
    assert "mse" not in out
    saved = checkpoint.read(run.parent / "checkpoint")
    assert all(
        np.isfinite(np.load(run.parent / "parameters.npz")[name]).all() for name in ("params/kernel", "params/bias")
    )
    assert int(saved.arrays[".step"][0]) == 100
    code, _, err = here("--fault", "nan", "--learning-rate", "0.2", "--seeds", "2")
    assert code == process.DIVERGED
    assert "compiling" not in err


def test_the_healthy_runs_of_a_group_are_finished_and_drawn(here, tmp_path):
    code, out, err = here("--scale", "smoke", "--learning-rate", "0.2", "3e38")
    assert code == process.DIVERGED, err
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["learning_rate", "0.2", "3e+38"]
    assert out.splitlines()[2].endswith("seed 0 after step 1, seed 1 after step 1")
    assert "1 of 2 runs, which are not drawn:\n  steps=20-learning_rate=3e_38" in err
    assert here("--scale", "smoke", "--learning-rate", "0.2")[0] == 0
    [healthy] = runs.finished(tmp_path / "results" / "regression")
    assert here("--scale", "smoke", "--learning-rate", "0.2", "--out", "alone")[0] == 0
    [alone] = runs.finished(tmp_path / "alone" / "regression")
    np.testing.assert_allclose(runs.load(healthy).result["mse"], runs.load(alone).result["mse"], rtol=1e-4)


def test_a_run_that_no_update_could_move_has_diverged(tmp_path):
    """Loss and gradient are finite, and every parameter would overflow at every step."""
    with pytest.raises(training.SomeDiverged):
        trained(tmp_path, 10, lambda rate, steps: optax.sgd(3e38 / rate * jnp.inf))
    assert runs.Record(Config(), tmp_path / "steps=10").result["diverged"][0]["last_good_step"] == 10


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


def test_saving_takes_a_twentieth_of_the_time(monkeypatch):
    """After a save of 3 s the next one waits for 57 s, after a quick one for 30 s."""
    monkeypatch.undo()
    now = [0.0]
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    for took, wait in ((3.0, 57.0), (0.1, 30.0)):
        watch = training._Watch()
        with watch:
            now[0] += took
        now[0] += wait
        assert not watch.due()
        now[0] += 0.1
        assert watch.due()


def trained(
    home: Path, steps: int, optimizer: Callable, extends: runs.Run | None = None, *, stop: bool = False, validate=None
) -> runs.Record:
    """A run by `train_group`, finished; with `stop` a signal arrives at its first step."""
    config = Config(steps=steps, learning_rate=0.05)
    record = runs.Record(config, home / f"steps={steps}", training.Session(Report(1)))
    record.extends = extends
    record.begin(resume=True)
    record.session.signals += [signal.SIGTERM] * stop
    runs.train_group(
        [record],
        lambda key: {"w": jax.random.normal(key, (2,))},
        lambda params, batch, key: jnp.mean((params["w"] - batch) ** 2),
        lambda key: jax.random.normal(key, (2,)),
        keys=jax.random.split(jax.random.key(0), 2),
        optimizer=optimizer,
        steps_per_report=5,
        validate=validate,
    )
    record.finish({"mse": record.history[-1]["loss"]})
    return record


def test_a_finished_run_is_extended(tmp_path):
    """At a constant rate as if it had not stopped; with a schedule by a second one from the finished parameters."""

    def constant(rate, steps):
        return optax.adam(rate)

    trained(tmp_path / "constant", 10, constant)
    longer = trained(tmp_path / "constant", 20, constant, runs.load(tmp_path / "constant" / "steps=10"))
    whole = trained(tmp_path / "whole", 20, constant)
    assert everything(longer.folder) == everything(whole.folder)
    with pytest.raises(process.Stopped):
        trained(tmp_path / "constant", 30, constant, runs.load(longer.folder), stop=True)
    stopped = trained(tmp_path / "constant", 30, constant)  # goes on as what it is, without being asked to extend
    assert [stretch["from"] for stretch in stopped.provenance["stretches"]] == [0, 10, 20, 21]
    stretches = longer.provenance["stretches"]
    assert [(stretch["from"], stretch["to"]) for stretch in stretches] == [(0, 10), (10, 20)]
    assert longer.provenance["seconds"] >= stretches[0]["seconds"]

    trained(tmp_path / "cosine", 10, train.adam)
    before = runs.load(tmp_path / "cosine" / "steps=10")
    after = trained(tmp_path / "cosine", 20, train.adam, before)
    assert [row["step"] for row in after.history[::2]] == [5, 10, 15, 20]
    assert after.history[:4] == before.history
    saved = checkpoint.read(after.folder / "checkpoint").arrays
    assert saved[".opt_state[2].count"].tolist() == [10, 10]  # the schedule began again
    assert saved[".step"].tolist() == [20, 20]


def test_the_best_parameters_of_a_run_that_is_extended_are_the_best_of_both_stretches(tmp_path):
    def validate(params):
        return jnp.mean((params["w"] - 0.1) ** 2), {}

    trained(tmp_path, 10, train.adam, validate=validate)
    longer = trained(tmp_path, 30, train.adam, runs.load(tmp_path / "steps=10"), validate=validate)
    saved = checkpoint.read(longer.folder / "checkpoint").arrays
    lowest = [min(row["validation"] for row in longer.history if row["seed"] == seed) for seed in range(2)]
    np.testing.assert_allclose(saved[".opt_state.loss"], lowest, rtol=1e-6)
    assert [row["step"] for row in longer.history[::2]] == [5, 10, 15, 20, 25, 30]


def test_other_versions_are_warned_of_and_recorded(tmp_path, monkeypatch, capsys):
    fit(tmp_path, PAIR[:1], steps=10)
    monkeypatch.setattr(training, "versions", lambda: folder.provenance()["versions"] | {"jax": "99.0"})
    fit(tmp_path, PAIR[:1], steps=20)
    assert "rate=0.05 was begun under other versions: jax" in capsys.readouterr().err


def test_extending_needs_a_shorter_finished_run(here):
    code, _, err = here("--scale", "smoke", "--learning-rate", "0.2", "--extend")
    assert (code, err.splitlines()[-1]) == (
        2,
        "error: --extend needs a finished run like steps=20-learning_rate=0.2-084aedfb with fewer steps or epochs,"
        " found none",
    )


def test_a_model_that_sees_too_little_is_warned_of(capsys):
    short = models.Regressor(models.TCN(4, 2, (1, 2)))  # sees 7 steps
    for task, needed in [
        (tasks.Shift(6, 16), 7),
        (tasks.Shift(7, 16), 8),
        (tasks.MultiDelay(9, 16), 10),
        (tasks.Convolution((1.0, 0.0, 2.0, 0.0), 16), 3),
        (tasks.CopyMemory(3, 2), 6),
        (tasks.Parity(9), 9),
        (tasks.DelayedXor(8, 3, 16), 9),
    ]:
        assert task.reach == needed
        runs.warn_of_reach(short, task)
        said = capsys.readouterr().err
        assert said.startswith(f"warning: TCN sees 7 steps, and {task} needs {needed}: ") if needed > 7 else not said
        runs.warn_of_reach(models.Regressor(models.GRU(4)), task)
        assert not capsys.readouterr().err


def events(home: Path) -> dict[str, list[dict[str, float]]]:
    """What TensorBoard reads, for each run and seed: TFRecords of length, checksum, event, checksum."""
    found = {}
    for path in sorted(home.glob("tensorboard/*/*/*tfevents*")):
        content, place, rows = path.read_bytes(), 0, []
        while place < len(content):
            length = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + length])
            rows += [{value.tag: value.simple_value for value in event.summary.value} | {"step": event.step}]
            place += length + 16
        assert rows.pop(0) == {"step": 0}, "the version of the file"
        found["/".join(path.parts[-3:-1])] = rows
    return found


def test_event_files_have_the_history_once_however_often_it_was_resumed(tmp_path):
    for steps in (10, 30):
        records = begin(tmp_path, PAIR)
        records[0].session.tensorboard = True
        training.fit(records, *program(PAIR), steps)
    found = events(tmp_path)
    assert len(found) == 4, "two runs with two seeds each"
    for record in records:
        for seed in (0, 1):
            rows = [{k: v for k, v in row.items() if k != "seed"} for row in record.history if row["seed"] == seed]
            written = found[f"{record.folder.name}/seed_{seed}"]
            assert [row["step"] for row in written] == [row["step"] for row in rows]
            assert written[-1]["step"] == 30
            for one, other in zip(written, rows, strict=True):
                assert one == pytest.approx(other, rel=1e-6)


def test_event_files_are_asked_for_on_the_command_line(here, tmp_path, monkeypatch):
    assert here("--scale", "smoke", "--tensorboard").code == 0
    assert len(events(tmp_path / "results" / "regression")) == 4
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused = here("--scale", "smoke", "--tensorboard")
    assert (refused.code, "pip install 'seqjax[tensorboard]'" in refused.err) == (2, True)
