"""`python -m seqjax.data`: what a fetch puts into the data folder is what the experiments read."""

import functools
import gzip
import hashlib
import http.server
import importlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from seqjax import runs
from seqjax.data import __main__ as command
from seqjax.data import catalogue
from seqjax.data.catalogue import CATALOGUE
from seqjax.data.download import difference
from seqjax.data.files import MissingData, cache_folder, data_folder
from seqjax.data.images import OBJECTS
from seqjax.runs import process
from tests.files import needs_data, public, tarred, zipped

ROOT = Path(__file__).parents[2]
SCRIPTS = {script.stem: script for script in runs.find_experiments(ROOT / "experiments")}
HEADERS = {name: runs.read_header(script) for name, script in SCRIPTS.items()}


def wrapped(function: Callable) -> Callable:
    """Without its cache."""
    return getattr(function, "__wrapped__", function)


def images(module: Any, name: str) -> Any:
    module.VALIDATION, module.TEST = 5, 10
    return wrapped(module.load)(name)


READ: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("text_generation", "shakespeare"): lambda m: wrapped(m.data)("shakespeare", "characters", 16, 0),
    ("shipped_language_models", "shakespeare"): lambda m: wrapped(m.data)("shakespeare_gru_characters_128"),
    ("text_generation", "ptb"): lambda m: wrapped(m.data)("penn", "words", 16, 0),
    ("tagging", "ud-english-ewt"): lambda m: wrapped(m.data)(0),
    ("sentiment", "sst2"): lambda m: wrapped(m.data)(8),
    ("translation", "tatoeba"): lambda m: wrapped(m.data)("spa-eng", 10, 0),
    ("translation", "multi30k"): lambda m: wrapped(m.data)("de-en", 10, 0),
    ("audit", "tatoeba"): lambda m: wrapped(m.translation.encoder_decoders.spanish)(pairs=100),
    ("music", "jsb"): lambda m: wrapped(m.data)("jsb"),
    ("music", "nottingham"): lambda m: wrapped(m.data)("nottingham"),
    ("shapeworld", "shapeworld"): lambda m: wrapped(m.data)(False),
    ("pixel_sequences", "mnist"): lambda m: wrapped(m.load)(14),
    ("image_classification", "mnist"): lambda m: images(m, "mnist"),
    ("image_classification", "fashion-mnist"): lambda m: images(m, "fashion"),
    ("image_classification", "cifar-jpeg"): lambda m: images(m, "cifar"),
    ("image_classification", "cifar-binary"): lambda m: images(m, "cifar-binary"),
}
"""How an experiment reads a data set."""


# Small files in the public formats: what an address gives, and what its digest is of


def word(number: int) -> str:
    """Another one for each number, without digits."""
    return str(number).translate(str.maketrans("0123456789", "abcdefghij"))


def idx(*shape: int, values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + values.astype(np.uint8).tobytes()


def picture(form: str, side: int) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (side, side)).save(made, form)
    return made.getvalue()


def mat() -> bytes:
    pieces = np.empty((1, 10), object)
    pieces[0] = [np.eye(30, 88, dtype=np.uint8) for _ in range(10)]
    made = io.BytesIO()
    savemat(made, {"traindata": pieces, "validdata": pieces[:, :2], "testdata": pieces[:, :2]})
    return made.getvalue()


def repository(files: dict[str, bytes]) -> bytes:
    """As GitHub packs one: below a folder."""
    return gzip.compress(tarred(*((f"name-commit/{name}", content) for name, content in files.items())))


def lines(files: dict[str, bytes]) -> bytes:
    """What `sha256sum` writes."""
    hashed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return "".join(f"{hashed[name]}  {name}\n" for name in sorted(hashed)).encode()


