"""PyTorch's MKL on its AVX-512 path: on processors of other makers than Intel it takes a slower one by itself."""

import shutil
import subprocess
from pathlib import Path

SOURCE = "int mkl_serv_intel_cpu_true(void) { return 1; }\n"
"""MKL asks this function which maker the processor is of; where a process loads another one first, it asks that."""

COMPILERS = ("cc", "gcc", "clang")


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def build(folder: Path) -> Path:
    """A library in this folder to be named by LD_PRELOAD.

    Raises:
        RuntimeError: there is no C compiler, or it fails; says how.
    """
    source, library = folder / "intel_cpu.c", folder / "intel_cpu.so"
    source.write_text(SOURCE, encoding="utf-8")
    if (found := compiler()) is None:
        raise RuntimeError(f"MKL's AVX-512 path needs a C compiler, found none of {', '.join(COMPILERS)}")
    done = subprocess.run([found, "-shared", "-fPIC", "-o", library, source], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{found} ended with {done.returncode}:\n{done.stderr}")
    return library
