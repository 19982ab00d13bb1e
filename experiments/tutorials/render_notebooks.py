"""Runs the notebooks and writes each as an .ipynb with its outputs, beside the script that it is made from.

The scripts are the source: edit those, then run this; where only prose has changed, outputs stay as they are. Data sets
are not read, so that the outputs are those that anyone gets, and explorers are drawn as figures, since widgets need a
running kernel. Needs `pip install -e '.[notebook]'`.

Run       python experiments/tutorials/render_notebooks.py
"""

import base64
import io
import os
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro
from PIL import Image  # of matplotlib

from seqjax._atomic import write_text
from seqjax.types import InputError

FOLDER = Path(__file__).parent / "notebooks"

WITHOUT_WIDGETS = "import sys\n\nsys.modules['ipywidgets'] = None"
"""A cell that runs first and is left out of the result."""

MOST_BYTES = 600_000
"""Of a notebook."""


@dataclass(frozen=True)
class Options:
    """What is run."""

    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(help="notebooks, such as tour", help_behavior_hint="all")
    ] = ()


def render(script: Path) -> str:
    """The notebook of a script in percent format, with the outputs of its cells."""
    # Of the extra `notebook`.
    jupytext, nbclient, nbformat = (import_module(name) for name in ("jupytext", "nbclient", "nbformat"))
    notebook: Any = jupytext.read(script)
    earlier = script.with_suffix(".ipynb")
    before = code(nbformat.read(earlier, as_version=4)) if earlier.exists() else []
    if [cell.source for cell in before] == [cell.source for cell in code(notebook)]:
        for cell, old in zip(code(notebook), before, strict=True):
            cell.outputs = old.outputs
        return written(notebook, nbformat, script.stem)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(WITHOUT_WIDGETS))
    resources = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()
    del notebook.cells[0]
    for cell in code(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return written(notebook, nbformat, script.stem)


def code(notebook: Any) -> list[Any]:
    """The cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def written(notebook: Any, nbformat: Any, name: str) -> str:
    """A notebook as text, without what differs from one run to the next.

    Raises:
        InputError: it has more than `MOST_BYTES`.
    """
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = None
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    text = nbformat.writes(notebook, version=4) + "\n"
    if (size := len(text.encode())) > MOST_BYTES:
        raise InputError(f"a notebook must have at most {MOST_BYTES:,} bytes, got {size:,} of {name}")
    return text


def smaller(png: str) -> str:
    """A picture in base64, in 256 colours."""
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    content = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def main(options: Options) -> int:
    """Render the notebooks; the number to exit with."""
    scripts = {script.stem: script for script in sorted(FOLDER.glob("*.py"))}
    if unknown := [name for name in options.names if name not in scripts]:
        print(f"error: names must be of {', '.join(scripts)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    os.environ["SEQJAX_DATA"] = "no_such_folder"
    os.environ["JAX_PLATFORMS"] = "cpu"
    for name in options.names or scripts:
        path = scripts[name].with_suffix(".ipynb")
        write_text(path, render(scripts[name]))
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, prog="python experiments/tutorials/render_notebooks.py", description=__doc__)))
