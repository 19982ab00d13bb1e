"""Error texts name options that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("seqjax", "experiments") for path in sorted((ROOT / folder).rglob("*.py"))]


def options(tree: ast.Module) -> Iterator[str]:
    """Names of fields of classes, of keywords of `runs.main` and of the functions that they name, and of options that
    are added or annotated by hand.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = (part.target for part in node.body if isinstance(part, ast.AnnAssign))
            yield from (field.id for field in fields if isinstance(field, ast.Name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "runs.main":
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)
            uses = {keyword.value.id for keyword in node.keywords if isinstance(keyword.value, ast.Name)}
            functions = (part for part in tree.body if isinstance(part, ast.FunctionDef) and part.name in uses)
            yield from (argument.arg for function in functions for argument in function.args.kwonlyargs)
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
    """A script's are its own and those of `runs`; the rest of the package knows no script, and so no option."""
    trees = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    runs = {name for path, tree in trees.items() if path.parts[:2] == ("seqjax", "runs") for name in options(tree)}
    found, missing = 0, []
    for path, tree in trees.items():
        in_runs = path.parts[0] == "experiments" or path.parts[1] == "runs"
        known = {*(runs if in_runs else ()), *(options(tree) if path.parts[0] == "experiments" else ())}
        for line, name in named(tree):
            found += 1
            if name.removeprefix("no-").replace("-", "_") not in known:
                missing.append(f"{path}:{line}: there is no option --{name}")
    assert found
    assert missing == []
