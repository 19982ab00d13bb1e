"""Examples in Markdown files, executed and checked as a user's own files."""

import json
import re
import subprocess
import sys
from pathlib import Path

from seqjax.data.catalogue import CATALOGUE

ROOT = Path(__file__).parents[1]


def examples(page: Path) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


def missing_files(page: Path) -> list[str]:
    """Files of this repository, and data sets, that a page's links and commands name and that do not exist."""
    text = page.read_text()
    links = [page.parent / link.partition("#")[0] for link in re.findall(r"\]\(([\w./#-]+)\)", text)]
    commands = [ROOT / script for script in re.findall(r"python (experiments/[\w/]+\.py)", text)]
    fetched = [name for names in re.findall(r"-m seqjax.data fetch ([\w -]+)", text) for name in names.split()]
    unknown = [name for name in fetched if name not in CATALOGUE]
    return [str(path) for path in links + commands if not path.exists()] + unknown


def type_errors(sources: list[str], folder: Path) -> str:
    """What basedpyright reports for files with these contents, as text; empty if there is no error."""
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    for number, source in enumerate(sources):
        (folder / f"example_{number}.py").write_text(source)
    command = ["-m", "basedpyright", "--level", "error", "--pythonpath", sys.executable]
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode else ""