@functools.cache
def offered() -> dict[str, tuple[bytes, bytes]]:
    """By path in the data folder: the download, and what is inside."""
    zipped_text = "".join(f"english {word(n)} .\tespañol {word(n)} .\n" for n in range(3_300)).encode()
    texts = {
        "translation/multi30k/train.de": "".join(f"ein Satz {word(n)}\n" for n in range(1_100)),
        "translation/multi30k/train.en": "".join(f"a sentence {word(n)}\n" for n in range(1_100)),
        "translation/multi30k/val.de": "ein anderer\n",
        "translation/multi30k/val.en": "another\n",
    }
    rows = 15_050  # pixel_sequences sets 15,000 aside
    arrays = {
        f"images/{name}/{part}-{kind}-ubyte": content
        for name in ("mnist", "fashion-mnist")
        for part, n in (("train", rows), ("t10k", 20))
        for kind, content in (
            ("images-idx3", idx(n, 28, 28, values=np.zeros(n * 784))),
            ("labels-idx1", idx(n, values=np.arange(n) % 10)),
        )
    }
    png, jpeg, kinds = picture("PNG", 100), picture("JPEG", 32), [f"kind-{n}" for n in range(6)]
    captions = b"a circle is red .\n" * 5 + b"\n"
    worlds, kept = {}, {}
    for kind in (*kinds, "existential-chinese"):
        files = {f"world-{n}.png": png for n in range(100)}
        files |= {"caption.txt": captions * 100, "agreement.txt": b"1.0;0.0;1.0;1.0;0.0\n" * 100, "data.html": b"-"}
        worlds |= {f"examples/agreement/{kind}/{name}": content for name, content in files.items()}
        cut = {f"world-{n}.png": png for n in range(80)}
        cut |= {"caption.txt": captions * 80, "agreement.txt": b"1.0;0.0;1.0;1.0;0.0\n" * 80}
        kept |= {f"shapeworld/{kind}/{name}": content for name, content in cut.items() if kind in kinds}
    jpegs = {
        f"{part}/{kind}/000{n}.jpg": jpeg for part in ("train", "test") for kind in ("cat", "dog") for n in range(9)
    }
    records = bytes(3073) * 10  # five files of them: more than are set aside
    binary = {"batches.meta.txt": "\n".join(OBJECTS).encode(), "test_batch.bin": records}
    binary |= {f"data_batch_{number}.bin": records for number in range(1, 6)}
    binary_tar = tarred(*((f"cifar-10-batches-bin/{name}", content) for name, content in binary.items()))
    trained = {name: content for name, content in jpegs.items() if name.startswith("train/")}
    conllu = "".join(f"1\tword{n}\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n" for n in range(20)).encode()
    plain = {
        "pos/ud_english_ewt/en_ewt-ud-train.conllu": conllu,
        "pos/ud_english_ewt/en_ewt-ud-dev.conllu": conllu,
        "sentiment/sst2/train.tsv": "\n".join(f"word{n} good\t{n % 2}" for n in range(8)).encode(),
        "sentiment/sst2/dev.tsv": b"some more\t1",
        "text/tinyshakespeare/input.txt": b"To be, or not to be\n" * 300,
        "text/ptb/ptb.train.txt": b" no it was n't black monday \n" * 100,
        "text/ptb/ptb.valid.txt": b" it was \n" * 20,
        "music/JSB_Chorales.mat": mat(),
        "music/Nottingham.mat": mat(),
    }
    return {
        "translation/tatoeba/spa-eng.zip": (
            zipped(("spa-eng/_about.txt", b"-"), ("spa-eng/spa.txt", zipped_text)),
            zipped_text,
        ),
        **{f"{name}.gz": (gzip.compress(text.encode()), text.encode()) for name, text in texts.items()},
        **{f"{name}.gz": (gzip.compress(content, 1), content) for name, content in arrays.items()},
        "captions/shapeworld/shapeworld.tar.gz": (repository(worlds), lines(kept)),
        "images/cifar-10-jpg/CIFAR-10-images-train.tar.gz": (repository(jpegs), lines(trained)),
        "images/cifar-10-binary/cifar-10-binary.tar.gz": (binary_tar, binary_tar),
        **{name: (content, content) for name, content in plain.items()},
    }


@pytest.fixture
def serve():
    """A server of a folder, as `python -m http.server` starts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
        started = []

        def serve(folder: Path) -> str:
            handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, args=(0.01,)).start()
            started.append(server)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield serve
        for server in started:
            server.shutdown()
            server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The data folder of somebody who has set nothing, which is not there yet."""
    monkeypatch.delenv("SEQJAX_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "home" / ".cache" / "seqjax" / "data"


@pytest.fixture
def world(tmp_path, monkeypatch, serve) -> Path:
    """The public addresses, with small files; returns the folder that is served."""
    folder = tmp_path / "served"
    address, made = serve(folder), {}
    for name, data_set in CATALOGUE.items():
        files = []
        for file in data_set.files:
            if file.path in offered():
                content, hashed = offered()[file.path]
                place = folder / name / Path(file.path).name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
                value = hashlib.new(file.digest.algorithm, hashed if file.digest.inside else content).hexdigest()
                urls = (f"{address}/nowhere", f"{address}/{name}/{Path(file.path).name}")
                files.append(file._replace(urls=urls, digest=file.digest._replace(value=value)))
        made[name] = data_set._replace(files=tuple(files))
    monkeypatch.setattr(catalogue, "CATALOGUE", made)
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["seqjax.data", *arguments])
        with pytest.raises(SystemExit) as stopped:
            command.main()
        return stopped.value.code, *capsys.readouterr()

    return call


