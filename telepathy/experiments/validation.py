"""Strict pydantic models; all validation errors are reported together, by dotted key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from latentwire.core.errors import ConfigError, DataError, UnknownNameError

M = TypeVar("M", bound=BaseModel)
# Types that pydantic adds to the location of an error in a union.
_TYPES = ("bool", "int", "float", "str", "list", "tuple", "dict", "literal")


class StrictModel(BaseModel):
    """Base of all configuration objects: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validated(model: type[M], content: Any) -> tuple[M | None, dict[str, str]]:
    """Validate the content; return the model, or None and a message for each wrong dotted key."""
    try:
        return model.model_validate(content), {}
    except ValidationError as error:
        found: dict[str, str] = {}
        for each in error.errors():
            key, message = _mistake(model, dict(each))
            found.setdefault(key, message)
        return None, found


def read_yaml(path: Path) -> Any:
    """Content of a YAML or JSON file.

    Raises:
        DataError: If the file cannot be read.
        ConfigError: If it is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error


def read_model(model: type[M], path: Path) -> M:
    """Read a YAML file as a model.

    Raises: DataError: If the file cannot be read. ConfigError: It lists all mistakes.
    """
    found, mistakes = validated(model, read_yaml(path) or {})
    if found is None:
        raise file_error(path, [f"{key}: {message}" for key, message in mistakes.items()])
    return found


def file_error(path: Path, mistakes: list[str]) -> ConfigError:
    """The error that lists all mistakes in a file."""
    listed = "\n".join(f"  {mistake}" for mistake in mistakes)
    return ConfigError(f"{path} has {len(mistakes)} mistake(s):\n{listed}")


def merged(
    base: Mapping[str, Any], changes: Mapping[str, Any], *, null_removes: bool = False
) -> dict[str, Any]:
    """Merge nested mappings; `changes` take precedence, and null may remove a key."""
    found = dict(base)
    for key, value in changes.items():
        old = found.get(key)
        if value is None and null_removes:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            found[key] = merged(old, value, null_removes=null_removes)
        else:
            found[key] = value
    return found


def _mistake(model: type[BaseModel], error: dict[str, Any]) -> tuple[str, str]:
    """Dotted key and message of one pydantic error."""
    parts = [str(part) for part in error["loc"]]
    location = [part for part in parts if not _is_type(part)]
    key = ".".join(location) or "configuration"
    if location != parts:  # pydantic reports each type of a union on its own
        return key, f"{error['input']!r} is not allowed here"
    if error["type"] == "extra_forbidden":
        return key, str(UnknownNameError.of("key", parts[-1], _known_keys(model, parts[:-1])))
    if error["type"] == "missing":
        return key, "missing"
    if error["type"] == "value_error":
        return key, error["msg"].removeprefix("Value error, ")
    hint = " (put it in quotes)" if error["type"] == "string_type" else ""
    return key, f"{error['msg']}, not {error['input']!r}{hint}"


def _is_type(part: str) -> bool:
    return part in _TYPES or part.startswith((*(f"{name}[" for name in _TYPES), "function-"))


def _known_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    """Keys that are allowed at a location. Section names of a suite are skipped."""
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = (annotation, *getattr(annotation, "__args__", ()))
        model = next(
            (o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), model
        )
    return list(model.model_fields)
