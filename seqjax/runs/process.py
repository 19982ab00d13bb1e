"""The process of a script: one process per folder, signals that save, exit codes for each kind of error."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

USAGE, BUSY, DIVERGED, ENVIRONMENT = 2, 3, 4, 5
"""Exit codes: usage or configuration; folder in use; not finite for too long; disk, memory or permission."""


class Busy(Exception):
    """Another process works in this folder."""


class Diverged(Exception):
    """A run's updates are not finite any more."""


class Stopped(Exception):
    """A signal arrived, and the state was saved."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


def require_writable(folder: Path) -> None:
    """Find out now, before anything compiles."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{os.getpid()}"
    probe.touch()
    probe.unlink()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """One process a folder; the system lets go of the lock when the process ends, however it ends."""
    with path.open("a+") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise Busy(f"{path.parent} is in use by {holder}") from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


@contextmanager
def signals_into(received: list[int]) -> Iterator[None]:
    """Note the first signal, so that the step can be finished and saved; leave at once at the second."""

    def note(signum: int, _: Any) -> None:
        if received:
            os._exit(128 + signum)
        received.append(signum)
        message = "finishing the current steps and saving; press Ctrl-C again to quit immediately"
        print(f"\n{message}", file=sys.stderr, flush=True)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def keep_memory() -> None:
    """Keep freed memory for the next step: XLA on CPU gives it back after every one and faults it in again (glibc)."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # in an arena of a thread they would not hold
        for option, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**26), (mmap_max, 0), (arena_max, 1)):
            libc.mallopt(option, value)


def prepare_process() -> None:
    """Settings of a script, never of an import: keep memory for the next step, compiled programs for the next start."""
    import jax  # here, so that the benchmark can run `keep_memory` in the process of another framework

    keep_memory()
    # Filtered tracebacks end in our own code wherever JAX raised, and `exit_code` could not tell whose error it is.
    jax.config.update("jax_traceback_filtering", "off")
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "seqjax"))


def exit_code(run: Callable[[], None]) -> int:
    """Run, and turn what a user or a machine can be at fault for into a line and a code; bugs keep their traceback."""
    try:
        run()
        sys.stdout.flush()
    except Stopped as stopped:
        return _fail(128 + stopped.signum, "stopped; the state is saved: the same command goes on from it")
    except Busy as busy:
        return _fail(BUSY, str(busy))
    except Diverged as diverged:
        return _fail(DIVERGED, f"diverged: {diverged}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _fail(ENVIRONMENT, str(error))
    except MemoryError as error:
        return _fail(ENVIRONMENT, f"out of memory: {error}")
    except ValueError as error:
        if not _is_ours(error):
            raise
        return _fail(USAGE, str(error))
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(ENVIRONMENT, f"out of memory: {error}")
    return 0


def _is_ours(error: ValueError) -> bool:
    """Whether seqjax or the experiment refused a value; an error raised deeper, in a library, is a bug to be seen."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    file = Path(trace.tb_frame.f_code.co_filename) if trace else Path()
    return file.is_relative_to(Path(__file__).parents[1]) or file.parent == Path(sys.argv[0]).resolve().parent


def _fail(code: int, message: str) -> int:
    with suppress(BrokenPipeError):
        print(f"error: {message}" if code < 128 else message, file=sys.stderr)
    return code
