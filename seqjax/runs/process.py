"""The process of a script: locks, signals that save, streams, and exit codes for each kind of error."""

import errno
import json
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from seqjax import mesh
from seqjax.data.files import cache_folder
from seqjax.runs.folder import Record
from seqjax.runs.memory import keep_memory
from seqjax.types import InputError

USAGE, BUSY, DIVERGED, ENVIRONMENT = 2, 3, 4, 5
"""Exit codes: usage, configuration or data; run in use; not finite for too long; disk, memory, device or permission."""

SLURM = "a Slurm array's N"
"""The default of `--share`."""

JOIN_TIMEOUT = "SEQJAX_JOIN_TIMEOUT"
"""The environment variable with the seconds for which processes of one job wait for each other."""

AGAIN = "the same command goes on from the last saved state"
SAVED = "stopped; the state is saved: the same command goes on from it"
SHOW_CURSOR = "\x1b[?25h"

TOGETHER = 0.5
"""Seconds between two signals that count as one."""

CACHE_BYTES = 2 * 10**9
"""The most that compiled programs may take on the disk; the oldest are deleted at the start of a script."""


class Busy(Exception):
    """Another process works on this run."""


class Diverged(Exception):
    """A run's updates are not finite any more."""


class Stopped(Exception):
    """A signal arrived, and the state was saved."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum


class Sharing(NamedTuple):
    """Of how many processes with the same command this is one; the number of the parts that it takes, None: any."""

    processes: int = 1
    number: int | None = None


def sharing(text: str, joined: bool) -> Sharing:
    """What `--share` says, or else Slurm: the tasks of an array, times those of the step unless they train together.

    Raises:
        InputError: the text is neither N nor K/N with 1 <= K <= N.
    """
    if text == SLURM:
        array, step = (int(os.environ.get(f"SLURM_{name}", 1)) for name in ("ARRAY_TASK_COUNT", "STEP_NUM_TASKS"))
        return Sharing(max(1, array * (1 if joined else step)))
    found = re.fullmatch(r"(?:(\d+)/)?(\d+)", text)
    number, processes = (1, 0) if found is None else (int(found[1] or 1), int(found[2]))
    if found is None or not 1 <= number <= processes:
        raise InputError(f"--share must be N or K/N with 1 <= K <= N, got {text!r}")
    return Sharing(processes, number - 1 if found[1] else None)


@contextmanager
def joined(options: Any) -> Iterator[None]:
    """With `--devices rows` the processes that a launcher started train as one.

    Process 0 prints, reads and writes; the others do the same work in a folder of their own that is deleted.

    Raises:
        InputError: their commands differ, or a finished run is to be extended, whose state one process alone reads.
        TimeoutError: process 0 does not answer.
    """
    if options.devices != "rows":
        yield
        return
    seconds = os.environ.get(JOIN_TIMEOUT, "300")
    if not re.fullmatch(r"[1-9]\d*", seconds):
        raise InputError(f"{JOIN_TIMEOUT} must be a number of seconds, got {seconds!r}")
    mesh.join(int(seconds))
    prepare_process()
    if jax.process_count() == 1:
        yield
        return
    if options.extend:
        raise InputError("--extend is for one process, got --devices rows with several")
    command, mine = told(sys.argv[1:]), sys.argv[1:]
    if mesh.greatest(command != mine):
        raise InputError(f"all processes must have the same command, got {command} and {mine}")
    if mesh.first():
        yield
        return
    with (
        tempfile.TemporaryDirectory() as scratch,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        options.out, options.publish, options.tensorboard = Path(scratch), False, False
        yield


def told(value: Any) -> Any:
    """A JSON value of process 0, on all processes."""
    text = json.dumps(value).encode()
    size = int(mesh.agreed(np.int32(len(text))))
    bytes_of = np.zeros(1 << max(8, size.bit_length()), np.uint8)  # few shapes, each of which is compiled
    bytes_of[: len(text)] = np.frombuffer(text, np.uint8) if mesh.first() else 0
    return json.loads(mesh.agreed(bytes_of)[:size].tobytes())


class NoDevice(Exception):
    """JAX cannot use the platform that it was told to use."""


def require_writable(*folders: Path) -> None:
    """Find out now, before anything compiles."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()


