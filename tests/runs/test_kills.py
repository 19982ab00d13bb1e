"""A hundred kills of real experiments, at random moments: nothing changes by them."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from seqjax import checkpoint, runs
from tests.runs.conftest import ROOT

SAVING = """
import runpy, sys
from seqjax.runs import training
training.SAVE_EVERY = training.PAUSE = 0
sys.path.insert(0, sys.argv[1].rpartition("/")[0])
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

GROUP = ("memory/shift_memory.py", "--only", "model=linear_4", "delay=2", "--seeds", "2", "--steps", "6000")
THREE = ("--learning-rate", "0.003", "0.01", "0.03")
CHAINS = {
    "several records in a group": ((*GROUP, *THREE),),
    # One shape of sentences compiles quickly; the buckets of two are chosen between within the program.
    "bucketed": (("seq2seq/translation.py", "--only", "model=attention", "--pairs", "512", "--words", "5", "--features",
                  "16", "--epochs", "40", "--batch-size", "64"),),
    "a value joins": ((*GROUP, *THREE[:3]), (*GROUP, *THREE[:3], THREE[3]), (*GROUP, *THREE)),
}  # fmt: skip
"""Commands that are killed again and again; each is followed by the next before it is finished, the last finishes."""

KILLS = 34


def start(folder: Path, command: tuple[str, ...], *, saving: bool) -> subprocess.Popen:
    script = [str(ROOT / "experiments" / command[0]), *command[1:], "--scale", "smoke"]
    wrapped = ["-c", SAVING, *script] if saving else script
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder.parent)}
    with (folder / "log").open("a") as log:
        return subprocess.Popen([sys.executable, *wrapped], cwd=folder, env=environment, stdout=log, stderr=log)


def newest(folder: Path) -> tuple[int, ...]:
    return tuple(sorted(int(path.stem) for path in folder.glob("results/*/checkpoints/*/*.safetensors")))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_of_kills_changes_nothing(tmp_path, name):
    if name == "bucketed" and not os.environ.get("SEQJAX_DATA"):
        pytest.skip("SEQJAX_DATA must name the folder of the data: the kills have a cache folder of their own")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    commands, moments = CHAINS[name], random.Random(name)
    assert start(whole, commands[-1], saving=False).wait() == 0, (whole / "log").read_text()
    kills = 0
    for command in commands:
        for _ in range(KILLS // len(commands) + 1):
            before = newest(killed)
            child = start(killed, command, saving=True)
            while newest(killed) == before and child.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.3))
            child.kill()
            child.wait()
            kills += 1
    assert kills >= KILLS
    assert start(killed, commands[-1], saving=True).wait() == 0, (killed / "log").read_text()
    [home], [expected] = ([*folder.glob("results/*/")] for folder in (killed, whole))
    assert not list(home.glob("*.partial"))
    assert not list(home.glob("checkpoints/*"))
    found = runs.finished(home)
    assert [run.name for run in found] == [run.name for run in runs.finished(expected)]
    for run in found:
        ours, theirs = runs.load(run), runs.load(expected / run.name)
        stretches = ours.provenance["stretches"]
        steps = [(stretch["from"], stretch["to"]) for stretch in stretches]
        assert [begin for begin, _ in steps] == [0, *(end for _, end in steps[:-1])]
        if {stretch["group"] for stretch in stretches} == {theirs.provenance["stretches"][0]["group"]}:
            states = [checkpoint.read(folder / run.name / "checkpoint").manifest for folder in (home, expected)]
            assert states[0]["fingerprint"] == states[1]["fingerprint"]
            assert (run / "history.csv").read_text() == (expected / run.name / "history.csv").read_text()
        else:  # rounding depends on how many runs are batched, and thousands of steps amplify it
            assert name == "a value joins"
            np.testing.assert_allclose(ours.result["mse"], theirs.result["mse"], rtol=0, atol=1e-13)
