"""The options of an experiment: those of every one, its configuration's fields, and the configurations they select."""

import dataclasses
import inspect
import itertools
import math
import re
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from seqjax.runs.scripts import typed_path
from seqjax.types import InputError

Scale = Literal["smoke", "laptop", "gpu"]

# Any text, the empty one and "None" included, is a value.
Text = Annotated[
    str | None,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="TEXT",
        instance_from_str=lambda given: given[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    ),
]


def parse(config_type: type, header: dict[str, str], uses: dict[str, Callable]) -> tuple[Any, dict[str, tuple]]:
    """The options, and the fields of the configuration that were named, each with the values it is to take."""

    def option(kind: Any, text: str, default: Any) -> tuple:
        return Annotated[kind, tyro.conf.arg(help=text)], dataclasses.field(default=default)

    def values(kind: Any, text: str, default: str) -> tuple:
        kind = get_args(kind)[0] if get_origin(kind) is tuple else kind
        one = f"{{{','.join(map(str, get_args(kind)))}}}" if get_args(kind) else kind.__name__.upper()
        shown = tyro.conf.arg(help=text, metavar=f"{one} ...", help_behavior_hint=f"(default: {default})")
        return Annotated[tuple[kind, ...] | None, shown], dataclasses.field(default=None)

    options = {
        "scale": option(Scale, "smoke: seconds; laptop: minutes on two cores; gpu: the full size", "laptop"),
        "only": values(
            str, "field=value: of the scale's configurations these; a field as an option changes all", "all"
        ),
        "out": option(Path, "where the run folders and figures go", Path("results")),
        "draw": option(bool, "only draw what is finished, or, without any run, what is committed", False),
        "resume": option(bool, "go on with runs that were interrupted, instead of starting them again", True),
        "overwrite": option(bool, "also do finished runs again, and damaged ones", False),
        "devices": option(
            Literal["runs", "rows"],
            "what devices share: runs, each trained by one, or the rows of every batch, those of all processes that a "
            "launcher started",
            "runs",
        ),
        "share": option(
            str, "N or K/N: one of N processes that share the runs; K: the parts of the K-th alone", "a Slurm array's N"
        ),
        "extend": option(bool, "begin where a finished run with fewer steps or epochs ended", False),
        "tensorboard": option(bool, "write the history as TensorBoard's event files, beside the run folders", False),
        "publish": option(bool, "write the committed figure: the whole experiment, at a clean commit", False),
    }
    for use, function in uses.items():
        text = (function.__doc__ or "").strip().partition("\n\n")[0]
        options[use] = option(Text, text, None) if takes_text(function) else option(bool, text, False)
        hints, about = get_type_hints(function), section(function, "Args")
        options |= {
            name: option(hints[name], about.get(name, ""), parameter.default)
            for name, parameter in settings(function, config_type, fields=False).items()
        }
    kinds, texts = get_type_hints(config_type), section(config_type, "Attributes")
    fields = {
        field.name: values(kinds[field.name], texts.get(field.name, ""), "the scale's own")
        for field in dataclasses.fields(config_type)
    }
    arguments = dataclasses.make_dataclass(
        "Arguments", [(key, kind, default) for key, (kind, default) in (options | fields).items()]
    )
    shown = {key: text for key, text in header.items() if key != "Answer"}  # its numbers are placeholders
    description = "\n\n".join(f"{key}: {text}" if key != "Title" else text for key, text in shown.items())
    given = tyro.cli(
        arguments,
        prog=f"python {typed_path(Path(sys.argv[0]))}",
        description=description,
        args=_with_texts(sys.argv[1:], [use for use, function in uses.items() if takes_text(function)]),
    )
    changes = {key: getattr(given, key) for key in fields if getattr(given, key) is not None}
    for key, values in changes.items():
        if not values:
            raise InputError(f"--{key.replace('_', '-')} must be given one or more values, got none")
        if get_origin(kinds[key]) is tuple:  # together they are one
            changes[key] = (values,)
    return given, changes


def _with_texts(arguments: list[str], texts: Sequence[str]) -> list[str]:
    """A text that begins with a dash is a text: it is joined to its option."""
    options = {f"--{name.replace('_', '-')}" for name in texts} | {f"--{name}" for name in texts}
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in options:
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def names_own_data(config_type: type, changes: dict[str, tuple]) -> bool:
    """Whether files of the user's are given, in fields of `own_data`."""
    return any(
        field.metadata.get("own") and any(changes.get(field.name, ())) for field in dataclasses.fields(config_type)
    )


def section(documented: Any, title: str) -> dict[str, str]:
    """The texts of a section of a docstring, such as `Attributes`, by name."""
    text = inspect.cleandoc(documented.__doc__ or "").partition(f"{title}:\n")[2]
    items = re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n     +.*)*)", text, re.MULTILINE)
    return {name: " ".join(text.split()) for names, text in items for name in names.split(", ")}