def require_replaceable(*files: Path) -> None:
    """The same for files that will be written."""
    for file in files:
        require_writable(file.parent)
        if file.exists():
            file.open("ab").close()


@contextmanager
def claim(records: Sequence[Record]) -> Iterator[tuple[list[Record], list[str]]]:
    """The records that no other process works on, locked until the end, and who works on the others."""
    with ExitStack() as held:
        claimed, holders = [], []
        for record in records:
            try:
                held.enter_context(lock(record.folder.parent / "locks" / record.folder.name))
                claimed.append(record)
            except Busy as busy:
                holders.append(str(busy))
        yield claimed, holders


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keep other processes out; the system lets go of the lock when the process ends, however it ends.

    On file systems without locks (some of NFS and Lustre) a file with host and process number takes its place.

    Raises:
        Busy: another process has it; names process and host.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    me = f"pid {os.getpid()} on {socket.gethostname()}"
    with path.open("a+", encoding="utf-8") as file, ExitStack() as without_locks:
        try:
            _lock_file(file)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise Busy(f"{path.name} is in use by {_holder(file)}") from None
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
                raise
            without_locks.enter_context(_lock_by_name(path.with_name(path.name + ".pid"), me, error))
        file.truncate(0)
        file.write(me)
        file.flush()
        yield


