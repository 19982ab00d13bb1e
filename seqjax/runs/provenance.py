"""Where numbers come from: cost, versions, machine, commit and command."""

import functools
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("seqjax", "jax", "jaxlib", "flax", "optax", "numpy", "diffrax", "safetensors")


def provenance() -> dict[str, Any]:
    """Versions, machine and command of this process: enough to explain why two runs differ."""
    return {
        "device": device(),
        "versions": versions(),
        "commit": commit(),
        "script": str(Path(sys.argv[0]).resolve()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


def device() -> str:
    """The device in use, such as "2 CPU cores"."""
    first, count = jax.devices()[0], len(jax.devices())
    if first.platform == "cpu":
        return f"{os.cpu_count()} CPU cores"
    return first.device_kind if count == 1 else f"{count} x {first.device_kind}"


@functools.cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


@functools.cache
def commit() -> str:
    """The commit of this source tree, with "-dirty" if it was changed, or "unknown" outside git.

    Figures and READMEs do not count as changes: one figure after the other can be published.
    """
    describe = ["git", "describe", "--always", "--abbrev=12", "--exclude=*"]
    changed = ["git", "diff", "--quiet", "HEAD", "--", ".", ":(exclude)experiments/figures", ":(exclude)*.md"]
    try:
        done = [
            subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, encoding="utf-8")
            for command in (describe, changed)
        ]
    except OSError:
        return "unknown"
    if done[0].returncode or done[1].returncode > 1:
        return "unknown"
    return done[0].stdout.strip() + "-dirty" * done[1].returncode


def summary(provenances: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The cost, versions and commits of a whole figure; what differs between its runs is a list."""

    def united(name: str) -> Any:
        found = list(dict.fromkeys(json.dumps(each[name]) for each in provenances))
        return json.loads(found[0]) if len(found) == 1 else [json.loads(value) for value in found]

    seconds, cpu = (round(sum(each[name] for each in provenances), 1) for name in ("seconds", "cpu_seconds"))
    cost = {"seconds": seconds, "cpu_seconds": cpu, "device": united("device")}
    return {"cost": cost, "versions": united("versions"), "commit": united("commit")}
