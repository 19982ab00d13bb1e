"""The base class of interactive figures: settings, a figure that is a pure function of them, and their widget."""

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
    """Settings and the figure they give. A subclass defines `figure`, and `controls` for the fields that can be set.

    Attributes:
        seed: of the random numbers; the same seed gives the same figure.
    """

    seed: int = 0

    def figure(self) -> Figure:
        """The figure of these settings."""
        raise NotImplementedError

    def controls(self) -> dict[str, Any]:
        """The ipywidgets that set fields, by the name of the field; `widget` adds the seed and a Refresh button."""
        return {}

    def html(self) -> str:
        """The content of the widget: the figure as a PNG, unless a subclass has something better."""
        figure, data = self.figure(), io.BytesIO()
        figure.savefig(data, format="png", dpi=160)
        source = f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        name, width = escape(figure.get_suptitle()), round(96 * figure.get_figwidth())
        return f'<img alt="{name}" width="{width}" style="max-width: 100%" src="{source}">'

    def widget(self) -> Any:
        """The controls with the figure below; Refresh draws it with the next seed.

        An error is shown above the last figure that was drawn.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        widgets = load_ipywidgets()
        refresh = widgets.Button(description="Refresh", icon="refresh", tooltip="the next seed: new random numbers")
        seed = widgets.IntText(self.seed, description="seed", layout={"width": "9em"})
        controls = self.controls() | {"seed": seed}
        fault, picture = widgets.HTML(), widgets.HTML()

        def redraw(_: Any = None) -> None:
            refresh.disabled = True  # until the figure is drawn
            try:
                settings = {name: control.value for name, control in controls.items()}
                picture.value, fault.value = dataclasses.replace(self, **settings).html(), ""
            except Exception as error:  # ipywidgets would hide it in a log
                message = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                style = "color: #b00020; white-space: pre-wrap; line-height: 1.4"
                fault.value = f'<p role="alert" style="{style}">{escape(message)}</p>'
            finally:
                refresh.disabled = False

        def next_seed(_: Any) -> None:
            seed.value += 1

        refresh.on_click(next_seed)
        for control in controls.values():
            control.style.description_width = "initial"  # so that long names are not cut off
            control.observe(redraw, "value")
        redraw()
        spread = {"flex_flow": "row wrap", "grid_gap": "2px 12px"}
        bar = widgets.HBox([refresh, *controls.values()], layout=spread)
        return widgets.VBox([bar, fault, picture])

    def plot(self) -> Any:
        """The widget in a notebook where ipywidgets is installed, the figure anywhere else."""
        shell = notebook()
        if shell is None:
            return self.figure()
        if importlib.util.find_spec("ipywidgets"):
            return self.widget()
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, "png")  # so that a figure without a window is shown, not its repr
        return self.figure()


def load_ipywidgets() -> Any:
    """The ipywidgets module, or an ImportError that says how to install it."""
    try:
        import ipywidgets
    except ImportError:
        raise ImportError("widgets need ipywidgets: pip install 'seqjax[notebook]'") from None
    return ipywidgets


def notebook() -> Any:
    """The shell of the running Jupyter kernel; None elsewhere, also in IPython in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None


def line(ax: Axes, x: Any, y: Any, *, label: str, style: int) -> None:
    """One curve, without a band."""
    plot.curve(ax, x, y, y, y, label=label, style=style, markers=False)


def legend_above(ax: Axes) -> None:
    """A horizontal legend above the axes, where it hides nothing."""
    plot.legend(ax, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def title(figure: Figure, text: str, **options: Any) -> None:
    """A title at the top left, which is also the alternative text of the widget's image."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, **options)
