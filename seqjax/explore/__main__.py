"""Figures of the tasks from the command line, as in: python -m seqjax.explore lorenz.pdf lorenz-plotter --K 4."""

import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from seqjax.explore.plotters import ConvoPlotter, LorenzPlotter, ShiftPlotter
from seqjax.runs import process


def draw(out: tyro.conf.Positional[Path], plotter: ShiftPlotter | ConvoPlotter | LorenzPlotter) -> None:
    """Draw a figure of a task.

    Args:
        out: the file to write; its suffix sets the format: PNG, SVG or PDF.
    """
    plotter.figure().savefig(out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    plain = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)
    return process.exit_code(lambda: tyro.cli(draw, args=arguments, prog="python -m seqjax.explore", config=plain))


if __name__ == "__main__":
    sys.exit(main())