@pytest.mark.parametrize(("experiment", "name"), READ, ids=map("-".join, READ))
def test_an_experiment_reads_what_was_fetched(experiment, name, world, home, call, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS[experiment].parent)
    module = importlib.import_module(experiment)
    with pytest.raises(MissingData) as missing:
        READ[experiment, name](module)
    assert str(missing.value).endswith(f"python -m seqjax.data fetch {name}")
    code, out, err = call("fetch", name)
    assert code == 0, err
    assert out.splitlines() == [str(home / file.path) for file in catalogue.CATALOGUE[name].files]
    assert READ[experiment, name](module)
    assert call("check", name)[0] == 0
    there = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert {path for path in there if not path.startswith(".locks/")} == {f.path for f in CATALOGUE[name].files}


def test_headers_name_what_was_read_there():
    for experiment, header in HEADERS.items():
        needed, more = catalogue.of_header(header)
        assert {*needed, *more} == {name for script, name in READ if script == experiment}, experiment


def test_the_catalogue_is_complete():
    for name, data_set in CATALOGUE.items():
        for file in data_set.files:
            assert catalogue.owner(Path("/home/me/data") / file.path) == name
            assert len(file.digest.value) == hashlib.new(file.digest.algorithm).digest_size * 2
            assert int(file.digest.value, 16)
            assert file.urls
            assert all(url.startswith(("https://", "http://fashion-mnist.s3-website")) for url in file.urls)
            assert not any("/HEAD/" in url or "/master/" in url for url in file.urls), "a pinned commit"
    assert catalogue.owner("text/ptb/other.txt") is None
    assert catalogue.owner("/data/images/mnist/train-images-idx3-ubyte") == "mnist"


def test_list_is_the_default_and_tells_what_is_there(world, home, call):
    code, out, _ = call()
    assert code == 0
    assert out == call("list")[1]
    rows = {line.split()[0]: line for line in out.split("\n\n")[0].splitlines()[1:]}
    assert set(rows) == set(CATALOGUE)
    for name, row in rows.items():
        assert CATALOGUE[name].licence in row
        assert all(experiment in row for experiment, other in READ if other == name)
    assert f"folder: {home}" in out
    assert not home.exists(), "to look changes nothing"
    call("fetch", "sst2")
    out = call("list")[1]
    assert [line.split()[1] for line in out.splitlines() if line.startswith(("sst2 ", "ptb "))] == ["yes", "no"]


@pytest.mark.parametrize("verb", ["fetch", "check"])
def test_bad_names_are_refused_before_anything_is_done(verb, world, home, call):
    code, out, err = call(verb, "sst2", "tatoba")
    assert (code, out) == (process.USAGE, "")
    assert "got 'tatoba'" in err
    assert all(name in err for name in CATALOGUE)
    assert not home.exists()


def test_fetch_needs_a_name_and_a_sound_mirror(home, call):
    code, _, err = call("fetch")
    assert code == process.USAGE
    assert "fetch needs one or more of tatoeba, " in err
    code, _, err = call("fetch", "sst2", "--mirror", "ftp://somewhere")
    assert code == process.USAGE
    assert "mirror must begin with http://, https:// or file://, got 'ftp://somewhere'" in err


def test_an_address_that_is_down_and_a_wrong_digest_end_in_5_with_the_place_to_put_the_file(world, home, call):
    (world / "sst2" / "dev.tsv").unlink()
    (world / "ptb" / "ptb.train.txt").write_bytes(b"<html>sorry</html>")
    code, out, err = call("fetch", "sst2", "ptb", "jsb")
    assert code == process.ENVIRONMENT
    assert f"by hand at {home / 'sentiment/sst2/dev.tsv'}\n" in err
    assert f"by hand at {home / 'text/ptb/ptb.train.txt'}\n" in err
    assert "expected sha256 " in err
    there = [
        str(home / name) for name in ("sentiment/sst2/train.tsv", "text/ptb/ptb.valid.txt", "music/JSB_Chorales.mat")
    ]
    assert out.splitlines() == there, "what can be had is fetched"
    assert sorted(str(path) for path in home.glob("[!.]*/**/*") if path.is_file()) == sorted(there)


