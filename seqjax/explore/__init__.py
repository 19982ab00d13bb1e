"""Interactive figures of tasks and trained models: a widget in a notebook, a Matplotlib figure anywhere else.

    explore.ShiftPlotter(k=25).plot()                                     # in a notebook: a widget
    explore.ShiftPlotter(k=25, seed=3).figure().savefig("shift.svg")      # anywhere; the same seed, the same figure
    python -m seqjax.explore shift.svg shift-plotter --k 25 --seed 3      # from the command line

Widgets need ipywidgets: `pip install 'seqjax[notebook]'`. It is imported only when a widget is made.
"""

from seqjax.explore.evaluations import LorenzEvaluation, ShiftEvaluation
from seqjax.explore.explorer import Explorer
from seqjax.explore.generator import Continuation, TextGenerator, Writer
from seqjax.explore.plotters import ConvoPlotter, LorenzPlotter, ShiftPlotter

__all__ = [
    "Continuation", "ConvoPlotter", "Explorer", "LorenzEvaluation", "LorenzPlotter", "ShiftEvaluation", "ShiftPlotter",
    "TextGenerator", "Writer",
]  # fmt: skip