def selected(configs: Sequence[Any], only: Sequence[str] | None, changes: dict[str, tuple]) -> dict[Any, Any]:
    """The configurations that `--only` leaves, with all combinations of the values named for fields, and without."""
    for condition in only or ():
        name, equals, text = condition.partition("=")
        fields = [field.name for field in dataclasses.fields(configs[0])]
        if not equals or name not in fields:
            raise InputError(f"--only must be field=value with a field of {', '.join(fields)}, got {condition!r}")
        values = list(dict.fromkeys(getattr(config, name) for config in configs))
        wanted = [value for value in values if any(_is(value, one) for one in text.split(","))]
        if not wanted:
            raise InputError(f"--only {condition} selects nothing: {name} is one of {', '.join(map(str, values))}")
        configs = [config for config in configs if getattr(config, name) in wanted]
    return {
        dataclasses.replace(config, **dict(zip(changes, values, strict=True))): config
        for config in configs
        for values in itertools.product(*changes.values())
    }


def _is(value: Any, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(text) == value
        except ValueError:
            return False
    return str(value) == text


def validate(chosen: dict[Any, Any], config_type: type, configs: Callable) -> None:
    """Refuse numbers that no run could use, and models that cannot be built, before anything else happens.

    Whole numbers are at least 1, or as small as the experiment itself has them, as where 0 means "all" or "its own";
    real numbers are finite, and not negative unless the experiment has negative ones.
    """
    own = [config_type(), *(config for scale in get_args(Scale) for config in configs(scale))]
    for field in dataclasses.fields(config_type):
        kind = get_type_hints(config_type)[field.name]
        if kind not in (int, float):
            continue
        least = min(kind(kind is int), *(getattr(config, field.name) for config in own))
        for value in dict.fromkeys(getattr(config, field.name) for config in chosen):
            if not (math.isfinite(value) and value >= least):
                option = f"--{field.name.replace('_', '-')}"
                finite = "" if kind is int else "finite and "
                raise InputError(f"{option} must be {finite}>= {least}, got {value}")
    build = getattr(sys.modules[config_type.__module__], "build", None)
    if build is None:
        return
    sizes = dict.fromkeys(list(inspect.signature(build).parameters)[1:], 1_000)  # of vocabularies, not yet known
    for config, unchanged in chosen.items():
        with suppress(InputError):  # of a configuration without a network, such as a fitted filter
            build(unchanged, **sizes)
            unchanged = None
        if unchanged is None:
            build(config, **sizes)


def takes_text(use: Callable) -> bool:
    """Whether another command is given a text, and not a flag alone."""
    return len(_parameters(use, inspect.Parameter.POSITIONAL_OR_KEYWORD)) > 1


def needs_runs(use: Callable) -> bool:
    """Whether another command needs finished runs: its first parameter has no default."""
    return next(iter(inspect.signature(use).parameters.values())).default is inspect.Parameter.empty


def settings(use: Callable, config_type: type, *, fields: bool) -> dict[str, inspect.Parameter]:
    """The keyword arguments of another command that are fields of the configuration too, or those that are not."""
    names = {field.name for field in dataclasses.fields(config_type)}
    found = _parameters(use, inspect.Parameter.KEYWORD_ONLY)
    return {name: parameter for name, parameter in found.items() if (name in names) == fields}


def setting_values(
    name: str, use: Callable, config_type: type, options: Any, changes: dict[str, tuple]
) -> dict[str, Any]:
    """The keyword arguments of another command, from its own options and from those that are fields as well.

    Raises:
        InputError: a field with several values.
    """
    values = {key: getattr(options, key) for key in settings(use, config_type, fields=False)}
    for key in settings(use, config_type, fields=True):
        if key in changes:
            if len(changes[key]) > 1:
                option, found = f"--{key.replace('_', '-')}", " ".join(map(str, changes[key]))
                raise InputError(f"{option} must be one value with --{name.replace('_', '-')}, got {found}")
            (values[key],) = changes[key]
    return values


def require_used(options: Any, uses: dict[str, Callable], asked: Collection[str], config_type: type) -> None:
    """Refuse the own options of another command that is not asked for.

    Raises:
        InputError: the first such option.
    """
    for name in uses.keys() - asked:
        for key, parameter in settings(uses[name], config_type, fields=False).items():
            if getattr(options, key) != parameter.default:
                option, command = f"--{key.replace('_', '-')}", f"--{name.replace('_', '-')}"
                raise InputError(f"{option} must be given with {command}, got it without")


def _parameters(use: Callable, kind: Any) -> dict[str, inspect.Parameter]:
    return {name: found for name, found in inspect.signature(use).parameters.items() if found.kind is kind}
