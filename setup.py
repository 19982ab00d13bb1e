"""The long description: the README as it can be read away from its repository. All else is in pyproject.toml."""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")


def standing_alone(text: str, source: str | None) -> str:
    """Links to files of the repository as absolute ones; as plain text where its address is not known."""

    def replaced(link: re.Match) -> str:
        picture, name, path = link.groups()
        if source:
            return f"{picture}[{name}]({source}/{'raw' if picture else 'blob'}/HEAD/{path})"
        return f"[Figure: {name}]" if picture else name

    return RELATIVE_LINK.sub(replaced, text)


address = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {}).get("Source")
readme = (HERE / "README.md").read_text(encoding="utf-8")
setup(long_description=standing_alone(readme, address), long_description_content_type="text/markdown")
