"""Templates with `{placeholders}`. Inserted text is never treated as a template."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from latentwire.core.errors import DataError

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.]*)\}")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def placeholders(template: str) -> list[str]:
    """Return the names of the placeholders of a template, in order, with repetitions."""
    return _PLACEHOLDER.findall(template)


def fill(template: str, value: Callable[[str], str]) -> str:
    """Replace each `{name}` by `value(name)`. Other braces are left unchanged."""
    return _PLACEHOLDER.sub(lambda match: value(match[1]), template)


def field(row: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path such as `choices.text`.

    Raises: DataError: If it is missing or null; the message lists the existing fields.
    """
    value: Any = row
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            there = ", ".join(sorted(map(str, value))) if isinstance(value, Mapping) else "none"
            raise DataError(f"no field '{path}'; existing fields: {there}")
        value = value[part]
    if value is None:
        raise DataError(f"field '{path}' is null")
    return value


def list_choices(choices: Sequence[str]) -> str:
    """Return one lettered choice per line: `A. first`, `B. second`."""
    return "\n".join(f"{LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
