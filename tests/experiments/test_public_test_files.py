"""Finished runs are scored on public test files: made ones here, in their format."""

import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from seqjax import runs
from seqjax.runs import process
from seqjax.runs.scripts import import_script

FOLDER = Path(__file__).parents[2] / "experiments" / "vision"


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", length) for length in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), 1))


def made(folder: Path, prefix: str, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of 4x4 pixels in noise, a class a column of pixels; written as MNIST is."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, rows).astype(np.uint8)
    pixels = random.integers(0, 60, (rows, 4, 4)).astype(np.uint8)
    pixels.reshape(rows, 16)[np.arange(rows), labels] = 255
    folder.mkdir(parents=True, exist_ok=True)
    write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pixels)
    write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return pixels, labels


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("image_classification", ("--data", "mnist", "--augment", "False")),
        ("pixel_sequences", ("--side", "4", "--order", "sequential")),
    ],
)
def test_the_accuracy_of_a_finished_run(name, options, tmp_path, monkeypatch, capsys):
    """That which NumPy computes from the files and the weights of the linear model."""
    folder = tmp_path / "images" / "mnist"
    training, _ = made(folder, "train", 15_200, 0)
    monkeypatch.setenv("SEQJAX_DATA", str(tmp_path))
    monkeypatch.setattr(process, "prepare_process", lambda: None)
    monkeypatch.syspath_prepend(FOLDER)
    script = FOLDER / f"{name}.py"
    experiment = import_script(script)
    rate = ("--learning-rate", "0.03")
    settings = ("--only", "model=linear", "--steps", "30", "--seeds", "1", "--batch-size", "16", *rate, *options)

    def run(*more: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(script), "--scale", "laptop", *settings, "--out", str(tmp_path), *more])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            runs.main(
                experiment.Config, experiment.configs, experiment.measure, lambda _: Figure(), split=experiment.split
            )
        return stopped.value.code, *capsys.readouterr()  # pyright: ignore[reportReturnType]

    code, out, err = run("--split", "test")
    assert "--split needs a finished run" in err
    assert (code, out) == (2, "")
    assert run()[0] == 0
    code, out, err = run("--split", "test")
    assert code == 2
    assert str(folder / "t10k-images-idx3-ubyte.gz") in err
    assert "split must be test, got 'valid'" in run("--split", "valid")[2]
    pixels, labels = made(folder, "t10k", 400, 1)
    code, out, err = run("--split", "test")
    assert code == 0, err

    (home,) = {path.parent for path in (tmp_path / name).glob("*/result.json")}
    run_ = runs.load(home)
    readout = run_.params()["params"]["readout"]
    split = experiment.load(*([4] if name == "pixel_sequences" else ["mnist"])).rows
    scale = training[split.train[:1000]].astype(np.float64)
    x = (pixels.astype(np.float64) - scale.mean()) / scale.std()
    guesses = (x.reshape(400, 16) @ np.asarray(readout["kernel"]) + np.asarray(readout["bias"])).argmax(axis=1)
    right = (guesses == labels).mean()
    assert 0.5 < right < 1, "better than chance, so that the labels are those of the images"
    assert f"{home.name}: {right:.2%} of the public test images" in out
    assert json.loads((home / "result.json").read_text()) == run_.result, "a score changes no run"
