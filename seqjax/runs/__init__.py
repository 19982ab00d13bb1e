"""The life of an experiment: command line, run folders, training that can be killed and resumed, figure and table.

An experiment is a script with a flat frozen dataclass `Config` and three functions, handed to `main`. Only light
modules are imported here, and experiments import the heavy ones inside their functions: `--help` must answer at once.
"""

from seqjax.runs.command import Scale, main, read_header, traced
from seqjax.runs.folder import Record, Run, finished, load
from seqjax.runs.training import fit

__all__ = ["Record", "Run", "Scale", "finished", "fit", "load", "main", "read_header", "traced"]