def test_other_content_is_kept_unless_it_shall_be_overwritten(world, home, call):
    call("fetch", "ptb")
    path = home / "text/ptb/ptb.train.txt"
    public_text = path.read_bytes()
    path.write_bytes(b"my own\n")
    code, out, _ = call("check")
    assert code == process.ENVIRONMENT
    assert [line.split(str(home))[1].split()[:2] for line in out.splitlines()[1:]] == [
        ["/text/ptb/ptb.train.txt", "expected"], ["/text/ptb/ptb.valid.txt", "as"],
    ]  # fmt: skip
    code, _, err = call("fetch", "ptb")
    assert code == 0
    assert f"warning: {path} is not the public file: expected sha256 " in err
    assert path.read_bytes() == b"my own\n"
    assert call("fetch", "ptb", "--overwrite")[0] == 0
    assert path.read_bytes() == public_text


def test_check_says_what_is_not_there(world, home, call):
    assert call("check") == (0, f"no data sets in {home}\n", "")
    code, _, err = call("check", "sst2", "ptb")
    assert code == process.USAGE
    assert err.endswith("to download it: python -m seqjax.data fetch sst2 ptb\n")


def test_two_processes_do_not_fetch_the_same(world, home, call):
    with process.lock(home / ".locks" / "sst2"):
        code, _, err = call("fetch", "sst2")
    assert code == process.BUSY
    assert f"pid {os.getpid()}" in err


def test_a_mirror_is_a_copy_of_a_data_folder(world, home, call, serve, tmp_path, monkeypatch):
    names = ("shapeworld", "tatoeba")
    assert call("fetch", *names)[0] == 0
    monkeypatch.setenv("SEQJAX_DATA", str(tmp_path / "second"))
    for address in (f"{serve(home)}/", home.as_uri()):
        code, out, err = call("fetch", *names, "--mirror", address)
        assert code == 0, err
        made = [tmp_path / "second" / file.path for name in names for file in CATALOGUE[name].files]
        assert out.splitlines() == list(map(str, made))
        for path in made:
            path.unlink()


def test_the_default_folder_is_the_cache_of_the_system(monkeypatch, tmp_path):
    monkeypatch.delenv("SEQJAX_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    for platform, place in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "local")):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_folder() == tmp_path / place / "seqjax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_folder() == tmp_path / "xdg" / "seqjax" / "data"


def test_missing_data_are_an_error_of_usage(home, capsys):
    assert process.exit_code(lambda: print(data_folder("text/ptb/ptb.train.txt", "mine.txt"))) == process.USAGE
    message = f"error: there is no file {home / 'text/ptb/ptb.train.txt'}, {home / 'mine.txt'}; to download it: "
    assert capsys.readouterr().err == f"{message}python -m seqjax.data fetch ptb\n"


@needs_data
def test_the_digests_are_those_of_the_files_at_hand():
    """Copies of four data sets may lack a part; that of CIFAR-10 takes long, and `check` compares it as well."""
    wrong, compared = set(), 0
    for name in CATALOGUE.keys() - {"cifar-jpeg", "cifar-binary"}:
        for file in CATALOGUE[name].files:
            path = data_folder() / file.path
            if path.is_file():
                compared += 1
                wrong |= {name} if difference(path, file.digest, path.name) else set()
    assert compared
    assert wrong <= {"tatoeba", "shakespeare", "jsb", "nottingham"}


@pytest.mark.slow
@needs_data
def test_from_a_mirror_to_an_experiment_with_nothing_set_by_hand(serve, tmp_path):
    """The real files and digests, in new processes."""
    address = serve(public("sentiment", "sst2").parents[1])
    unset = ("SEQJAX_DATA", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    for arguments in (
        ["-m", "seqjax.data", "fetch", "sst2", "--mirror", address],
        [str(SCRIPTS["sentiment"]), "--scale", "smoke"],
    ):
        run = functools.partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
        done = run([sys.executable, *arguments], check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "sentiment" / "sentiment.png").exists()
