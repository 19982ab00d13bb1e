"""seqjax: sequence models in JAX and Flax, and what they could learn at best.

The package reads as chapters, and a chapter imports only from those before it:

    data        what goes in                      train       one step, many steps, many runs as one program
    theory      what could be learned at best     decode      sentences out of single steps
    tasks       input-output relations            evaluate    a metric over a data set
    models      what is learned                   runs        run folders, command line, progress
    losses, metrics                               checkpoint  saved and verified state
                                                  plot        arrays in, figures out
                                                  explore     settings to play with: figures and widgets
                                                  convert     weights from PyTorch, and back

Importing seqjax loads none of them: `from seqjax import models` does, and `seqjax.models` does on first use.
"""

from importlib import import_module
from types import ModuleType

__all__ = [
    "checkpoint",
    "convert",
    "data",
    "decode",
    "evaluate",
    "explore",
    "losses",
    "metrics",
    "models",
    "plot",
    "runs",
    "tasks",
    "theory",
    "train",
    "types",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"seqjax.{name}")
    raise AttributeError(f"module 'seqjax' has no attribute {name!r}")
