"""What the two experiments on data sets of images share: the public test files, and the scores of finished runs."""

from collections.abc import Callable
from operator import attrgetter

from seqjax import metrics, runs
from seqjax.data import files, images
from seqjax.types import InputError, Params

BINARY = "images/cifar-10-binary/cifar-10-binary.tar.gz"
"""CIFAR-10 as its authors give it, in the data folder."""


def check_part(part: str) -> None:
    """Refuse what is not the name of a part that finished runs can be scored on."""
    if part != "test":
        raise InputError(f"split must be test, got {part!r}")


def read(data: str) -> images.Images:
    """The test images of a public data set.

    Raises:
        FileNotFoundError: they are not in the data folder; names the file.
    """
    if data.startswith("cifar"):  # the JPEGs too: they are the training images alone
        return images.cifar_binary(files.data_folder(BINARY) / BINARY, part="test")
    folder, classes = {"mnist": ("mnist", images.DIGITS), "fashion": ("fashion-mnist", images.CLOTHES)}[data]
    return images.mnist(files.data_folder() / "images" / folder, classes, part="test")


def report(record: runs.Record, accuracy: Callable[[Params], metrics.Estimate]) -> None:
    """Print the accuracy of a finished run: that of its median seed, with the 95 % interval, and the seeds' range."""
    run = runs.load(record.folder)
    found = sorted((accuracy(run.params(seed)) for seed in range(run.config["seeds"])), key=attrgetter("value"))
    median = found[len(found) // 2]
    text = f"{median.value:.2%} of the public test images ({median.low:.2%} to {median.high:.2%}"
    if len(found) > 1:
        text += f"; {len(found)} seeds: {found[0].value:.2%} to {found[-1].value:.2%}"
    print(f"{record.folder.name}: {text}; validation {record.result['validation_accuracy']:.2%})")
