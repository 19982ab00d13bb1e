"""What all explorers are: settings whose figure is a pure function of them, and the widget that follows from both."""

import base64
import dataclasses
import importlib.util
import io
import sys
from dataclasses import dataclass
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot


@dataclass(frozen=True, eq=False, kw_only=True)
class Explorer:
    """Settings, and what they look like. A new one says what its figure is, and which widgets set its fields.

    Attributes:
        seed: of all random numbers; the same seed gives the same figure.
    """

    seed: int = 0

    def figure(self) -> Figure:
        """The picture of these settings."""
        raise NotImplementedError

    def controls(self) -> dict[str, Any]:
        """The ipywidgets that set fields, by the field's name; seed and Refresh come besides."""
        return {}

    def html(self) -> str:
        """What the widget shows: the figure as a PNG, unless there is something better."""
        figure, data = self.figure(), io.BytesIO()
        figure.savefig(data, format="png", dpi=160)
        source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        name, width = escape(figure.get_suptitle()), round(96 * figure.get_figwidth())
        return f'<img alt="{name}" width="{width}" style="max-width: 100%" src="{source}">'

    def widget(self) -> Any:
        """The picture below its controls, of which Refresh is the next seed.

        Whatever goes wrong is said here, above the last picture that went right.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        widgets = load_ipywidgets()
        refresh = widgets.Button(description="Refresh", icon="refresh", tooltip="the next seed: new random numbers")
        seed = widgets.IntText(self.seed, description="seed", layout={"width": "9em"})
        controls = self.controls() | {"seed": seed}
        fault, picture = widgets.HTML(), widgets.HTML()

        def redraw(_: Any = None) -> None:
            refresh.disabled = True  # while it takes its time
            try:
                settings = {name: control.value for name, control in controls.items()}
                picture.value, fault.value = dataclasses.replace(self, **settings).html(), ""
            except Exception as error:  # ipywidgets would hide it in a log
                told = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                style = "color: #b00020; white-space: pre-wrap; line-height: 1.4"
                fault.value = f'<p role="alert" style="{style}">{escape(told)}</p>'
            finally:
                refresh.disabled = False

        def next_seed(_: Any) -> None:
            seed.value += 1

        refresh.on_click(next_seed)
        for control in controls.values():
            control.style.description_width = "initial"  # or long names are cut off
            control.observe(redraw, "value")
        redraw()
        spread = {"flex_flow": "row wrap", "grid_gap": "2px 12px"}
        bar = widgets.HBox([refresh, *controls.values()], layout=spread)
        return widgets.VBox([bar, fault, picture])

    def plot(self) -> Any:
        """The widget where a notebook runs this and ipywidgets is installed, the figure everywhere else."""
        shell = notebook()
        if shell is None:
            return self.figure()
        if importlib.util.find_spec("ipywidgets"):
            return self.widget()
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, "png")  # or a figure without a window would be shown as a line of text
        return self.figure()


def load_ipywidgets() -> Any:
    """The library, where it is installed; otherwise an ImportError that says how to get it."""
    try:
        import ipywidgets
    except ImportError:
        raise ImportError("widgets need ipywidgets: pip install 'seqjax[notebook]'") from None
    return ipywidgets


def notebook() -> Any:
    """The shell of the Jupyter kernel that runs this; None elsewhere, also in IPython in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None


def line(ax: Axes, x: Any, y: Any, *, label: str, style: int) -> None:
    """One curve, without a band."""
    plot.curve(ax, x, y, y, y, label=label, style=style, markers=False)


def legend_above(ax: Axes) -> None:
    """Names beside each other above the axes, where they hide nothing."""
    plot.legend(ax, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def title(figure: Figure, text: str, **options: Any) -> None:
    """What is seen, at the top left; also what is read out where the figure cannot be seen."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, **options)
