"""What the package can do from the command line: `python -m seqjax`."""

import re
from importlib import import_module

COMMANDS = ("data", "runs", "explore")

if __name__ == "__main__":
    for name in COMMANDS:
        about, *_ = re.split(": `|, as in", import_module(f"seqjax.{name}.__main__").__doc__ or "")
        print(f"python -m seqjax.{name:8} {about}")