def _lock_file(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        _lock_first_byte(file, msvcrt)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_first_byte(file: IO[str], msvcrt: ModuleType | Any) -> None:
    """Windows locks bytes from the current position on, which must be the same in every process."""
    file.seek(0)
    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        return file.read().strip() or "another process"
    except OSError:  # on Windows locked bytes cannot be read
        return "another process"


@contextmanager
def _lock_by_name(path: Path, me: str, why: OSError) -> Iterator[None]:
    print(f"warning: {path.parent} has no file locks ({why.strerror}): using {path.name} instead", file=sys.stderr)
    while True:
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(me)
            break
        with suppress(FileNotFoundError):  # it has just ended
            holder = path.read_text(encoding="utf-8").strip() or "another process"
            if not _dead(holder):
                raise Busy(f"{path.stem} is in use by {holder}; if it has ended, delete {path}")
            _remove_lock_of(holder, path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _remove_lock_of(holder: str, path: Path) -> None:
    """Of a process that has ended. Where another process has done so, and made its own, that one is put back."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    path.rename(aside)
    if (found := aside.read_text(encoding="utf-8")).strip() != holder:
        with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(found)
    aside.unlink()


def _dead(holder: str) -> bool:
    """Whether a process of this host has ended; of other hosts nothing is known."""
    found = re.fullmatch(r"pid (\d+) on (.*)", holder)
    if not found or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def signals_into(received: list[int], unsaved: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Note the first signal, so that the step can be finished and saved; leave at once at the second.

    Two within `TOGETHER` count as one: the command `timeout` signals a process and then the group that it is in.

    Args:
        unsaved: whether there is anything to save. If not, as while a program compiles, the first signal ends the
            process: the interpreter would only see it when the compiler returns.
    """

    noted = 0.0

    def note(signum: int, _: Any) -> None:
        nonlocal noted
        if received and time.monotonic() - noted < TOGETHER:
            return
        if received:
            os._exit(128 + signum)
        received.append(signum)
        noted = time.monotonic()
        if unsaved():
            _tell("\nfinishing the current steps and saving; press Ctrl-C again to quit immediately")

    def watch() -> None:
        while signum := os.read(read_end, 1):
            if signum[0] and not unsaved():
                _tell(f"\n{SHOW_CURSOR if sys.stderr.isatty() else ''}{SAVED}")
                os._exit(128 + signum[0])

    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    woken = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        os.close(write_end)
        watcher.join()
        os.close(read_end)


def _tell(message: str) -> None:
    with suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def prepare_process() -> None:
    """Settings of a script, never of an import: keep memory for the next step, compiled programs for the next start.

    Raises:
        NoDevice: JAX cannot use the platform that it was told to use.
    """
    keep_memory()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR") and (cache := _cache_folder()):
        jax.config.update("jax_compilation_cache_dir", str(cache))
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS") or "default"
        raise NoDevice(f"JAX finds no device of the {asked} platform: {error or type(error).__name__}") from error


def _cache_folder() -> Path | None:
    """Where compiled programs are kept. What only saves time never stops a script: None if there is no such place."""
    try:
        cache = cache_folder()
        require_writable(cache)
        files = []
        for path in cache.iterdir():
            if path.is_file():
                with suppress(FileNotFoundError):  # another process deletes old ones too
                    files.append((path.stat().st_mtime, path.stat().st_size, path))
        excess = sum(size for _, size, _ in files) - CACHE_BYTES
        for _, size, path in sorted(files):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
    except (RuntimeError, OSError) as error:
        print(f"warning: compiled programs are not kept for the next start: {error}", file=sys.stderr)
        return None
    return cache


def mend_streams() -> None:
    """Output never stops a script: closed streams swallow it, and a letter that an encoding lacks is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, for as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def leave(run: Callable[[], None]) -> None:
    """End the process as `run` ends, so that no process that trains with this one waits for it."""
    try:
        code = exit_code(run)
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    if jax.distributed.is_initialized() and code in (1, USAGE, BUSY, ENVIRONMENT):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        time.sleep(mesh.first())  # JAX ends the others when process 0 is gone: those that fail as well may say why
        os._exit(code)
    sys.exit(code)


def exit_code(run: Callable[[], None]) -> int:
    """Run, and turn what a user or a machine can be at fault for into a line and a code; bugs keep their traceback."""
    mend_streams()
    try:
        run()
        sys.stdout.flush()
    except Stopped as stopped:
        return _fail(128 + stopped.signum, SAVED)
    except KeyboardInterrupt:
        return _fail(128 + signal.SIGINT, "stopped")
    except Busy as busy:
        return _fail(BUSY, str(busy))
    except Diverged as diverged:
        return _fail(DIVERGED, f"diverged: {diverged}")
    except InputError as error:
        return _fail(USAGE, str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, NoDevice) as error:
        return _fail(ENVIRONMENT, str(error))
    except (MemoryError, RuntimeError, ValueError) as error:
        if jax.distributed.is_initialized() and LOST.search(str(error)):
            return _fail(ENVIRONMENT, f"{str(error).splitlines()[0]}\nanother process of this job has ended; {AGAIN}")
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return _fail(ENVIRONMENT, f"out of memory: {said}; {LESS_MEMORY}")
    return 0


LESS_MEMORY = "--share 2, 4, … trains fewer runs at a time (sweep.sweep: chunk), a smaller --batch-size smaller ones"


OUT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|[Oo]ut of memory|OOM|bad_alloc|[Ff]ailed to allocate|[Uu]nable to allocate"
)
"""How jaxlib and NumPy say it."""


LOST = re.compile(r"Gloo|NCCL|[Cc]onnection (closed|reset)|heartbeat")
"""How it says that another process is gone, where JAX does not end this one first."""


def _fail(code: int, message: str) -> int:
    number = jax.process_index() if jax.distributed.is_initialized() else 0
    if number and code in (BUSY, DIVERGED, *(128 + signum for signum in (signal.SIGINT, signal.SIGTERM))):
        return code  # process 0 says so
    with suppress(OSError):
        where = f"process {number}: " if number else ""
        print(f"{where}error: {message}" if code < 128 else message, file=sys.stderr)
    return code
