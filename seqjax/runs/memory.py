"""How the C library keeps memory; without imports of ours, as the benchmark uses it beside other frameworks."""

import ctypes
from contextlib import suppress


def keep_memory() -> None:
    """Keep freed memory for the next step: XLA on CPU gives it back after every one and faults it in again (glibc)."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # in an arena of a thread they would not hold
        for option, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**26), (mmap_max, 0), (arena_max, 1)):
            libc.mallopt(option, value)
