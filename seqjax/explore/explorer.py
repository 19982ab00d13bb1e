"""The base class of interactive figures: settings, a figure that is a pure function of them, and their widget."""

import base64
import dataclasses
import importlib.util
import io
import sys
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seqjax import plot

WIDTH = 9.0
"""Of a figure, in inches of 96 pixels: a cell of a notebook has about this width."""


class Picture(NamedTuple):
    """A PNG in base64, how wide it is shown, in pixels of a screen, and its alternative text."""

    png: str
    width: int
    title: str


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

    @cached_property
    def picture(self) -> Picture:
        """The figure as a picture, drawn once."""
        figure, data = self.figure(), io.BytesIO()
        figure.savefig(data, format="png", dpi=160)
        png = base64.b64encode(data.getvalue()).decode()
        return Picture(png, width=round(96 * figure.get_figwidth()), title=figure.get_suptitle())

    def html(self) -> str:
        """The content of the widget: the figure as a PNG, unless a subclass has something better."""
        png, width, name = self.picture
        source = f"data:image/png;base64,{png}"
        return f'<img alt="{escape(name)}" width="{width}" style="max-width: 100%" src="{source}">'

    def widget(self) -> Any:
        """The controls with the figure below; Refresh draws it with the next seed.

        While a figure is computed, the button says so; an error is shown above the last figure that was drawn.

        A saved notebook has the figure that was there when its cell was run, for pages that show it without a kernel,
        for `jupyter nbconvert`, and for JupyterLab, where it is another person's. Where it is one's own, JupyterLab
        looks for the widget, which it has only if *Settings > Save Widget State Automatically* was on.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        widgets = load_ipywidgets()
        idle = {"description": "Refresh", "icon": "refresh", "disabled": False}
        computing = {"description": "computing …", "icon": "hourglass-half", "disabled": True}
        refresh = widgets.Button(**idle, tooltip="the next seed: new random numbers", layout={"width": "10em"})
        seed = number(self.seed, "seed")
        controls = {"seed": seed} | self.controls()
        fault, picture = widgets.HTML(), widgets.HTML()
        drawn: list[Explorer] = []  # the last one, if any

        class Widget(widgets.VBox):
            def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
                view = super()._repr_mimebundle_(**options)
                if not drawn:
                    return view, {}
                png, width, title = drawn[0].picture
                return view | {"image/png": png}, {"image/png": {"width": width, "alt": title}}

        def show(state: dict[str, Any]) -> None:
            for name, value in state.items():
                setattr(refresh, name, value)

        def redraw(_: Any = None) -> None:
            show(computing)
            try:
                explorer = dataclasses.replace(self, **{name: control.value for name, control in controls.items()})
                picture.value, fault.value = explorer.html(), ""
                drawn[:] = [explorer]
            except Exception as error:  # ipywidgets would hide it in a log
                message = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                style = "color: #b00020; white-space: pre-wrap; line-height: 1.4"
                fault.value = f'<p role="alert" style="{style}">{escape(message)}</p>'
            finally:
                show(idle)

        def next_seed(_: Any) -> None:
            seed.value += 1

        refresh.on_click(next_seed)
        for control in controls.values():
            control.style.description_width = "initial"  # so that long names are not cut off
            control.observe(redraw, "value")
        redraw()
        spread = {"flex_flow": "row wrap", "grid_gap": "2px 12px", "align_items": "center"}
        bar = widgets.HBox([refresh, *controls.values()], layout=spread)
        return Widget([bar, fault, picture])

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


def number(value: int | float, name: str) -> Any:
    """A field for a number, wide enough for it and its name."""
    widgets = load_ipywidgets()
    field = widgets.IntText if isinstance(value, int) else widgets.FloatText
    return field(value, description=name, layout={"width": f"{5.5 + 0.5 * len(name)}em"})


def choice(value: Any, name: str, options: Any) -> Any:
    """A button for each of some values. The name is shown by a pointer: as a label it would break the line."""
    buttons = load_ipywidgets().ToggleButtons
    return buttons(value=value, options=options, tooltip=name, style={"button_width": "auto"})


def notebook() -> Any:
    """The shell of the running Jupyter kernel; None elsewhere, also in IPython in a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell if hasattr(shell, "kernel") else None


def line(ax: Axes, x: Any, y: Any, *, label: str, style: int) -> None:
    """One curve, without a band."""
    plot.curve(ax, x, y, y, y, label=label, style=style, markers=False)


def legend_above(ax: Axes, **options: Any) -> None:
    """A horizontal legend above the axes, where it hides nothing. Options are Matplotlib's."""
    plot.legend(ax, **{"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 4} | options)


def title(figure: Figure, text: str, **options: Any) -> None:
    """A title at the top left, which is also the alternative text of the widget's image."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, **options)
