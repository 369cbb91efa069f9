"""Command line options that are generated from the fields of `ExperimentConfig`.

Help text, type, default and group of an option come from the field; a new field is a new option.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from latentwire.core.errors import ConfigError
from telepathy.experiments.config import SECTIONS, ExperimentConfig, dotted_keys, named_values
from telepathy.experiments.validation import read_yaml

ConfigFileOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="YAML or JSON file with options, by dotted key or in sections; options on the command "
        "line take precedence over it.",
    ),
]
Given = dict[str, Any]
"""Options that the user set, by dotted key."""

_FLAGS = {"pair.name": "pair", "wire.options": "set"}
_REPEATED = ("wire.layer", "wire.options")


def config_options(*keys: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that adds options to a typer command.

    The command receives the options that the user set in its keyword argument `given`, a
    dictionary by dotted key.

    Args:
        keys: Dotted keys of `ExperimentConfig`, or names of sections for all their fields.
    """
    expanded = [
        f"{key}.{name}" if name else key
        for key in keys
        for name in (SECTIONS[key].model_fields if key in SECTIONS else [""])
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "given"
        ]
        generated = {key.replace(".", "__"): key for key in expanded}

        def wrapper(**values: Any) -> Any:
            chosen = {key: values.pop(name) for name, key in generated.items()}
            given = {key: value for key, value in chosen.items() if value not in (None, [])}
            if "wire.options" in given:
                given["wire.options"] = named_values(given["wire.options"])
            return command(given=given, **values)

        # Groups are listed in the order of their first option; the command's own ones come last.
        grouped = [p for p in own if _has_group(p)]
        parameters = [
            *(p for p in own if p not in grouped),
            *(_parameter(name, key) for name, key in generated.items()),
            *grouped,
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        wrapper.__module__ = command.__module__
        return wrapper

    return decorate


def layers(file: Path | None, given: Mapping[str, Any]) -> Given:
    """Options of a configuration file and of the command line, by dotted key.

    Args:
        file: The file, or None.
        given: Options of the command line; they take precedence.
    Raises: DataError, ConfigError: If the file cannot be read. UnknownNameError: If it has an
        unknown option.
    """
    if file is None:
        return dict(given)
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ConfigError(f"{file} is not a mapping of keys to values.")
    return dotted_keys({k: v for k, v in content.items() if k != "kind"}) | dict(given)


def describe(key: str, *, with_default: bool = True) -> str:
    """Help text of a field.

    Args:
        key: Dotted key.
        with_default: End with the default value, unless the description states it.
    """
    field = _field(key)
    text = field.description or ""
    default = field.default if with_default else None
    if default is None or isinstance(default, bool) or default in ((), {}) or "default" in text:
        return text
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{text} Default: {shown}."


def group_of(key: str) -> str:
    """Title of the group under which a field's option is listed."""
    extra = _field(key).json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) and "group" in extra else "Options"


def value_type(key: str) -> type:
    """Type of a field's option; text for lists and mappings."""
    kind = _kind(_field(key).annotation)[0]
    return kind if kind in (int, float, bool) else str


def _parameter(name: str, key: str) -> inspect.Parameter:
    field = _field(key)
    kind, choices = _kind(field.annotation)
    word = _FLAGS.get(key, key.rpartition(".")[2]).replace("_", "-")
    flag = f"--{word}/--no-{word}" if kind is bool and field.default is True else f"--{word}"
    if key in _REPEATED:
        kind = list[int] if key == "wire.layer" else list[str]
    elif kind is tuple or kind is dict:
        kind = str
    option = typer.Option(
        flag,
        help=describe(key),
        rich_help_panel=group_of(key),
        show_default=False,
        metavar="|".join(choices) if choices else None,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _has_group(parameter: inspect.Parameter) -> bool:
    return any(getattr(m, "rich_help_panel", None) for m in get_args(parameter.annotation)[1:])


def _field(key: str) -> FieldInfo:
    section, _, name = key.partition(".")
    model = SECTIONS[section] if name else ExperimentConfig
    return model.model_fields[name or section]


def _kind(annotation: Any) -> tuple[Any, tuple[str, ...]]:
    """Type of the option's value, and the choices of a Literal."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is Literal:
        return str, tuple(map(str, get_args(annotation)))
    if origin is UnionType or str(origin) == "typing.Union":
        return _kind(next(a for a in get_args(annotation) if a is not type(None)))
    return (origin or annotation), ()
