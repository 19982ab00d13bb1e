"""Figures of the tasks, and text, from the command line, as in: python -m seqjax.explore lorenz.pdf lorenz-plotter."""

import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from matplotlib.figure import Figure

from seqjax.explore.generator import TextGenerator
from seqjax.explore.plotters import ConvoPlotter, LorenzPlotter, ShiftPlotter
from seqjax.runs import process
from seqjax.types import InputError


def draw(
    out: tyro.conf.Positional[Path], explorer: ShiftPlotter | ConvoPlotter | LorenzPlotter | TextGenerator
) -> None:
    """Draw a figure of a task, or text that a language model writes.

    Args:
        out: the file to write; its suffix sets the format: PNG, SVG or PDF.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if out.suffix[1:].lower() not in formats:
        raise InputError(f"the file's suffix must be one of {', '.join(sorted(formats))}, got {str(out)!r}")
    process.require_replaceable(out)
    explorer.figure().savefig(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    plain = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    return process.exit_code(lambda: tyro.cli(draw, args=arguments, prog="python -m seqjax.explore", config=plain))


if __name__ == "__main__":
    sys.exit(main())
