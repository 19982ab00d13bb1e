"""seqjax: sequence models in JAX and Flax, and the lowest error that is possible on their tasks.

The package is organised in chapters, and a chapter imports only from those before it:

    data        readers, vocabularies, batches    train       one run: state, step, loop
    theory      lower bounds of the error         sweep       many runs as one compiled program
    tasks       input-output relations            decode      greedy, sampling, beam search, rollout
    models      architectures                     evaluate    predictions over a whole data set
    losses, metrics                               early_stopping   the best parameters of a run
    mesh        batches and states on devices     explore     interactive figures
                                                  runs        run folders, command line, progress
                                                  checkpoint  states saved and verified
                                                  plot        arrays in, axes out
                                                  convert     weights from and to PyTorch
                                                  pretrained  small trained models

`import seqjax` loads none of them; a chapter is loaded by `from seqjax import models`, or when `seqjax.models` is
first used.

Arguments outside of the ranges that docstrings give are refused by a ValueError with the rule and the value.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqjax import (
        checkpoint,
        convert,
        data,
        decode,
        early_stopping,
        evaluate,
        explore,
        losses,
        mesh,
        metrics,
        models,
        plot,
        pretrained,
        runs,
        sweep,
        tasks,
        theory,
        train,
        types,
    )

__all__ = [
    "checkpoint", "convert", "data", "decode", "early_stopping", "evaluate", "explore", "losses", "mesh", "metrics",
    "models", "plot", "pretrained", "runs", "sweep", "tasks", "theory", "train", "types",
]  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"seqjax.{name}")
    raise AttributeError(f"module 'seqjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
