"""Files that are written completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8, whole, even if the process is killed on the way.

    Raises:
        OSError: as the system raises it, with the path.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for bytes. A full disk is reported with the bytes needed."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with naming(path, len(content)), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def naming(path: Path, size: int | None = None) -> Iterator[None]:
    """Add path and size in bytes to an OSError that has no path: for a full disk the system gives none."""
    try:
        yield
    except OSError as error:
        if error.filename:
            raise
        needed = "" if size is None else f": {size} bytes are needed"
        raise OSError(error.errno, f"{error.strerror}{needed}", str(path)) from error
