"""Compare the results of every experiment before and after a change that must not move a number.

    python tests/compare_results.py run experiments/memory/shift_memory.py --scale smoke --out new
    python tests/compare_results.py compare old new

`old` and `new` are folders that experiments were given with `--out`. `run` starts a script whose modules draw the
initial parameters that they had under the names in `PATHS`: Flax derives the key of a parameter from its path, so that
a renamed module would start, and end, elsewhere.
"""

import json
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flax.core import scope

EXPERIMENTS = {"classic": "classic_tasks", "addition": "digit_sums", "seed_audit": "audit"}
"""Old name: new name."""

PATHS: dict[tuple[Any, Any], Any] = {
    ("decoder", "attention"): "attend",
    ("decoder", "bridge"): "first",
    ("backbone", "positions"): "Learned_0",
}
"""Parent and new name of a module: its old name."""

FRACTIONS = {
    *("accuracy", "best_seed", "calibration_error", "ceiling", "complete", "exact", "exact_high", "exact_low", "high"),
    *("judge_agrees", "judged_true", "low", "nouns", "others", "picked_by_chance", "picked_high", "picked_low"),
    *("picked_true", "table", "table_unseen", "together", "together_calibration_error", "together_high"),
    *("together_low", "true_elsewhere", "unknown_words", "unseen", "unseen_high", "unseen_low", "unseen_words"),
    *("validation_accuracy", "worst_seed"),
}
"""Columns that were percentages before and are fractions now; `low` and `high` only where their metric is one."""

ROUND_OFF = 1e-6
"""Relative; what is nearer is counted apart from what is equal to the last digit."""


def run(script: str, arguments: list[str]) -> None:
    """Run a script as if its modules had their old names."""
    fold_in = scope._fold_in_static

    def under_old_names(rng: Any, path: Sequence[Any]) -> Any:
        return fold_in(rng, [PATHS.get(pair, pair[1]) for pair in zip(("", *path), path, strict=False)])

    scope._fold_in_static = under_old_names
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


def rows(folder: Path, experiment: str) -> list[dict[str, Any]]:
    return json.loads((folder / experiment / f"{experiment}.json").read_text())["rows"]


def numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a row, with its path."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from numbers(part, f"{place}[{index}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield place, float(value)


def differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, float]:
    """Relative difference of each number of a row; of one that is a percentage in the old row, after division."""
    before, after = dict(numbers(old)), dict(numbers(new))
    found = {}
    for name, value in before.items():
        now = after.get(name)
        if now is None:
            found[name] = float("inf")
            continue
        scales = (1.0, 100.0) if name in FRACTIONS else (1.0,)
        found[name] = min(abs(now - value / scale) / max(abs(value / scale), 1e-30) for scale in scales)
    return found


def compare(old: Path, new: Path) -> int:
    """One line for each experiment; the number of those that differ."""
    failed = 0
    for path in sorted(old.glob("*/*.json")):
        name = path.parent.name
        if path.stem != name:
            continue
        other = EXPERIMENTS.get(name, name)
        if not (new / other / f"{other}.json").exists():
            print(f"{other:24} missing")
            failed += 1
            continue
        before, after = rows(old, name), rows(new, other)
        if len(before) != len(after):
            print(f"{other:24} {len(before)} rows before, {len(after)} after")
            failed += 1
            continue
        found = [differences(*pair) for pair in zip(before, after, strict=True)]
        worst = max(((value, name) for row in found for name, value in row.items()), default=(0.0, ""))
        kind = "equal" if worst[0] == 0 else f"round-off, {worst[0]:.1e} ({worst[1]})"
        if worst[0] > ROUND_OFF:
            failed += 1
            unequal = sorted({name for row in found for name, value in row.items() if value > ROUND_OFF})
            kind = f"DIFFERENT, {worst[0]:.1e}: {', '.join(unequal)}"
        print(f"{other:24} {kind}")
    return failed


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    if command == "run":
        run(first, rest)
    else:
        sys.exit(1 if compare(Path(first), Path(rest[0])) else 0)
