"""The processor, without any framework: what the numbers of a row hold for."""

import os
import platform
import re
from pathlib import Path
from typing import NamedTuple

CPU_INFO = Path("/proc/cpuinfo")

WIDEST = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX"), ("sve", "SVE"), ("asimd", "NEON"))
"""Vector instructions by the kernel's flags, the widest first."""


MEASURES_ONE_CORE = hasattr(os, "sched_setaffinity")
"""Whether the system can keep a process on one core."""


class Machine(NamedTuple):
    """A processor.

    Attributes:
        cpu: its model, with the numbers that tell processors of one name from each other.
        instruction_set: the widest vectors; empty where it is not known.
        physical_cores, hardware_threads: as many as this process may use.
    """

    cpu: str
    instruction_set: str
    physical_cores: int
    hardware_threads: int

    @property
    def name(self) -> str:
        """Model and cores: rows of machines with other names are not comparable."""
        return f"{self.cpu}, {self.physical_cores} cores"


def machine() -> Machine:
    """That of this process."""
    text = CPU_INFO.read_text(encoding="utf-8") if CPU_INFO.exists() else ""
    return parse(text, usable_threads())


def parse(cpu_info: str, threads: list[int]) -> Machine:
    """What Linux tells about the processor, and the hardware threads that may be used; elsewhere as Python calls it."""
    blocks = [dict(re.findall(r"^(.+?)\s*: (.*)$", block, re.MULTILINE)) for block in cpu_info.split("\n\n")]
    used = [block for block in blocks if int(block.get("processor", -1)) in threads]
    if not used:
        return Machine(platform.processor() or platform.machine(), "", len(threads), len(threads))
    first = used[0]
    numbers = ", ".join(f"{name} {first[name]}" for name in ("cpu family", "model") if name in first)
    model = first.get("model name") or platform.machine()
    flags = (first.get("flags") or first.get("Features", "")).split()
    widest = next((name for flag, name in WIDEST if flag in flags), "")
    cores = {(block.get("physical id"), block.get("core id", block["processor"])) for block in used}
    return Machine(f"{model} ({numbers})" if numbers else model, widest, len(cores), len(used))


def usable_threads() -> list[int]:
    """The numbers of the hardware threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def use_one_thread() -> None:
    """From now on; to be called before a framework starts its threads."""
    os.sched_setaffinity(0, usable_threads()[-1:])
