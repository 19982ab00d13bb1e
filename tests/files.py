"""Files for the tests of the readers, and the errors that they end in."""

from collections.abc import Callable
from pathlib import Path

import pytest

from seqjax.data.files import DataError

BOM = b"\xef\xbb\xbf"


def same_lines(text: bytes) -> list[bytes]:
    """Contents that are read as the same lines."""
    return [text, BOM + text, text.replace(b"\n", b"\r\n"), text.removesuffix(b"\n"), text + b"\n \r\n\n"]


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def failure(read: Callable, *arguments, **options) -> list[str]:
    """The lines of the error."""
    with pytest.raises(DataError) as caught:
        read(*arguments, **options)
    return str(caught.value).split("\n")
