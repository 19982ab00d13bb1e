"""Error texts name options that some script has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("seqjax", "experiments") for path in sorted((ROOT / folder).rglob("*.py"))]


def options(tree: ast.Module) -> Iterator[str]:
    """Names of fields of classes, of keywords of `runs.main`, and of options that are added or annotated by hand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (
                part.target.id
                for part in node.body
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "runs.main":
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
            yield ast.literal_eval(node.args[0]).lstrip("-")
        elif isinstance(node, ast.Dict) and all(isinstance(value, ast.Call) for value in node.values):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def named(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Options in the texts of errors: line and name."""
    for error in (node for node in ast.walk(tree) if isinstance(node, ast.Raise)):
        for node in ast.walk(error):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from ((node.lineno, name) for name in re.findall(r"(?<![\w-])--([a-z][a-z_-]*)", node.value))


def test_error_texts_name_options_that_exist():
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    known = {name.replace("_", "-") for tree in trees.values() for name in options(tree)}
    found = [(path, line, name) for path, tree in trees.items() for line, name in named(tree)]
    assert found
    missing = [f"{path}:{line}: no script has --{name}" for path, line, name in found if name not in known]
    assert missing == []
