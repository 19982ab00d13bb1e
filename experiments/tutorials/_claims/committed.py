"""Numbers measured by another experiment, read from the file beside its figure."""

from pathlib import Path
from typing import Any

from seqjax.data.files import read_json
from seqjax.types import InputError

EXPERIMENTS = Path(__file__).parents[2]
FIGURES = EXPERIMENTS / "figures"


def rows(experiment: str, **wanted: Any) -> list[dict[str, Any]]:
    """The rows of an experiment with these values, in the order of its table.

    Raises:
        FileNotFoundError: the file is missing or has no such row; the message names the command that makes it.
    """
    path = FIGURES / f"{experiment}.json"
    script = next(EXPERIMENTS.glob(f"*/{experiment}.py"))
    command = f"python experiments/{script.relative_to(EXPERIMENTS)}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `{command}` makes it")
    found = [row for row in read_json(path)["rows"] if wanted.items() <= row.items()]
    if not found:
        named = ", ".join(f"{name} = {value}" for name, value in wanted.items())
        raise FileNotFoundError(f"{path} has no row with {named}: `{command}` makes it")
    return found


def row(experiment: str, **wanted: Any) -> dict[str, Any]:
    """The only row with these values.

    Raises:
        FileNotFoundError: as `rows`.
        InputError: several rows match.
    """
    found = rows(experiment, **wanted)
    if len(found) > 1:
        raise InputError(f"one row of {experiment} must have {wanted}, got {len(found)}")
    return found[0]
