"""Tasks and trained models to play with: a figure anywhere, and in a notebook one with buttons around it.

    explore.ShiftPlotter(k=25).plot()                                     # in a notebook: Refresh, and other settings
    explore.ShiftPlotter(k=25, seed=3).figure().savefig("shift.svg")      # anywhere, and the same each time
    python -m seqjax.explore shift.svg shift-plotter --k 25 --seed 3      # from the command line

ipywidgets, which `pip install 'seqjax[notebook]'` brings, is imported where a widget is made and nowhere else.
"""

from seqjax.explore.evaluations import LorenzEvaluation, ShiftEvaluation
from seqjax.explore.explorer import Explorer
from seqjax.explore.generator import TextGenerator, Writer, Written
from seqjax.explore.plotters import ConvoPlotter, LorenzPlotter, ShiftPlotter

__all__ = [
    "ConvoPlotter",
    "Explorer",
    "LorenzEvaluation",
    "LorenzPlotter",
    "ShiftEvaluation",
    "ShiftPlotter",
    "TextGenerator",
    "Writer",
    "Written",
]
