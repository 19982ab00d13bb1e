"""The life of an experiment: command line, run folders, training that can be killed and resumed, figure and table.

An experiment is a script with a flat frozen dataclass `Config` and a few functions, which are given to `main`.
"""

from seqjax.runs.checks import Check, check, every, less, ratio, select, value, values
from seqjax.runs.command import main, own_data, settle_own, traced
from seqjax.runs.folder import Record, Row, Run, finished, load
from seqjax.runs.options import Scale
from seqjax.runs.scripts import find_experiments, read_header
from seqjax.runs.training import by_record, fit, parameter_count, scores, train_group, warn_of_reach

__all__ = [
    "Check", "Record", "Row", "Run", "Scale", "by_record", "check", "every", "find_experiments", "finished", "fit",
    "less", "load", "main", "own_data", "parameter_count", "ratio", "read_header", "scores", "select", "settle_own",
    "traced", "train_group", "value", "values", "warn_of_reach",
]  # fmt: skip
